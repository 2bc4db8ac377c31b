"""From the CT of whole limbs with implants to what the folder says, with the shipped bundle.

Two samples and coarse pixels: a matter of seconds. What is found is named per side and bone.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from dicom_node.case_files.phantom_series import (
    DEFAULT_HEADER,
    PatientPosition,
    write_phantom_series,
)
from dicom_node.case_files.result_folder import segment_to_folder
from inference.models.bundle import load_bundle
from inference.phantom.body import BodySpec
from inference.phantom.implants import Implant, ImplantKind
from inference.phantom.spec import TWELVE_BIT_HU, PhantomSpec, Zone, with_lower_legs
from inference.structures import Side

SCAN = with_lower_legs(
    PhantomSpec(
        zones=(Zone(12.0, 595.0),),
        pixel_mm=2.4,
        rows=176,
        columns=176,
        maximum_hu=TWELVE_BIT_HU,
    )
)
"""82 slices of 12 mm, from the soles to above the pelvis."""

FEET_FIRST = replace(DEFAULT_HEADER, position=PatientPosition.FEET_FIRST_SUPINE, shuffled=True)


def segmented(folder: Path, *implants: Implant, spec: PhantomSpec = SCAN) -> dict[str, Any]:
    """The report on a phantom that was segmented into `folder/out`."""
    body = replace(spec.body, implants=implants)
    write_phantom_series(folder / "series", replace(spec, body=body), FEET_FIRST)
    segment_to_folder(
        folder / "series",
        folder / "out",
        bundle=load_bundle("compact"),
        device="cpu",
        samples=2,
    )
    report: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text())
    return report


def texts(item: Dataset) -> list[str]:
    """All texts and meanings in a report."""
    found = [item.TextValue] if "TextValue" in item else []
    if "ConceptCodeSequence" in item:
        found.append(item.ConceptCodeSequence[0].CodeMeaning)
    return found + [text for one in item.get("ContentSequence", ()) for text in texts(one)]


def test_whole_limbs_with_two_implants_are_cut_and_flagged(tmp_path: Path) -> None:
    hip, knee = (
        Implant(ImplantKind.HIP, Side.LEFT),
        Implant(ImplantKind.KNEE, Side.RIGHT),
    )
    report = segmented(tmp_path, hip, knee)
    coverage, metal = report["case"]["coverage"], report["case"]["metal"]
    legs = coverage["lower_legs"]
    labels = SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(str(tmp_path / "out" / "labels.nii.gz"))
    )
    said = " ".join(texts(pydicom.dcmread(tmp_path / "out" / "SR.dcm")))

    assert coverage["region"] == "hip to knee"
    assert [one["side"] for one in legs["knees"]] == ["R", "L"]
    assert [one["height_mm"] for one in legs["knees"]] == pytest.approx([0, 0], abs=40)
    assert legs["slices"] == pytest.approx((400 - 40) / 12, abs=4)
    assert not labels[: legs["slices"]].any()
    assert metal["sides"] == ["R", "L"]
    assert {"FEMUR_R", "FEMUR_L", "PELVIS_L"} <= set(metal["held_by"])
    assert "PELVIS_R" not in metal["spoiled"]
    assert {"GMED_L", "VM_R"} <= set(metal["spoiled"])
    assert report["case"]["verdict"] == "spoiled by metal"
    assert "slices of the lower legs left out" in said
    assert "Metal in: pelvis (left), femur (both sides)" in said
    assert "Lower leg left out" in said


@pytest.mark.parametrize(
    ("kind", "side"),
    [
        (ImplantKind.NAIL, Side.LEFT),
        (ImplantKind.PLATE, Side.RIGHT),
        (ImplantKind.SCREWS, Side.RIGHT),
    ],
)
def test_a_femurs_implant_is_flagged_on_its_side_alone(
    tmp_path: Path, kind: ImplantKind, side: Side
) -> None:
    """Screws are seen in slices of 12 mm too."""
    thigh = replace(SCAN, body=BodySpec(), lower_mm=-20.0, zones=(Zone(12.0, 595.0),))
    metal = segmented(tmp_path, Implant(kind, side), spec=thigh)["case"]["metal"]

    assert metal["sides"] == [side.value]
    assert metal["held_by"] == [f"FEMUR_{side}"]
    assert {key.rpartition("_")[2] for key in metal["spoiled"]} == {side.value}
    assert metal["outside_cm3"] == 0


def test_contrast_agent_in_whole_limbs_is_no_metal(tmp_path: Path) -> None:
    report = segmented(tmp_path, spec=replace(SCAN, contrast_hu=400.0))
    case = report["case"]

    assert np.isclose(case["metal"]["volume_cm3"], 0)
    assert case["metal"]["spoiled"] == []
    assert case["coverage"]["lower_legs"]["slices"] == pytest.approx(30, abs=4)
