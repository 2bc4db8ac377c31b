"""The document around the measurement groups: TID 1500 and the SR Document modules.

Read top-down: `report_document` makes the document, `_root` its content tree. What a reader
needs first stands first, in words; what was measured follows, then what is to be said of the
case as a whole. What would mislead is left out: the volume of a structure that the scan cuts
is simply not there.

Patient, study and equipment are put on by the caller; the document leaves here with
everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from inference.results import CaseResult, Finding, Verdict
from inference.structures import Segment
from sr_templates.context import InstanceInSeries, Observer, ReportContext
from sr_templates.grade_items import grade_items
from sr_templates.structure_items import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    infer,
    judged_items,
    limit_items,
    number_item,
)
from sr_templates.terms import (
    ASPECT_TERMS,
    DOCUMENT_TERMS,
    FINDING_TERMS,
    PRESENCE_TERMS,
    QUANTITY_TERMS,
    REGION_TERMS,
    SIDE_TERMS,
    STRUCTURE_TERMS,
    VERDICT_TERMS,
)
from sr_templates.words import (
    coverage_words,
    grade_words,
    metal_words,
    reading_words,
    structures_words,
    summary_words,
    weak_flag_words,
    withheld_words,
)

INTENDED_USE: Final = (
    "Research use. Segmented and measured automatically; not verified by a person."
)


def report_document(
    case: CaseResult,
    context: ReportContext,
    groups: Sequence[Any],
    evidence: Iterable[InstanceInSeries],
    about: str | None = None,
) -> Dataset:
    """The Comprehensive 3D SR document of a case (PS3.3 A.35.13), complete and unverified.

    Args:
        case: for what is said of it as a whole.
        context: what the report says beside the case.
        groups: the measurement groups; none where nothing was found.
        evidence: the instances that the groups refer to or were made from.
        about: what this report is, where it is not the record itself.

    Returns:
        The SR Document General and Content modules; the caller adds the others.
    """
    root = _root(case, context, groups, about)
    _separate(root.ContentSequence)
    document = Dataset()
    # highdicom's own document copies the whole tree twice, which takes most of a second.
    for element in root:
        document.add(element)
    document.CompletionFlag = "COMPLETE"
    document.VerificationFlag = "UNVERIFIED"
    document.PreliminaryFlag = "PRELIMINARY"
    document.PerformedProcedureCodeSequence = []
    document.ReferencedPerformedProcedureStepSequence = []
    document.CurrentRequestedProcedureEvidenceSequence = [_references(evidence, context)]
    if context.requests:
        document.ReferencedRequestSequence = list(context.requests)
    if context.predecessor is not None:
        document.PredecessorDocumentsSequence = [_references([context.predecessor], context)]
    return document


def _references(instances: Iterable[InstanceInSeries], context: ReportContext) -> Dataset:
    """Instances of the report's study by series, each once (PS3.3 C.17.2.1)."""
    by_series: dict[str, list[Dataset]] = {}
    for instance in dict.fromkeys(instances):
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        by_series.setdefault(instance.series_instance_uid, []).append(item)
    study = Dataset()
    study.StudyInstanceUID = context.study_instance_uid
    study.ReferencedSeriesSequence = [
        _series_item(uid, items) for uid, items in by_series.items()
    ]
    return study


def _series_item(series_instance_uid: str, instances: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_instance_uid
    item.ReferencedSOPSequence = instances
    return item


def _root(
    case: CaseResult, context: ReportContext, groups: Sequence[Any], about: str | None
) -> Any:
    """The content tree, TID 1500.

    The template is extensible; its own items keep their order (PS3.16 6.2.4). The summary
    comes before them all, for who reads a report from its beginning. Every item that a
    container holds has a name: OHIF, which shows them as text, ends with an error at others.
    """
    procedures = context.procedures or (DOCUMENT_TERMS["ct_procedure"].code,)
    root = sr.ContainerContentItem(
        name=_title(groups), template_id="1500", is_content_continuous=False
    )
    root.ContentSequence = sr.ContentSequence(
        [
            *sr.LanguageOfContentItemAndDescendants(DOCUMENT_TERMS["english"].code),
            *sr.ObservationContext(observer_device_context=_observer(context.observer)),
            *(_procedure(code) for code in procedures),
            _text_item(DOCUMENT_TERMS["summary"].code, summary_words(case)),
            *_imaging_measurements(groups),
            _case_evaluations(case, context, about),
        ]
    )
    return root


def _title(groups: Sequence[Any]) -> Code:
    """The title by which OHIF shows the report: outlines on images, or all of it as text.

    Under the title for outlines it ends with an error at a group without one, and where there
    is no group; see `document.toml`.
    """
    on_images = bool(groups) and all(
        any(item.ValueType == "SCOORD" for item in group.ContentSequence) for group in groups
    )
    return DOCUMENT_TERMS["title_on_images" if on_images else "title"].code


def _procedure(code: Code) -> Any:
    return sr.CodeContentItem(
        name=DOCUMENT_TERMS["procedure_reported"].code,
        value=code,
        relationship_type=HAS_CONCEPT_MOD,
    )


def _imaging_measurements(groups: Sequence[Any]) -> Iterator[Any]:
    """The container of all groups; none where nothing was found (TID 1500 row 6)."""
    if groups:
        container = sr.ContainerContentItem(
            name=DOCUMENT_TERMS["imaging_measurements"].code, relationship_type=CONTAINS
        )
        container.ContentSequence = sr.ContentSequence(groups)
        yield container


def _observer(observer: Observer) -> Any:
    """TID 1002 with TID 1004."""
    return sr.ObserverContext(
        observer_type=DOCUMENT_TERMS["device"].code,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=observer.uid,
            name=observer.name,
            manufacturer_name=observer.manufacturer,
            model_name=observer.model_name,
        ),
    )


def _separate(items: Iterable[Dataset]) -> None:
    """Say that containers hold separate facts; as running text they lose their names."""
    for item in items:
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
            _separate(item.ContentSequence)


def _case_evaluations(case: CaseResult, context: ReportContext, about: str | None) -> Any:
    """Statements about the case: TID 1500, Qualitative Evaluations."""
    container = sr.ContainerContentItem(
        name=DOCUMENT_TERMS["qualitative_evaluations"].code, relationship_type=CONTAINS
    )
    container.ContentSequence = sr.ContentSequence(
        [
            *_case_codes(case),
            *grade_items(case),
            *_case_texts(case, context, about),
            *_absent_structures(case),
        ]
    )
    return container


def _case_codes(case: CaseResult) -> Iterator[Any]:
    verdict = _code_item("case_verdict", VERDICT_TERMS[case.verdict].code)
    grounds = [*_mean_uncertainty(case), *limit_items(case.mean_uncertainty_limits)]
    infer(verdict, [*grounds, *judged_items(case.judged_by, "mean_")])
    yield verdict
    for finding in case.findings:
        yield _code_item("case_finding", FINDING_TERMS[finding].code)
    yield _code_item("region", REGION_TERMS[case.coverage.region].code)
    yield _code_item("metal", PRESENCE_TERMS["yes" if _has_metal(case) else "no"].code)


def _mean_uncertainty(case: CaseResult) -> list[Any]:
    if case.mean_uncertainty is None:
        return []
    term = QUANTITY_TERMS["mean_uncertainty"]
    return [number_item(term, case.mean_uncertainty)]


def _absent_structures(case: CaseResult) -> Iterator[Any]:
    for result in case.structures:
        if result.verdict is Verdict.ABSENT:
            yield _absent(result.segment)


def _absent(segment: Segment) -> Any:
    """A structure that was not found: named with its side, without any number."""
    item = _code_item("absent", STRUCTURE_TERMS[segment.structure.abbreviation].code)
    if segment.side is not None:
        side = sr.CodeContentItem(
            name=DOCUMENT_TERMS["laterality"].code,
            value=SIDE_TERMS[segment.side],
            relationship_type=HAS_CONCEPT_MOD,
        )
        item.ContentSequence = sr.ContentSequence([side])
    return item


def _case_texts(case: CaseResult, context: ReportContext, about: str | None) -> Iterator[Any]:
    texts: Sequence[tuple[str, str | None]] = (
        ("about", about),
        ("coverage_words", coverage_words(case)),
        ("metal", metal_words(case)),
        ("structures_words", structures_words(case)),
        ("withheld", withheld_words(case)),
        ("grade_words", grade_words(case)),
        ("weak_flags", weak_flag_words()),
        ("reading", reading_words(case.model)),
        ("closed_by", context.closed_by),
        *(("input_notes", note) for note in context.notes),
        ("limits", INTENDED_USE),
    )
    for aspect, text in texts:
        if text:
            yield _text_item(ASPECT_TERMS[aspect].code, text)


def _has_metal(case: CaseResult) -> bool:
    return case.metal.volume_cm3 > 0 or Finding.METAL_PRESENT in case.findings


def _code_item(aspect: str, value: Code) -> Any:
    return sr.CodeContentItem(
        name=ASPECT_TERMS[aspect].code, value=value, relationship_type=CONTAINS
    )


def _text_item(name: Code, text: str) -> Any:
    return sr.TextContentItem(name=name, value=text, relationship_type=CONTAINS)
