"""UIDs and seeds follow from facts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from dicom_node.uids import (
    Provenance,
    derived_uid,
    device_observer_uid,
    seed_for,
    tracking_uid,
)

FACTS = Provenance(("1.2.1", "1.2.2", "1.2.3"), "5f" * 32, "a1" * 32)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_a_derived_uid_is_valid_and_of_the_uuid_root(facts: list[str]):
    uid = derived_uid(*facts)

    assert uid.startswith("2.25.")
    assert UID(uid).is_valid
    assert len(uid) <= 64


def test_a_derived_uid_never_changes():
    """Another value here would rename every result in every archive."""
    assert derived_uid("a fact") == "2.25.170871272111124846998464668744524165608"


def test_where_one_fact_ends_matters():
    assert derived_uid("ab", "c") != derived_uid("a", "bc")


def test_neither_order_nor_repetition_of_the_sources_matters():
    shuffled = replace(FACTS, source_sop_instance_uids=("1.2.3", "1.2.1", "1.2.2", "1.2.1"))

    assert shuffled.instance_uid("SEG") == FACTS.instance_uid("SEG")
    assert shuffled.series_uid("SEG") == FACTS.series_uid("SEG")


@pytest.mark.parametrize(
    "change",
    [
        {"source_sop_instance_uids": ("1.2.1", "1.2.2")},
        {"weights_sha256": "60" * 32},
        {"settings_hash": "a2" * 32},
        {"revision": 2},
    ],
)
def test_any_other_fact_gives_another_object(change: dict[str, object]):
    other = replace(FACTS, **change)

    assert other.instance_uid("SEG") != FACTS.instance_uid("SEG")
    assert other.series_uid("SEG") != FACTS.series_uid("SEG")
    mine, others = (each.dimension_organization_uid("SEG") for each in (FACTS, other))
    assert mine != others


def test_every_kind_of_object_has_its_own_instance_and_series():
    kinds = ("SEG", "SR", "SC", "KO")
    uids = [FACTS.instance_uid(k) for k in kinds] + [FACTS.series_uid(k) for k in kinds]

    assert len(set(uids)) == 8


def test_tracking_outlives_a_revision_and_tells_the_sides_apart():
    assert tracking_uid("1.2", "GMED_L") == tracking_uid("1.2", "GMED_L")
    assert tracking_uid("1.2", "GMED_L") != tracking_uid("1.2", "GMED_R")
    assert tracking_uid("1.2", "GMED_L") != tracking_uid("1.3", "GMED_L")


def test_a_new_version_is_a_new_observer():
    assert device_observer_uid("site A", "0.1.0") != device_observer_uid("site A", "0.2.0")
    assert device_observer_uid("site A", "0.1.0") != device_observer_uid("site B", "0.1.0")


@given(st.lists(st.text("0123456789.", min_size=1, max_size=64)))
def test_the_seed_fits_into_31_bits_and_does_not_depend_on_order(uids: list[str]):
    seed = seed_for(uids, "5f" * 32, "a1" * 32)

    assert 0 <= seed < 2**31
    assert seed == seed_for(reversed(uids), "5f" * 32, "a1" * 32)


def test_another_bundle_or_setting_draws_other_samples():
    seeds = {
        seed_for(["1.2"], "5f" * 32, "a1" * 32),
        seed_for(["1.2"], "60" * 32, "a1" * 32),
        seed_for(["1.2"], "5f" * 32, "a2" * 32),
        seed_for(["1.3"], "5f" * 32, "a1" * 32),
    }

    assert len(seeds) == 4
