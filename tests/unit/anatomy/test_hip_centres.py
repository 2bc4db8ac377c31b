"""Hip centres: where they are known, and where there is none to be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.anatomy.hip_centres import (
    CUT,
    METAL,
    NO_FEMUR,
    NO_JOINT,
    NO_PELVIS,
    NO_SPHERE,
    NoHipCentre,
    find_hip_centres,
)
from inference.geometry import Geometry
from inference.phantom.atlas import read_atlas
from inference.phantom.body import BodySpec, body
from inference.phantom.implants import Implant
from inference.phantom.render import phantom
from inference.phantom.spec import SMALL_PHANTOM, PhantomSpec, Zone
from inference.phantom.tissues import BY_NAME, LEFT
from inference.results import HipCentre
from inference.structures import BY_KEY, Side
from inference.volume import Volume

ATLASES = Path(__file__).parents[3] / ".." / "shared" / "data" / "atlas"
CENTRE_MM = np.array([-90.3, 12.7, 151.4])
RADIUS_MM = 23.0


def drawn(
    spacing_mm: tuple[float, float, float], *, head_mm: float = RADIUS_MM, top_mm: float = 220.0
) -> tuple[Volume, NDArray[np.uint8]]:
    """A right hip of simple bodies: a ball on a neck and a shaft, in a cup with 4 mm of joint.

    The ball's centre and radius are the answer, up to the voxels.
    """
    shape = (int(top_mm / spacing_mm[0]), int(130 / spacing_mm[1]), int(160 / spacing_mm[2]))
    grid = Geometry.regular(shape, spacing_mm, (-180.0, -50.0, 0.0))
    x = grid.positions_mm[0, 0] + spacing_mm[2] * np.arange(shape[2])
    y = (grid.positions_mm[0, 1] + spacing_mm[1] * np.arange(shape[1]))[:, np.newaxis]
    z = grid.positions_mm[:, 2][:, np.newaxis, np.newaxis]
    away = np.sqrt((x - CENTRE_MM[0]) ** 2 + (y - CENTRE_MM[1]) ** 2 + (z - CENTRE_MM[2]) ** 2)
    lateral = np.clip((CENTRE_MM[0] - x) / 45, 0, 1)
    neck_mm = np.hypot(y - CENTRE_MM[1], z - CENTRE_MM[2] + 30 * lateral)
    neck = (neck_mm < 13) & (x < CENTRE_MM[0]) & (x > CENTRE_MM[0] - 45)
    shaft = (np.hypot(x - CENTRE_MM[0] + 45, y - CENTRE_MM[1]) < 15) & (z < CENTRE_MM[2] - 15)
    cup = (away > RADIUS_MM + 4) & (away < RADIUS_MM + 12) & (x - CENTRE_MM[0] + z > 140)
    segments = np.zeros(shape, np.uint8)
    segments[cup] = BY_KEY["PELVIS_R"].number
    segments[(away < head_mm) | neck | shaft] = BY_KEY["FEMUR_R"].number
    return Volume(np.zeros(shape, np.int16), grid), segments


def right(volume: Volume, segments: NDArray[np.uint8]) -> HipCentre | NoHipCentre:
    return find_hip_centres(volume, segments)[Side.RIGHT]


def error_mm(found: HipCentre | NoHipCentre, centre_mm: NDArray[np.float64]) -> float:
    assert isinstance(found, HipCentre), found
    return float(np.linalg.norm(np.asarray(found.centre_mm) - centre_mm))


@pytest.mark.parametrize(
    "spacing_mm", [(1.0, 0.8, 0.8), (2.0, 0.7, 0.7), (5.0, 0.9, 0.9), (6.0, 1.4, 1.0)]
)
def test_the_centre_of_a_ball_is_found_to_half_a_millimetre(
    spacing_mm: tuple[float, float, float],
):
    found = right(*drawn(spacing_mm))

    assert error_mm(found, CENTRE_MM) < 0.5
    assert isinstance(found, HipCentre)
    assert found.radius_mm == pytest.approx(RADIUS_MM, abs=0.5)
    assert found.residual_mm < 0.8


def test_ragged_borders_move_the_centre_by_less_than_a_millimetre():
    """One voxel in three of the border belongs to the other side of it."""
    volume, segments = drawn((2.0, 0.8, 0.8))
    femur = segments == BY_KEY["FEMUR_R"].number
    border = np.zeros_like(femur)
    for axis in (1, 2):
        border |= np.diff(femur, axis=axis, prepend=False)
    rng = np.random.default_rng(1)
    segments[border & (rng.random(femur.shape) < 1 / 3)] = 0

    assert error_mm(right(volume, segments), CENTRE_MM) < 1.0


def known_centre(spec: BodySpec, side: Side) -> NDArray[np.float64]:
    """The centre of a phantom's head without a voxel: of a sphere on its tubes' outlines.

    Of the inner half of the femur's outlines above the neck, every half millimetre.
    """
    code = BY_NAME["FEMUR"].code | (LEFT if side is Side.LEFT else 0)
    points = []
    for tube in body(spec).tubes:
        for height in np.arange(393.0, 418.0, 0.5) * spec.length_scale:
            outline = tube.polygon_mm(height) if tube.code == code else None
            if outline is not None:
                points.append(np.column_stack([outline, np.full(len(outline), height)]))
    of_head = np.concatenate(points)
    of_head = of_head[np.abs(of_head[:, 0]) < np.quantile(np.abs(of_head[:, 0]), 0.6)]
    for _ in range(10):
        matrix = np.column_stack([2 * of_head, np.ones(len(of_head))])
        *centre, rest = np.linalg.lstsq(matrix, (of_head**2).sum(axis=1), rcond=None)[0]
        radius = np.sqrt(rest + np.square(centre).sum())
        off = np.abs(np.linalg.norm(of_head - centre, axis=1) - radius)
        of_head = of_head[off < 2.0]
    return np.asarray(centre)


TALL = PhantomSpec(
    body=BodySpec(height_m=1.76, variation=1.0, variation_seed=3),
    lower_mm=320.0,
    zones=(Zone(3.0, 520.0),),
    pixel_mm=1.6,
    rows=256,
    columns=256,
)


FINE = replace(TALL, body=BodySpec(), zones=(Zone(2.0, 480.0),), pixel_mm=0.9, columns=400)


@pytest.mark.parametrize("spec", [SMALL_PHANTOM, TALL, FINE])
def test_both_hips_of_a_phantom_are_found_to_a_millimetre(spec: PhantomSpec):
    """From 15 mm slices with 3.2 mm pixels to 2 mm with .8 mm."""
    made = phantom(spec)
    found = find_hip_centres(made.volume, made.segments)

    for side in Side:
        assert error_mm(found[side], known_centre(spec.body, side)) < 1.0


@pytest.mark.shared
@pytest.mark.parametrize(("who", "radii_mm"), [("VHF", (23.6, 24.2)), ("VHM", (25.4, 26.9))])
def test_the_heads_of_real_bodies_are_found_and_do_not_depend_on_the_slices(
    who: str, radii_mm: tuple[float, float]
):
    """No centre is known of these: 4 of 4 heads are spheres, the same with slices of 6 mm."""
    path = ATLASES / f"{who}_22labels_1.5mm.nii.gz"
    if not path.exists():
        pytest.skip("the reference data is not beside the checkout")
    atlas = read_atlas(path)
    segments = np.zeros(atlas.labels.shape, np.uint8)
    is_left = np.arange(atlas.labels.shape[2]) > atlas.midline
    for name in ("PELVIS", "FEMUR"):
        bone = atlas.labels == BY_NAME[name].code
        segments[bone & ~is_left] = BY_KEY[f"{name}_R"].number
        segments[bone & is_left] = BY_KEY[f"{name}_L"].number
    found = []
    for every in (1, 4):
        some = np.ascontiguousarray(segments[::every])
        steps = (atlas.spacing_mm * every, atlas.spacing_mm, atlas.spacing_mm)
        grid = Geometry.regular(some.shape, steps)
        found.append(find_hip_centres(Volume(np.zeros(some.shape, np.int16), grid), some))

    for side, radius_mm in zip(Side, radii_mm, strict=True):
        fine, coarse = (each[side] for each in found)
        assert isinstance(fine, HipCentre)
        assert fine.radius_mm == pytest.approx(radius_mm, abs=0.2)
        assert error_mm(coarse, np.asarray(fine.centre_mm)) < 0.5


def test_a_head_that_the_scan_cuts_has_no_centre():
    """The scan ends 10 mm above the centre of a head of 23 mm."""
    assert right(*drawn((2.0, 0.8, 0.8), top_mm=162.0)) == CUT


def test_a_hip_without_a_head_has_no_centre():
    """What is left is a neck, 14 mm from the cup at its nearest."""
    assert right(*drawn((2.0, 0.8, 0.8), head_mm=0.0)) in (NO_JOINT, NO_SPHERE)


def test_a_head_worn_flat_keeps_its_centre():
    """Cut off 8 mm below its top: a grader has to see it where it was."""
    volume, segments = drawn((2.0, 0.8, 0.8))
    flat = volume.geometry.positions_mm[:, 2] > CENTRE_MM[2] + RADIUS_MM - 8
    upper = segments[flat]
    upper[upper == BY_KEY["FEMUR_R"].number] = 0
    segments[flat] = upper

    assert error_mm(right(volume, segments), CENTRE_MM) < 1.0


def test_a_head_that_is_no_ball_has_no_centre():
    """A box of 46 x 46 x 46 mm in the cup."""
    volume, segments = drawn((2.0, 0.8, 0.8), head_mm=0.0)
    index = np.indices(segments.shape).reshape(3, -1).T.astype(np.float64)
    away = np.abs(volume.geometry.to_patient_mm(index) - CENTRE_MM).max(axis=1)
    box = (away < RADIUS_MM).reshape(segments.shape)
    segments[box] = BY_KEY["FEMUR_R"].number

    assert right(volume, segments) == NO_SPHERE


@pytest.mark.parametrize(("key", "reason"), [("FEMUR_R", NO_FEMUR), ("PELVIS_R", NO_PELVIS)])
def test_a_bone_that_is_not_there_is_the_reason(key: str, reason: str):
    volume, segments = drawn((4.0, 1.6, 1.6))
    segments[segments == BY_KEY[key].number] = 0

    assert right(volume, segments) == reason


@pytest.mark.parametrize("implant", ["hip-left", "nail-left", "screws-left"])
def test_metal_at_a_hip_is_the_reason_there_and_leaves_the_other_hip(implant: str):
    spec = replace(SMALL_PHANTOM, body=BodySpec(implants=(Implant.named(implant),)))
    made = phantom(spec)
    found = find_hip_centres(made.volume, made.segments)

    assert found[Side.LEFT] == METAL
    assert isinstance(found[Side.RIGHT], HipCentre)


def test_metal_in_the_knee_is_none_at_the_hip():
    spec = replace(SMALL_PHANTOM, body=BodySpec(implants=(Implant.named("knee-left"),)))
    made = phantom(spec)
    found = find_hip_centres(made.volume, made.segments)

    assert all(isinstance(each, HipCentre) for each in found.values())
