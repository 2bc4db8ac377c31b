"""Claims about candidates read from files: their values, their stack, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from support.ct import SERIES_UID, STUDY_UID, ct_stack, enhanced_ct, save

from dicom_node.errors import NoImagesError, SeriesError
from dicom_node.series.candidate_reading import candidate_of, series_below
from dicom_node.series.candidates import StackFacts
from dicom_node.series.reading import read_series

OFFSETS = (0.0, 2.0, 4.0, 6.0, 8.0)


def test_a_stack_is_measured_along_its_normal(tmp_path: Path) -> None:
    """Five slices of 3 mm, 2 mm apart, are 8 mm long from the first to the last."""
    paths = save(ct_stack(OFFSETS, SliceThickness=3.0), tmp_path)
    candidate = candidate_of(reversed(paths))

    assert candidate.stack == StackFacts(5, 2.0, 3.0, 8.0, is_axial=True)
    assert candidate.images == 5
    assert (candidate.study_instance_uid, candidate.series_instance_uid) == (
        STUDY_UID,
        SERIES_UID,
    )


def test_its_values_are_text_by_keyword(tmp_path: Path) -> None:
    stack = ct_stack(
        OFFSETS,
        SeriesDescription="股関節",
        SpecificCharacterSet="ISO_IR 192",
        ConvolutionKernel=["Br40d", "3"],
        SeriesNumber=7,
        KVP="120.0",
        PatientAge="061Y",
    )
    values = candidate_of(save(stack, tmp_path)).values

    assert values["SeriesDescription"] == "股関節"
    assert values["ImageType"] == "ORIGINAL\\PRIMARY\\AXIAL"
    assert values["ConvolutionKernel"] == "Br40d\\3"
    assert (values["SeriesNumber"], float(values["KVP"])) == ("7", 120.0)
    assert "PixelData" not in values


def test_a_frame_s_own_values_are_found_in_its_groups(tmp_path: Path) -> None:
    file = enhanced_ct(ct_stack(OFFSETS))
    candidate = candidate_of(save([file], tmp_path))

    assert candidate.values["ConvolutionKernel"] == "B30f"
    assert candidate.stack is not None
    assert (candidate.stack.slices, candidate.images) == (5, 1)


def with_one(**elements: Any) -> list[Dataset]:
    """A stack with something about its third slice."""
    stack = ct_stack(OFFSETS)
    for keyword, value in elements.items():
        setattr(stack[2], keyword, value)
    return stack


SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
BROKEN: Mapping[str, Callable[[], list[Dataset]]] = {
    "incomplete-series": lambda: ct_stack((0.0, 2.0, 4.0, 10.0, 12.0)),
    "not-axial": lambda: ct_stack(OFFSETS, orientation=SAGITTAL),
    "no-images": lambda: ct_stack(OFFSETS, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "too-few-slices": lambda: ct_stack(OFFSETS[:2]),
    "mixed-series": lambda: with_one(ConvolutionKernel="B70f"),
    "mixed-patient": lambda: with_one(PatientID="P2"),
    "geometry": lambda: with_one(PixelSpacing=[0.0, 1.0]),
    "unidentified": lambda: with_one(SOPInstanceUID=""),
}


@pytest.mark.parametrize("code", BROKEN)
def test_it_refuses_what_an_analysis_would_refuse_in_the_same_words(
    code: str, tmp_path: Path
) -> None:
    paths = save(BROKEN[code](), tmp_path)
    with pytest.raises(SeriesError) as refused:
        read_series(paths)
    stack = candidate_of(paths).stack

    assert stack is not None
    assert (stack.refusal, stack.refusal_words) == (code, str(refused.value))
    assert stack.is_axial is (None if stack.slices == 0 else code != "not-axial")


def test_a_file_that_breaks_off_is_a_refusal_and_the_rest_tells_what_it_is(
    tmp_path: Path,
) -> None:
    paths = save(ct_stack(OFFSETS, SeriesDescription="hip"), tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:400])
    candidate = candidate_of(paths)

    assert candidate.values["SeriesDescription"] == "hip"
    assert candidate.stack is not None
    assert candidate.stack.refusal == "pixel-data"


def test_files_that_are_no_dicom_are_no_candidate(tmp_path: Path) -> None:
    text = tmp_path / "text.dcm"
    text.write_text("not DICOM")

    with pytest.raises(NoImagesError):
        candidate_of([text])


def test_a_folder_s_series_are_told_apart_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    other = generate_uid()
    mine = save(ct_stack(OFFSETS), tmp_path / "a")
    others = save(ct_stack(OFFSETS, SeriesInstanceUID=other), tmp_path / "b")
    text = tmp_path / "text.dcm"
    text.write_text("not DICOM")

    assert series_below([*mine, text, *others]) == {
        SERIES_UID: tuple(mine),
        other: tuple(others),
    }
