"""When a stack of slices is whole, and where it has gaps."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.series.slice_spacing import (
    find_gaps,
    find_jumps,
    lateral_jump_mm,
    shear_degrees,
    sparse_zones,
    steady_lean_degrees,
)


def places(
    offsets: list[float], thickness: list[float] | None = None
) -> list[tuple[float, float]]:
    """The gaps of a stack as (lower, upper) positions."""
    gaps = find_gaps(np.array(offsets), None if thickness is None else np.array(thickness))
    return [(gap.lower_mm, gap.upper_mm) for gap in gaps]


def from_steps(*steps: float) -> list[float]:
    return [0.0, *(float(offset) for offset in np.cumsum(steps))]


@pytest.mark.parametrize(
    ("steps", "thickness"),
    [
        ([5.0] * 9, 5.0),
        ([5.0] * 9, 1.0),
        ([2.5] * 9, 5.0),
        ([0.62, 0.63, 0.62, 0.63, 0.62], 0.625),
        ([3.0, 3.0], 3.0),
        ([4.0], None),
        ([], 5.0),
    ],
    ids=["touching", "sparse", "overlapping", "rounded", "three", "two", "one"],
)
def test_an_even_stack_is_whole(steps: list[float], thickness: float | None) -> None:
    offsets = from_steps(*steps)

    assert places(offsets, None if thickness is None else [thickness] * len(offsets)) == []


def test_zones_of_2_6_and_1_mm_are_whole_with_their_own_thickness() -> None:
    """Borders touch: (2 + 6) / 2 = 4 mm and (6 + 1) / 2 = 3.5 mm."""
    offsets = from_steps(*[2.0] * 5, 4.0, *[6.0] * 5, 3.5, *[1.0] * 5)
    thickness = [2.0] * 6 + [6.0] * 6 + [1.0] * 6

    assert places(offsets, thickness) == []


@pytest.mark.parametrize("border", [2.0, 4.0, 6.0])
def test_zones_are_whole_also_where_no_thickness_is_known(border: float) -> None:
    assert places(from_steps(*[2.0] * 4, border, *[6.0] * 4)) == []


def test_a_single_thick_slice_between_thin_ones_is_whole_when_thickness_tiles() -> None:
    """2-mm slices, two of 6 mm, 2-mm slices: borders of 4 mm."""
    offsets = from_steps(2, 2, 2, 4, 6, 4, 2, 2, 2)

    assert places(offsets, [2, 2, 2, 2, 6, 6, 2, 2, 2, 2]) == []


@pytest.mark.parametrize("thickness", [None, 1.0, 2.5, 5.0], ids=str)
def test_a_lost_slice_is_a_gap_whatever_the_thickness(thickness: float | None) -> None:
    """Also with overlap: 5-mm slices 2.5 mm apart still touch when one of them is lost."""
    offsets = [0.0, 2.5, 5.0, 10.0, 12.5, 15.0, 17.5]
    stated = None if thickness is None else [thickness] * len(offsets)

    assert places(offsets, stated) == [(5.0, 10.0)]


def test_two_lost_slices_with_one_between_are_two_gaps() -> None:
    assert places([0, 5, 10, 20, 30, 35, 40, 45]) == [(10, 20), (20, 30)]


def test_a_lost_slice_inside_the_thin_zone_is_a_gap_although_thick_zones_step_as_far() -> None:
    offsets = from_steps(*[2.0] * 4, 6.0, *[2.0] * 4, *[6.0] * 6)

    assert places(offsets) == [(8.0, 14.0)]


def thinned(*lost: int, count: int = 40) -> list[float]:
    """Slices 2 mm apart, without these."""
    return [2.0 * index for index in range(count) if index not in lost]


THINNED = {
    "in the middle": thinned(10, 12, 14, 16),
    "at the upper end": thinned(31, 33, 35, 37),
    "at the lower end": thinned(2, 4, 6, 8),
    "every third kept": thinned(10, 11, 13, 14, 16, 17, 19, 20),
    "twice, differently": thinned(4, 6, 8, 10, 20, 21, 23, 24, 26, 27),
    "all but a few": thinned(*(index for index in range(1, 40, 2) if index not in {19, 21})),
}


@pytest.mark.parametrize("offsets", THINNED.values(), ids=THINNED.keys())
@pytest.mark.parametrize("thickness", [2.0, 4.0, 5.0], ids=str)
def test_a_zone_with_a_multiple_of_the_step_of_slices_as_thick_lost_the_others(
    offsets: list[float], thickness: float
) -> None:
    steps = np.diff(offsets)

    found = places(offsets, [thickness] * len(offsets))

    assert len(found) == int((steps > 2.5).sum())


def test_one_touching_step_tells_that_all_others_lost_a_slice() -> None:
    offsets = thinned(*(index for index in range(1, 40, 2) if index != 21))

    assert len(places(offsets, [2.0] * len(offsets))) == 18


@pytest.mark.parametrize(
    ("steps", "thickness"),
    [
        ([6.0] * 5 + [4.0] + [2.0] * 5 + [1.5] + [1.0] * 5, [6.0] * 6 + [2.0] * 6 + [1.0] * 6),
        ([1.0] * 5 + [2.0] * 5, [1.0] * 6 + [2.0] * 5),
        ([6.0] * 5 + [2.0] * 5 + [1.0] * 5, [0.5] * 16),
        ([10.0] * 5 + [20.0] * 5, [1.0] * 11),
        ([2.0] * 5 + [5.0] * 5, [2.0] * 11),
        ([5.0] * 5 + [2.5] + [5.0] * 5, [5.0] * 12),
    ],
    ids=["6, 2, 1 as thick", "1, 2 as thick", "sparse", "sparser", "no multiple", "one short"],
)
def test_a_zone_that_was_scanned_so_is_whole(
    steps: list[float], thickness: list[float]
) -> None:
    numbers = list(range(len(thickness)))

    assert not find_gaps(np.array(from_steps(*steps)), np.array(thickness))
    assert not find_gaps(np.array(from_steps(*steps)), np.array(thickness), numbers)


def numbered(offsets: list[float]) -> list[int]:
    """Instance Numbers that were given out before slices were lost."""
    return [100 - round(offset / 2) for offset in offsets]


@pytest.mark.parametrize("offsets", THINNED.values(), ids=THINNED.keys())
@pytest.mark.parametrize("thickness", [None, 0.5], ids=["no thickness", "sparse throughout"])
def test_instance_numbers_tell_what_is_lost_where_thickness_does_not(
    offsets: list[float], thickness: float | None
) -> None:
    stated = None if thickness is None else np.full(len(offsets), thickness)

    gaps = find_gaps(np.array(offsets), stated, numbered(offsets))

    assert len(gaps) == int((np.diff(offsets) > 2.5).sum())


def test_a_thick_zone_that_lost_every_second_slice_is_known_by_its_numbers() -> None:
    """2-mm slices that touch, then 6-mm slices 12 mm apart, numbered 6, 8, 10, ..."""
    offsets = from_steps(*[2.0] * 5, 4.0, *[12.0] * 5)
    thickness = np.array([2.0] * 6 + [6.0] * 6)
    numbers = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16]

    gaps = find_gaps(np.array(offsets), thickness, numbers)

    assert [round(gap.expected_mm) for gap in gaps] == [6] * 5


def test_zones_of_unknown_thickness_are_whole_where_they_are_numbered_on() -> None:
    offsets = np.array(from_steps(*[2.0] * 4, *[6.0] * 4))

    assert not find_gaps(offsets, None, list(range(9)))


def test_zones_of_unknown_thickness_and_number_are_not_believed() -> None:
    """Unless their border is as wide as touching slices make it."""
    assert find_gaps(np.array(from_steps(*[2.0] * 4, *[6.0] * 4)), None, [None] * 9)
    assert not find_gaps(np.array(from_steps(*[2.0] * 4, 4.0, *[6.0] * 4)), None, [None] * 10)


def test_three_zones_of_unknown_thickness_and_number_are_whole_where_they_touch() -> None:
    """1, 6 and 2 mm: each border is as wide as the two zones that meet there make it."""
    steps = [*[1.0] * 6, 3.5, *[6.0] * 5, 4.0, *[2.0] * 6]
    numbers = [None] * (len(steps) + 1)

    assert not find_gaps(np.array(from_steps(*steps)), None, numbers)


def test_numbers_tell_what_is_lost_although_the_border_is_as_wide_as_the_step() -> None:
    """Of 2-mm slices above 6-mm ones every second is lost: 4 mm, like the border."""
    steps = [*[1.0] * 5, 3.5, *[6.0] * 5, *[4.0] * 8]
    thickness = [1.0] * 6 + [6.0] * 6 + [2.0] * 8
    numbers = [*range(12), *range(12, 28, 2)]

    gaps = find_gaps(np.array(from_steps(*steps)), np.array(thickness), numbers)

    assert len(gaps) == 8


def test_a_zone_that_may_be_thinned_out_is_told() -> None:
    """Renumbered, it looks like one that was scanned sparsely beside touching zones."""
    steps = [*[1.0] * 5, 3.5, *[6.0] * 5, 5.0, *[4.0] * 6]
    thickness = np.array([1.0] * 6 + [6.0] * 6 + [2.0] * 7)
    offsets = np.array(from_steps(*steps))

    assert not find_gaps(offsets, thickness)
    assert sparse_zones(offsets, thickness) == ((2.0, 4.0),)
    assert sparse_zones(10 * offsets, thickness) == ()
    assert sparse_zones(offsets, None) == ()


def test_two_separate_bodies_are_one_gap() -> None:
    assert places(from_steps(*[5.0] * 6, 504.0, *[1.0] * 4)) == [(30.0, 534.0)]


def test_the_gap_of_a_short_stack_is_found() -> None:
    assert places([0.0, 5.0, 15.0]) == [(5.0, 15.0)]


def test_a_gap_says_where_and_by_how_much() -> None:
    (gap,) = find_gaps(np.array([0.0, 2.5, 5.0, 10.0, 12.5, 15.0]))

    assert str(gap) == "between 5.0 and 10.0 mm (5.0 mm instead of 2.5 mm)"


def test_an_irregular_shorter_step_is_no_gap() -> None:
    assert places(from_steps(5, 3, 5, 5, 5, 5)) == []
    assert places(from_steps(5, 5, 3, 5, 5)) == []


def test_a_tilted_gantry_leans_by_its_angle() -> None:
    """Images turned by 18.5 degrees about x, table moving along z."""
    angle = np.radians(18.5)
    normal = np.array([0.0, np.sin(angle), np.cos(angle)])
    positions = np.outer(np.arange(5) * 4.0, [0, 0, 1])

    assert shear_degrees(positions, normal) == pytest.approx(18.5)


def test_a_stack_along_its_normal_does_not_lean() -> None:
    normal = np.array([0.0, 0.6, 0.8])

    assert shear_degrees(np.outer(np.arange(5) * 4.0, normal), normal) == 0.0


def test_a_sideways_jump_is_told_from_a_steady_lean() -> None:
    up = np.array([0.0, 0.0, 1.0])
    leaning = np.outer(np.arange(5.0), [0, 0.3, 1])
    jumping = np.outer(np.arange(5.0), up)
    jumping[2, 0] += 7.0

    assert lateral_jump_mm(leaning, up) == pytest.approx(0.0, abs=1e-9)
    assert lateral_jump_mm(jumping, up) == pytest.approx(7.0)


def test_a_jump_is_found_where_it_is() -> None:
    """The upper half 20 mm aside: no lean, though the first and the last lie far apart."""
    positions = np.outer(np.arange(10) * 5.0, [0.0, 0.0, 1.0])
    positions[5:, 0] += 20.0

    (jump,) = find_jumps(positions, np.array([0.0, 0.0, 1.0]))

    assert str(jump) == "shifted sideways by up to 20.0 mm between 20.0 and 25.0 mm"
    assert steady_lean_degrees(positions, np.array([0.0, 0.0, 1.0])) == 0.0


def test_a_steady_lean_has_no_jump() -> None:
    positions = np.outer(np.arange(10) * 5.0, [0.0, 0.3, 1.0])
    up = np.array([0.0, 0.0, 1.0])

    assert not find_jumps(positions, up)
    assert steady_lean_degrees(positions, up) == pytest.approx(np.degrees(np.arctan(0.3)))
