"""From a case, or a refusal, to the objects that answer it; and those to files.

`publish_case` answers with a segmentation and a report, and with a picture and a key
object when the case is not accepted. `publish_refusal` answers a series that could not be
analysed: the archive always gets a reason. The same facts always give the same UIDs, and
`write_results` never writes a second content under a UID that already has one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.errors import ResultError
from dicom_node.results.headers import (
    MANUFACTURER,
    MODEL_NAME,
    Identity,
    Letterhead,
    Maker,
    complete,
    readable_header,
)
from dicom_node.results.key_object import build_key_object
from dicom_node.results.renderings import QcPolicy, Rendering
from dicom_node.results.secondary_capture import build_secondary_capture
from dicom_node.results.segmentation import (
    SegmentationUids,
    build_segmentation,
    segment_numbers,
)
from dicom_node.results.sources import InstanceReference, instances_of, read_grid
from dicom_node.series import CtSeries
from dicom_node.uids import Provenance, tracking_uid
from inference.pictures import qc_picture, refusal_picture
from inference.results import CaseResult, Verdict
from inference.structures import SEGMENTS
from inference.volume import Volume
from sr_templates.measurement_report import (
    InstanceInSeries,
    Observer,
    ReportContext,
    SegmentReferences,
    build_report,
)
from sr_templates.terms import BODY_PART_EXAMINED
from sr_templates.words import case_words


@dataclass(frozen=True, slots=True)
class PublishContext:
    """What objects say and depend on beside the case.

    settings_hash: of the settings that change results.
    created: with a time zone; every date and time of the objects is this one, so that a
        step that runs twice gives the same bytes.
    device_observer_uid: of this installation of this version (`uids.device_observer_uid`).
    revision: 1, and one more for each time late images changed the series.
    qc_policy: when the quality image goes out beside the other objects; a refusal is
        always answered with one.
    predecessor: the report of the revision before this one.
    closed_by: the rule that closed the series, in words.
    """

    settings_hash: str
    created: datetime
    device_observer_uid: str
    software_version: str
    revision: int = 1
    qc_policy: QcPolicy = "on_failure"
    station_name: str | None = None
    institution_name: str | None = None
    predecessor: InstanceInSeries | None = None
    closed_by: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """A series that could not be analysed.

    code: the reason for scripts (`SeriesError.code`).
    words: the reason for people, without patient data.
    headers: of the source instances, without pixels; at least one.
    volume: what could be read, for a thumbnail; None where nothing could.
    """

    code: str
    words: str
    headers: tuple[Dataset, ...]
    volume: Volume | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One object, complete with file meta information, ready to be encoded."""

    rendering: Rendering
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    dataset: Dataset = field(repr=False)


def publish_case(
    series: CtSeries, case: CaseResult, context: PublishContext
) -> tuple[ResultObject, ...]:
    """The answer to a case: segmentation, report and, where due, picture and key object.

    A case in which nothing was found has no segmentation; its report says so.

    Raises:
        ResultError: an object could not be built.
    """
    facts = _case_facts(series, case, context)
    failed = case.verdict is not Verdict.ACCEPTED
    objects = [_report(facts)]
    if facts.numbers:
        objects.insert(0, _segmentation(facts))
    if context.qc_policy == "always" or (context.qc_policy == "on_failure" and failed):
        objects.append(_quality_image(facts))
    if failed and context.qc_policy != "never":
        objects.append(_key_object(facts))
    return tuple(objects)


def publish_refusal(refusal: Refusal, context: PublishContext) -> tuple[ResultObject, ...]:
    """The answer to a series that could not be analysed: a picture and a key object.

    Where the images belong to several studies, each study is answered about its own.

    Raises:
        ResultError: not one image says which study it belongs to.
    """
    by_study: dict[str, list[Dataset]] = {}
    for source in refusal.headers:
        if source.get("StudyInstanceUID"):
            by_study.setdefault(str(source.StudyInstanceUID), []).append(source)
    if not by_study:
        raise ResultError("no image of the refused series names its study")
    picture = refusal_picture(refusal.words, refusal.volume if len(by_study) == 1 else None)
    return tuple(
        result
        for headers in by_study.values()
        for result in _refuse_study(headers, refusal, picture, context)
    )


def write_results(objects: Iterable[ResultObject], folder: Path) -> tuple[Path, ...]:
    """Encode objects into a folder, each once, and return their paths in the same order.

    A file appears under its name only when all its bytes are on disk. One that is already
    there stays as it is: one UID must never name two contents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_write_once(result, folder) for result in objects)


@dataclass(frozen=True, slots=True, eq=False)
class _CaseFacts:
    """All that the objects of one case are made from.

    numbers: from `Segment.number` to the number in the segmentation.
    """

    series: CtSeries
    case: CaseResult
    context: PublishContext
    header: Dataset
    sources: tuple[InstanceReference, ...]
    provenance: Provenance
    maker: Maker
    numbers: dict[int, int]
    tracking_uids: dict[int, str]

    def letterhead(self, rendering: Rendering) -> Letterhead:
        """What goes onto an object."""
        return Letterhead(self.header, _identity(rendering, self.provenance), self.maker)


def _case_facts(series: CtSeries, case: CaseResult, context: PublishContext) -> _CaseFacts:
    header = readable_header(series.header)
    if not header.get("BodyPartExamined"):
        header.BodyPartExamined = BODY_PART_EXAMINED
    sources = instances_of(series.slices)
    model = case.model
    return _CaseFacts(
        series=series,
        case=case,
        context=context,
        header=header,
        sources=sources,
        provenance=_provenance(sources, model.weights_sha256, context),
        maker=_maker(context, f"{model.name} {model.version}"),
        numbers=segment_numbers(case),
        tracking_uids={
            segment.number: tracking_uid(header.SeriesInstanceUID, segment.key)
            for segment in SEGMENTS
        },
    )


def _provenance(
    sources: Sequence[InstanceReference], weights_sha256: str, context: PublishContext
) -> Provenance:
    return Provenance(
        source_sop_instance_uids=tuple(source.sop_instance_uid for source in sources),
        weights_sha256=weights_sha256,
        settings_hash=context.settings_hash,
        revision=context.revision,
    )


def _maker(context: PublishContext, *more_versions: str) -> Maker:
    return Maker(
        created=context.created,
        device_uid=context.device_observer_uid,
        software_versions=(context.software_version, *more_versions),
        station_name=context.station_name,
        institution_name=context.institution_name,
    )


def _identity(rendering: Rendering, provenance: Provenance) -> Identity:
    return Identity(
        rendering=rendering,
        sop_instance_uid=provenance.instance_uid(rendering.value),
        series_instance_uid=provenance.series_uid(rendering.traits.series),
        revision=provenance.revision,
    )


def _segmentation(facts: _CaseFacts) -> ResultObject:
    uids = SegmentationUids(
        tracking=facts.tracking_uids,
        dimension_organization=facts.provenance.dimension_organization_uid(),
    )
    dataset = build_segmentation(
        facts.case, read_grid(facts.series), uids, facts.letterhead(Rendering.SEG)
    )
    return _result(Rendering.SEG, dataset)


def _report(facts: _CaseFacts) -> ResultObject:
    context = facts.context
    dataset = build_report(
        facts.case,
        ReportContext(
            study_instance_uid=facts.header.StudyInstanceUID,
            sources=tuple(_in_source_series(source, facts.header) for source in facts.sources),
            segments=_segment_references(facts),
            tracking_uids=facts.tracking_uids,
            observer=Observer(
                uid=context.device_observer_uid,
                name=context.station_name or MODEL_NAME,
                manufacturer=MANUFACTURER,
                model_name=f"{MODEL_NAME} {context.software_version}",
            ),
            procedures=_procedures(facts.header),
            requests=_requests(facts.header),
            predecessor=context.predecessor,
            closed_by=context.closed_by,
            notes=_notes(facts.series),
        ),
    )
    complete(dataset, facts.letterhead(Rendering.SR))
    return _result(Rendering.SR, dataset)


def _in_source_series(source: InstanceReference, header: Dataset) -> InstanceInSeries:
    return InstanceInSeries(
        source.sop_class_uid, source.sop_instance_uid, str(header.SeriesInstanceUID)
    )


def _segment_references(facts: _CaseFacts) -> SegmentReferences | None:
    if not facts.numbers:
        return None
    segmentation = _identity(Rendering.SEG, facts.provenance)
    return SegmentReferences(
        segmentation=InstanceInSeries(
            segmentation.rendering.traits.sop_class_uid,
            segmentation.sop_instance_uid,
            segmentation.series_instance_uid,
        ),
        numbers=facts.numbers,
    )


def _procedures(header: Dataset) -> tuple[Code, ...]:
    """The study's own procedure codes, those that are complete."""
    codes = []
    for item in header.get("ProcedureCodeSequence") or ():
        value, scheme = item.get("CodeValue"), item.get("CodingSchemeDesignator")
        if value and scheme and item.get("CodeMeaning"):
            codes.append(Code(str(value), str(scheme), str(item.CodeMeaning)))
    return tuple(codes)


def _requests(header: Dataset) -> tuple[Dataset, ...]:
    """The requests behind the images, as a report refers to them (PS3.3 C.17.2)."""
    return tuple(
        _request(item, header) for item in header.get("RequestAttributesSequence") or ()
    )


def _request(attributes: Dataset, header: Dataset) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = attributes.get("StudyInstanceUID") or header.StudyInstanceUID
    item.ReferencedStudySequence = attributes.get("ReferencedStudySequence") or []
    item.AccessionNumber = attributes.get("AccessionNumber") or header.get(
        "AccessionNumber", ""
    )
    item.PlacerOrderNumberImagingServiceRequest = attributes.get(
        "PlacerOrderNumberImagingServiceRequest", ""
    )
    item.FillerOrderNumberImagingServiceRequest = attributes.get(
        "FillerOrderNumberImagingServiceRequest", ""
    )
    item.RequestedProcedureID = attributes.get("RequestedProcedureID", "")
    item.RequestedProcedureDescription = attributes.get("RequestedProcedureDescription", "")
    item.RequestedProcedureCodeSequence = attributes.get("RequestedProcedureCodeSequence") or []
    return item


def _notes(series: CtSeries) -> tuple[str, ...]:
    """What was tolerated, and how many images did not count for which reason."""
    # Frames of one multi-frame image are left out for one reason, each by its number.
    reasons = Counter(re.sub(r"^frame \d+: ", "", left.reason) for left in series.left_out)
    return (
        *series.notes,
        *(
            f"{count} {'image' if count == 1 else 'images'} left out: {reason}"
            for reason, count in reasons.items()
        ),
    )


def _quality_image(facts: _CaseFacts) -> ResultObject:
    dataset = build_secondary_capture(
        qc_picture(facts.series.volume, facts.case),
        case_words(facts.case),
        facts.sources,
        facts.letterhead(Rendering.SC),
    )
    return _result(Rendering.SC, dataset)


def _key_object(facts: _CaseFacts) -> ResultObject:
    dataset = build_key_object(
        case_words(facts.case),
        facts.sources,
        facts.letterhead(Rendering.KO),
    )
    return _result(Rendering.KO, dataset)


def _refuse_study(
    headers: Sequence[Dataset],
    refusal: Refusal,
    picture: NDArray[np.uint8],
    context: PublishContext,
) -> tuple[ResultObject, ResultObject]:
    """The picture and the key object about the images of one study."""
    header = readable_header(headers[0])
    sources = tuple(
        dict.fromkeys(
            InstanceReference(str(one.SOPClassUID), str(one.SOPInstanceUID))
            for one in headers
            if one.get("SeriesInstanceUID") == header.SeriesInstanceUID
        )
    )
    # A refusal is a result of its own: it must not share UIDs with a later analysis.
    provenance = _provenance(sources, f"refused: {refusal.code}", context)
    words = f"Not analysed ({refusal.code}): {refusal.words}"
    maker = _maker(context)
    heads = {
        each: Letterhead(header, _identity(each, provenance), maker)
        for each in (Rendering.SC, Rendering.KO)
    }
    image = build_secondary_capture(picture, words, sources, heads[Rendering.SC])
    flag = build_key_object(words, sources, heads[Rendering.KO])
    return _result(Rendering.SC, image), _result(Rendering.KO, flag)


def _result(rendering: Rendering, dataset: Dataset) -> ResultObject:
    return ResultObject(
        rendering=rendering,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        dataset=dataset,
    )


def _write_once(result: ResultObject, folder: Path) -> Path:
    path = folder / f"{result.rendering.value.lower()}-{result.sop_instance_uid}.dcm"
    if path.exists():
        return path
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        result.dataset.save_as(file, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    _sync_folder(folder)
    return path


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
