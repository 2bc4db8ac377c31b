"""Patients who are registered the wrong way round, and legs that end above the knee.

The phantom's files, changed as a wrong registration or an amputation changes them; from the
files to what the folder says, with the shipped bundle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.case_files.report_reader import reported_structures
from dicom_node.case_files.result_folder import segment_to_folder
from inference.models.bundle import load_bundle
from inference.phantom.spec import SMALL_PHANTOM

Pixels = np.ndarray

TURNS: dict[str, Callable[[Pixels], Pixels]] = {
    "upside down about the front-back axis": lambda pixels: pixels[::-1, :, ::-1],
    "upside down about the left-right axis": lambda pixels: pixels[::-1, ::-1],
    "prone for supine": lambda pixels: pixels[:, ::-1, ::-1],
    "slices reversed": lambda pixels: pixels[::-1],
    "rows reversed": lambda pixels: pixels[:, ::-1],
}


def segmented(folder: Path, change: Callable[[Pixels, Pixels], Pixels]) -> dict[str, Any]:
    """The report on the phantom's series with other pixels; `change` gets heights as well."""
    paths = write_phantom_series(folder / "series", SMALL_PHANTOM)
    images = sorted(map(pydicom.dcmread, paths), key=lambda one: one.ImagePositionPatient[2])
    heights = np.array([float(one.ImagePositionPatient[2]) for one in images])
    pixels = change(np.stack([one.pixel_array for one in images]), heights)
    for image, changed in zip(images, pixels, strict=True):
        image.PixelData = np.ascontiguousarray(changed).tobytes()
        image.save_as(image.filename)
    segment_to_folder(
        folder / "series",
        folder / "out",
        bundle=load_bundle("compact"),
        device="cpu",
        samples=4,
    )
    report: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text())
    return report


def texts(item: Dataset) -> list[str]:
    """All texts and meanings in a report."""
    found = [item.TextValue] if "TextValue" in item else []
    if "ConceptCodeSequence" in item:
        found.append(item.ConceptCodeSequence[0].CodeMeaning)
    return found + [text for one in item.get("ContentSequence", ()) for text in texts(one)]


@pytest.mark.parametrize("turn", TURNS)
def test_a_body_against_its_header_fails_and_no_side_is_believed(
    tmp_path: Path, turn: str
) -> None:
    case = segmented(tmp_path, lambda pixels, _: TURNS[turn](pixels))["case"]
    report = pydicom.dcmread(tmp_path / "out" / "SR.dcm")
    labels = SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(str(tmp_path / "out" / "labels.nii.gz"))
    )

    assert case["verdict"] == "failed"
    assert case["findings"] == ["anatomy contradicts the header"]
    assert case["coverage"]["against_header"]
    assert {one["verdict"] for one in case["structures"]} == {"failed"}
    assert {one["volume_cm3"] for one in case["structures"]} == {None}
    assert {one["mean_hu"] for one in case["structures"]} == {None}
    assert not labels.any()
    assert not (tmp_path / "out" / "SEG.dcm").exists()
    assert "Anatomy contradicts the header" in texts(report)
    assert "right and left cannot be told" in " ".join(texts(report))
    assert reported_structures(report) == ()


@pytest.mark.parametrize(("below_mm", "sides"), [(200, "L"), (70, "L"), (200, "RL")])
def test_a_leg_that_ends_above_the_knee_is_told_and_has_no_volumes(
    tmp_path: Path, below_mm: float, sides: str
) -> None:
    """Air, in the units of the file, below a height in the left half or in all of it."""

    def cut(pixels: Pixels, heights: Pixels) -> Pixels:
        first = 0 if sides == "RL" else pixels.shape[2] // 2
        changed = pixels.copy()
        changed[heights < below_mm, :, first:] = pixels[:, 0, 0].min()
        return changed

    case = segmented(tmp_path, cut)["case"]
    said = " ".join(texts(pydicom.dcmread(tmp_path / "out" / "SR.dcm")))
    cut_femora = [f"FEMUR_{side}" for side in sides]
    truncated = {one["key"] for one in case["structures"] if one["verdict"] == "truncated"}
    accepted = {one["key"] for one in case["structures"] if one["verdict"] == "accepted"}

    assert case["verdict"] == "truncated"
    assert "femur ends without a knee" in case["findings"]
    assert set(cut_femora) <= truncated
    assert set(cut_femora) <= set(case["coverage"]["stump"])
    assert {"PELVIS_L", "GMED_L", "PELVIS_R"} <= accepted
    assert "The femur ends without a knee on" in said
    assert "whose femur ends without a knee" in said
    assert "hip to knee on both sides" not in said
    assert ("FEMUR_R" in accepted) == (sides == "L")
