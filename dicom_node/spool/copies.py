"""Copies of one image: which of them is the image, and whose images they are.

An image may come again with other words in its header: a corrected patient, an archive's own
encoding. The newest copy is the image, as long as all copies show the same pixels at the same
place; where they do not, all are handed over, for the series to be refused by name. A copy
that a disk has spoiled is none.

An identity is kept as digests, so that the record of a series names nobody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.errors import SeriesError
from dicom_node.series.bounded_files import NotDicomError, read_meta
from dicom_node.series.patient_identity import (
    ImageIdentity,
    check_one_patient,
    identity_of,
)
from dicom_node.series.pixels import fingerprint
from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_headers import counted_among, read_header, slices_of
from dicom_node.series.slice_headers import images_of as images_in
from dicom_node.series.slice_spacing import ROUNDED_MM
from dicom_node.spool.digest_key import DigestKey
from dicom_node.spool.spool import SpoolEntry

BY_KEY: Final = "key"
"""Where the name of the key stands among the facts that it digested."""

DISK_ERRORS: Final = frozenset({errno.EIO, errno.ENXIO, errno.EUCLEAN})
"""Errors of a place on a disk, which may stay; others pass, or are a person's to mend."""

POSITION_MM: Final = ROUNDED_MM
COSINE: Final = 1e-3
SPACING_SHARE: Final = 1e-3
THICKNESS_MM: Final = 0.06
"""Less apart, numbers are one that is written with more or fewer decimals."""


@dataclass(frozen=True, slots=True)
class Print:
    """What one slice shows, and where it lies.

    shown: a digest of its Hounsfield units.
    position_mm, cosines, spacing_mm: as its header has them.
    thickness_mm: None where it is not said, which contradicts nothing.
    """

    shown: str
    position_mm: tuple[float, ...] = ()
    cosines: tuple[float, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    thickness_mm: float | None = None

    def is_same_image(self, other: Print) -> bool:
        """True if both show the same pixels at the same place."""
        return (
            self.shown == other.shown
            and np.allclose(self.position_mm, other.position_mm, rtol=0, atol=POSITION_MM)
            and np.allclose(self.cosines, other.cosines, rtol=0, atol=COSINE)
            and np.allclose(self.spacing_mm, other.spacing_mm, rtol=SPACING_SHARE, atol=0)
        )

    def is_same_slice(self, other: Print) -> bool:
        """True if both are the same image, of the same thickness as far as both say it."""
        if not self.is_same_image(other):
            return False
        if self.thickness_mm is None or other.thickness_mm is None:
            return True
        return abs(self.thickness_mm - other.thickness_mm) <= THICKNESS_MM


Prints = tuple[Print, ...]
"""What a file shows: each of its slices, none of a localiser."""


@dataclass(frozen=True, slots=True)
class Images:
    """The files of a series that are its images now.

    chosen: in the order of their names.
    damaged: files that are no DICOM any more, or cannot be read: a disk's doing, for the
        receiver keeps none. Without those of an image that has a sound copy.
    left: all files that are not chosen.
    """

    chosen: tuple[SpoolEntry, ...]
    damaged: tuple[SpoolEntry, ...]
    left: tuple[SpoolEntry, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the chosen files."""
        return tuple(entry.path.name for entry in self.chosen)


def images_of(entries: Sequence[SpoolEntry], *, errors_are_damage: bool = True) -> Images:
    """The images of a series: of each the newest copy, or all that differ.

    errors_are_damage: whether a disk has failed so often that a file it does not give is lost.

    Raises:
        OSError: a file cannot be read just now, which says nothing of the file.
    """
    copies: dict[str, list[SpoolEntry]] = {}
    for entry in entries:
        copies.setdefault(entry.sop_instance_uid, []).append(entry)
    chosen: list[SpoolEntry] = []
    damaged: list[SpoolEntry] = []
    for of_one in copies.values():
        sound = [entry for entry in of_one if is_sound(entry, errors_are_damage)]
        chosen += current(sound)
        damaged += [] if sound else of_one
    chosen.sort(key=lambda entry: entry.path.name)
    names = {entry.path.name for entry in chosen}
    left = tuple(entry for entry in entries if entry.path.name not in names)
    return Images(tuple(chosen), tuple(damaged), left)


def is_sound(entry: SpoolEntry, errors_are_damage: bool) -> bool:  # noqa: FBT001
    """True if a file is what the receiver keeps, at least by its file meta information.

    Raises:
        OSError: it cannot be read just now.
    """
    if not entry.is_file:
        return False
    try:
        meta = read_meta(entry.path)
    except (NotDicomError, SeriesError):
        return False
    except OSError as error:
        if errors_are_damage and error.errno in DISK_ERRORS:
            return False
        raise
    return "MediaStorageSOPClassUID" in meta and "TransferSyntaxUID" in meta


def newest(copies: Sequence[SpoolEntry]) -> SpoolEntry:
    """The copy that came last."""
    return max(copies, key=lambda entry: (entry.received_s, entry.path.name))


def newest_of_several(entries: Iterable[SpoolEntry]) -> tuple[SpoolEntry, ...]:
    """The copies that came last, of those images that have several."""
    copies: dict[str, list[SpoolEntry]] = {}
    for entry in entries:
        copies.setdefault(entry.sop_instance_uid, []).append(entry)
    return tuple(newest(each) for each in copies.values() if len(each) > 1)


def current(copies: Sequence[SpoolEntry]) -> list[SpoolEntry]:
    """Of sound copies of one image the newest; those that differ, where they do.

    An older copy whose pixels cannot be decoded is spoiled, and says nothing against the
    newest.
    """
    if len(copies) < 2:
        return list(copies)
    last = newest(copies)
    shown = prints(last.path)
    others = {entry.path: prints(entry.path) for entry in copies if entry is not last}
    if shown is None:
        return list(copies)
    if all(other is None or is_same(other, shown) for other in others.values()):
        return [last]
    return [entry for entry in copies if entry is last or others[entry.path] is not None]


def prints(path: Path) -> Prints | None:
    """What a file shows; None where it is damaged.

    Raises:
        OSError: it cannot be read just now.
    """
    try:
        return _prints(path)
    except (SeriesError, OSError) as error:
        # Whatever a decoder raises is damage to its caller, also an error of the system.
        cause = error if isinstance(error, OSError) else error.__cause__
        if not _is_passing(cause):
            return None
        number = cause.errno
    # A new one: the frames of the other hold headers, which no log shows.
    raise OSError(number, os.strerror(number or 0))


def _prints(path: Path) -> Prints:
    header = read_header(path)
    return tuple(map(_print, slices_in(path, header))) if header is not None else ()


def _is_passing(error: BaseException | None) -> TypeGuard[OSError]:
    """True of an error of the system that says nothing of a file; pydicom's have no number."""
    return isinstance(error, OSError) and error.errno not in {None, *DISK_ERRORS}


def _print(one: SliceHeader) -> Print:
    return Print(
        shown=fingerprint(one),
        position_mm=tuple(map(float, one.position_mm)),
        cosines=tuple(map(float, (*one.row_axis, *one.column_axis))),
        spacing_mm=one.spacing_mm,
        thickness_mm=one.thickness_mm,
    )


def is_same(one: Prints, other: Prints) -> bool:
    """True if two files show the same images at the same places."""
    return len(one) == len(other) and all(map(Print.is_same_image, one, other))


def is_same_volume(one: Prints, other: Prints) -> bool:
    """True if it is the same which of two files is analysed."""
    return len(one) == len(other) and all(map(Print.is_same_slice, one, other))


def slices_in(path: Path, header: Dataset) -> list[SliceHeader]:
    """The slices of a file alone: derived ones count, whatever the others of its series."""
    counted, _ = counted_among(list(images_in(path, header)))
    return slices_of(counted) if counted else []


def identities(paths: Iterable[Path]) -> tuple[ImageIdentity, ...]:
    """Whose images these are, each by itself; those that cannot be read say nothing."""
    found = []
    for path in paths:
        try:
            header = read_header(path)
        except (SeriesError, OSError):
            continue
        if header is not None:
            found.append(identity_of(header))
    return tuple(found)


def contradiction(images: Sequence[ImageIdentity]) -> str:
    """Why these are not all of one patient and study, in words; empty where they are."""
    try:
        check_one_patient(images)
    except SeriesError as error:
        return str(error)
    return ""


def digests(
    key: DigestKey, series_instance_uid: str, images: Sequence[ImageIdentity]
) -> dict[str, str]:
    """The facts of one identity, each as a digest; none of images that contradict.

    The key's own name is among them: digests of two keys say nothing of each other.
    """
    if contradiction(images):
        return {}
    facts: dict[str, str] = {}
    for image in images:
        said = {
            "patient_id": image.patient_id,
            "birth_date": image.birth_date,
            "sex": image.sex,
            "study": image.study_instance_uid,
            "accession": image.accession_number,
        }
        said |= {f"name_{number}": group for number, group in enumerate(image.name)}
        facts |= {name: text for name, text in said.items() if text and name not in facts}
    digested = {name: key.digest(series_instance_uid, text) for name, text in facts.items()}
    return {**digested, BY_KEY: key.name}


def is_another(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """True if images are of another patient or study than they were.

    What one of them leaves out contradicts nothing; a patient ID where there was none names
    the patient for the first time.
    """
    named_now = "patient_id" in now and "patient_id" not in before
    return named_now or any(before[fact] != now[fact] for fact in before.keys() & now.keys())
