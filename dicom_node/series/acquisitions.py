"""The passes of a series: acquisitions that follow each other, or lie among each other.

A series may hold several passes, one where the other ends. Two scans of one place (phases of
a contrast agent, energies, filters) are no volume, even where they never share a position:
merged, they are a stack with half the step, of slices that contradict each other.

Pure decisions on positions along the normal and on what headers state (PS3.3 C.7.6.16.2.2,
C.8.2.1, C.8.15.3). Needed are two kinds of evidence together: two values of something that
tells acquisitions apart, and ranges that overlap. A value that is missing in some images, or
another in every image, says nothing by itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description

from dicom_node.series.slice_spacing import GAP_FACTOR, SAME_POSITION_MM

IDENTITIES: Final = (
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "AcquisitionUID",
    "IrradiationEventUID",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "SeriesNumber",
)
"""Names of an acquisition: none is used again after the next one has begun."""

MANNERS: Final = (
    "ImageType",
    "SeriesDescription",
    "ProtocolName",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "BodyPartExamined",
    "PatientPosition",
    "SliceThickness",
    "ConvolutionKernel",
    "KVP",
    "ContrastBolusAgent",
    "ContrastBolusAgentPhase",
    "ScanOptions",
    "SpiralPitchFactor",
    "TotalCollimationWidth",
    "FilterType",
    "ImageFilter",
    "ReconstructionAlgorithm",
    "ReconstructionDiameter",
    "ReconstructionFieldOfView",
    "ReconstructionTargetCenterPatient",
    "NominalPercentageOfCardiacPhase",
    "MonoenergeticEnergyEquivalent",
    "EnergyWeightingFactor",
)
"""How an image was made: a later pass may be made like an earlier one again."""

MOMENTS: Final = {
    "AcquisitionTime": "AcquisitionDate",
    "ContentTime": "ContentDate",
    "SeriesTime": "SeriesDate",
    "AcquisitionDateTime": "",
    "FrameAcquisitionDateTime": "",
    "FrameReferenceDateTime": "",
}
"""When an image was taken or made, with the attribute that has the date."""

WRITTEN: Final = frozenset({"ContentTime", "SeriesTime"})
"""Those of them that say when an image was made, which may be in any order."""

BRIGHTENING: Final = (
    "ContrastBolusAgent",
    "ContrastBolusAgentPhase",
    "FilterType",
    "MonoenergeticEnergyEquivalent",
    "EnergyWeightingFactor",
)
"""Manners that change Hounsfield units: passes that differ in them cannot be compared."""

COUNTS: Final = (
    "AcquisitionNumber",
    "InstanceNumber",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
)
"""Numbers that grow along a pass, or stay."""

ORDERED_SLICES: Final = 6
"""Fewer may be in order by chance."""

NUMBERS: Final = frozenset({"AcquisitionNumber", "InstanceNumber"})
"""Those of them that are given out, and may have been given out anew, in any order."""

ACQUISITION_KEYWORDS: Final = tuple(
    dict.fromkeys(
        (*IDENTITIES, *MANNERS, *MOMENTS, *(each for each in MOMENTS.values() if each), *COUNTS)
    )
)
"""All that is read of a header to tell acquisitions apart."""

SEAM_SLICES: Final = 3
"""So many slices of either pass may lie in the other where they meet."""

SEAM_MM: Final = 20.0
"""Passes of thin slices may overlap by this much instead."""

PASS_SLICES: Final = 3
"""Fewer slices between those of another manner are no pass but foreign."""

RECONSTRUCTION_BREAK_S: Final = 5.0
"""Content Times of one reconstruction follow closer, though in any order."""

COURSE_STEPS: Final = 3.0
"""A break between two courses is longer than the steps within them by this factor."""

SAME_THICKNESS: Final = 1.25
"""Thicknesses within this factor are one: some writers derive it of rounded positions."""

WIDEST_BREAKS: Final = 8
"""So many of the widest breaks between values are tried as the border of two passes."""

EVEN_BREAKS: Final = 24
"""And so many besides, evenly spread over the values."""

MOST_OVERLAPS: Final = 2000
"""So many overlaps of one attribute are looked at; a scan has a handful."""

Stated = Mapping[str, str]
"""What one slice states, by keyword; without those that it does not."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Two acquisitions of one place, and what tells them apart.

    keyword: the attribute of which they have two values, or two courses.
    fewer, more: how many slices each has.
    lower_mm, upper_mm: where they lie among each other, along the normal.
    """

    keyword: str
    fewer: int
    more: int
    lower_mm: float
    upper_mm: float

    def __str__(self) -> str:
        """The sizes, the place and the attribute, but no value: a text may say anything."""
        return (
            f"{self.fewer} slice(s) of one acquisition lie among {self.more} of another"
            f" between {self.lower_mm:.1f} and {self.upper_mm:.1f} mm"
            f" ({dictionary_description(self.keyword)} tells them apart)"
        )


def find_mixture(offsets_mm: NDArray[np.float64], stated: Sequence[Stated]) -> Mixture | None:
    """Two acquisitions that lie among each other; None where each pass follows another.

    Args:
        offsets_mm: (slices,) ascending positions along the normal; some may be equal.
        stated: of each slice, what its header states.
    """
    for keyword in (*IDENTITIES, *MANNERS):
        values = _values(keyword, stated)
        for overlap in _overlaps(offsets_mm, values):
            foreign = PASS_SLICES if keyword == "SliceThickness" else 1
            if overlap.is_seam or (
                keyword in MANNERS and overlap.short_blocks(offsets_mm) < foreign
            ):
                continue
            return _mixture(keyword, offsets_mm, overlap.lower, overlap.upper)
    if mixture := _mixed_courses(offsets_mm, stated):
        return mixture
    again = _numbered_again(stated)
    for overlap in _overlaps(offsets_mm, again):
        if not overlap.is_seam:
            return _mixture("InstanceNumber", offsets_mm, overlap.lower, overlap.upper)
    return None


def seam_slices(offsets_mm: NDArray[np.float64], stated: Sequence[Stated]) -> NDArray[np.bool_]:
    """(slices,) which lie where the pass below still goes on, and so count for nothing.

    Where two passes meet, scanners let them overlap by a slice or two. The lower pass is kept
    to its end; only what it has already is left out, so that no gap can arise.
    """
    doubled = np.zeros(len(offsets_mm), dtype=bool)
    for overlap in _all_seams(offsets_mm, stated):
        above = overlap.upper[overlap.in_upper]
        doubled[above[_inside(offsets_mm[above], offsets_mm[overlap.lower])]] = True
    return doubled


def _all_seams(offsets_mm: NDArray[np.float64], stated: Sequence[Stated]) -> Iterator[_Overlap]:
    """Where passes meet, by what they are called, how they were made, and when."""
    for keyword in (*IDENTITIES, *MANNERS):
        values = _values(keyword, stated)
        yield from (each for each in _overlaps(offsets_mm, values) if each.is_seam)
    for keyword in MOMENTS:
        for early, late in _courses(keyword, offsets_mm, stated):
            overlap = _overlap(offsets_mm, early, late)
            if overlap.is_seam:
                yield overlap


def differing(stated: Sequence[Stated]) -> tuple[str, ...]:
    """The names of manners that passes of one scan differ in, and that change its HU."""
    found = {each: {_value(each, one) for one in stated} - {""} for each in BRIGHTENING}
    return tuple(
        dictionary_description(each) for each, values in found.items() if len(values) > 1
    )


def hours_apart(stated: Sequence[Stated]) -> float:
    """How long after the first slice the last one was taken; 0 where no day is stated."""
    dated = [each for each in stated if each.get("AcquisitionDate")]
    moments_s = np.array([_moment_s("AcquisitionTime", each) for each in dated])
    known_s = np.unique(moments_s[np.isfinite(moments_s)])
    if not known_s.size:
        return 0.0
    hours = float(np.ptp(known_s)) / 3600
    if len({each["AcquisitionDate"] for each in dated}) == 1:
        # Scanners keep the day on which they began: then midnight lies in the widest break.
        hours = min(hours, 24 - float(np.diff(known_s).max(initial=0.0)) / 3600)
    return hours


def _mixture(
    keyword: str,
    offsets_mm: NDArray[np.float64],
    one: NDArray[np.intp],
    other: NDArray[np.intp],
) -> Mixture:
    ends = [(offsets_mm[each].min(), offsets_mm[each].max()) for each in (one, other)]
    sizes = sorted((len(one), len(other)))
    low, high = max(low for low, _ in ends), min(high for _, high in ends)
    return Mixture(keyword, sizes[0], sizes[1], float(low), float(high))


@dataclass(frozen=True, slots=True, eq=False)
class _Overlap:
    """Slices with two values of one attribute, whose ranges overlap.

    lower, upper: the slices with either value, ascending; `lower` begins first.
    in_lower, in_upper: which of them lie in the range of the other.
    is_seam: whether two passes merely meet here.
    """

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    in_lower: NDArray[np.bool_]
    in_upper: NDArray[np.bool_]
    is_seam: bool

    def short_blocks(self, offsets_mm: NDArray[np.float64]) -> int:
        """How many blocks of a value are too short for a pass between those of the other."""
        both = np.concatenate([self.lower, self.upper])
        order = np.lexsort((both, offsets_mm[both]))
        is_upper = (np.arange(len(both)) >= len(self.lower))[order]
        borders = np.flatnonzero(np.diff(is_upper.astype(int)))
        blocks = np.diff([-1, *borders, len(both) - 1])
        return int((blocks[1:-1] < PASS_SLICES).sum())


def _overlaps(offsets_mm: NDArray[np.float64], values: Sequence[str]) -> Iterator[_Overlap]:
    return islice(_all_overlaps(offsets_mm, values), MOST_OVERLAPS)


def _all_overlaps(offsets_mm: NDArray[np.float64], values: Sequence[str]) -> Iterator[_Overlap]:
    """Each two values that overlap; none where nearly every image has one of its own."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        if value:
            groups[value].append(index)
    if len(groups) < 2 or 2 * len(groups) > sum(map(len, groups.values())):
        return
    for value, members in groups.items():
        low, high = offsets_mm[members[0]], offsets_mm[members[-1]]
        first = int(np.searchsorted(offsets_mm, low - SAME_POSITION_MM, side="left"))
        end = int(np.searchsorted(offsets_mm, high + SAME_POSITION_MM, side="right"))
        for other in dict.fromkeys(values[first:end]):
            if other and other != value:
                yield _overlap(offsets_mm, np.array(members), np.array(groups[other]))


def _overlap(
    offsets_mm: NDArray[np.float64], one: NDArray[np.intp], other: NDArray[np.intp]
) -> _Overlap:
    lower, upper = sorted((one, other), key=lambda each: float(offsets_mm[each[0]]))
    begins, ends = offsets_mm[upper[0]], offsets_mm[lower[-1]]
    in_lower = offsets_mm[lower] >= begins - SAME_POSITION_MM
    in_upper = offsets_mm[upper] <= ends + SAME_POSITION_MM
    few = max(in_lower.sum(), in_upper.sum()) <= SEAM_SLICES or ends - begins <= SEAM_MM
    minor = 2 * in_lower.sum() < len(lower) and 2 * in_upper.sum() < len(upper)
    return _Overlap(lower, upper, in_lower, in_upper, is_seam=bool(few and minor))


def _values(keyword: str, stated: Sequence[Stated]) -> list[str]:
    """The value of each slice; none at all of thicknesses that hardly differ."""
    values = [_value(keyword, each) for each in stated]
    if keyword == "SliceThickness":
        known = [number for each in stated if (number := _number(keyword, each)) > 0]
        if not known or max(known) <= SAME_THICKNESS * min(known):
            return [""] * len(values)
    return values


def _value(keyword: str, stated: Stated) -> str:
    """The value in one way of writing: 120 and 120.0, HELICAL and Helical are the same."""
    words = stated.get(keyword, "").split("\\")
    if keyword == "ImageType":
        words = words[3:]  # What comes before says whether the image counts at all.
    if keyword == "ReconstructionTargetCenterPatient":
        words = words[:2]  # The third follows the table.
    return "\\".join(map(_word, words)).strip("\\")


def _word(text: str) -> str:
    with suppress(ValueError):
        return f"{float(text):.6g}"
    return " ".join(text.upper().split())


def _numbered_again(stated: Sequence[Stated]) -> list[str]:
    """Of each slice the how-manieth it is with its Instance Number, where all come as often.

    Two stacks that were put into one series are each numbered from one.
    """
    seen: dict[str, int] = defaultdict(int)
    times = []
    for each in stated:
        number = _value("InstanceNumber", each)
        seen[number] += 1
        times.append(str(seen[number]) if number else "")
    often = {count for number, count in seen.items() if number}
    is_even = len(often) == 1 and "" not in seen and len(seen) > 1
    return times if is_even else [""] * len(stated)


def _mixed_courses(offsets_mm: NDArray[np.float64], stated: Sequence[Stated]) -> Mixture | None:
    """Two courses of times or numbers, of which each goes on through the other."""
    for keyword in (*MOMENTS, *COUNTS):
        found = [
            _mixture(keyword, offsets_mm, one, other)
            for one, other in _courses(keyword, offsets_mm, stated)
            if _is_among(offsets_mm[one], offsets_mm[other])
        ]
        if found:
            return max(found, key=lambda each: each.fewer)
    return None


def _courses(
    keyword: str, offsets_mm: NDArray[np.float64], stated: Sequence[Stated]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The slices before and after each break in an attribute's values that may part passes."""
    values = np.array([_number(keyword, each) for each in stated])
    if keyword in MOMENTS:
        values = _moments_s(keyword, stated)
    known = np.flatnonzero(np.isfinite(values))
    steps = np.diff(values[known])
    shared = (np.diff(offsets_mm[known]) <= SAME_POSITION_MM).any()
    if not shared and ((steps >= 0).all() or (steps <= 0).all()):
        return  # One course, as nearly always.
    least = RECONSTRUCTION_BREAK_S if keyword in WRITTEN else 0.0
    for early, late in _splits(values[known], least):
        one, other = known[early], known[late]
        courses = values[one], values[other]
        if _one_is_in_order(*courses) or (keyword not in NUMBERS and _is_break(*courses)):
            yield one, other


def _splits(
    values: NDArray[np.float64], least: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The values below and above a break, for the breaks that may part two courses."""
    distinct = np.unique(values)
    breaks = np.diff(distinct)
    if not breaks.size:
        return
    widest = np.argsort(-breaks, kind="stable")[:WIDEST_BREAKS]
    even = np.linspace(0, len(breaks) - 1, EVEN_BREAKS).astype(int)
    for at in dict.fromkeys([*widest.tolist(), *even.tolist()]):
        if breaks[at] > least:
            yield values <= distinct[at], values > distinct[at]


def _one_is_in_order(*courses: NDArray[np.float64]) -> bool:
    """True if one of them goes up or down all along; shuffled numbers mean nothing."""
    steps = [np.diff(each) for each in courses if len(each) >= ORDERED_SLICES]
    return any(bool((each >= 0).all() or (each <= 0).all()) for each in steps)


def _is_break(early: NDArray[np.float64], late: NDArray[np.float64]) -> bool:
    """True if more lies between two courses than between neighbours of either.

    What does not may be one course that turns: the first slice of a pass that ends beside
    the next one is no earlier acquisition.
    """
    steps = np.abs(np.concatenate([np.diff(early), np.diff(late)]))
    usual = float(np.quantile(steps, 0.9)) if steps.size else 0.0
    return float(late.min() - early.max()) > COURSE_STEPS * usual


def _is_among(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """True if all slices of either, or several and half, lie where the other is whole."""
    for some, whole in ((one, other), (other, one)):
        among = int(_inside(some, whole).sum())
        if among == len(some) or (among >= PASS_SLICES and 2 * among >= len(some)):
            return True
    return False


def _inside(some: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of these offsets lie between two of `whole` that are as near as their neighbours.

    A slice that fills a hole is not inside: it belongs there.
    """
    if len(whole) < 3:
        return np.zeros(len(some), dtype=bool)
    steps = np.diff(whole)
    above = np.searchsorted(whole, some)
    at = np.clip(above - 1, 0, len(steps) - 1)
    before = np.where(at > 0, steps[at - 1], np.inf)
    after = np.where(at < len(steps) - 1, steps[np.minimum(at + 1, len(steps) - 1)], np.inf)
    within = (above > 0) & (above < len(whole))
    near = np.abs(whole[np.clip(above, 0, len(whole) - 1)] - some) <= SAME_POSITION_MM
    near |= np.abs(whole[np.clip(above - 1, 0, len(whole) - 1)] - some) <= SAME_POSITION_MM
    return near | (within & (steps[at] <= GAP_FACTOR * np.minimum(before, after)))


def _number(keyword: str, stated: Stated) -> float:
    """The value as a number; NaN where it is none."""
    try:
        return float(stated.get(keyword, ""))
    except ValueError:
        return float("nan")


MOMENT: Final = re.compile(
    r"(?P<date>\d{8})?"
    r"(?:(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d(?:\.\d*)?))?)?)?"
    r"(?:[+-]\d{4})?"
)
"""A TM or DT (PS3.5 6.2), also with the colons of ACR-NEMA."""


def _moments_s(keyword: str, stated: Sequence[Stated]) -> NDArray[np.float64]:
    """(slices,) the time of each; where none states a time of day, its day alone."""
    values = np.array([_moment_s(keyword, each) for each in stated])
    if (dates := MOMENTS[keyword]) and not np.isfinite(values).any():
        days = [_day(each.get(dates, "").replace(".", "")) for each in stated]
        values = np.array([day * 86400.0 if day else np.nan for day in days])
    return values


def _moment_s(keyword: str, stated: Stated) -> float:
    """A time in seconds, with its day where that is stated; NaN where there is none."""
    found = MOMENT.fullmatch(stated.get(keyword, "").strip())
    if found is None or not (found["date"] or found["hour"]):
        return float("nan")
    day = found["date"] or stated.get(MOMENTS[keyword], "").replace(".", "")
    clock = [float(found[part] or 0) for part in ("hour", "minute", "second")]
    return _day(day) * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2]


def _day(text: str) -> int:
    with suppress(ValueError):
        return date.fromisoformat(text).toordinal()
    return 0
