"""The frame of reference of a stack: what its slices state, and what results state of it.

A Frame of Reference UID (PS3.3 C.7.4.1) that a few images leave out contradicts nobody, and
one that every image has for itself says nothing: there are writers that make a new one for
each file, and the slices of such a series still lie in one space. Two that several slices
share each are two spaces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from dicom_node.errors import MixedSeriesError
from dicom_node.series.slice_header import SliceHeader
from dicom_node.uids import is_uid


def check_one_space(slices: Sequence[SliceHeader]) -> None:
    """Refuse slices of which some share one frame of reference, and others name another.

    Raises:
        MixedSeriesError: how many there are, and which.
    """
    places: dict[str, set[tuple[float, ...]]] = defaultdict(set)
    for each in slices:
        # Copies of one slice are one place.
        place = tuple(float(value) for value in each.position_mm.round(1))
        places[each.frame_of_reference_uid].add(place)
    places.pop("", None)
    if len(places) > 1 and any(len(shared) > 1 for shared in places.values()):
        # What stands where a UID must may be anything, a name too.
        said = sorted({uid if is_uid(uid) else "(no UID)" for uid in places})
        raise MixedSeriesError(
            f"{len(places)} frames of reference in one series: {', '.join(said[:6])}"
        )


def frame_of_reference(ordered: Sequence[SliceHeader]) -> str:
    """The UID that results state: that of most slices, among equals the lowest one's.

    Where every image has its own, results are at least in the space of one of them, and
    refer to all of them by their instances. Empty where no slice states a valid one.

    Args:
        ordered: from feet to head.
    """
    stated = Counter(
        each.frame_of_reference_uid for each in ordered if is_uid(each.frame_of_reference_uid)
    )
    return max(stated, key=lambda uid: stated[uid], default="")


def frame_of_reference_notes(ordered: Sequence[SliceHeader]) -> list[str]:
    """Notes on what was tolerated, as text."""
    stated = [each.frame_of_reference_uid for each in ordered]
    different = len(set(stated) - {""})
    missing = stated.count("")
    if not different:
        return ["no Frame of Reference UID"]
    notes = []
    if missing:
        notes.append(
            f"{missing} of {len(stated)} images leave out the Frame of Reference UID that the"
            " others give"
        )
    if different > 1:
        notes.append(
            f"{different} Frame of Reference UIDs, no two slices share one: read as one space"
        )
    elif not any(map(is_uid, stated)):
        notes.append("the Frame of Reference UID is no UID: results state one of their own")
    return notes
