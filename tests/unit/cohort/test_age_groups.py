"""Decades put together until each is large enough to be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.cohort.age_groups import AgeGroup, age_groups


def test_small_decades_go_with_the_next_older_and_the_oldest_with_the_one_before():
    """3 below 50, 5 in the fifties, 6 in the sixties, 2 above: below 60, 60 and over."""
    ages = [25, 41, 49, 50, 51, 52, 53, 54, 60, 61, 62, 63, 64, 65, 70, 88]

    assert [group.words for group in age_groups(ages)] == ["below 60", "60 and over"]


def test_four_people_are_no_group():
    assert age_groups([50, 60, 70, 80, float("nan")]) == ()


def test_one_decade_alone_is_all_ages():
    assert [group.words for group in age_groups([61.0] * 9)] == ["all ages"]


@given(st.lists(st.floats(0, 110), min_size=5, max_size=60))
def test_every_age_has_one_group_and_every_group_five(ages: list[float]):
    groups = age_groups(ages)
    members = np.array([group.members(np.array(ages)) for group in groups])

    assert (members.sum(axis=0) == 1).all()
    assert (members.sum(axis=1) >= 5).all()


@pytest.mark.parametrize(("age", "inside"), [(60.0, True), (69.9, True), (70.0, False)])
def test_a_decade_ends_before_the_next_begins(age: float, inside: bool):
    group = AgeGroup(60, 70)

    assert group.holds(age) is inside
    assert group.words == "60 to 69"
