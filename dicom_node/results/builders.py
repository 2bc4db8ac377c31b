"""From a case, or a refusal, to the objects that answer it.

`publish_case` builds what the destinations of a case want, each object once. `publish_refusal`
answers a series that could not be analysed: the archive always gets a reason. The same
facts always give the same UIDs; `result_files` keeps the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultError
from dicom_node.results.case_facts import (
    CaseFacts,
    PublishContext,
    case_facts,
    equipment_of,
    identity_of,
    provenance_of,
)
from dicom_node.results.density_series import build_density_series
from dicom_node.results.headers import ObjectHeader, add_common_modules
from dicom_node.results.key_object import build_key_object, build_rejection
from dicom_node.results.kinds import GROUP_OF, ResultKind
from dicom_node.results.parametric_map import build_parametric_map
from dicom_node.results.pdf.encapsulated_pdf import build_encapsulated_pdf
from dicom_node.results.result_files import ResultObject
from dicom_node.results.secondary_capture import build_secondary_capture
from dicom_node.results.seg.even_slices import on_even_slices
from dicom_node.results.seg.segmentation import Encoding, SegmentationUids, build_segmentation
from dicom_node.results.sr.key_slices import key_slices
from dicom_node.results.sr.report_context import report_context
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.study_header import SourceStudy, source_words
from inference.pictures.captions import sentence
from inference.pictures.density import density_picture
from inference.pictures.quality_page import qc_picture, refusal_picture
from inference.results import CaseResult
from inference.volume import Volume
from sr_templates.key_slice_report import build_key_slice_report
from sr_templates.measurement_report import build_report
from sr_templates.words import case_words

QUALITY_DERIVATION: Final = "Quality image of an automatic segmentation"
DENSITY_DERIVATION: Final = (
    "Muscles of an automatic segmentation as solid bodies, coloured by the mean HU below "
    "their surface: yellow fat, red lean"
)
"""The derivation of each picture from its sources."""


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """A series that could not be analysed.

    code: the reason for scripts (`SeriesError.code`).
    words: the reason for people, without patient data.
    studies: that the images belong to: one, unless patients were mixed; none where not one
        image says it.
    volume: what could be read, for a thumbnail; None where nothing could.
    """

    code: str
    words: str
    studies: tuple[SourceStudy, ...]
    volume: Volume | None = None


def publish_case(
    series: CtSeries, case: CaseResult, context: PublishContext, wanted: Collection[ResultKind]
) -> tuple[ResultObject, ...]:
    """The objects that answer a case, each once; what others refer to comes first.

    Args:
        series: the source images.
        case: what was found in them.
        context: what objects say beside it.
        wanted: which objects. A segmentation without a segment is not built, and its report
            says so; without replaced results there is nothing to reject.

    Raises:
        ResultError: an object could not be built.
    """
    facts = case_facts(series, case, context, wanted)
    built = (
        (kind, BUILDERS[kind](facts, kind))
        for kind in ResultKind  # in this order, segmentations before reports
        if kind in wanted
    )
    return tuple(_result(kind, dataset) for kind, dataset in built if dataset is not None)


def publish_refusal(refusal: Refusal, context: PublishContext) -> tuple[ResultObject, ...]:
    """The answer to a series that could not be analysed: a picture and a key object.

    Where the images belong to several studies, each study is answered about its own.

    Raises:
        ResultError: not one image says which study it belongs to.
    """
    if not refusal.studies:
        raise ResultError("no image of the refused series names its study")
    alone = len(refusal.studies) == 1
    picture = refusal_picture(refusal.words, refusal.volume if alone else None)
    return tuple(
        result
        for study in refusal.studies
        for result in _refuse_study(study, refusal, picture, context)
    )


def _segmentation(facts: CaseFacts, kind: ResultKind) -> Dataset | None:
    if not facts.numbers[kind]:
        return None
    is_label_map = kind is ResultKind.SEG_LABELMAP
    return build_segmentation(
        facts.case,
        facts.grid,
        _uids_inside(facts, kind),
        facts.object_header(kind),
        encoding=Encoding.LABELMAP if is_label_map else Encoding.BINARY,
        group=GROUP_OF.get(kind),
    )


def _uids_inside(facts: CaseFacts, kind: ResultKind) -> SegmentationUids:
    return SegmentationUids(
        tracking=facts.tracking_uids,
        dimension_organization=facts.provenance.dimension_organization_uid(kind.value),
    )


def _even_segmentation(facts: CaseFacts, kind: ResultKind) -> Dataset | None:
    even = on_even_slices(facts.case, facts.grid)
    if even is None or not facts.case.segments.any():
        return None
    case, grid = even
    return build_segmentation(case, grid, _uids_inside(facts, kind), facts.object_header(kind))


def _report(facts: CaseFacts, kind: ResultKind) -> Dataset:
    dataset = build_report(facts.case, report_context(facts, kind))
    add_common_modules(dataset, facts.object_header(kind))
    return dataset


def _key_slice_report(facts: CaseFacts, kind: ResultKind) -> Dataset:
    dataset = build_key_slice_report(facts.case, report_context(facts, kind), key_slices(facts))
    add_common_modules(dataset, facts.object_header(kind))
    return dataset


def _quality_image(facts: CaseFacts, kind: ResultKind) -> Dataset:
    return build_secondary_capture(
        qc_picture(
            facts.series.volume,
            facts.case,
            title=_title(facts, kind),
            notes=facts.context.notes,
        ),
        _words(facts),
        facts.sources,
        facts.object_header(kind),
        derivation=QUALITY_DERIVATION,
    )


def _title(facts: CaseFacts, kind: ResultKind) -> str:
    """The title of an object and its series, without a word about the patient."""
    revision = facts.context.revision
    revised = f", revision {revision}" if revision > 1 else ""
    return f"{kind.traits.title}{source_words(facts.header)}{revised}"


def _words(facts: CaseFacts) -> str:
    """What an object says in words: how its images came, where that matters, and the case."""
    return " ".join([*map(sentence, facts.context.notes), case_words(facts.case)])


def _density_picture(facts: CaseFacts, kind: ResultKind) -> Dataset:
    return build_secondary_capture(
        density_picture(facts.series.volume, facts.case),
        f"Muscle density. {_words(facts)}",
        facts.sources,
        facts.object_header(kind),
        derivation=DENSITY_DERIVATION,
    )


def _density_slices(facts: CaseFacts, kind: ResultKind) -> Dataset | None:
    if not facts.case.segments.any():
        return None
    return build_density_series(
        facts.series.volume, facts.case, facts.grid, facts.object_header(kind)
    )


def _uncertainty_map(facts: CaseFacts, kind: ResultKind) -> Dataset | None:
    if facts.case.uncertainty is None:
        return None
    return build_parametric_map(facts.case, facts.grid, facts.object_header(kind))


def _summary(facts: CaseFacts, kind: ResultKind) -> Dataset:
    # Here, for few nodes send a PDF: the others need not wait for what writes it.
    from dicom_node.results.pdf.summary import summary_pdf  # noqa: PLC0415

    return build_encapsulated_pdf(
        summary_pdf(
            facts.series.volume,
            facts.case,
            title=_title(facts, kind),
            notes=facts.context.notes,
            changes=facts.context.changes,
        ),
        _words(facts),
        facts.sources,
        facts.object_header(kind),
    )


def _key_object(facts: CaseFacts, kind: ResultKind) -> Dataset:
    return build_key_object(_words(facts), facts.sources, facts.object_header(kind))


def _rejection(facts: CaseFacts, kind: ResultKind) -> Dataset | None:
    replaced = facts.context.replaced
    if not replaced:
        return None
    words = f"Replaced by revision {facts.context.revision} of the results"
    return build_rejection(replaced, facts.object_header(kind), words)


BUILDERS: Final[Mapping[ResultKind, Callable[[CaseFacts, ResultKind], Dataset | None]]] = (
    MappingProxyType(
        {
            ResultKind.SEG: _segmentation,
            ResultKind.SEG_LABELMAP: _segmentation,
            ResultKind.SEG_BONES: _segmentation,
            ResultKind.SEG_HIP: _segmentation,
            ResultKind.SEG_THIGH: _segmentation,
            ResultKind.SEG_EVEN: _even_segmentation,
            ResultKind.SR: _report,
            ResultKind.SR_LABELMAP: _report,
            ResultKind.SR_GROUPS: _report,
            ResultKind.SR_KEY_SLICE: _key_slice_report,
            ResultKind.SC: _quality_image,
            ResultKind.SC_DENSITY: _density_picture,
            ResultKind.SC_DENSITY_SLICES: _density_slices,
            ResultKind.PM: _uncertainty_map,
            ResultKind.PDF: _summary,
            ResultKind.KO: _key_object,
            ResultKind.KO_REJECTED: _rejection,
        }
    )
)
"""The builder of each kind of object; None where there is nothing to put into it."""


def _refuse_study(
    study: SourceStudy,
    refusal: Refusal,
    picture: NDArray[np.uint8],
    context: PublishContext,
) -> tuple[ResultObject, ...]:
    """The picture and the key object about the images of one study.

    A key object must refer to an image: where none says which it is, the picture is alone.
    """
    # A refusal is a result of its own: it must not share UIDs with a later analysis.
    provenance = provenance_of(study.sources, f"refused: {refusal.code}", context)
    if not study.sources:
        provenance = replace(provenance, source_sop_instance_uids=_instead_of_sources(study))
    words = f"Not analysed ({refusal.code}): {refusal.words}"
    equipment = equipment_of(context)
    heads = {
        each: ObjectHeader(study.header, identity_of(each, provenance), equipment)
        for each in (ResultKind.SC, ResultKind.KO)
    }
    image = build_secondary_capture(
        picture, words, study.sources, heads[ResultKind.SC], derivation=QUALITY_DERIVATION
    )
    if not study.sources:
        return (_result(ResultKind.SC, image),)
    flag = build_key_object(words, study.sources, heads[ResultKind.KO])
    return _result(ResultKind.SC, image), _result(ResultKind.KO, flag)


def _instead_of_sources(study: SourceStudy) -> tuple[str, ...]:
    """What tells a refusal from others where no image says which it is."""
    return tuple(
        str(study.header.get(keyword, ""))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID")
    )


def _result(kind: ResultKind, dataset: Dataset) -> ResultObject:
    return ResultObject(
        kind=kind,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        dataset=dataset,
    )
