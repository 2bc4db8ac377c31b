"""The grid: points, slice extents, and turning pixels to the patient frame and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.geometry import Geometry, Orientation, even_slices, slice_extents_mm


def grid() -> Geometry:
    """Two slices of 3 x 4 pixels, 5 mm apart, pixels 1 mm high and half a mm wide."""
    return Geometry.regular((2, 3, 4), (5.0, 1.0, 0.5), origin_mm=(-1.0, 10.0, 100.0))


def test_a_voxel_of_5_by_1_by_half_a_mm_is_two_and_a_half_cubic_mm():
    assert grid().voxel_volumes_mm3 == pytest.approx([2.5, 2.5])


def test_columns_run_to_the_patients_left_rows_to_the_back_slices_to_the_head():
    """Index [1, 2, 3]: x = -1 + 3 * .5, y = 10 + 2 * 1, z = 100 + 5."""
    points = grid().to_patient_mm(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]))

    assert points == pytest.approx(np.array([[-1.0, 10.0, 100.0], [0.5, 12.0, 105.0]]))
    assert grid().normal == pytest.approx([0.0, 0.0, 1.0])


def test_slices_of_2_and_6_mm_in_one_volume_count_with_their_own_thickness():
    """Centres 2, 2, 4 (= 1 + 3), 6 mm apart: the half thicknesses touch everywhere."""
    offsets = np.array([0.0, 2.0, 4.0, 8.0, 14.0])
    thickness = np.array([2.0, 2.0, 2.0, 6.0, 6.0])

    assert slice_extents_mm(offsets, thickness) == pytest.approx(thickness)


def test_overlapping_slices_count_with_their_spacing():
    """2 mm slices every 1 mm must not count twice."""
    extents = slice_extents_mm(np.array([0.0, 1.0, 2.0]), np.array([2.0, 2.0, 2.0]))

    assert extents == pytest.approx([1.0, 1.0, 1.0])


def test_without_a_thickness_a_slice_reaches_half_way_to_its_neighbours():
    """Steps 2 and 6: 1 + 1, 1 + 3, 3 + 3."""
    extents = slice_extents_mm(np.array([0.0, 2.0, 8.0]), None)

    assert extents == pytest.approx([2.0, 4.0, 6.0])


@given(thickness=st.lists(st.sampled_from([0.5, 1.0, 2.0, 6.0]), min_size=2, max_size=20))
def test_touching_slices_fill_the_stack_without_gap_or_overlap(thickness: list[float]):
    half = np.asarray(thickness) / 2
    offsets = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:])])

    extents = slice_extents_mm(offsets, np.asarray(thickness))

    assert extents.sum() == pytest.approx(sum(thickness))


@given(st.booleans(), st.booleans(), st.booleans())
def test_turning_to_the_patient_and_back_changes_nothing(
    transposed: bool, rows: bool, columns: bool
):
    source = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    orientation = Orientation(transposed, rows, columns)

    assert (orientation.to_source(orientation.to_patient(source)) == source).all()


def test_a_geometry_refuses_extents_that_do_not_fit_its_slices():
    with pytest.raises(ValueError, match="2 positive values"):
        Geometry(
            positions_mm=np.zeros((2, 3)),
            extents_mm=np.ones(3),
            row_axis=np.array([0.0, 1.0, 0.0]),
            column_axis=np.array([1.0, 0.0, 0.0]),
            spacing_mm=(1.0, 1.0),
            rows=1,
            columns=1,
        )


def stack(extents_mm: list[float]) -> Geometry:
    """Touching slices of these extents, the lowest from 100 mm on, of one voxel each."""
    extents = np.array(extents_mm)
    positions = np.zeros((len(extents), 3))
    positions[:, 2] = 100.0 + np.cumsum(extents) - extents / 2
    one = Geometry.regular((len(extents), 1, 1), (1.0, 1.0, 1.0))
    return Geometry(
        positions, extents, one.row_axis.copy(), one.column_axis.copy(), (1.0, 1.0), 1, 1
    )


def test_an_even_stack_is_its_own_even_slices():
    even = even_slices(stack([5.0, 5.0, 5.0]))

    assert even.shown.tolist() == [0, 1, 2]
    assert (even.first_mm, even.step_mm) == pytest.approx((102.5, 5.0))


def test_slices_of_6_2_and_1_mm_are_shown_once_for_each_mm():
    even = even_slices(stack([6.0, 2.0, 1.0, 1.0]))

    assert even.shown.tolist() == [0] * 6 + [1] * 2 + [2, 3]
    assert even.offsets_mm == pytest.approx(100.5 + np.arange(10))


@given(st.lists(st.floats(0.5, 10.0), min_size=2, max_size=40))
def test_every_slice_is_shown_in_its_place_on_even_slices(extents_mm: list[float]):
    """Each as often as its extent says, to within one; the order stays."""
    geometry = stack(extents_mm)
    even = even_slices(geometry)
    apart = np.abs(even.offsets_mm - geometry.slice_offsets_mm[even.shown])

    assert (np.diff(even.shown) >= 0).all()
    if len(even.shown) > len(extents_mm):
        assert set(even.shown) == set(range(len(extents_mm)))
        assert (apart[:-1] <= geometry.extents_mm[even.shown][:-1] / 2 + 0.01).all()


def laid(offsets_mm: NDArray[np.float64], thickness_mm: NDArray[np.float64]) -> Geometry:
    """Slices at these offsets, of one voxel each, with the extents that follow."""
    positions = np.zeros((len(offsets_mm), 3))
    positions[:, 2] = offsets_mm
    one = Geometry.regular((len(offsets_mm), 1, 1), (1.0, 1.0, 1.0))
    extents = slice_extents_mm(offsets_mm, thickness_mm)
    return Geometry(
        positions, extents, one.row_axis.copy(), one.column_axis.copy(), (1.0, 1.0), 1, 1
    )


@pytest.mark.parametrize(("thickness_mm", "step_mm"), [(0.625, 0.6), (1.25, 1.2), (0.75, 0.7)])
def test_thin_slices_that_overlap_a_little_do_not_add_up(thickness_mm: float, step_mm: float):
    """A thousand of them, and a hundred thicker ones above: no longer than the body."""
    thin = step_mm * np.arange(1000)
    thick = thin[-1] + (step_mm + 2.5) / 2 + 2.5 * np.arange(100)
    thicknesses = np.repeat([thickness_mm, 2.5], [1000, 100])
    geometry = laid(np.concatenate([thin, thick]), thicknesses)
    even = even_slices(geometry)
    apart = np.abs(even.offsets_mm - geometry.slice_offsets_mm[even.shown])

    assert geometry.extents_mm.sum() == pytest.approx(1000 * step_mm + 250, abs=1.0)
    assert apart.max() <= 1.25 + step_mm


def test_one_odd_step_where_passes_meet_is_not_the_step_of_all():
    """40 slices every 15 mm, but two a tenth of a millimetre apart."""
    offsets = np.concatenate([15.0 * np.arange(20), 285.1 + 15.0 * np.arange(20)])
    even = even_slices(laid(offsets, np.full(40, 15.0)))

    assert len(even.shown) < 100
