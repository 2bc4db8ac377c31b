"""The spacing of slices: pure geometry on positions, shared by the inbox and the series.

Everything here works on plain numbers from headers, so that the inbox can ask "is this a
gap-free stack yet?" long before a pixel is decoded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAME_POSITION_MM: Final = 0.02
"""Slices closer than this lie at one position; rounding in headers stays well below."""

EQUAL_STEP: Final = 0.1
"""Steps that differ by less than this share (or by `EQUAL_STEP_MM`) count as equal."""

EQUAL_STEP_MM: Final = 0.1
"""Rounded and jittering table positions move a step by less than this."""

ZONE_STEPS: Final = 3
"""This many equal steps in a row are a zone with a spacing of its own."""

GAP_FACTOR: Final = 1.25
"""A step this much longer than the rule allows is a gap; one lost slice doubles a step."""

SHEAR_DEGREES: Final = 0.5
"""Stacks that lean by more than this against their normal are sheared (tilted gantry)."""

SHEAR_SLACK_MM: Final = 0.2
"""In-plane drift over the whole stack that rounding explains."""


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


def find_gaps(
    offsets_mm: NDArray[np.float64], thickness_mm: NDArray[np.float64] | None = None
) -> tuple[Gap, ...]:
    """The gaps of a stack, where slices are missing; empty when it is whole.

    Zones of different spacing in one series (2, 6 and 1 mm) are no gaps, nor is a series
    sampled more sparsely than its slices are thick. The rule, step by step:

    1. A run of `ZONE_STEPS` equal steps is a zone; so is a run of two that has the
       commonest step of the series. Steps inside a zone are whole.
    2. Any other step may be as long as the steps of the nearest zone on either side, or,
       where nominal thicknesses tile the body around it, as half its two slices'
       thicknesses together. Without any zone or tiling, as long as the shortest step.
    3. A step more than `GAP_FACTOR` times longer than that is a gap.

    Args:
        offsets_mm: (slices,) ascending, distinct positions along the normal.
        thickness_mm: (slices,) nominal slice thickness, or None where unknown.
    """
    steps = np.diff(offsets_mm)
    if len(steps) < 2:
        return ()
    in_zone = _zones(steps)
    touching = _touching(steps, thickness_mm)
    gaps = []
    for index in np.flatnonzero(~in_zone):
        expected = _longest_allowed(int(index), steps, in_zone, touching)
        if steps[index] > GAP_FACTOR * expected:
            lower, upper = offsets_mm[index], offsets_mm[index + 1]
            gaps.append(Gap(float(lower), float(upper), float(expected)))
    return tuple(gaps)


def _zones(steps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(steps,) whether a step belongs to a run of equal steps."""
    commonest = _commonest(steps)
    in_zone = np.zeros(len(steps), dtype=bool)
    start = 0
    for end in range(1, len(steps) + 1):
        if end < len(steps) and _equal(steps[end], steps[start]):
            continue
        needed = 2 if _equal(steps[start], commonest) else ZONE_STEPS
        in_zone[start:end] = end - start >= needed
        start = end
    return in_zone


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


def lateral_jump_mm(positions_mm: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """The largest in-plane jump between neighbours beyond a steady lean, in mm."""
    lean = in_plane_shift_mm(positions_mm, normal)
    offsets = (positions_mm - positions_mm[0]) @ normal
    if abs(offsets[-1]) < SAME_POSITION_MM:
        return float(np.linalg.norm(lean, axis=1).max())
    steady = np.outer(offsets / offsets[-1], lean[-1])
    return float(np.linalg.norm(lean - steady, axis=1).max())


def distinct_steps_mm(offsets_mm: NDArray[np.float64]) -> tuple[float, ...]:
    """The distinct steps of a stack, rounded to a tenth, for messages and notes."""
    return tuple(sorted({round(upper - lower, 1) for lower, upper in pairwise(offsets_mm)}))
