"""Whether an object came back as it was sent: byte by byte, or element by element.

An archive may change what names patient and study (PS3.4 B.4.1, level 2); everything else has
to be what was sent, the pixels above all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from dicom_node.series.bounded_files import read_whole, split_file
from dicom_node.series.study_header import PATIENT_AND_STUDY

PIXELS: Final = ("PixelData", "FloatPixelData", "EncapsulatedDocument")
MAY_CHANGE: Final = frozenset({*PATIENT_AND_STUDY, "SpecificCharacterSet"})
MOST_NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """How an object that came back differs from the one that was sent.

    changed: keywords (or tags) of the elements that are others, missing or new.
    """

    is_identical: bool
    same_pixels: bool
    changed: tuple[str, ...] = ()

    @property
    def is_harmless(self) -> bool:
        """True if nothing changed but what an archive may coerce."""
        return self.same_pixels and MAY_CHANGE.issuperset(self.changed)

    @property
    def words(self) -> str:
        """The difference in words."""
        if self.is_identical:
            return "identical, byte by byte"
        if not self.changed:
            return "encoded otherwise, every element the same"
        named = ", ".join(self.changed[:MOST_NAMED])
        more = len(self.changed) - MOST_NAMED
        return f"changed: {named}{f' and {more} more' if more > 0 else ''}"


def difference(sent: Path, came: Path) -> Difference:
    """Compare two files of one object; their file meta information does not count."""
    if split_file(sent.read_bytes())[1] == split_file(came.read_bytes())[1]:
        return Difference(is_identical=True, same_pixels=True)
    before, after = read_whole(sent), read_whole(came)
    changed = tuple(sorted(_changed(before, after)))
    return Difference(
        is_identical=False, same_pixels=not set(PIXELS).intersection(changed), changed=changed
    )


def _changed(before: Dataset, after: Dataset) -> Iterator[str]:
    """The names of the elements of the first level that are not the same."""
    for tag in sorted({*before.keys(), *after.keys()}):
        if tag.element == 0:
            continue
        if tag not in before or tag not in after or before[tag] != after[tag]:
            yield keyword_for_tag(tag) or str(tag)


def names_patient(dataset: Dataset, patient_id: str, patient_name: str) -> bool:
    """True if an object says, decoded by its own character set, whose it is."""
    same_name = _groups(str(dataset.get("PatientName", ""))) == _groups(patient_name)
    return same_name and str(dataset.get("PatientID", "")) == patient_id


def _groups(name: str) -> list[str]:
    """The writings of a name, without delimiters that mean nothing at their ends."""
    return [each.rstrip("^") for each in name.split("=")]


def worst_of(differences: Iterable[Difference]) -> Difference | None:
    """The one that differs most; None of nothing."""
    return max(
        differences,
        key=lambda each: (not each.same_pixels, not each.is_harmless, len(each.changed)),
        default=None,
    )
