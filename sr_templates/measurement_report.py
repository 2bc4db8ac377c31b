"""The measurement report: TID 1500 with one volumetric group (TID 1411) per structure and side.

This is the record. A structure that was found has a group that refers to its segment; one
that was not found is named among the case's evaluations, without numbers. Its title is its own:
OHIF shows it as text then, with its numbers and verdicts (see `document.toml`).
"""

from __future__ import annotations

from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset

from inference.results import CaseResult, StructureResult
from sr_templates.context import ReportContext, SegmentPlace, SegmentReferences
from sr_templates.report_document import report_document
from sr_templates.structure_items import (
    evaluation_items,
    judged_items,
    limit_items,
    measurement_group,
    number_items,
)
from sr_templates.terms import MEASURED_TERMS


def build_report(case: CaseResult, context: ReportContext) -> Dataset:
    """The report of a case, from `report_document`, referring to its segmentations."""
    segments = context.segments or SegmentReferences({})
    groups = [
        _group(result, case, context, place)
        for result in case.structures
        for place in [segments.of(result.segment)]
        if place is not None
    ]
    return report_document(
        case, context, groups, evidence=(*context.sources, *segments.segmentations)
    )


def _group(
    result: StructureResult, case: CaseResult, context: ReportContext, place: SegmentPlace
) -> Any:
    """One structure and side that was segmented, TID 1411."""
    referenced = sr.ReferencedSegment(
        sop_class_uid=place.segmentation.sop_class_uid,
        sop_instance_uid=place.segmentation.sop_instance_uid,
        segment_number=place.number,
        source_series=sr.SourceSeriesForSegmentation(context.sources[0].series_instance_uid),
    )
    grounds = [*limit_items(result.uncertainty_limits), *judged_items(result.judged_by)]
    said = [
        *number_items(result, MEASURED_TERMS),
        *evaluation_items(result, grounds),
        *referenced,
    ]
    tracking_uid = context.tracking_uids[result.segment.number]
    return measurement_group("1411", result, case.model, tracking_uid, said)
