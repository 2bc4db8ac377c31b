"""What came back in figures, against what the phantom is known to contain.

The limits are derived from `msk-node demo` with the shipped weights: of 43 segments of the
reference phantom the worst volume is off by 19.5 % (piriformis), the median by 2.2 %; the
worst muscle by 10.0 HU (vastus), the worst bone by 29.7 HU (femur). A quarter to a third more
is tolerated of one, and twice as much of the median. Other weights need limits of their own
(`[acceptance]`): what they make of a body of tubes says little of what they make of people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.case_files.report_reader import ReportedStructure, reported_structures
from dicom_node.case_files.segmentation_reader import SegmentationFile, read_segmentation
from dicom_node.errors import SeriesError
from dicom_node.results.pdf.protocol import Check, Outcome
from dicom_node.settings.acceptance import Acceptance
from inference.geometry import Geometry
from inference.phantom.truth import KnownStructure
from inference.results import Verdict
from inference.structures import SEGMENTS, Group, Segment, Side

LEAST_OVERLAP: Final = 0.5
"""Share of a segment that has to lie where the phantom has it; on the other side it is 0."""

SUBJECT: Final = "measurements"


@dataclass(frozen=True, slots=True)
class Measured:
    """One segment: the phantom's answer and the report's."""

    known: KnownStructure
    found: ReportedStructure | None

    @property
    def volume_percent(self) -> float | None:
        """By how much the volume is too large."""
        volume = self.found.volume_cm3 if self.found else None
        if volume is None or not self.known.volume_cm3:
            return None
        return 100 * (volume / self.known.volume_cm3 - 1)

    @property
    def off_hu(self) -> float | None:
        """By how much the mean HU is too high."""
        hu = self.found.mean_hu if self.found else None
        return None if hu is None else hu - self.known.mean_hu

    @property
    def is_bone(self) -> bool:
        """True for pelvis, femur and sacrum."""
        return self.known.segment.structure.group is Group.BONE


def measured(report: Dataset, truth: Iterable[KnownStructure]) -> tuple[Measured, ...]:
    """The segments of a report beside the phantom's, in the phantom's order."""
    found = {each.segment.number: each for each in reported_structures(report)}
    return tuple(Measured(each, found.get(each.segment.number)) for each in truth)


def report_checks(rows: Sequence[Measured], limits: Acceptance) -> tuple[Check, ...]:
    """The checks on the figures of a report."""
    volumes = {each: each.volume_percent for each in rows}
    muscles = {each: each.off_hu for each in rows if not each.is_bone}
    bones = {each: each.off_hu for each in rows if each.is_bone}
    return (
        _codes(rows),
        _each("volumes", volumes, limits.volume_percent, "%"),
        _median(volumes, limits.median_volume_percent),
        _each("mean HU of muscles", muscles, limits.muscle_hu, "HU"),
        _each("mean HU of bones", bones, limits.bone_hu, "HU"),
    )


def _codes(rows: Sequence[Measured]) -> Check:
    """Every structure and side is in the report under its codes, with a verdict."""
    missing = [
        each.known.segment.key for each in rows if each.found is None or not each.found.verdict
    ]
    absent = [
        each.known.segment.key
        for each in rows
        if each.found is not None and each.found.verdict is Verdict.ABSENT
    ]
    lost = [*missing, *absent]
    there = len(rows) - len(lost)
    words = f"{there} of {len(rows)} by structure code, laterality and verdict"
    if lost:
        words += f"; not: {_few(lost)}"
    return _check("SR: every structure of both sides is coded and judged", words, bool(lost))


def _each(what: str, off: Mapping[Measured, float | None], limit: float, unit: str) -> Check:
    """No value is off by more than a limit; one that is not there is."""
    wrong = [
        f"{row.known.segment.key} {_signed(value, unit)}"
        for row, value in off.items()
        if value is None or abs(value) > limit
    ]
    there = {row: value for row, value in off.items() if value is not None}
    claim = f"SR: {what} within {limit:g} {unit} of the phantom"
    if not there:
        return _check(claim, "none is given", is_wrong=True)
    worst = max(there, key=lambda row: abs(there[row]))
    words = f"worst of {len(off)}: {worst.known.segment.key} {_signed(there[worst], unit)}"
    if wrong:
        words += f"; beyond: {_few(wrong)}"
    return _check(claim, words, bool(wrong))


def _median(off: Mapping[Measured, float | None], limit: float) -> Check:
    """The volumes as a whole."""
    there = [abs(value) for value in off.values() if value is not None]
    claim = f"SR: median difference of volumes within {limit:g} %"
    if not there:
        return _check(claim, "no volume is given", is_wrong=True)
    value = median(there)
    return _check(claim, f"{value:.1f} % of {len(there)} volumes", value > limit)


def segmentation_checks(
    paths: Sequence[Path],
    geometry: Geometry,
    known_segments: NDArray[np.uint8],
    rows: Sequence[Measured],
) -> tuple[Check, ...]:
    """The checks on the segmentation: it can be read, and each segment is where it belongs.

    Args:
        paths: of the objects that hold it: one, or one for each group of structures.
        geometry: of the CT.
        known_segments: of the phantom, by number, on the grid of the CT.
        rows: the report's figures.
    """
    numbers, drawn = np.zeros(geometry.shape, np.uint8), 0
    try:
        for path in paths:
            found = read_segmentation(path, geometry)
            own = _numbers(found)
            numbers = np.where(own > 0, own, numbers)
            drawn += len(np.unique(found.labels[found.labels > 0]))
    except SeriesError as error:
        return (_check("SEG: can be read on the grid of the CT", str(error), is_wrong=True),)
    return (
        _readable(numbers, drawn),
        _sides(numbers, known_segments),
        _same_volumes(numbers, geometry, rows),
    )


def _numbers(found: SegmentationFile) -> NDArray[np.uint8]:
    """Segment numbers 1 to 43 by the codes of a segmentation; 0 where a code means nothing."""
    table = np.zeros(int(found.labels.max()) + 1, np.uint8)
    for label, meaning in found.table.meanings.items():
        if isinstance(meaning, Segment) and label < len(table):
            table[label] = meaning.number
    return table[found.labels]


def _readable(numbers: NDArray[np.uint8], drawn: int) -> Check:
    """Segments by their coded property types and lateralities."""
    known = len(np.unique(numbers[numbers > 0]))
    words = f"{known} structures and sides by code, of {drawn} segments with voxels"
    is_wrong = known != len(SEGMENTS) or drawn != known
    return _check("SEG: read back on the grid of the CT, every segment coded", words, is_wrong)


def _sides(numbers: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Check:
    """Left is left: the segments of a side lie where the phantom has them."""
    shares = {each: _share(numbers, truth, each) for each in SEGMENTS}
    wrong = [f"{each.key} {share:.0%}" for each, share in shares.items() if _is_off(share)]
    other = [
        each.key
        for each in SEGMENTS
        if each.side and _share(numbers, truth, each, at=_opposite(each)) > 1 - LEAST_OVERLAP
    ]
    worst = min(shares, key=lambda each: shares[each])
    words = f"least share in place: {worst.key} {shares[worst]:.0%}; on the wrong side: "
    words += _few(other) if other else "none"
    if wrong:
        words += f"; elsewhere: {_few(wrong)}"
    claim = f"SEG: both sides right; {LEAST_OVERLAP:.0%} of each segment in its place"
    return _check(claim, words, bool(wrong or other))


def _is_off(share: float) -> bool:
    return share < LEAST_OVERLAP


def _share(
    numbers: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    segment: Segment,
    at: Segment | None = None,
) -> float:
    """The share of a segment that lies in the phantom's own, or in that of another."""
    drawn = numbers == segment.number
    count = int(drawn.sum())
    there = (at or segment).number
    return float((truth[drawn] == there).sum()) / count if count else 0.0


def _opposite(segment: Segment) -> Segment:
    """The same structure on the other side."""
    side = Side.LEFT if segment.side is Side.RIGHT else Side.RIGHT
    return next(
        each for each in SEGMENTS if each.structure is segment.structure and each.side is side
    )


def _same_volumes(
    numbers: NDArray[np.uint8], geometry: Geometry, rows: Sequence[Measured]
) -> Check:
    """The report counts the voxels of the segmentation that it refers to."""
    row_mm, column_mm = geometry.spacing_mm
    slice_cm3 = geometry.extents_mm * row_mm * column_mm / 1000.0
    off = {
        row: 100 * (_volume_cm3(numbers, row, slice_cm3) / row.found.volume_cm3 - 1)
        for row in rows
        if row.found and row.found.volume_cm3
    }
    return _each_of_two(off)


def _volume_cm3(
    numbers: NDArray[np.uint8], row: Measured, slice_cm3: NDArray[np.float64]
) -> float:
    counts = (numbers == row.known.segment.number).sum(axis=(1, 2))
    return float(counts @ slice_cm3)


SAME_PERCENT: Final = 1.0


def _each_of_two(off: Mapping[Measured, float]) -> Check:
    """Volumes of SEG and SR, one beside the other; where structures overlap they may differ."""
    claim = f"SEG and SR: the same volumes within {SAME_PERCENT:g} %"
    if not off:
        return _check(claim, "no volume is given", is_wrong=True)
    worst = max(off, key=lambda row: abs(off[row]))
    words = f"worst of {len(off)}: {worst.known.segment.key} {off[worst]:+.2f} %"
    return _check(claim, words, abs(off[worst]) > SAME_PERCENT)


def _check(claim: str, words: str, is_wrong: bool) -> Check:  # noqa: FBT001 - a claim's outcome
    return Check(SUBJECT, claim, Outcome.FAILED if is_wrong else Outcome.PASSED, words)


MOST_NAMED: Final = 8


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _signed(value: float | None, unit: str) -> str:
    return "not given" if value is None else f"{value:+.1f} {unit}"
