"""The density picture: fat yellow, lean red, each side where it belongs, near before far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cases import small_case
from support.volumes import FAT_HU, MUSCLE_HU, Body, body

from inference.geometry import Geometry
from inference.pictures.density import LOOKS, Look, density_picture, fat_to_lean, rendered
from inference.pictures.panels import Shown
from inference.results import Verdict
from inference.structures import BY_KEY
from inference.volume import Volume

FRONT, BACK, FROM_RIGHT, FROM_LEFT = LOOKS
GREY_BONE = 0.12
"""Bones are pale: red and blue differ by less than this share."""


def two_boxes(near_hu: float, far_hu: float) -> Shown:
    """Rectus femoris on the right, 40 mm thick, and 20 mm behind it biceps femoris."""
    hu = np.full((40, 60, 60), -100, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    for key, rows, value in (
        ("RF_R", slice(5, 25), near_hu),
        ("BF_R", slice(35, 55), far_hu),
    ):
        labels[5:35, rows, 10:30] = BY_KEY[key].number
        hu[5:35, rows, 10:30] = value
    geometry = Geometry.regular(hu.shape, (2.0, 2.0, 2.0))
    return Shown(Volume(hu, geometry), labels, slice(0, 60), slice(0, 60))


def colour(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean colour of what is not background."""
    return picture[picture.max(axis=2) > 20].mean(axis=0)


@pytest.mark.parametrize(("look", "near"), [(FRONT, "yellow"), (BACK, "red")])
def test_what_is_nearer_hides_what_is_behind(look: Look, near: str):
    """Fat in front, lean behind: yellow has much green, red has little."""
    red, green, _ = colour(rendered(two_boxes(FAT_HU, MUSCLE_HU), look, 1.0))

    assert green > 0.7 * red if near == "yellow" else green < 0.4 * red


def test_right_is_on_the_left_from_the_front_and_on_the_right_from_the_back():
    shown = two_boxes(MUSCLE_HU, MUSCLE_HU)
    front, back = (rendered(shown, look, 1.0).any(axis=(0, 2)) for look in (FRONT, BACK))
    half = len(front) // 2

    assert front[:half].any()
    assert not front[half:].any()
    assert back[half:].any()
    assert not back[:half].any()


def test_a_side_view_shows_its_own_side_only_and_the_front_where_its_mark_is():
    """A box in the front half: from the right it lies on the reader's right, at the A."""
    shown = two_boxes(MUSCLE_HU, MUSCLE_HU)
    labels = np.where(shown.segments == BY_KEY["RF_R"].number, shown.segments, np.uint8(0))
    seen = rendered(replace(shown, segments=labels), FROM_RIGHT, 1.0).any(axis=(0, 2))

    assert FROM_RIGHT.marks == ("P", "A")
    assert seen[len(seen) // 2 :].sum() > seen[: len(seen) // 2].sum()
    assert not rendered(shown, FROM_LEFT, 1.0).any()


def test_the_layer_below_the_surface_is_shown_and_not_what_lies_deeper():
    """Lean for the outer 20 mm, fat below: red, for only 15 mm count."""
    shown = two_boxes(MUSCLE_HU, MUSCLE_HU)
    hu = shown.volume.hu.copy()
    hu[:, 15:25] = FAT_HU
    deep = replace(shown, volume=Volume(hu, shown.volume.geometry))

    np.testing.assert_array_equal(rendered(deep, FRONT, 1.0), rendered(shown, FRONT, 1.0))


def test_the_scale_runs_from_yellow_to_red():
    """And beyond its ends it stays as it is."""
    fat, lean = fat_to_lean(np.array([-60.0, 60.0], np.float32))

    assert fat[1] > 200
    assert lean[1] < 50
    np.testing.assert_array_equal(
        fat_to_lean(np.array([-500.0, 900.0], np.float32)), np.stack([fat, lean])
    )


def test_bones_are_pale():
    shown = two_boxes(MUSCLE_HU, MUSCLE_HU)
    bone = np.where(shown.segments > 0, BY_KEY["FEMUR_R"].number, 0).astype(np.uint8)
    red, _, blue = colour(rendered(replace(shown, segments=bone), FRONT, 1.0))

    assert abs(red - blue) < GREY_BONE * red


def page(patient: Body, *, empty: bool = False) -> NDArray[np.uint8]:
    segments = np.zeros_like(patient.segments) if empty else patient.segments.copy()
    return density_picture(patient.volume, small_case(patient.geometry, segments=segments))


@pytest.mark.parametrize(
    "patient",
    [
        body(),
        body(z_mm=(200.0, 204.0)),
        body(x_mm=(-220.0, 0.0)),
        body(spacing_mm=(40.0, 1.0, 4.0)),
    ],
    ids=["usual", "one slice", "half a body", "very anisotropic"],
)
def test_a_page_is_1024_by_768_and_dark(patient: Body):
    picture = page(patient)

    assert (picture.shape, picture.dtype) == ((768, 1024, 3), np.uint8)
    assert np.median(picture) < 30
    assert picture[72:662].max() > 120


def test_a_page_of_nothing_says_so():
    patient = body()
    picture = page(patient, empty=True)

    assert picture[350:420, 400:620].max() > 200


def test_the_page_bears_the_verdict():
    patient = body()
    failed, accepted = (
        density_picture(patient.volume, small_case(patient.geometry, segments=patient.segments,
                                                   verdict=verdict))
        for verdict in (Verdict.FAILED, Verdict.ACCEPTED)
    )  # fmt: skip

    assert (failed[:40, 800:] != accepted[:40, 800:]).any()
    np.testing.assert_array_equal(failed[80:], accepted[80:])
