"""Claims about what a refusal says of the images: of each study, from whatever can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from support.ct import STUDY_UID, ct_stack, save

from dicom_node.series.reading import read_series
from dicom_node.series.study_header import read_studies

SEQUENCE = b"\x08\x00\x10\x11"
"""(0008,1110) Referenced Study Sequence."""


def break_sequence(path: Path) -> None:
    """Put a sequence of four bytes into a file that hold no item."""
    content = path.read_bytes()
    short = SEQUENCE + b"LO\x04\x00abcd"
    assert content.count(short) == 1
    path.write_bytes(content.replace(short, SEQUENCE + b"SQ\0\0\x04\0\0\0abcd"))


def saved(folder: Path, broken: int) -> list[Path]:
    """Five slices, one of them with a broken sequence."""
    stack = ct_stack()
    stack[broken].add(DataElement("ReferencedStudySequence", "LO", "abcd"))
    paths = save(stack, folder)
    break_sequence(paths[broken])
    return paths


@pytest.mark.parametrize("broken", [0, 2])
def test_a_broken_sequence_in_one_image_keeps_no_refusal_from_being_said(
    broken: int, tmp_path: Path
):
    (study,) = read_studies(saved(tmp_path, broken))

    assert study.header.StudyInstanceUID == STUDY_UID
    assert "ReferencedStudySequence" not in study.header
    assert len(study.sources) == 5


@pytest.mark.parametrize("broken", [0, 2])
def test_a_broken_sequence_is_left_out_of_what_results_take_over(broken: int, tmp_path: Path):
    series = read_series(saved(tmp_path, broken))

    assert "ReferencedStudySequence" not in series.header
    assert series.header.PatientID == "P1"


def test_a_series_names_all_its_images_also_those_that_do_not_count(tmp_path: Path):
    """The UIDs of a refusal for want of anatomy derive from all of them."""
    stack = ct_stack()
    stack[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    series = read_series(save(stack, tmp_path))

    assert len(series.slices) == len(stack) - 1
    assert [one.sop_instance_uid for one in series.instances] == [
        each.SOPInstanceUID for each in stack
    ]
