"""Right and left, on crude bodies and on two real atlases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from support.volumes import Body, body

from inference.anatomy.sides import split_sides
from inference.geometry import Geometry
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import SMALL_PHANTOM
from inference.structures import BY_KEY, SEGMENTS, STRUCTURES, Side

TOUCHING = {"PELVIS": 2.2, "AD": 2.2, "GMAX": 1.4}


def agreement(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the labelled voxels that have the right segment."""
    labelled = truth > 0
    return float((found[labelled] == truth[labelled]).mean())


def sides_of(patient: Body) -> np.ndarray:
    return split_sides(patient.labels, patient.geometry)


def test_separate_legs_are_told_apart_without_a_single_wrong_voxel():
    patient = body()

    assert agreement(sides_of(patient), patient.segments) == 1.0


def test_no_labels_give_no_segments():
    patient = body()

    assert not split_sides(np.zeros_like(patient.labels), patient.geometry).any()


def test_hemipelves_adductors_and_buttocks_that_touch_are_cut_at_the_midline():
    """Voxels are 4 mm wide: nothing further than two of them from the midline may be wrong."""
    patient = body(wider=TOUCHING)
    found = sides_of(patient)
    x_mm = -220.0 + np.nonzero(found != patient.segments)[2] * 4.0

    assert agreement(found, patient.segments) > 0.99
    assert np.abs(x_mm).max(initial=0) <= 8.0


def test_a_patient_who_lies_off_the_tables_centre_keeps_the_sides():
    patient = body(shift_mm=60.0, wider=TOUCHING)

    assert agreement(sides_of(patient), patient.segments) > 0.99


def test_the_cut_falls_on_the_neck_and_not_on_the_midline():
    """All that lies lateral on the right is missing: the midline estimate is pulled off.

    The neck of the touching adductors stays at x = 0.
    """
    patient = body(wider={"AD": 2.0}, spacing_mm=(8.0, 2.0, 2.0))
    labels = patient.labels.copy()
    lateral = -220.0 + np.arange(labels.shape[2]) * 2.0 < -100.0
    labels[:, :, lateral] = 0
    found = split_sides(labels, patient.geometry)
    adductors = np.isin(patient.segments, [BY_KEY["AD_R"].number, BY_KEY["AD_L"].number])

    assert agreement(found * adductors, patient.segments * adductors * (labels > 0)) > 0.98


@pytest.mark.parametrize("side", Side)
def test_an_only_leg_is_recognised_as_the_side_it_is(side: Side):
    patient = body(sides=(side,))
    found = sides_of(patient)

    assert agreement(found, patient.segments) == 1.0


@pytest.mark.parametrize(("side", "x_mm"), [(Side.RIGHT, (-220, -20)), (Side.LEFT, (20, 220))])
def test_a_field_of_view_around_one_thigh_is_recognised_by_its_anatomy(
    side: Side, x_mm: tuple[float, float]
):
    """No pelvis, no sacrum, and the scanner's x says nothing: the origin is moved to 0."""
    patient = body(x_mm=x_mm, z_mm=(0.0, 300.0))
    moved = Geometry.regular(patient.geometry.shape, (8.0, 4.0, 4.0))
    found = split_sides(patient.labels, moved)

    assert {SEGMENTS[n - 1].side for n in np.unique(found) if n} == {side}


def test_a_femur_alone_takes_its_side_from_where_it_lies_on_the_table():
    patient = body(x_mm=(20, 220), z_mm=(0.0, 300.0))
    labels = np.where(patient.labels == 2, 2, 0).astype(np.uint8)

    assert set(np.unique(split_sides(labels, patient.geometry))) == {
        0,
        BY_KEY["FEMUR_L"].number,
    }


def test_a_pelvis_without_landmarks_is_parted_in_its_middle():
    """Hemipelves joined in front, no sacrum, and the table's x says nothing."""
    patient = body(z_mm=(460.0, 560.0), wider={"PELVIS": 2.2})
    labels = np.where(patient.labels == 1, 1, 0).astype(np.uint8)
    moved = Geometry.regular(labels.shape, (8.0, 4.0, 4.0))
    found = split_sides(labels, moved)

    assert agreement(found, np.where(labels > 0, patient.segments, 0)) > 0.98


def test_the_edge_of_the_other_leg_in_a_field_of_view_around_one_keeps_its_own_side():
    """The field of view ends 48 mm beyond the midline.

    Of the left leg only gracilis, semimembranosus and parts of the adductors are in view.
    """
    patient = body(x_mm=(-220, 48), z_mm=(0.0, 300.0))

    assert agreement(sides_of(patient), patient.segments) > 0.98


def test_mirroring_the_patient_exchanges_right_and_left():
    patient = body(wider=TOUCHING)
    mirrored = split_sides(patient.labels[:, :, ::-1].copy(), patient.geometry)[:, :, ::-1]
    exchanged = np.array([0, *(_opposite(s.number) for s in SEGMENTS)], dtype=np.uint8)

    assert agreement(exchanged[mirrored], sides_of(patient)) > 0.99


def _opposite(number: int) -> int:
    segment = SEGMENTS[number - 1]
    if segment.side is None:
        return number
    other = Side.LEFT if segment.side is Side.RIGHT else Side.RIGHT
    return BY_KEY[f"{segment.structure.abbreviation}_{other}"].number


def test_no_voxel_is_lost_or_gained_by_the_watershed():
    patient = body(wider=TOUCHING)
    label_of = np.array([0, *(s.structure.label for s in SEGMENTS)])

    np.testing.assert_array_equal(label_of[sides_of(patient)], patient.labels)


def test_unevenly_spaced_slices_are_split_as_well():
    """The study's volumes: 2 mm at the pelvis, 6 mm along the shaft, 1 mm at the knee."""
    offsets = np.concatenate(
        [np.arange(-20, 60, 2.0), np.arange(60, 400, 12.0), np.arange(400, 700, 4.0)]
    )
    patient = body(offsets_mm=offsets, wider=TOUCHING)

    assert agreement(sides_of(patient), patient.segments) > 0.99


def test_a_small_island_near_its_muscle_is_kept_and_one_far_away_is_removed():
    patient = body()
    labels = patient.labels.copy()
    vastus = BY_KEY["VLVI_L"]
    # Lateral of the left thigh (x = 172 mm), and at the right shoulder's height.
    labels[32, 28, 98] = vastus.structure.label
    labels[93, 10, 10] = vastus.structure.label
    found = split_sides(labels, patient.geometry)

    assert found[32, 28, 98] == vastus.number
    assert found[93, 10, 10] == 0


def test_crossed_legs_keep_their_names_below_the_crossing():
    """Two femora that cross in front of each other: right and left is read at the hip."""
    labels = np.zeros((80, 30, 60), dtype=np.uint8)
    for z in range(80):
        x = round((z - 20) * 0.35)
        labels[z, 4:10, 30 + x - 3 : 30 + x + 3] = 2
        labels[z, 18:24, 30 - x - 3 : 30 - x + 3] = 2
    found = split_sides(labels, Geometry.regular(labels.shape, (8.0, 4.0, 4.0)))

    assert set(np.unique(found[:, 4:10][labels[:, 4:10] > 0])) == {BY_KEY["FEMUR_L"].number}
    assert set(np.unique(found[:, 18:24][labels[:, 18:24] > 0])) == {BY_KEY["FEMUR_R"].number}


@pytest.mark.parametrize(
    ("spec", "least"),
    [
        (BodySpec(), 1.0),
        (BodySpec(touching_hemipelves=True), 0.999),
        (BodySpec(touching_hemipelves=True, crossing_thighs=True), 0.995),
    ],
)
def test_the_phantom_is_split_where_its_sides_touch_or_cross(spec: BodySpec, least: float):
    body_ct = phantom(replace(SMALL_PHANTOM, body=spec, pixel_mm=1.6, rows=256, columns=256))
    label_of = np.array([0, *(s.structure.label for s in SEGMENTS)], dtype=np.uint8)
    found = split_sides(label_of[body_ct.segments], body_ct.volume.geometry)

    assert agreement(found, body_ct.segments) >= least


@pytest.mark.shared
@pytest.mark.parametrize("who", ["VHF", "VHM"])
def test_real_atlases_split_like_their_anatomy(who: str, shared_data: Path):
    """Nothing crosses the plane half-way between the femora by more than 25 mm."""
    labels, geometry = _atlas(shared_data / "atlas" / f"{who}_22labels_1.5mm.nii.gz")
    found = split_sides(labels, geometry)
    columns = [np.nonzero(found == BY_KEY[f"FEMUR_{s}"].number)[2].mean() for s in Side]
    x_mm = (np.arange(labels.shape[2]) - np.mean(columns)) * 1.5
    right = np.isin(found, [s.number for s in SEGMENTS if s.side is Side.RIGHT])
    left = np.isin(found, [s.number for s in SEGMENTS if s.side is Side.LEFT])
    sizes = np.bincount(found.ravel(), minlength=44)
    asymmetry = [
        sizes[BY_KEY[f"{s.abbreviation}_R"].number]
        / sizes[BY_KEY[f"{s.abbreviation}_L"].number]
        for s in STRUCTURES
        if s.paired
    ]

    assert not right[:, :, x_mm > 25].any()
    assert not left[:, :, x_mm < -25].any()
    assert min(asymmetry) > 0.7
    assert max(asymmetry) < 1.5


def _atlas(path: Path) -> tuple[np.ndarray, Geometry]:
    """The RAS label map in the patient frame: rows to the back, columns to the left."""
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    labels = np.where(image <= 22, image, 0)[:, ::-1, ::-1]
    return np.ascontiguousarray(labels), Geometry.regular(labels.shape, (1.5, 1.5, 1.5))
