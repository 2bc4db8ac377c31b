"""Claims about the one table of result objects, and what a destination gets of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.results.kinds import (
    FORMS,
    GOES_OUT,
    REPORTS,
    SEGMENTATIONS,
    TRAITS,
    Form,
    ResultKind,
    instead_of,
    kinds_for,
    needed_before,
    with_fallbacks,
)
from dicom_node.settings.profile import Profile

PROFILES = st.builds(
    Profile,
    segmentation=st.sampled_from(["binary", "labelmap", "groups"]),
    report=st.sampled_from(["record", "key_slice", "both"]),
    qc_image=st.sampled_from(["on_failure", "always", "never"]),
    density_picture=st.booleans(),
    density_slices=st.booleans(),
    uncertainty_map=st.booleans(),
    pdf_summary=st.booleans(),
    reject_replaced=st.booleans(),
    even_segmentation=st.booleans(),
)


def share(*, accepted: bool = True, replaces: bool = False, **keys: Any) -> list[str]:
    return [*kinds_for(Profile(**keys), accepted=accepted, replaces=replaces)]


def test_every_rendering_says_what_it_is() -> None:
    assert set(TRAITS) == set(ResultKind)


def test_no_two_kinds_share_the_digits_of_their_series_number() -> None:
    numbers = {one: traits.number for one, traits in TRAITS.items()}

    assert len(set(numbers.values())) == len(ResultKind)
    assert all(1 <= number <= 99 for number in numbers.values())


def test_every_kind_has_a_rule_for_when_it_goes_out() -> None:
    assert set(GOES_OUT) == set(ResultKind)


def test_objects_of_one_destination_are_told_apart_by_description() -> None:
    """A destination gets one form, so only the same object in another form may share one."""
    for one, other in product(ResultKind, ResultKind):
        if one.traits.title == other.traits.title and one is not other:
            assert FORMS[one] is not FORMS[other]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, ["SEG", "SR"]),
        ({"segmentation": "labelmap"}, ["SEG-LABELMAP", "SR-LABELMAP"]),
        ({"segmentation": "groups"}, ["SEG-BONES", "SEG-HIP", "SEG-THIGH", "SR-GROUPS"]),
        ({"report": "key_slice"}, ["SEG", "SR-KEYSLICE"]),
        ({"report": "both"}, ["SEG", "SR", "SR-KEYSLICE"]),
        ({"qc_image": "always"}, ["SEG", "SR", "SC"]),
        (
            {"density_picture": True, "uncertainty_map": True, "pdf_summary": True},
            ["SEG", "SR", "SC-DENSITY", "PM", "PDF"],
        ),
        ({"density_slices": True}, ["SEG", "SR", "SC-DENSITY-SLICES"]),
        ({"reject_replaced": True}, ["SEG", "SR"]),
        ({"even_segmentation": True}, ["SEG", "SEG-EVEN", "SR"]),
    ],
)
def test_an_accepted_case_gives_a_destination_what_its_profile_names(
    keys: dict[str, Any], expected: list[str]
) -> None:
    assert share(**keys) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("on_failure", ["SEG", "SR", "SC", "KO"]),
        ("always", ["SEG", "SR", "SC", "KO"]),
        ("never", ["SEG", "SR"]),
    ],
)
def test_a_case_that_is_not_accepted_gives_a_picture_and_a_flag(
    policy: str, expected: list[str]
) -> None:
    assert share(accepted=False, qc_image=policy) == expected


def test_earlier_results_are_rejected_only_where_there_are_some() -> None:
    assert share(replaces=True, reject_replaced=True) == ["SEG", "SR", "KO-REJECTED"]
    assert share(replaces=True) == ["SEG", "SR"]


@given(PROFILES, st.booleans(), st.booleans())
def test_what_must_go_first_is_sent_first_and_goes_too(
    profile: Profile, accepted: bool, replaces: bool
) -> None:
    """The order of the table is the order of sending and of building."""
    wanted = kinds_for(profile, accepted=accepted, replaces=replaces)
    order = list(ResultKind)
    for one in wanted:
        assert all(order.index(before) < order.index(one) for before in needed_before(one))
        if one in FORMS:
            assert needed_before(one) <= set(wanted)


def test_a_report_needs_the_segmentations_of_its_own_form() -> None:
    assert needed_before(ResultKind.SR_GROUPS) == {
        ResultKind.SEG_BONES,
        ResultKind.SEG_HIP,
        ResultKind.SEG_THIGH,
    }
    assert needed_before(ResultKind.SR_KEY_SLICE) == frozenset()


def test_a_rejection_waits_for_all_that_replaces_the_rejected() -> None:
    assert needed_before(ResultKind.KO_REJECTED) == {
        *SEGMENTATIONS,
        *REPORTS,
        ResultKind.SEG_EVEN,
    }


def test_binary_stands_in_for_a_label_map_and_nothing_for_any_other_form() -> None:
    assert instead_of(ResultKind.SEG_LABELMAP) == {ResultKind.SEG}
    assert instead_of(ResultKind.SR_LABELMAP) == {ResultKind.SR}
    others = set(ResultKind) - {ResultKind.SEG_LABELMAP, ResultKind.SR_LABELMAP}
    assert all(not instead_of(one) for one in others)


def test_what_may_have_to_stand_in_is_built_with_it_but_no_report_that_nobody_wants() -> None:
    labelmap = Form.LABELMAP.segmentations

    assert with_fallbacks(labelmap) == {ResultKind.SEG_LABELMAP, ResultKind.SEG}
    assert with_fallbacks([ResultKind.PM]) == {ResultKind.PM}
