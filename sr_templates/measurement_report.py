"""The measurement report: TID 1500 with one volumetric group (TID 1411) per structure and side.

Read top-down: `build_report` makes the document, `_root` its content tree, `_group` one
structure. A structure that was found has a group that refers to its segment; one that was
not found is named among the case's evaluations, without numbers. What would mislead is left
out: the volume of a structure that the scan cuts is simply not there.

Patient, study and equipment are put on by the caller; the document leaves here with
everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from inference.results import (
    CaseResult,
    Finding,
    ModelIdentity,
    Spread,
    StructureResult,
    Verdict,
)
from inference.structures import Segment, Side
from sr_templates.terms import (
    ASPECT_TERMS,
    CATEGORY,
    FINDING_TERMS,
    PRESENCE_TERMS,
    QUANTITY_TERMS,
    REGION_TERMS,
    SIDE_TERMS,
    STRUCTURE_TERMS,
    VERDICT_TERMS,
    QuantityTerm,
)
from sr_templates.words import coverage_words, metal_words, structures_words, weak_flag_words

REPORT_TITLE: Final = Code("126000", "DCM", "Imaging Measurement Report")
CT_PROCEDURE: Final = Code("25045-6", "LN", "CT unspecified body region")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMAGING_MEASUREMENTS: Final = Code("126010", "DCM", "Imaging Measurements")
PROCEDURE_REPORTED: Final = Code("121058", "DCM", "Procedure reported")
LATERALITY: Final = Code("272741003", "SCT", "Laterality")
UPPER_RANGE: Final = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER_RANGE: Final = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
DEVICE: Final = Code("121007", "DCM", "Device")
ENGLISH: Final = Code("en-US", "RFC5646", "English (United States)")
CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD: Final = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
INFERRED_FROM: Final = sr.RelationshipTypeValues.INFERRED_FROM

INTENDED_USE: Final = (
    "Research use. Segmented and measured automatically; not verified by a person."
)


@dataclass(frozen=True, slots=True)
class InstanceInSeries:
    """An instance with the series it belongs to; the study is the report's own."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class SegmentReferences:
    """Where the report finds the segments.

    segmentation: the object.
    numbers: from `Segment.number` to the number in the object.
    """

    segmentation: InstanceInSeries
    numbers: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Observer:
    """The device that observed: this installation of this version of the node."""

    uid: str
    name: str
    manufacturer: str
    model_name: str


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report says beside the case.

    study_instance_uid: of the report and of all that it refers to.
    sources: the instances that were segmented, of one series.
    segments: None where nothing was found, so that there is no segmentation.
    tracking_uids: by `Segment.number`, the same as the segmentation's.
    procedures: the study's own procedure codes; a general CT code stands in for none.
    requests: items of a Referenced Request Sequence.
    predecessor: the report that this one replaces, where late images opened a revision.
    closed_by: the rule that closed the series, in words.
    notes: what was noticed about the images and tolerated, in words.
    """

    study_instance_uid: str
    sources: tuple[InstanceInSeries, ...]
    segments: SegmentReferences | None
    tracking_uids: Mapping[int, str]
    observer: Observer
    procedures: tuple[Code, ...] = ()
    requests: tuple[Dataset, ...] = ()
    predecessor: InstanceInSeries | None = None
    closed_by: str | None = None
    notes: tuple[str, ...] = ()


def build_report(case: CaseResult, context: ReportContext) -> Dataset:
    """The Comprehensive 3D SR document of a case (PS3.3 A.35.13), complete and unverified.

    Returns:
        The SR Document General and Content modules; the caller adds the others.
    """
    root = _root(case, context)
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
    evidence = list(context.sources)
    if context.segments is not None:
        evidence.append(context.segments.segmentation)
    document.CurrentRequestedProcedureEvidenceSequence = [_references(evidence, context)]
    if context.requests:
        document.ReferencedRequestSequence = list(context.requests)
    if context.predecessor is not None:
        document.PredecessorDocumentsSequence = [_references([context.predecessor], context)]
    return document


def _references(instances: Iterable[InstanceInSeries], context: ReportContext) -> Dataset:
    """Instances of the report's study by series, PS3.3 C.17.2.1."""
    by_series: dict[str, list[Dataset]] = {}
    for instance in instances:
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


def _root(case: CaseResult, context: ReportContext) -> Any:
    """The content tree, TID 1500."""
    root = sr.ContainerContentItem(
        name=REPORT_TITLE, template_id="1500", is_content_continuous=False
    )
    root.ContentSequence = sr.ContentSequence(
        [
            *sr.LanguageOfContentItemAndDescendants(ENGLISH),
            *sr.ObservationContext(observer_device_context=_observer(context.observer)),
            *(_procedure(code) for code in context.procedures or (CT_PROCEDURE,)),
            *_imaging_measurements(case, context),
            _case_evaluations(case, context),
        ]
    )
    return root


def _procedure(code: Code) -> Any:
    return sr.CodeContentItem(
        name=PROCEDURE_REPORTED, value=code, relationship_type=HAS_CONCEPT_MOD
    )


def _imaging_measurements(case: CaseResult, context: ReportContext) -> Iterator[Any]:
    """The container of all groups; none where nothing was found (TID 1500 row 6)."""
    if context.segments is None:
        return
    segments = context.segments
    groups = [
        item
        for result in case.structures
        if result.segment.number in segments.numbers
        for item in _group(result, case.model, context, segments)
    ]
    container = sr.ContainerContentItem(name=IMAGING_MEASUREMENTS, relationship_type=CONTAINS)
    container.ContentSequence = sr.ContentSequence(groups)
    yield container


def _observer(observer: Observer) -> Any:
    """TID 1002 with TID 1004."""
    return sr.ObserverContext(
        observer_type=DEVICE,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=observer.uid,
            name=observer.name,
            manufacturer_name=observer.manufacturer,
            model_name=observer.model_name,
        ),
    )


def _group(
    result: StructureResult,
    model: ModelIdentity,
    context: ReportContext,
    segments: SegmentReferences,
) -> Any:
    """One structure and side that was segmented, TID 1411."""
    segment = result.segment
    term = STRUCTURE_TERMS[segment.structure.abbreviation]
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            identifier=segment.title, uid=context.tracking_uids[segment.number]
        ),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segments.segmentation.sop_class_uid,
            sop_instance_uid=segments.segmentation.sop_instance_uid,
            segment_number=segments.numbers[segment.number],
            source_series=sr.SourceSeriesForSegmentation(
                context.sources[0].series_instance_uid
            ),
        ),
        finding_category=CATEGORY,
        finding_type=term.code,
        finding_sites=[
            _finding_site(code, segment.side)
            for code in (term.code, term.parent)
            if code is not None
        ],
        algorithm_id=_algorithm(model),
        measurements=_measurements(result) or None,
        qualitative_evaluations=_evaluations(result),
    )


def _separate(items: Iterable[Dataset]) -> None:
    """Say that containers hold separate facts; as running text they lose their names."""
    for item in items:
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
            _separate(item.ContentSequence)


def _finding_site(code: Code, side: Side | None) -> Any:
    laterality = None if side is None else SIDE_TERMS[side]
    return sr.FindingSite(anatomic_location=code, laterality=laterality)


def _algorithm(model: ModelIdentity) -> Any:
    """TID 4019: enough to repeat the analysis."""
    return sr.AlgorithmIdentification(
        name=f"msk-node {model.name}",
        version=model.version,
        manufacturer="msk-node project",
        family=ARTIFICIAL_INTELLIGENCE,
        parameters=[
            f"Monte Carlo samples: {model.samples}",
            f"seed: {model.seed}",
            f"weights sha256: {model.weights_sha256}",
        ],
    )


def _evaluations(result: StructureResult) -> list[Any]:
    """The verdict of a structure, the limits it follows from, and each reason for it."""
    verdict = sr.QualitativeEvaluation(
        name=ASPECT_TERMS["structure_verdict"], value=VERDICT_TERMS[result.verdict].code
    )
    _infer(verdict[0], _limits(result.uncertainty_limits))
    reasons = [
        sr.QualitativeEvaluation(
            name=ASPECT_TERMS["structure_finding"], value=FINDING_TERMS[finding].code
        )
        for finding in result.findings
    ]
    return [verdict, *reasons]


def _measurements(result: StructureResult) -> list[Any]:
    """The numbers of a structure, those that it has, in the order a reader wants them."""
    return list(_numbers(result))


def _numbers(result: StructureResult) -> Iterator[Any]:
    if result.volume_cm3 is not None:
        yield _measurement("volume", _rounded(result.volume_cm3), result.volume_spread_cm3)
    if result.normalised_volume_cm3_per_m2 is not None:
        yield _measurement("normalised_volume", _rounded(result.normalised_volume_cm3_per_m2))
    if result.mean_hu is not None:
        yield _measurement("mean_hu", _rounded(result.mean_hu), result.mean_hu_spread)
    if result.composition is not None:
        for share in ("lean", "mixed", "fat"):
            percent = 100 * getattr(result.composition, share)
            yield _measurement(share, round(percent, 1))
    if result.uncertainty is not None:
        yield _measurement("uncertainty", _significant(result.uncertainty))


def _measurement(quantity: str, value: float, spread: Spread | None = None) -> Any:
    """TID 300 as TID 1419 has it, with the reach of the samples where there is one."""
    term = QUANTITY_TERMS[quantity]
    measured = sr.Measurement(
        name=term.name, value=value, unit=term.unit, derivation=term.derivation
    )
    if spread is not None:
        _infer(measured[0], _range(value, spread, term))
    return measured


def _range(value: float, spread: Spread, term: QuantityTerm) -> list[Any]:
    """How far above and below the value the Monte Carlo samples reach, in its own unit.

    The label is that of the mean of the samples, so all samples may lie on one side of it.
    These are the items of TID 310. They are related as TID 1419 (rows 13 and 14) relates
    numbers below a number; PixelMed's validator reports any other relation as an error.
    """
    return [
        _number_item(UPPER_RANGE, _rounded(max(0.0, spread.high - value)), term.unit),
        _number_item(LOWER_RANGE, _rounded(max(0.0, value - spread.low)), term.unit),
    ]


def _limits(limits: tuple[float, float] | None) -> list[Any]:
    """The calibrated limits that an uncertainty is judged by; none if not calibrated."""
    if limits is None:
        return []
    terms = (QUANTITY_TERMS["limit_inaccurate"], QUANTITY_TERMS["limit_failed"])
    return [
        _number_item(term.name, _significant(limit), term.unit)
        for term, limit in zip(terms, limits, strict=True)
    ]


def _number_item(name: Code, value: float, unit: Code) -> Any:
    return sr.NumContentItem(name=name, value=value, unit=unit, relationship_type=INFERRED_FROM)


def _infer(item: Any, grounds: Sequence[Any]) -> None:
    """Put numbers below an item that was inferred from them."""
    if grounds:
        content = item.get("ContentSequence") or sr.ContentSequence()
        content.extend(grounds)
        item.ContentSequence = content


def _case_evaluations(case: CaseResult, context: ReportContext) -> Any:
    """What is to be said of the case: TID 1500, Qualitative Evaluations."""
    container = sr.ContainerContentItem(
        name=QUALITATIVE_EVALUATIONS, relationship_type=CONTAINS
    )
    container.ContentSequence = sr.ContentSequence(
        [*_case_codes(case), *_case_texts(case, context), *_absent_structures(case)]
    )
    return container


def _case_codes(case: CaseResult) -> Iterator[Any]:
    verdict = _code_item("case_verdict", VERDICT_TERMS[case.verdict].code)
    _infer(verdict, [*_mean_uncertainty(case), *_limits(case.mean_uncertainty_limits)])
    yield verdict
    for finding in case.findings:
        yield _code_item("case_finding", FINDING_TERMS[finding].code)
    yield _code_item("region", REGION_TERMS[case.coverage.region].code)
    yield _code_item("metal", PRESENCE_TERMS["yes" if _has_metal(case) else "no"].code)


def _mean_uncertainty(case: CaseResult) -> list[Any]:
    if case.mean_uncertainty is None:
        return []
    term = QUANTITY_TERMS["mean_uncertainty"]
    return [_number_item(term.name, _significant(case.mean_uncertainty), term.unit)]


def _absent_structures(case: CaseResult) -> Iterator[Any]:
    for result in case.structures:
        if result.verdict is Verdict.ABSENT:
            yield _absent(result.segment)


def _absent(segment: Segment) -> Any:
    """A structure that was not found: named with its side, without any number."""
    code = STRUCTURE_TERMS[segment.structure.abbreviation].code
    item = _code_item("absent", code)
    if segment.side is not None:
        side = sr.CodeContentItem(
            name=LATERALITY,
            value=SIDE_TERMS[segment.side],
            relationship_type=HAS_CONCEPT_MOD,
        )
        item.ContentSequence = sr.ContentSequence([side])
    return item


def _case_texts(case: CaseResult, context: ReportContext) -> Iterator[Any]:
    texts: Sequence[tuple[str, str | None]] = (
        ("coverage_words", coverage_words(case)),
        ("metal", metal_words(case) if _has_metal(case) else None),
        ("structures_words", structures_words(case)),
        ("weak_flags", weak_flag_words()),
        ("closed_by", context.closed_by),
        *(("input_notes", note) for note in context.notes),
        ("limits", INTENDED_USE),
    )
    for aspect, text in texts:
        if text:
            yield sr.TextContentItem(
                name=ASPECT_TERMS[aspect], value=text, relationship_type=CONTAINS
            )


def _has_metal(case: CaseResult) -> bool:
    return case.metal.volume_cm3 > 0 or Finding.METAL_PRESENT in case.findings


def _code_item(aspect: str, value: Code) -> Any:
    return sr.CodeContentItem(
        name=ASPECT_TERMS[aspect], value=value, relationship_type=CONTAINS
    )


def _rounded(value: float) -> float:
    """Two decimals: finer than any of these is known."""
    return round(float(value), 2)


def _significant(value: float) -> float:
    """Three significant digits, for uncertainties around 1e-4."""
    return float(f"{float(value):.3g}")
