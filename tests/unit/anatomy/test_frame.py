"""The body against its frame: what shows that it lies otherwise than the header says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from support.volumes import body

from inference.anatomy.frame import Exchanged, exchanged_ends, exchanged_words
from inference.geometry import Geometry
from inference.phantom.render import phantom
from inference.phantom.spec import LEG_PHANTOM, SMALL_PHANTOM, PhantomSpec, Zone
from inference.structures import BY_ABBREVIATION, SEGMENTS

LABEL_OF = np.array([0, *(segment.structure.label for segment in SEGMENTS)], dtype=np.uint8)
Labels = np.ndarray


@cache
def scan(spec: PhantomSpec) -> tuple[Labels, Geometry]:
    """The true labels of a phantom, without sides, and their grid."""
    found = phantom(spec)
    return LABEL_OF[found.segments], found.volume.geometry


def between(lower_mm: float, upper_mm: float) -> PhantomSpec:
    return replace(SMALL_PHANTOM, lower_mm=lower_mm, zones=(Zone(8.0, upper_mm),))


TURNED = {
    "as it is": (slice(None), slice(None), slice(None)),
    "about the front-back axis": (slice(None, None, -1), slice(None), slice(None, None, -1)),
    "about the left-right axis": (slice(None, None, -1), slice(None, None, -1), slice(None)),
    "about the long axis": (slice(None), slice(None, None, -1), slice(None, None, -1)),
    "slices reversed": (slice(None, None, -1), slice(None), slice(None)),
    "rows reversed": (slice(None), slice(None, None, -1), slice(None)),
}
EXPECTED = {
    "as it is": set(),
    "about the front-back axis": {Exchanged.HEAD_AND_FEET},
    "about the left-right axis": {Exchanged.HEAD_AND_FEET, Exchanged.FRONT_AND_BACK},
    "about the long axis": {Exchanged.FRONT_AND_BACK},
    "slices reversed": {Exchanged.HEAD_AND_FEET},
    "rows reversed": {Exchanged.FRONT_AND_BACK},
}


@pytest.mark.parametrize("spec", [SMALL_PHANTOM, LEG_PHANTOM], ids=["hip to knee", "limbs"])
@pytest.mark.parametrize("turn", TURNED)
def test_every_turn_and_every_mirroring_but_of_the_sides_is_seen(turn: str, spec: PhantomSpec):
    labels, geometry = scan(spec)

    assert set(exchanged_ends(labels[TURNED[turn]], geometry)) == EXPECTED[turn]


def test_right_and_left_exchanged_alone_contradict_nothing():
    labels, geometry = scan(SMALL_PHANTOM)

    assert exchanged_ends(labels[:, :, ::-1], geometry) == ()


@pytest.mark.parametrize(("lower", "upper"), [(100, 330), (60, 250), (250, 500), (380, 595)])
def test_a_thigh_or_a_hip_alone_tells_too(lower: float, upper: float):
    """Two turns and the scan as it is."""
    labels, geometry = scan(between(lower, upper))

    assert exchanged_ends(labels, geometry) == ()
    assert Exchanged.HEAD_AND_FEET in exchanged_ends(labels[::-1, :, ::-1], geometry)
    assert Exchanged.FRONT_AND_BACK in exchanged_ends(labels[:, ::-1, ::-1], geometry)


@pytest.mark.parametrize("lower", range(-20, 540, 40))
@pytest.mark.parametrize("height", [48, 104, 200])
def test_no_part_of_an_upright_body_contradicts(lower: float, height: float):
    labels, geometry = scan(between(lower, lower + height))

    assert exchanged_ends(labels, geometry) == ()


@pytest.mark.parametrize("one", [slice(None, 64), slice(64, None)])
def test_one_leg_alone_is_enough(one: slice):
    labels, geometry = scan(SMALL_PHANTOM)
    labels = labels.copy()
    labels[:, :, one] = 0

    assert exchanged_ends(labels, geometry) == ()
    assert exchanged_ends(labels[::-1], geometry) == (Exchanged.HEAD_AND_FEET,)


def test_the_crude_body_is_upright():
    assert exchanged_ends(body().labels, body().geometry) == ()


def test_labels_by_chance_are_no_evidence():
    _, geometry = scan(SMALL_PHANTOM)
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 23, geometry.shape, dtype=np.uint8)

        assert exchanged_ends(noise, geometry) == ()


def test_few_structures_are_no_evidence():
    """A pelvis below two femora, and three muscles: five structures of those that count."""
    labels, geometry = scan(SMALL_PHANTOM)
    few = [BY_ABBREVIATION[name].label for name in ("PELVIS", "FEMUR", "GMAX", "VM", "RF")]
    labels = np.where(np.isin(labels, few), labels, 0).astype(np.uint8)

    assert exchanged_ends(labels[::-1], geometry) == ()


def test_arms_that_are_taken_for_thighs_do_not_turn_a_pelvis_round():
    """A pelvis as it should be; a thigh's labels lie 300 mm above, with nothing between."""
    labels, _ = scan(SMALL_PHANTOM)
    hip = labels[25:].copy()
    thigh = labels[:20].copy()
    hip[np.isin(hip, [BY_ABBREVIATION[n].label for n in ("FEMUR", "VLVI", "RF", "AD")])] = 0
    nothing = np.zeros((20, *labels.shape[1:]), np.uint8)
    stacked = np.concatenate([hip, nothing, thigh])
    grid = Geometry.regular(stacked.shape, (15.25, 3.2, 3.2))

    assert exchanged_ends(stacked, grid) == ()


def test_thighs_that_are_drawn_up_above_a_hip_that_is_right_are_a_conflict():
    """The knees above the hips: the thighs alone seem upside down."""
    labels, _ = scan(SMALL_PHANTOM)
    hip, thigh = labels[24:], labels[:24][::-1]
    stacked = np.concatenate([hip, thigh])
    grid = Geometry.regular(stacked.shape, (15.25, 3.2, 3.2))

    assert exchanged_ends(stacked, grid) == ()


def test_what_is_said_of_it():
    assert exchanged_words([Exchanged.HEAD_AND_FEET]).startswith(
        "The body does not lie as the header says: head and feet are exchanged."
    )
    assert "no segments and no numbers" in exchanged_words([Exchanged.FRONT_AND_BACK])
