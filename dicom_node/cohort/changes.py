"""Which earlier scan of a patient a case is compared with, and what has changed since.

Only like is compared with like: cases of the same bundle and settings, and in them the
structures that were accepted both times. The earlier scan is the latest of an earlier day;
of several series of that day the one of the same protocol, then the one with more accepted
structures.

The range of a change follows from the two sample ranges by interval arithmetic: with values
in [a, b] now and [c, d] then the difference lies in [a - d, b - c]. It contains 0 exactly
when the two ranges overlap: nothing then says that the structure has changed. It is no
confidence interval. It tells how far the network's samples scatter, and nothing of what
posture, contrast agent or another scanner do to a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from dicom_node.cohort.records import CaseRecord, Source, StructureRecord
from dicom_node.results.changes import Change, Changes, Range, StructureChange
from inference.results import Verdict

AGE_ROUNDING_YEARS: Final = 1.1
"""Patient's Age counts whole years: of two scans it may be off by as much."""


def changes_since_last(case: CaseRecord, others: Iterable[CaseRecord]) -> Changes:
    """The changes since the earlier scan that a case is compared with.

    Args:
        case: the later scan.
        others: of the same patient key, in any order, this one may be among them.
    """
    then = earlier_scan(case, others)
    if then is None:
        return Changes()
    return Changes(
        then.source.study_date,
        protocol_of(case.source) == protocol_of(then.source),
        changes(case.structures, then.structures),
    )


def earlier_scan(case: CaseRecord, others: Iterable[CaseRecord]) -> CaseRecord | None:
    """The scan that a case is compared with; None where there is none."""
    found = [each for each in others if _can_be_compared(case, each)]
    if not found:
        return None
    protocol = protocol_of(case.source)
    return max(
        found,
        key=lambda each: (
            each.source.study_date,
            protocol_of(each.source) == protocol,
            sum(one.verdict is Verdict.ACCEPTED for one in each.structures),
            each.source.series_instance_uid,
            each.source.revision,
            each.source.name,
        ),
    )


def protocol_of(source: Source) -> tuple[object, ...]:
    """The facts of a scan that change numbers of a body that has not changed."""
    return (source.scanner, source.kernel, source.slice_thickness_mm, source.kvp)


def changes(
    now: Sequence[StructureRecord], then: Sequence[StructureRecord]
) -> tuple[StructureChange, ...]:
    """The changes of the structures that were accepted both times."""
    earlier = {one.segment.key: one for one in then if one.verdict is Verdict.ACCEPTED}
    return tuple(
        StructureChange(
            one.segment,
            change(
                one.volume_cm3, before.volume_cm3, one.volume_range_cm3, before.volume_range_cm3
            ),
            change(one.mean_hu, before.mean_hu, one.mean_hu_range, before.mean_hu_range),
        )
        for one in now
        if one.verdict is Verdict.ACCEPTED
        and (before := earlier.get(one.segment.key)) is not None
    )


def change(
    now: float | None, then: float | None, range_now: Range | None, range_then: Range | None
) -> Change | None:
    """The change of one quantity; None where it was not measured both times."""
    if now is None or then is None:
        return None
    if range_now is None or range_then is None:
        return Change(now, then)
    return Change(now, then, (range_now[0] - range_then[1], range_now[1] - range_then[0]))


def _can_be_compared(case: CaseRecord, other: CaseRecord) -> bool:
    """True of an earlier day's scan of the same patient by the same model and settings."""
    here, there = case.source, other.source
    return (
        case.model is not None
        and case.model == other.model
        and bool(here.patient_key)
        and here.patient_key == there.patient_key
        and here.study_date is not None
        and there.study_date is not None
        and there.study_date < here.study_date
        and _may_be_one_person(here, there)
    )


def _may_be_one_person(later: Source, earlier: Source) -> bool:
    """False where sex or age contradict it: one id may have been given to two people."""
    if later.sex and earlier.sex and later.sex != earlier.sex:
        return False
    if later.age_years is None or earlier.age_years is None:
        return True
    if later.study_date is None or earlier.study_date is None:
        return True
    years = (later.study_date - earlier.study_date).days / 365.25
    return abs(later.age_years - earlier.age_years - years) <= AGE_ROUNDING_YEARS
