"""Labels of an nnU-Net get their meaning by name or number, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.errors import LabelTableError
from inference.models.nnunet.label_names import guest_labels, mirror_pairs

NAMES = ("background", "femur_left", "femur_right", "sacrum", "liver")


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_of_totalsegmentator_are_known() -> None:
    labels = guest_labels(NAMES, None)

    assert {one.key for one in labels.segments} == {"FEMUR_L", "FEMUR_R", "SACRUM"}
    assert labels.mirrored == (("femur_left", "femur_right"),)


def test_iliacus_and_psoas_in_one_are_neither() -> None:
    names = ("background", "iliopsoas_left", "iliopsoas_right", "hip_left", "hip_right")

    assert {one.key for one in guest_labels(names, None).segments} == {"PELVIS_L", "PELVIS_R"}


def test_names_of_this_project_stand_for_themselves() -> None:
    labels = guest_labels(("background", "GMED_R", "VM"), None)

    assert {one.key for one in labels.segments} == {"GMED_R", "VM_R", "VM_L"}


def test_a_table_goes_by_name_or_number(tmp_path: Path) -> None:
    """Label 4 is liver, which somebody called so while it is the pelvis."""
    path = table(tmp_path, '[labels]\nfemur_left = "FEMUR_L"\n4 = "PELVIS"\n')

    labels = guest_labels(NAMES, path)

    assert dict(labels.stands_for) == {"femur_left": "FEMUR_L", "liver": "PELVIS"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[labels]\ntibia = "FEMUR"', "no label 'tibia'; it has femur_left"),
        ('[labels]\n9 = "FEMUR"', "no label 9; there are 1 to 4"),
        ('[labels]\n0 = "FEMUR"', "no label 0"),
        ('[labels]\nfemur_left = "TIBIA"', "it must be one of"),
        ('[labels]\nsacrum = "SACRUM"\n3 = "SACRUM"', "sacrum stands twice"),
        ("[labels]\nsacrum = 3", "not a text"),
        ("labels = 3", "labels is no table"),
        ("[labels]\nliver = ''", "no label stands for a structure"),
        ("[labels", "not TOML"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(LabelTableError, match=words):
        guest_labels(NAMES, table(tmp_path, text))


def test_without_a_known_name_a_table_is_asked_for() -> None:
    with pytest.raises(LabelTableError, match=r"liver, spleen.*--labels"):
        guest_labels(("background", "liver", "spleen"), None)


def test_sides_change_places_where_both_are_there() -> None:
    names = ["femur_left", "femur_right", "Left kidney", "kidney Right", "rib_left_1", "L5"]

    assert mirror_pairs(names) == (("femur_left", "femur_right"),)
    assert mirror_pairs(["GMED_L", "GMED_R"]) == (("GMED_L", "GMED_R"),)
    assert mirror_pairs(["rib_left_1", "rib_right_2", "rib_right_1"]) == (
        ("rib_left_1", "rib_right_1"),
    )
