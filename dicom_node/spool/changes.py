"""What is new about a series that was handed over before, and what follows.

Judged on the newest copy of each image (`copies.py`), against the last revision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from dicom_node.series.patient_identity import ImageIdentity
from dicom_node.spool.copies import (
    BY_KEY,
    Images,
    contradiction,
    digests,
    identities,
    is_another,
    is_same_volume,
    newest_of_several,
    prints,
)
from dicom_node.spool.digest_key import DigestKey
from dicom_node.spool.revisions import Revision, instance_of, known_names
from dicom_node.spool.spool import SpoolEntry


class Change(Enum):
    """What is new about a series.

    NOTHING: what came was there, or does not count.
    AGAIN: every image came again as it was: whoever sends asks for it once more.
    CONTRADICTION: some images are of another patient or study now, and some are not.
    VOLUME: images are new.
    IDENTITY: all images are of another patient or study now.
    AGREEMENT: images that contradicted each other agree now.
    REFUSED: images were refused since.
    """

    NOTHING = auto()
    AGAIN = auto()
    CONTRADICTION = auto()
    VOLUME = auto()
    IDENTITY = auto()
    AGREEMENT = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of a series that was handed over, without opening a file.

    handed_over_s: when the engine took it last, in seconds since the epoch.
    lost: how many images the node refused, that did not come again.
    """

    entries: Sequence[SpoolEntry]
    revisions: Sequence[Revision]
    handed_over_s: float
    lost: int

    @property
    def is_again(self) -> bool:
        """True if every image of the last revision has come once more since."""
        came = _last_times(self.entries)
        images = set(map(instance_of, self.revisions[-1].files))
        came_since = [came.get(uid, 0.0) > self.handed_over_s for uid in images]
        return bool(came_since) and all(came_since)

    @property
    def is_new(self) -> bool:
        """True if files must be looked into."""
        known = known_names(self.revisions)
        return (
            any(entry.path.name not in known for entry in self.entries)
            or self.is_again
            or bool(_newer_copies(self.entries, self.revisions[-1]))
            or (self.lost > 0 and not self.revisions[-1].lost)
        )


def change_of(
    seen: Seen,
    images: Images,
    now: Sequence[ImageIdentity],
    series_instance_uid: str,
    key: DigestKey,
) -> Change:
    """What is new about a series, by the images that it has now and whose they are."""
    last = seen.revisions[-1]
    added = [entry for entry in images.chosen if entry.path.name not in last.files]
    before = _identity_before(last, images, series_instance_uid, key)
    if added or seen.is_again:
        if before and contradiction(now):
            return Change.CONTRADICTION
        facts = digests(key, series_instance_uid, now)
        if before == {} and facts:
            return Change.AGREEMENT
        if before and is_another(before, facts):
            return Change.IDENTITY
    if any(_changes_volume(entry, last) for entry in added):
        return Change.VOLUME
    if seen.is_again:
        return Change.AGAIN
    return Change.REFUSED if seen.lost and not last.lost else Change.NOTHING


def _identity_before(
    last: Revision, images: Images, series_instance_uid: str, key: DigestKey
) -> Mapping[str, str] | None:
    """Whose images the last revision had; None where nothing says it any more."""
    kept = last.identity
    if kept is not None and (not kept or kept.get(BY_KEY) == key.name):
        return kept
    every = (*images.chosen, *images.left)
    found = identities(entry.path for entry in every if entry.path.name in last.files)
    return digests(key, series_instance_uid, found) if found else None


def _changes_volume(entry: SpoolEntry, last: Revision) -> bool:
    """True if a file changes the volume.

    A late localiser does not, nor does an image that is there already and only came again
    in another encoding or with other words in its header; at another place it is another, or
    of another size. One whose earlier copy was deleted
    is taken for that one: nothing says otherwise any more.
    """
    copies = [name for name in last.files if instance_of(name) == entry.sop_instance_uid]
    there = [path for path in map(entry.path.with_name, copies) if path.exists()]
    if copies and not there:
        return False
    shown = prints(entry.path)
    if shown is None:
        return True
    if not shown:
        return False
    before = [prints(path) for path in there]
    return all(one is None or not is_same_volume(one, shown) for one in before)


def _newer_copies(entries: Sequence[SpoolEntry], last: Revision) -> Collection[Path]:
    """Copies that came after the one that was handed over."""
    latest = newest_of_several(entries)
    return [entry.path for entry in latest if entry.path.name not in last.files]


def _last_times(entries: Sequence[SpoolEntry]) -> dict[str, float]:
    """When each image last came, in seconds since the epoch, by SOP Instance UID."""
    times: dict[str, float] = {}
    for entry in entries:
        uid = entry.sop_instance_uid
        times[uid] = max(times.get(uid, 0.0), entry.received_s)
    return times
