"""Claims about what came back, beside what was sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from support.ct import ct_stack

from dicom_node.node.acceptance.comparing import difference, names_patient, worst_of

Change = Callable[[Dataset], None]


def files(folder: Path, change: Change) -> tuple[Path, Path]:
    """An object, and what became of it."""
    folder.mkdir(parents=True, exist_ok=True)
    image = ct_stack()[0]
    image.save_as(folder / "sent.dcm", enforce_file_format=True)
    change(image)
    image.save_as(folder / "came.dcm", enforce_file_format=True)
    return folder / "sent.dcm", folder / "came.dcm"


def nothing(_: Dataset) -> None:
    """Leave it."""


def other_meta(image: Dataset) -> None:
    image.file_meta.ImplementationVersionName = "ARCHIVE"


def other_encoding(image: Dataset) -> None:
    image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def coerced(image: Dataset) -> None:
    image.AccessionNumber = "OF THE ARCHIVE"


def renumbered(image: Dataset) -> None:
    image.InstanceNumber = 99


def stripped(image: Dataset) -> None:
    del image.KVP


def flipped(image: Dataset) -> None:
    image.PixelData = bytes(len(image.PixelData))


@pytest.mark.parametrize(
    ("change", "is_identical", "is_harmless", "words"),
    [
        (nothing, True, True, "identical"),
        (other_meta, True, True, "identical"),
        (other_encoding, False, True, "encoded otherwise"),
        (coerced, False, True, "changed: AccessionNumber"),
        (renumbered, False, False, "changed: InstanceNumber"),
        (flipped, False, False, "changed: PixelData"),
    ],
)
def test_what_an_archive_may_change_is_told_from_what_it_may_not(
    change: Change, is_identical: bool, is_harmless: bool, words: str, tmp_path: Path
) -> None:
    found = difference(*files(tmp_path, change))

    assert (found.is_identical, found.is_harmless) == (is_identical, is_harmless)
    assert words in found.words


def test_the_worst_is_one_whose_pixels_changed(tmp_path: Path) -> None:
    changes = {"coerced": coerced, "flipped": flipped, "nothing": nothing}
    found = [difference(*files(tmp_path / name, each)) for name, each in changes.items()]

    worst = worst_of(found)

    assert worst is not None
    assert not worst.same_pixels
    assert worst_of([]) is None


@pytest.mark.parametrize(
    ("name", "patient_id", "is_same"),
    [
        ("Test^A=試験", "T1", True),
        ("Test^A^^=試験", "T1", True),
        ("Test^A", "T1", False),
        ("Test^A=??", "T1", False),
        ("Test^A=試験", "T2", False),
    ],
)
def test_a_patient_is_the_same_in_every_writing(
    name: str, patient_id: str, is_same: bool
) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = name, patient_id

    assert names_patient(dataset, "T1", "Test^A=試験") is is_same
