"""Spacing, gaps, duplicates: what a stack may be, and how a refusal names what is wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid
from support.ct import (
    ct_slice,
    ct_stack,
)
from support.read_series import read

from dicom_node.errors import (
    DuplicateSliceError,
    IncompleteSeriesError,
    MixedSeriesError,
    TooFewSlicesError,
)


def test_zones_of_2_6_and_1_mm_are_measured_with_their_own_thickness(tmp_path: Path) -> None:
    offsets = [0, 2, 4, 8, 14, 20, 23.5, 24.5, 25.5]
    thickness = [2, 2, 2, 6, 6, 6, 1, 1, 1]
    datasets = ct_stack(offsets)
    for dataset, value in zip(datasets, thickness, strict=True):
        dataset.SliceThickness = value

    series = read(datasets, tmp_path)

    np.testing.assert_allclose(series.volume.geometry.extents_mm, thickness)
    assert any("unevenly spaced" in note for note in series.notes)


def test_a_lost_slice_is_named_by_position_and_may_come_later(tmp_path: Path) -> None:
    with pytest.raises(IncompleteSeriesError, match=r"between 4\.0 and 8\.0 mm") as refused:
        read(ct_stack([0, 2, 4, 8, 10, 12]), tmp_path)

    assert refused.value.retryable


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    datasets = ct_stack()

    series = read([*datasets, datasets[2]], tmp_path)

    assert len(series.slices) == 5
    assert [out.reason for out in series.left_out] == ["exact duplicate of another slice"]


def test_the_same_image_under_another_uid_counts_once(tmp_path: Path) -> None:
    datasets = ct_stack()
    copy = ct_slice(datasets[2].ImagePositionPatient)

    series = read([*datasets, copy], tmp_path)

    assert len(series.slices) == 5
    assert len(series.left_out) == 1


def test_different_images_at_one_position_are_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    other = ct_slice(datasets[2].ImagePositionPatient, hu=np.full((6, 8), 40))

    with pytest.raises(DuplicateSliceError, match=r"at 4\.0 mm"):
        read([*datasets, other], tmp_path)


def test_one_uid_naming_two_images_is_refused(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[3].SOPInstanceUID = datasets[1].SOPInstanceUID

    with pytest.raises(DuplicateSliceError, match="carry one UID"):
        read(datasets, tmp_path)


@pytest.mark.parametrize("decimals", [3, 2, 1, 0])
@pytest.mark.parametrize("same_uid", [False, True], ids=["another UID", "the same UID"])
def test_copies_with_positions_rounded_differently_count_once(
    decimals: int, same_uid: bool, tmp_path: Path
) -> None:
    """The copy is kept that says most exactly where it lies."""
    exact = ct_stack([index * 5.0 + 0.2468 for index in range(8)], origin_mm=(-4.2468, -3, 0))
    rounded = copy.deepcopy(exact)
    for dataset in rounded:
        place = [round(float(value), decimals) for value in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = place
        dataset.SOPInstanceUID = dataset.SOPInstanceUID if same_uid else generate_uid()

    series = read([*rounded, *exact], tmp_path)

    assert len(series.slices) == 8
    assert {out.reason for out in series.left_out} == {"exact duplicate of another slice"}
    np.testing.assert_allclose(series.volume.geometry.positions_mm[0, 2], 0.2468)


def test_blank_neighbours_are_no_copies(tmp_path: Path) -> None:
    """Slices of air beyond the body have the same pixels, and half a millimetre apart."""
    air = np.full((6, 8), -1000)

    series = read(ct_stack([index * 0.5 for index in range(8)], hu=air), tmp_path)

    assert len(series.slices) == 8


@pytest.mark.parametrize("thickness", [2.0, 4.0, None])
def test_every_second_slice_lost_in_a_part_is_no_zone(
    thickness: float | None, tmp_path: Path
) -> None:
    datasets = ct_stack([index * 2.0 for index in range(20)], SliceThickness=thickness)
    kept = [dataset for index, dataset in enumerate(datasets) if index not in {6, 8, 10, 12}]

    with pytest.raises(IncompleteSeriesError, match=r"between 10\.0 and 14\.0 mm"):
        read(kept, tmp_path)


@pytest.mark.parametrize("one_in", [1, 2, 5])
def test_an_even_series_that_its_numbers_call_thinned_out_is_read_and_told(
    one_in: int, tmp_path: Path
) -> None:
    whole = ct_stack([index * 1.0 for index in range(20)])

    notes = read(whole[::one_in], tmp_path).notes

    told = f"by thickness and Instance Number only one slice in {one_in} is here"
    assert notes == ((told,) if one_in > 1 else ())


def test_two_acquisitions_over_each_other_are_a_mixed_series(tmp_path: Path) -> None:
    early = ct_stack(AcquisitionNumber=1)
    late = ct_stack(AcquisitionNumber=2, hu=np.full((6, 8), 40))

    with pytest.raises(MixedSeriesError, match="two acquisitions"):
        read([*early, *late], tmp_path)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices_are_refused(count: int, tmp_path: Path) -> None:
    with pytest.raises(TooFewSlicesError, match=f"{count} slice"):
        read(ct_stack()[:count], tmp_path)
