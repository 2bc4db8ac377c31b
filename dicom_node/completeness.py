"""When a series is complete: a pure decision on headers and arrival times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.frames import SliceHeader
from dicom_node.stack import SAME_POSITION_MM, find_gaps


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """When a series counts as complete.

    quiet_s: how long nothing must have arrived for a series whose slices leave no gap.
    give_up_s: the same for a series that still has gaps, or is no stack at all.
    min_slices: fewer slices are no stack yet.
    """

    quiet_s: float = 10.0
    give_up_s: float = 300.0
    min_slices: int = 3


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether a series is to be handed over now, and why, or why not yet."""

    complete: bool
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """What has come of a series, as its headers tell.

    last_received_s: when the latest file came, in seconds since the epoch.
    slices: the slices that count.
    defect: what is wrong with a header, if something is.
    """

    last_received_s: float
    slices: tuple[SliceHeader, ...]
    defect: str = ""


def is_quiet(last_received_s: float, now_s: float, quiet_s: float) -> bool:
    """Whether nothing has come for long enough; a clock set back counts as quiet."""
    return now_s - last_received_s >= quiet_s or now_s < last_received_s - quiet_s


def is_complete(arrivals: Arrivals, now_s: float, settings: CompletionSettings) -> Completeness:
    """Decide whether a series is complete, from headers and arrival times alone.

    A gap-free stack is complete after a short quiet time. Anything else waits for
    `give_up_s` without a new image, and goes then with what is wrong named.
    """
    if not is_quiet(arrivals.last_received_s, now_s, settings.quiet_s):
        return Completeness(complete=False, reason="images are still arriving")
    missing = arrivals.defect or _what_is_missing(arrivals.slices, settings.min_slices)
    if not missing:
        return Completeness(complete=True, reason="quiet, and the slices leave no gap")
    if is_quiet(arrivals.last_received_s, now_s, settings.give_up_s):
        return Completeness(
            complete=True, reason=f"no image for {settings.give_up_s:g} s: {missing}"
        )
    return Completeness(complete=False, reason=missing)


def _what_is_missing(slices: Sequence[SliceHeader], min_slices: int) -> str:
    """Why the slices are no gap-free stack, or nothing."""
    if len(slices) < min_slices:
        return f"{len(slices)} of at least {min_slices} slices"
    normal = slices[0].normal
    if any(np.abs(one.normal - normal).max() > 0.01 for one in slices):
        return "slices of different orientation"
    offsets, first = np.unique(
        np.round([float(one.position_mm @ normal) / SAME_POSITION_MM for one in slices]),
        return_index=True,
    )
    stated = [slices[index].thickness_mm for index in first]
    thickness = None if None in stated else np.array(stated, dtype=np.float64)
    gaps = find_gaps(offsets * SAME_POSITION_MM, thickness)
    return "slices are missing " + "; ".join(str(gap) for gap in gaps[:3]) if gaps else ""
