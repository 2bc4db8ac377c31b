"""A model card's figures come from scored cases, and stand where the card wants them."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name

from inference.geometry import Geometry
from inference.models.bundle import load_bundle
from inference.results import Score
from inference.structures import STRUCTURES
from inference.training.calibrate import fit
from inference.training.detection import Detection
from inference.training.model_card.card import (
    FIGURES,
    PICTURE_COLUMNS,
    PICTURE_WIDTH,
    Evaluation,
    figures,
    gate_words,
    picture,
    read_volume,
    samples_words,
    tried_words,
    with_figures,
)
from inference.training.scoring import Scored
from inference.volume import Volume


def case(name: str, dice: float, *, corrupted: bool = False) -> Scored:
    every = np.full(len(STRUCTURES), dice)
    return Scored(name, corrupted, every, {Score.UNCERTAINTY: (1 - every) / 50})


@pytest.fixture
def found() -> Evaluation:
    clean = tuple(case(f"body {k}", 0.9 + 0.01 * k) for k in range(5))
    spoiled = tuple(case(f"noisy {k}", 0.4 + 0.1 * k, corrupted=True) for k in range(3))
    return Evaluation(clean, spoiled, (case("demo", 0.88),))


def test_the_table_has_a_row_for_every_structure_with_its_own_figures(
    found: Evaluation,
) -> None:
    """Clean .90 to .94: median .92, worst .90; spoiled .4 .5 .6: median .5; one phantom .88."""
    calibration = fit([*found.clean, *found.spoiled], "eight", dt.date(2025, 1, 1))

    rows = figures(found, calibration).splitlines()[4:]

    assert len(rows) == len(STRUCTURES)
    assert rows[0] == "| PELVIS | 0.920 | 0.900 | 0.500 | 0.880 | 1.00 | 1.00 |  |"


def test_a_structure_without_cases_or_limits_is_shown_as_such(found: Evaluation) -> None:
    for one in (*found.clean, *found.spoiled, *found.phantoms):
        one.dice[0] = np.nan
    calibration = fit([*found.clean, *found.spoiled], "eight", dt.date(2025, 1, 1))

    assert "| PELVIS | - | - | - | - | - | - | none |" in figures(found, calibration)


def test_the_gate_is_described_by_its_data_and_its_auroc(found: Evaluation) -> None:
    calibration = fit([*found.clean, *found.spoiled], "eight bodies", dt.date(2025, 1, 1))

    words = gate_words(found, calibration)

    assert words.startswith("eight bodies; fitted on 2025-01-01.")
    assert "over 8 cases: 1.000 (inaccurate), 1.000 (failed)" in words


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    card = f"# name\n{FIGURES[0]}\nold\n{FIGURES[1]}\nwords\n"

    once = with_figures(card, "new")

    assert once == f"# name\n{FIGURES[0]}\n\nnew\n\n{FIGURES[1]}\nwords\n"
    assert with_figures(once, "new") == once


def test_a_card_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        with_figures("# name\n", "new")


def test_a_scan_is_read_into_the_patient_frame_however_it_is_stored(tmp_path: Path) -> None:
    """Stored feet last and right to left: one bright voxel at the head, left and front."""
    array = np.full((3, 4, 5), -1000, np.int16)
    array[2, 0, 4] = 300  # head, front, left in LPS order
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.6, 7.0))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAI"), str(tmp_path / "scan.nii.gz"))

    volume = read_volume(tmp_path / "scan.nii.gz")

    assert np.argwhere(volume.hu == 300).tolist() == [[2, 0, 4]]
    assert volume.geometry.spacing_mm == pytest.approx((0.6, 0.5))


def test_a_picture_shows_the_body_alone_in_rows_of_three() -> None:
    """A body of 40 x 80 pixels in a picture of 64 x 128: twice as wide as high, twice."""
    hu = np.full((4, 64, 128), -1000, np.int16)
    hu[:, 10:50, 20:100] = 40
    volume = Volume(hu, Geometry.regular(hu.shape, (5.0, 2.0, 2.0)))

    drawn = picture(volume, load_bundle())

    assert drawn.shape == (2 * PICTURE_WIDTH // 2, PICTURE_COLUMNS * PICTURE_WIDTH, 3)
    assert drawn.min() > 30


def test_the_card_says_how_the_gate_does_on_other_bodies_and_of_how_many_failures() -> None:
    words = tried_words(Detection(12, 0.91, None, 0.954, (31, 240)))

    assert "12 segmentations of other bodies" in words
    assert "0.910 (inaccurate), - (failed)" in words
    assert "0.954, where 31 of 240 failed" in words


def test_the_card_says_how_many_samples_and_shows_why() -> None:
    words = samples_words(10, "## Table 9\n\n| samples | Dice |\n")

    assert words.startswith("Monte Carlo samples: 10, chosen by this table.\n\n## Table 9")
