"""The `[members]` table: what members are of, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.tiny_guest import LABELS

from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Member, Members, members_table, unpaired
from inference.models.guests.variation import AS_IT_IS, Variation
from inference.models.toml_values import MisfitError, value_of
from inference.results import SampleKind

MIRRORED = Variation(mirrored=True)


@pytest.mark.parametrize(
    ("kind", "samples_of"),
    [
        ("folds", SampleKind.FOLDS),
        ("seeds", SampleKind.SEEDS),
        ("checkpoints", SampleKind.CHECKPOINTS),
    ],
)
def test_each_set_of_weights_is_a_member_on_the_image_as_it_is(
    kind: Any, samples_of: SampleKind
):
    members = Members(kind=kind, networks=2)

    assert members.each == (Member((0,), AS_IT_IS), Member((1,), AS_IT_IS))
    assert members.samples_of is samples_of


def test_each_variation_is_answered_by_the_mean_of_all_weights():
    members = Members(kind="variations", networks=2, variations=(AS_IT_IS, MIRRORED))

    assert members.each == (Member((0, 1), AS_IT_IS), Member((0, 1), MIRRORED))
    assert members.samples_of is SampleKind.VARIATIONS


def test_without_members_all_weights_give_one_answer():
    assert Members(kind="none", networks=5).each == (Member((0, 1, 2, 3, 4), AS_IT_IS),)
    assert Members(kind="none").samples_of is SampleKind.NONE


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "folds"}, "folds need two sets of weights or more, here is one"),
        ({"kind": "none", "networks": 0}, "0 networks, not 1 to 64"),
        ({"kind": "none", "variations": [{}, {"mirrored": True}]}, "of kind 'none'"),
        ({"kind": "variations", "variations": [{}]}, "1 variations, not 2 to 64"),
        ({"kind": "variations", "variations": [{"scale": 1.1}, {}]}, "first variation changes"),
        ({"kind": "variations", "variations": [{}, {}]}, "a variation stands twice"),
        ({"kind": "dropout", "networks": 2}, "kind: Input should be 'folds'"),
        ({"kind": "variations", "variations": [{}, {"scale": 3.0}]}, "scale is 3.0, not 0.5"),
        ({"kind": "variations", "variations": [{}, {"offset_hu": -201.0}]}, "beyond 200"),
        ({"kind": "variations", "variations": [{}, {"noise_hu": -1.0}]}, "not 0 to 100"),
        (
            {"kind": "variations", "variations": [{}, {"shift_voxels": [0, 0, 65]}]},
            r"\(0, 0, 65\), not 0 to 64",
        ),
    ],
)
def test_a_table_of_members_that_cannot_be_is_refused(table: dict[str, Any], words: str):
    with pytest.raises(MisfitError, match=words):
        value_of(Members, table)


@pytest.mark.parametrize("kind", ["folds", "seeds", "checkpoints", "variations", "none"])
def test_what_an_importer_writes_is_read_again(kind: Any):
    table = members_table(kind, 3, LABELS)

    assert value_of(Members, table).kind == kind
    assert not value_of(Members, table).misfit(LABELS)


def test_an_importer_mirrors_only_where_each_side_has_its_other():
    one_sided = replace(LABELS, mirrored=LABELS.mirrored[:1])
    mirrored = members_table("variations", 1, LABELS)["variations"]
    kept = members_table("variations", 1, one_sided)["variations"]

    assert any(one["mirrored"] for one in mirrored)
    assert kept == [one for one in mirrored if not one["mirrored"]]


@pytest.mark.parametrize(
    ("stands_for", "mirrored", "alone"),
    [
        ({"a": "GMED_L", "b": "GMED_R"}, (("a", "b"),), ()),
        ({"a": "GMED_L", "b": "GMED_R"}, (), ("a", "b")),
        ({"a": "GMED_L", "b": "GMAX_R"}, (("a", "b"),), ("a", "b")),
        ({"a": "GMED_L", "b": "GMED_L"}, (("a", "b"),), ("a", "b")),
        ({"a": "GMED", "b": "SACRUM"}, (), ()),
        ({"a": "GMED", "lung_left": ""}, (), ("lung_left",)),
        ({"a": "GMED", "lung_left": "", "lung_right": ""}, (("lung_left", "lung_right"),), ()),
    ],
)
def test_a_side_needs_the_other_side_of_the_same_structure(
    stands_for: dict[str, str], mirrored: Any, alone: tuple[str, ...]
):
    labels = GuestLabels(
        names=("background", *stands_for), stands_for=stands_for, mirrored=mirrored
    )
    assert unpaired(labels) == alone
    members = Members(kind="variations", variations=(AS_IT_IS, MIRRORED))
    words = f"a mirrored image needs the other side of {', '.join(alone)}" if alone else ""
    assert members.misfit(labels) == words
