"""The spacing of slices: pure geometry on positions, shared by the inbox and the series.

Everything here works on plain numbers from headers, so that the inbox can ask "is this a
gap-free stack yet?" long before a pixel is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAME_POSITION_MM: Final = 0.06
"""Slices closer than this lie at one position: written with one decimal, with two, with all."""

ROUNDED_MM: Final = 0.55
"""Copies of one image lie this near each other, also where one is written in whole mm."""

EQUAL_STEP: Final = 0.1
"""Steps that differ by less than this share (or by `EQUAL_STEP_MM`) count as equal."""

EQUAL_STEP_MM: Final = 0.1
"""Rounded and jittering table positions move a step by less than this."""

ZONE_STEPS: Final = 3
"""This many equal steps in a row are a zone with a spacing of its own."""

GAP_FACTOR: Final = 1.25
"""A step this much longer than the rule allows is a gap; one lost slice doubles a step."""

MOST_KINDS: Final = 200
"""So many kinds of runs are compared with a zone; a scan has a handful."""

SHEAR_DEGREES: Final = 0.5
"""Stacks that lean by more than this against their normal are sheared (tilted gantry)."""

SHEAR_SLACK_MM: Final = 0.2
"""In-plane drift over the whole stack that rounding explains."""


LATERAL_JUMP_MM: Final = 0.5
"""In-plane jumps between slices below this are rounding; above, no common grid exists."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A place where slices are missing, along the normal.

    lower_mm, upper_mm: offsets of the slices on either side.
    expected_mm: the longest step that would not have been a gap here.
    """

    lower_mm: float
    upper_mm: float
    expected_mm: float

    def __str__(self) -> str:
        """The two positions, the step between them and the step expected, as text."""
        step = self.upper_mm - self.lower_mm
        return (
            f"between {self.lower_mm:.1f} and {self.upper_mm:.1f} mm "
            f"({step:.1f} mm instead of {self.expected_mm:.1f} mm)"
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring steps that are equal.

    first, end: of its steps.
    step_mm: the median of its steps.
    thickness_mm: the median of its slices' thickness; None where unknown.
    advance: by how much Instance Number goes on from slice to slice; None where unsteady.
    is_zone: whether it is long enough to have a spacing of its own.
    """

    first: int
    end: int
    step_mm: float
    thickness_mm: float | None
    advance: int | None
    is_zone: bool

    @property
    def touches(self) -> bool:
        """True if its slices are as thick as they lie apart."""
        return self.thickness_mm is not None and _equal(self.step_mm, self.thickness_mm)

    @property
    def is_sparse(self) -> bool:
        """True if its slices are known to be thinner than they lie apart."""
        return self.thickness_mm is not None and self.step_mm > GAP_FACTOR * self.thickness_mm


def find_gaps(
    offsets_mm: NDArray[np.float64],
    thickness_mm: NDArray[np.float64] | None = None,
    numbers: Sequence[int | None] | None = None,
) -> tuple[Gap, ...]:
    """The gaps of a stack, where slices are missing; empty when it is whole.

    Zones of different spacing in one series (2, 6 and 1 mm) are no gaps, nor is a series
    sampled more sparsely than its slices are thick. The rule, step by step:

    1. A run of `ZONE_STEPS` equal steps is a zone; so is a run of two that has the
       commonest step of the series. Steps inside a zone are whole, unless it is thinned out:
       its step is a whole multiple of a finer one of slices as thick (`_lost_step_mm`).
    2. Any other step may be as long as the steps of the nearest zone on either side, or,
       where nominal thicknesses tile the body around it, as half its two slices'
       thicknesses together. Without any zone or tiling, as long as the shortest step.
    3. A step more than `GAP_FACTOR` times longer than that is a gap.

    Args:
        offsets_mm: (slices,) ascending, distinct positions along the normal.
        thickness_mm: (slices,) nominal slice thickness, or None where unknown.
        numbers: (slices,) Instance Number, None where a slice has none. Without them zones of
            unknown thickness are believed; with them, only where they go on evenly.
    """
    steps = np.diff(offsets_mm)
    if len(steps) < 2:
        return ()
    runs = _runs(steps, thickness_mm, numbers)
    finer = _references(runs)
    allowed = np.zeros(len(steps))
    in_zone = np.zeros(len(steps), dtype=bool)
    for run in runs:
        lost_mm = (
            _lost_step_mm(run, finer, steps, is_counted=numbers is not None)
            if run.is_zone
            else None
        )
        in_zone[run.first : run.end] = run.is_zone and lost_mm is None
        allowed[run.first : run.end] = lost_mm or 0.0
    touching = _touching(steps, thickness_mm)
    gaps = []
    for index in np.flatnonzero(~in_zone):
        expected = allowed[index] or _longest_allowed(int(index), steps, in_zone, touching)
        if steps[index] > GAP_FACTOR * expected:
            lower, upper = offsets_mm[index], offsets_mm[index + 1]
            gaps.append(Gap(float(lower), float(upper), float(expected)))
    return tuple(gaps)


def _runs(
    steps: NDArray[np.float64],
    thickness_mm: NDArray[np.float64] | None,
    numbers: Sequence[int | None] | None,
) -> tuple[_Run, ...]:
    """All steps, taken together where they are equal."""
    commonest = _commonest(steps)
    runs = []
    start = 0
    for end in range(1, len(steps) + 1):
        if end < len(steps) and _equal(steps[end], steps[start]):
            continue
        needed = 2 if _equal(steps[start], commonest) else ZONE_STEPS
        thick = (
            None if thickness_mm is None else float(np.median(thickness_mm[start : end + 1]))
        )
        advance = None if numbers is None else _advance(numbers[start : end + 1])
        step_mm = float(np.median(steps[start:end]))
        runs.append(_Run(start, end, step_mm, thick, advance, end - start >= needed))
        start = end
    return tuple(runs)


def _references(runs: Sequence[_Run]) -> tuple[_Run, ...]:
    """One run of each kind, the finest first: what a thinned-out zone may have been like."""
    kinds: dict[tuple[object, ...], _Run] = {}
    for run in sorted(runs, key=lambda each: each.step_mm):
        thickness = None if run.thickness_mm is None else round(run.thickness_mm, 2)
        alone = run.end - run.first == 1
        kinds.setdefault((round(run.step_mm, 2), thickness, run.advance, alone), run)
    return tuple(islice(kinds.values(), MOST_KINDS))


def _advance(numbers: Sequence[int | None]) -> int | None:
    """By how much these numbers go on, where it is the same each time; else None.

    The step to the next zone may be as long as those of a zone, and belong to another pass:
    at either end of a run of some length the numbers may go on otherwise.
    """
    known = [number for number in numbers if number is not None]
    steps = [upper - lower for lower, upper in pairwise(known)]
    inner = steps[1:-1] if len(steps) > ZONE_STEPS + 1 else steps
    steady = len(known) == len(numbers) and len(set(inner)) == 1
    return abs(inner[0]) or None if steady else None


def sparse_zones(
    offsets_mm: NDArray[np.float64], thickness_mm: NDArray[np.float64] | None
) -> tuple[tuple[float, float], ...]:
    """Thickness and step of zones whose slices lie whole times farther apart than touching.

    Beside zones whose slices touch they may be all that is left of such a zone; renumbered,
    nothing tells it from one that was scanned sparsely. Empty where no zone touches.
    """
    if thickness_mm is None or len(offsets_mm) < 2:
        return ()
    zones = [run for run in _runs(np.diff(offsets_mm), thickness_mm, None) if run.is_zone]
    if not any(run.touches for run in zones):
        return ()
    return tuple(
        dict.fromkeys(
            (round(run.thickness_mm, 2), round(run.step_mm, 2))
            for run in zones
            if run.thickness_mm
            and run.is_sparse
            and _multiple(run.step_mm, run.thickness_mm) > 1
        )
    )


def thinned_throughout(
    offsets_mm: NDArray[np.float64],
    thickness_mm: NDArray[np.float64] | None,
    numbers: Sequence[int | None],
) -> int:
    """Of how many slices one is here, by the numbers of an even stack whose slices would touch.

    1 where nothing says that any is missing. No gap shows it, and a sparse scan looks alike,
    except that its numbers go on by one.
    """
    runs = _runs(np.diff(offsets_mm), thickness_mm, numbers) if len(offsets_mm) > 1 else ()
    if len(runs) != 1:
        return 1
    advance, thick_mm = runs[0].advance, runs[0].thickness_mm
    if not advance or thick_mm is None or not _equal(runs[0].step_mm / advance, thick_mm):
        return 1
    return advance


def _lost_step_mm(
    run: _Run, finer: Sequence[_Run], steps: NDArray[np.float64], *, is_counted: bool
) -> float | None:
    """The step that a thinned-out zone had before slices were lost; None where it is whole."""
    for fine in finer:
        times = _multiple(run.step_mm, fine.step_mm)
        if times > 1 and _is_thinned(run, fine, times, steps, is_counted=is_counted):
            return fine.step_mm
        skips = _skips(run, fine)
        thick_mm = run.thickness_mm
        # The numbers may count slices that would fill what lies between.
        if skips > 1 and thick_mm and run.is_sparse and _equal(run.step_mm / skips, thick_mm):
            return run.step_mm / skips
    return None


def _multiple(long_mm: float, short_mm: float) -> int:
    """How many times longer one step is than another, if it is a whole number; else 0."""
    times = round(long_mm / short_mm)
    slack_mm = max(EQUAL_STEP_MM, EQUAL_STEP * short_mm)
    return times if abs(long_mm - times * short_mm) <= slack_mm else 0


def _is_thinned(
    run: _Run, fine: _Run, times: int, steps: NDArray[np.float64], *, is_counted: bool
) -> bool:
    """True if a zone with a multiple of the step of `fine` is that of which slices are lost.

    Where the thickness changes with the step, the scanner changed it. Where slices are thinner
    than even the finer step, somebody chose how sparsely to take them. In both cases, and
    where no thickness is stated, Instance Number tells: it goes on over what is lost.
    """
    skips = _skips(run, fine)
    if run.thickness_mm is None or fine.thickness_mm is None:
        if skips in (1, times) or not is_counted:
            return skips == times
        return fine.end - fine.first > 1 and not _tiles(run, steps)
    if not _equal(run.thickness_mm, fine.thickness_mm):
        return False
    if fine.is_sparse:
        return skips == times
    # One short step is no spacing, unless it is what the slices are made for.
    return fine.end - fine.first > 1 or fine.touches or skips == times


def _skips(run: _Run, fine: _Run) -> int:
    """How often Instance Number goes on in `run` for once in `fine`; 0 where it is unknown."""
    if not run.advance or not fine.advance or run.advance % fine.advance:
        return 0
    return run.advance // fine.advance


def _tiles(run: _Run, steps: NDArray[np.float64]) -> bool:
    """True if the borders of a zone are as wide as touching slices make them: half of both."""
    beyond = [(run.first - 1, run.first - 2), (run.end, run.end + 1)]
    borders = [
        (float(steps[border]), (run.step_mm + float(steps[other])) / 2)
        for border, other in beyond
        if 0 <= border < len(steps) and 0 <= other < len(steps)
    ]
    return bool(borders) and all(_equal(*border) for border in borders)


def _commonest(steps: NDArray[np.float64]) -> float:
    """The commonest step, to a tenth of a millimetre; the shortest of several."""
    counts = Counter(np.round(steps, 1).tolist())
    most = max(counts.values())
    return float(min(step for step, count in counts.items() if count == most))


def _equal(one: float, other: float) -> bool:
    return bool(abs(one - other) <= max(EQUAL_STEP_MM, EQUAL_STEP * min(one, other)))


def _touching(
    steps: NDArray[np.float64], thickness_mm: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """(steps,) how long a step would be if its slices touched; 0 where that says nothing.

    Thickness is evidence only where it is the pitch: not beside overlapping slices, where
    a lost slice may leave its neighbours just touching.
    """
    if thickness_mm is None:
        return np.zeros(len(steps))
    reach = (thickness_mm[:-1] + thickness_mm[1:]) / 2
    overlapping = steps < reach - np.maximum(EQUAL_STEP_MM, EQUAL_STEP * reach)
    beside = np.zeros(len(steps), dtype=bool)
    beside[1:] |= overlapping[:-1]
    beside[:-1] |= overlapping[1:]
    return np.where(beside, 0.0, reach)


def _longest_allowed(
    index: int,
    steps: NDArray[np.float64],
    in_zone: NDArray[np.bool_],
    touching: NDArray[np.float64],
) -> float:
    """The longest step allowed at `index`, which is in no zone."""
    zones = np.flatnonzero(in_zone)
    below, above = zones[zones < index], zones[zones > index]
    allowed = [float(touching[index])]
    allowed += [float(steps[below[-1]])] if below.size else []
    allowed += [float(steps[above[0]])] if above.size else []
    return max(allowed) or float(steps.min())


def in_plane_shift_mm(
    positions_mm: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(slices, 3) in-plane shift of each slice against the first."""
    moved = positions_mm - positions_mm[0]
    return np.asarray(moved - np.outer(moved @ normal, normal))


def shear_degrees(positions_mm: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """The lean of a stack against its normal: 0 for a rigid stack, 18.5 for that tilt.

    Shifts that rounding explains count as none.
    """
    drift = float(np.linalg.norm(in_plane_shift_mm(positions_mm, normal)[-1]))
    length = float(abs((positions_mm[-1] - positions_mm[0]) @ normal))
    if drift <= SHEAR_SLACK_MM:
        return 0.0
    return float(np.degrees(np.arctan2(drift, length)))


@dataclass(frozen=True, slots=True)
class Jump:
    """A place where a stack goes on sideways of where it was.

    lower_mm, upper_mm: offsets of the slices on either side.
    sideways_mm: how far the upper one lies beside its place.
    """

    lower_mm: float
    upper_mm: float
    sideways_mm: float

    def __str__(self) -> str:
        """How far and where, as text."""
        return (
            f"shifted sideways by up to {self.sideways_mm:.1f} mm"
            f" between {self.lower_mm:.1f} and {self.upper_mm:.1f} mm"
        )


def steady_lean_degrees(
    positions_mm: NDArray[np.float64], normal: NDArray[np.float64]
) -> float:
    """The lean that most slices have against the one below them: jumps do not change it."""
    return float(np.degrees(np.arctan(np.linalg.norm(_lean_per_mm(positions_mm, normal)))))


def find_jumps(
    positions_mm: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[Jump, ...]:
    """Where neighbours lie farther sideways of each other than the steady lean explains.

    Args:
        positions_mm: (slices, 3) in order along the normal.
        normal: (3,) unit vector across the slices.
    """
    offsets = positions_mm @ normal
    moved = np.diff(in_plane_shift_mm(positions_mm, normal), axis=0)
    steady = np.outer(np.diff(offsets), _lean_per_mm(positions_mm, normal))
    sideways = np.linalg.norm(moved - steady, axis=1)
    return tuple(
        Jump(float(offsets[at]), float(offsets[at + 1]), float(sideways[at]))
        for at in np.flatnonzero(sideways > LATERAL_JUMP_MM)
    )


def _lean_per_mm(
    positions_mm: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(3,) the median in-plane shift from slice to slice, per mm along the normal."""
    along = np.diff(positions_mm @ normal)
    moved = np.diff(in_plane_shift_mm(positions_mm, normal), axis=0)
    apart = np.abs(along) > SAME_POSITION_MM
    if not apart.any():
        return np.zeros(3)
    return np.asarray(np.median(moved[apart] / along[apart, None], axis=0))


def lateral_jump_mm(positions_mm: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """The farthest that a slice lies beside the line from the first to the last, in mm."""
    lean = in_plane_shift_mm(positions_mm, normal)
    offsets = (positions_mm - positions_mm[0]) @ normal
    if abs(offsets[-1]) < SAME_POSITION_MM:
        return float(np.linalg.norm(lean, axis=1).max())
    steady = np.outer(offsets / offsets[-1], lean[-1])
    return float(np.linalg.norm(lean - steady, axis=1).max())


def distinct_steps_mm(offsets_mm: NDArray[np.float64]) -> tuple[float, ...]:
    """The distinct steps of a stack, rounded to a tenth, for messages and notes."""
    return tuple(sorted({round(upper - lower, 1) for lower, upper in pairwise(offsets_mm)}))
