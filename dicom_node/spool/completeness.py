"""The completeness of a series: a pure decision on headers, counts and arrival times.

`is_worth_reading` and `at_a_glance` decide on what can be seen without opening a file,
`is_complete` on the headers too. A series that is not complete yet gets an answer that says
when to look again: the rule that makes it wait names the timer, and the watcher knows none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicom_node.series.acquisitions import seam_slices
from dicom_node.series.patient_identity import ImageIdentity
from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_spacing import SAME_POSITION_MM, find_gaps
from dicom_node.settings.node import Completion

BREATH_S: Final = 1.0
"""Images of one association come faster than this one after the other."""
MIN_SLICES: Final = 3
"""Fewer are no stack yet."""
SKIPPING: Final = 1.5
"""Slices this much farther apart than their headers say skip others (every second: 2)."""


class Rule(StrEnum):
    """The rule that closed a series."""

    COUNT = "count"
    GAP_FREE = "gap-free"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Completeness:
    """The decision to hand a series over now, or not yet, and the reason.

    rule: what closed it; None where it is still open.
    reason: as text.
    look_again_at_s: when to ask again though nothing new came, in seconds since the epoch;
        infinite where only new images change the answer.
    """

    rule: Rule | None
    reason: str
    look_again_at_s: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """The number of instances of a series where it comes from, and who says so."""

    instances: int
    said_by: str


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """The part of a series that has come, as its headers tell.

    last_received_s: when the latest file came, in seconds since the epoch.
    slices: the slices that count.
    defect: what is wrong with a header, if something is.
    instances: how many SOP instances there are, localisers and all.
    expected: how many there should be, where anyone says.
    stated_spacing_mm: Spacing Between Slices that most headers state.
    interrupted: whether an association that sent it broke off, and none came after it.
    watched_since_s: since when somebody could have seen it come.
    lost: how many images of it the node refused or lost, that did not come again.
    identities: whose images they are, each by itself.
    """

    last_received_s: float
    slices: tuple[SliceHeader, ...]
    defect: str = ""
    instances: int = 0
    expected: Expectation | None = None
    stated_spacing_mm: float | None = None
    interrupted: bool = False
    watched_since_s: float = 0.0
    lost: int = 0
    identities: tuple[ImageIdentity, ...] = ()


@dataclass(frozen=True, slots=True)
class Glance:
    """The facts about a series that can be seen without opening a file.

    names: of its files.
    newest: of those that came last, of images with several copies.
    gone: how many files of its last revision are there no more.
    last_received_s: when an image last came, in seconds since the epoch.
    watched_since_s: since when somebody could have seen it come.
    interrupted: whether an association that sent it broke off, and none came after it.
    lost: how many images of it the node refused, that did not come again.
    """

    names: frozenset[str]
    gone: int
    last_received_s: float
    watched_since_s: float
    interrupted: bool
    lost: int = 0
    newest: frozenset[str] = frozenset()

    def is_quiet(self, now_s: float, settings: Completion) -> bool:
        """True if nothing has come for the short time."""
        # What came while nobody watched may continue to come just as well.
        seen_s = max(self.last_received_s, self.watched_since_s)
        return is_quiet(seen_s, now_s, settings.quiet_s)


def is_quiet(last_received_s: float, now_s: float, quiet_s: float) -> bool:
    """True if nothing has come for long enough; a clock set back counts as quiet."""
    return now_s - last_received_s >= quiet_s or now_s < last_received_s - quiet_s


def is_worth_reading(
    glance: Glance, now_s: float, settings: Completion, is_all_here: Callable[[], bool]
) -> bool:
    """True if the headers of a series may make it complete now.

    They do when nothing has come for a while, or when as many instances are here as the
    first file's header counts (`is_all_here`). Such a count may be out of date: it is not
    believed while images stream in.
    """
    if glance.is_quiet(now_s, settings):
        return True
    return is_quiet(glance.last_received_s, now_s, BREATH_S) and is_all_here()


def at_a_glance(glance: Glance) -> Completeness | None:
    """The answer for which no header is needed; None where they decide.

    A series of which images were deleted waits to be sent again: a revision of the late ones
    alone would be a refusal that helps nobody.
    """
    if not glance.gone:
        return None
    reason = f"{glance.gone} images were deleted; the whole series must be sent again"
    return Completeness(None, reason, look_again_at_s=math.inf)


def is_complete(arrivals: Arrivals, now_s: float, settings: Completion) -> Completeness:
    """Decide whether a series is complete, from headers, counts and arrival times alone.

    A series with as many instances as its sender counts is complete at once. One that its
    sender does not count is complete when it is a gap-free stack and nothing came for a
    short time; where its sender broke off, for a longer one. Anything else waits for
    `give_up_s` without a new image, and goes then with what is wrong named. More instances
    than counted refute the count, also where some of them were refused.

    One that lost images to a refusal of the node's own is never called whole: its sender has
    the longer time to send them again.
    """
    expected = arrivals.expected
    if expected is not None and arrivals.instances == expected.instances and arrivals.lost:
        expected = None
    missing = arrivals.defect or what_is_missing(arrivals)
    if expected is not None and arrivals.instances == expected.instances:
        words = f"all {expected.instances} instances are here that {expected.said_by} counts"
        return _closed(Rule.COUNT, f"{words}; {missing}" if missing else words)
    # What came while nobody watched may continue to come just as well.
    seen_s = max(arrivals.last_received_s, arrivals.watched_since_s)
    if not is_quiet(seen_s, now_s, settings.quiet_s):
        return Completeness(None, "images are still arriving", seen_s + settings.quiet_s)
    if expected is not None and arrivals.instances < expected.instances:
        counted = f"{arrivals.instances} of {expected.instances} instances"
        missing = f"{counted} that {expected.said_by} counts; {missing}".rstrip("; ")
    if not missing:
        return _gap_free(arrivals, seen_s, now_s, settings)
    idle_since_s = seen_s if arrivals.interrupted else arrivals.last_received_s
    if is_quiet(idle_since_s, now_s, settings.give_up_s):
        return _closed(Rule.TIMER, f"no image for {settings.give_up_s:g} s: {missing}")
    # Once on the way there: a sender that was silent, or had not all itself, may count now.
    asked_again_s = seen_s + settings.resend_s
    given_up_s = idle_since_s + settings.give_up_s
    again_s = asked_again_s if now_s < asked_again_s < given_up_s else given_up_s
    return Completeness(None, missing, again_s)


def _closed(rule: Rule, reason: str) -> Completeness:
    """The answer for a series that is to be handed over."""
    return Completeness(rule, reason, look_again_at_s=math.inf)


def _gap_free(
    arrivals: Arrivals, seen_s: float, now_s: float, settings: Completion
) -> Completeness:
    """The decision on a stack without gaps, which says nothing of its ends."""
    sparse = _sparse(arrivals.slices)
    words = f"quiet, and the slices leave no gap{sparse}"
    resend_s = min(settings.resend_s, settings.give_up_s)
    again_s = seen_s + resend_s
    may_come_again = not is_quiet(seen_s, now_s, resend_s)
    if arrivals.lost and may_come_again:
        return Completeness(None, "images were not kept, and may come again", again_s)
    if arrivals.lost:
        words = f"no image for {resend_s:g} s: the slices that are here leave no gap{sparse}"
        return _closed(Rule.TIMER, words)
    if arrivals.interrupted and may_come_again:
        return Completeness(None, "the transfer broke off, and may be taken up again", again_s)
    if arrivals.interrupted:
        words = f"{words}; the transfer broke off and was not taken up again"
    return _closed(Rule.GAP_FREE, words)


def what_is_missing(arrivals: Arrivals) -> str:
    """The reason why the slices are no gap-free stack; empty where they are one."""
    slices = arrivals.slices
    if len(slices) < MIN_SLICES:
        return f"{len(slices)} of at least {MIN_SLICES} slices"
    normal = slices[0].normal
    if any(np.abs(one.normal - normal).max() > 0.01 for one in slices):
        return "slices of different orientation"
    stack = _stack(slices)
    gaps = find_gaps(stack.offsets_mm, stack.thickness_mm, stack.numbers)
    if gaps:
        return "slices are missing " + "; ".join(str(gap) for gap in gaps[:3])
    return _skipped(stack.offsets_mm, arrivals.stated_spacing_mm)


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """The distinct positions of slices along the normal, ascending.

    thickness_mm: at each, where all state one.
    numbers: Instance Number at each.
    """

    offsets_mm: NDArray[np.float64]
    thickness_mm: NDArray[np.float64] | None
    numbers: tuple[int | None, ...]


def _stack(slices: Sequence[SliceHeader]) -> _Stack:
    """Slices as a series is read of them: without copies and without seams of passes."""
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda one: float(one.position_mm @ normal))
    offsets = np.array([float(one.position_mm @ normal) for one in ordered])
    doubled = seam_slices(offsets, [one.acquisition for one in ordered])
    kept: list[int] = []
    for index in np.flatnonzero(~doubled).tolist():
        if not kept or offsets[index] - offsets[kept[-1]] > SAME_POSITION_MM:
            kept.append(index)
    stated = [ordered[index].thickness_mm for index in kept]
    return _Stack(
        offsets[kept],
        None if None in stated else np.array(stated, dtype=np.float64),
        tuple(ordered[index].instance_number for index in kept),
    )


def _skipped(offsets_mm: NDArray[np.float64], stated_mm: float | None) -> str:
    """The reason to think that an even stack lacks every second slice; empty where none.

    Only Spacing Between Slices tells: a thickness below the step is how sparse series are
    scanned.
    """
    steps = np.diff(offsets_mm)
    if stated_mm is None or not steps.size or float(steps.min()) < SKIPPING * stated_mm:
        return ""
    apart_mm = float(np.median(steps))
    return f"slices are {apart_mm:.1f} mm apart throughout, and say {stated_mm:.1f} mm"


def _sparse(slices: Sequence[SliceHeader]) -> str:
    """A note that the slices do not touch, which is how some series are scanned."""
    stack = _stack(slices)
    steps = np.diff(stack.offsets_mm)
    if stack.thickness_mm is None or not steps.size:
        return ""
    thickest, step = float(stack.thickness_mm.max()), float(steps.min())
    if step < SKIPPING * thickest:
        return ""
    return f"; note: {thickest:.1f} mm thick, at least {step:.1f} mm apart"


def commonest(values: Sequence[float]) -> float | None:
    """The value that most state, the smallest of several; None of nothing."""
    counts = Counter(round(value, 2) for value in values)
    most = max(counts.values(), default=0)
    return min((value for value, count in counts.items() if count == most), default=None)
