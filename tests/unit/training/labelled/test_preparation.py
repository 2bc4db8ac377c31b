"""Cases made ready for training: on the network's pixels, once, and honest about it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.training_cases import block_cases, block_volume

from inference.errors import TrainingError
from inference.geometry import Geometry
from inference.models.bayesian_unet.network import Architecture
from inference.models.bayesian_unet.preprocessing import PixelGrid
from inference.training.labelled.preparation import (
    Case,
    Preparation,
    prepare,
    ready_cases,
    slice_plan,
)
from inference.volume import Volume

SMALL = Architecture(layers=2, filters=4)
AS_IT_IS = Preparation(SMALL, PixelGrid(None, body_only=False), 0)


def test_on_its_own_pixels_and_slices_a_case_stays_as_it_is(tmp_path: Path) -> None:
    (case,) = prepare(block_cases(1), AS_IT_IS, tmp_path)
    volume, labels = block_volume(0)

    assert np.array_equal(case.hu(), volume.hu)
    assert np.array_equal(case.labels(), labels)


def test_larger_pixels_keep_labels_on_the_image_they_belong_to(tmp_path: Path) -> None:
    """2 mm pixels become 4 mm: the block of 200 HU lies where its label is."""
    preparation = replace(AS_IT_IS, grid=PixelGrid(4.0, body_only=False))

    (case,) = prepare(block_cases(1), preparation, tmp_path)

    assert case.hu().shape == (6, 20, 28)
    block = case.hu()[case.labels() == 2]
    assert np.mean(block > 100) > 0.8
    assert np.mean(case.hu()[case.labels() == 0] > 150) < 0.01


def test_slices_6_mm_apart_are_cut_at_every_millimetre(tmp_path: Path) -> None:
    """Offsets 0, 6, 8: slice 1 lies at 1/6 between the first two, slice 7 half-way."""
    plan = slice_plan(np.array([0.0, 6.0, 8.0]), 1.0)

    assert [one.below for one in plan] == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    shares = [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0, 0.5, 1]
    assert [one.share_above for one in plan] == pytest.approx(shares, abs=1e-5)


def test_the_image_is_interpolated_between_slices_and_the_label_is_the_nearer_one(
    tmp_path: Path,
) -> None:
    hu = np.stack([np.full((8, 8), value, np.int16) for value in (0, 60)])
    labels = np.stack([np.full((8, 8), value, np.uint8) for value in (1, 2)])
    volume = Volume(hu, Geometry.regular(hu.shape, (6.0, 1.0, 1.0)))
    case = Case("a", "a", "x", lambda: (volume, labels))

    (ready,) = prepare([case], replace(AS_IT_IS, slice_mm=1.0), tmp_path)

    assert ready.hu()[:, 0, 0].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert ready.labels()[:, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2]


def test_what_is_ready_is_not_read_again_until_its_files_change(tmp_path: Path) -> None:
    read: list[str] = []
    case = block_cases(1)[0]
    prepare([case], AS_IT_IS, tmp_path, read.append)
    prepare([case], AS_IT_IS, tmp_path, read.append)
    assert read == ["case-0"]

    changed = replace(case, fingerprint="other", read=lambda: block_volume(9))
    (ready,) = prepare([changed], AS_IT_IS, tmp_path, read.append)

    assert read == ["case-0", "case-0"]
    assert np.array_equal(ready.hu(), block_volume(9)[0].hu)


def test_cases_that_cannot_be_used_are_named_together_and_the_rest_is_ready(
    tmp_path: Path,
) -> None:
    def broken() -> tuple[Volume, np.ndarray]:
        raise TrainingError("no CT series there")

    good, bad, worse = block_cases(3)
    cases = [good, replace(bad, read=broken), replace(worse, read=broken)]

    with pytest.raises(TrainingError, match=r"case-1: no CT series there; case-2: no CT"):
        prepare(cases, AS_IT_IS, tmp_path)

    assert [case.name for case in ready_cases(AS_IT_IS, tmp_path)] == ["case-0"]


def test_a_case_whose_preparation_was_cut_off_is_not_ready(tmp_path: Path) -> None:
    (case,) = prepare(block_cases(1), AS_IT_IS, tmp_path)
    case.folder.rename(case.folder.with_name(".case-0.part"))

    with pytest.raises(TrainingError, match="no case is ready"):
        ready_cases(AS_IT_IS, tmp_path)


def test_a_file_that_says_nothing_of_a_case_makes_it_be_prepared_again(tmp_path: Path) -> None:
    (case,) = prepare(block_cases(1), AS_IT_IS, tmp_path)
    (case.folder / "case.json").write_text(json.dumps({"format": 99}), encoding="utf-8")

    (again,) = prepare(block_cases(1), AS_IT_IS, tmp_path)

    assert again == case


def test_other_pixels_lie_in_another_folder(tmp_path: Path) -> None:
    other = replace(AS_IT_IS, grid=PixelGrid(4.0))

    assert other.key != AS_IT_IS.key
    # What the network computes with does not matter, only what its sides must be.
    assert replace(AS_IT_IS, architecture=Architecture(layers=2, filters=9)).key == AS_IT_IS.key
