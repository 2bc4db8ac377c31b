"""The context of a report beside the case: study, request, and where the segments are."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.results.case_facts import CaseFacts
from dicom_node.results.headers import MANUFACTURER, MODEL_NAME
from dicom_node.results.kinds import FORMS, ResultKind
from dicom_node.results.sr.requests import referenced_requests
from dicom_node.series.ct_series import CtSeries, InstanceReference
from sr_templates.context import (
    InstanceInSeries,
    Observer,
    ReportContext,
    SegmentReferences,
)

CODE_KEYWORDS: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")

LONGEST_SCHEME: Final = 16
LONGEST_MEANING: Final = 64
"""Characters of the value representations SH and LO (PS3.5 6.2)."""


def report_context(facts: CaseFacts, report: ResultKind) -> ReportContext:
    """The context of a kind of report, beside the case."""
    context = facts.context
    return ReportContext(
        study_instance_uid=facts.header.StudyInstanceUID,
        sources=tuple(in_source_series(source, facts.header) for source in facts.sources),
        segments=_segments(facts, report),
        tracking_uids=facts.tracking_uids,
        observer=Observer(
            uid=context.device_observer_uid,
            name=context.station_name or MODEL_NAME,
            manufacturer=MANUFACTURER,
            model_name=f"{MODEL_NAME} {context.software_version}",
        ),
        procedures=_procedures(facts.header),
        requests=referenced_requests(facts.header),
        predecessor=context.predecessor_of(report),
        closed_by=context.closed_by,
        notes=(*context.notes, *_notes(facts.series)),
    )


def in_source_series(source: InstanceReference, header: Dataset) -> InstanceInSeries:
    """A source image as reports refer to it."""
    return InstanceInSeries(
        source.sop_class_uid, source.sop_instance_uid, str(header.SeriesInstanceUID)
    )


def _segments(facts: CaseFacts, report: ResultKind) -> SegmentReferences | None:
    """The segments in the segmentations of the report's form; None where there are none."""
    form = FORMS.get(report)
    if form is None:
        return None
    found = {
        facts.instance(segmentation): facts.numbers[segmentation]
        for segmentation in form.segmentations
        if facts.numbers[segmentation]
    }
    return SegmentReferences.into(found) if found else None


def _procedures(header: Dataset) -> tuple[Code, ...]:
    """The study's own procedure codes, those that are complete.

    A meaning is for reading alone and is cut to what a code may have; a code or scheme that
    is too long would be another one, and stays behind.
    """
    codes = []
    for item in header.get("ProcedureCodeSequence") or ():
        value, scheme, meaning = (item.get(keyword) for keyword in CODE_KEYWORDS)
        texts = isinstance(value, str) and isinstance(scheme, str) and isinstance(meaning, str)
        if texts and value and meaning and 0 < len(scheme) <= LONGEST_SCHEME:
            codes.append(Code(value, scheme, meaning[:LONGEST_MEANING]))
    return tuple(codes)


def _notes(series: CtSeries) -> tuple[str, ...]:
    """Notes on what was tolerated, and on how many images did not count for which reason."""
    # Frames of one multi-frame image are left out for one reason, each by its number.
    reasons = Counter(re.sub(r"^frame \d+: ", "", left.reason) for left in series.left_out)
    return (
        *series.notes,
        *(
            f"{count} {'image' if count == 1 else 'images'} left out: {reason}"
            for reason, count in reasons.items()
        ),
    )
