"""The phantom's answers against its voxels, and its shapes against formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from inference.phantom.body import BodySpec
from inference.phantom.implants import Implant, ImplantKind
from inference.phantom.raster import Plane, inside
from inference.phantom.render import Phantom, known_answers, phantom, phantom_labels
from inference.phantom.spec import (
    DEFAULT_PHANTOM,
    LEG_PHANTOM,
    SMALL_PHANTOM,
    STUDY_PHANTOM,
    TWELVE_BIT_HU,
    PhantomSpec,
    Table,
    Zone,
)
from inference.phantom.tissues import TISSUES
from inference.phantom.truth import KnownStructure
from inference.phantom.tube import ellipses
from inference.structures import BY_KEY, SEGMENTS, Side

FINE = PhantomSpec(
    zones=(Zone(2.0, 595.0),), pixel_mm=1.5, rows=272, columns=272, partial_volume=False
)
VARIED = BodySpec(height_m=1.52, girth=1.08, fat=1.4, variation=1.0, variation_seed=7)


@pytest.fixture(scope="module")
def fine() -> Phantom:
    return phantom(FINE)


@pytest.fixture(scope="module")
def small() -> Phantom:
    return phantom(SMALL_PHANTOM)


def voxel_volumes_cm3(found: Phantom) -> NDArray[np.float64]:
    """(44,) the volume of each segment number by counting voxels."""
    per_slice = [np.bincount(section.ravel(), minlength=44) for section in found.segments]
    return np.asarray(found.volume.geometry.voxel_volumes_mm3 @ np.array(per_slice)) / 1000


def mask(found: Phantom, key: str) -> NDArray[np.bool_]:
    return np.asarray(found.segments == BY_KEY[key].number)


def touch(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> bool:
    return bool((ndimage.binary_dilation(first) & second).any())


def test_an_elliptic_cylinder_has_the_volume_of_the_textbook() -> None:
    """Pi * 20 mm * 10 mm * 50 mm = 31.416 cm3, wherever its centre runs."""
    knots = np.array([[0, 0, 0, 20, 10], [20, 5, -3, 20, 10], [50, 9, 9, 20, 10]], dtype=float)

    assert ellipses(1, knots).volume_cm3() == pytest.approx(31.41593, abs=1e-4)


def test_a_cone_has_a_third_of_its_cylinder() -> None:
    """Pi * 30^2 mm2 * 60 mm / 3 = 56.549 cm3."""
    cone = ellipses(1, np.array([[0, 0, 0, 30, 30], [60, 0, 0, 0, 0]], dtype=float))

    assert cone.volume_cm3() == pytest.approx(56.54867, abs=1e-4)


def test_a_tube_cut_in_two_keeps_its_volume() -> None:
    cone = ellipses(1, np.array([[0, 0, 0, 30, 20], [60, 7, 0, 5, 5]], dtype=float))

    halves = cone.volume_cm3(upper_mm=23.4) + cone.volume_cm3(lower_mm=23.4)

    assert halves == pytest.approx(cone.volume_cm3(), rel=1e-12)


def test_mirroring_and_refining_keep_a_tubes_volume() -> None:
    tube = ellipses(1, np.array([[0, 4, 0, 30, 20], [60, 7, 0, 5, 5]], dtype=float))

    assert tube.mirrored(2).volume_cm3() == pytest.approx(tube.volume_cm3())
    assert tube.refined(3.0).volume_cm3() == pytest.approx(tube.volume_cm3())
    assert tube.mirrored(2).centres[0] == pytest.approx(-4)


def test_an_affine_map_scales_a_volume_by_its_determinant() -> None:
    """W -> (a+b)/2 w + (a-b)/2 conj(w) stretches x by a = 1.2 and y by b = 0.5: 0.6 times."""
    tube = ellipses(1, np.array([[0, 4, 1, 30, 20], [60, 7, 0, 5, 9]], dtype=float))

    stretched = tube.mapped(0.85, 0.35, 3 - 2j)

    assert stretched.volume_cm3() == pytest.approx(0.6 * tube.volume_cm3())
    assert stretched.centres[0] == pytest.approx(1.2 * 4 + 3 + 1j * (0.5 - 2))


def test_a_polygon_holds_the_points_inside_it_also_where_the_plane_cuts_it() -> None:
    """A square of 4 mm from (-0.5, -0.5) holds 4 x 4 points, of which 2 x 3 are in view."""
    square = np.array([[-0.5, -0.5], [3.5, -0.5], [3.5, 3.5], [-0.5, 3.5]])

    whole = inside(square, Plane(-5, -5, 1, rows=20, columns=20))
    cut = inside(square, Plane(1, 2, 1, rows=20, columns=20))

    assert whole is not None
    assert whole[2].sum() == 16
    assert whole[:2] == (slice(5, 9), slice(5, 9))
    assert cut is not None
    assert cut[2].sum() == 6
    assert inside(square, Plane(50, 50, 1, rows=20, columns=20)) is None


def test_all_43_segments_have_their_known_volume_within_two_per_cent(fine: Phantom) -> None:
    counted = voxel_volumes_cm3(fine)

    known = np.array([answer.volume_cm3 for answer in fine.truth])

    assert [answer.segment for answer in fine.truth] == list(SEGMENTS)
    assert all(answer.complete for answer in fine.truth)
    np.testing.assert_allclose(counted[1:], known, rtol=0.02)


def test_the_same_holds_for_a_body_of_another_build() -> None:
    found = phantom(replace(FINE, body=VARIED, rows=320, columns=320))

    counted = voxel_volumes_cm3(found)[1:]

    known = np.array([answer.volume_cm3 for answer in found.truth])
    np.testing.assert_allclose(counted, known, rtol=0.03)


def test_neighbours_hide_little_of_each_other() -> None:
    """Known volumes are closed forms but for the share that a neighbour hides."""
    hidden = [1 - answer.volume_cm3 / answer.formula_cm3 for answer in known_answers()]

    assert max(hidden) < 0.04
    assert min(hidden) > -0.01


def test_every_segment_has_its_known_mean_hu_within_the_noise(fine: Phantom) -> None:
    """Neighbouring voxels share noise, so a mean of n strays by 14 / sqrt(n) / 0.375 HU.

    The kernel is (1 2 1) / 4 in two directions: (sum k)^2 / sum k^2 = 1 / 0.375^2. Bones stray
    with how the voxels meet their mix of cortex and inside.
    """
    for answer in fine.truth:
        voxels = fine.volume.hu[mask(fine, answer.segment.key)]
        bone = answer.segment.structure.label <= 3
        noise = 4 * 14 / np.sqrt(len(voxels)) / 0.375
        tolerance = 0.03 * answer.mean_hu if bone else noise
        assert voxels.mean() == pytest.approx(answer.mean_hu, abs=tolerance), answer.segment


def test_noise_has_the_asked_standard_deviation(fine: Phantom) -> None:
    muscle = fine.volume.hu[mask(fine, "GMAX_R")]

    assert muscle.std() == pytest.approx(14, rel=0.03)


def test_volumes_are_those_of_an_adult(small: Phantom) -> None:
    """Within a factor of 2 of the study's Table 7 means in cm3 per m2 of height squared."""
    table = {
        "GMAX": 255,
        "GMED": 104,
        "ILI": 38,
        "AD": 211,
        "RF": 54,
        "VLVI": 253,
        "FEMUR": 170,
    }
    for name, mean in table.items():
        answer = small.truth[BY_KEY[f"{name}_R"].number - 1]
        assert mean / 2 < answer.volume_cm3 / 1.6**2 < mean * 2, name


def test_the_same_specification_gives_the_same_voxels(small: Phantom) -> None:
    again = phantom(SMALL_PHANTOM)

    np.testing.assert_array_equal(again.volume.hu, small.volume.hu)
    np.testing.assert_array_equal(again.segments, small.segments)
    assert again.truth == small.truth


def test_another_seed_gives_other_noise_in_the_same_body(small: Phantom) -> None:
    other = phantom(replace(SMALL_PHANTOM, seed=1))

    np.testing.assert_array_equal(other.segments, small.segments)
    assert (other.volume.hu != small.volume.hu).mean() > 0.5


def test_right_structures_lie_at_smaller_columns(small: Phantom) -> None:
    """X grows to the patient's left, so columns do."""
    for name in {s.structure.abbreviation for s in SEGMENTS if s.side}:
        right = np.nonzero(mask(small, f"{name}_R"))[2]
        left = np.nonzero(mask(small, f"{name}_L"))[2]
        assert right.max() < left.min(), name


def test_the_hip_is_above_the_knee_and_the_sacrum_at_the_back(small: Phantom) -> None:
    hip = np.nonzero(mask(small, "GMAX_L"))[0].mean()
    knee = np.nonzero(mask(small, "VM_L"))[0].mean()
    front = np.nonzero(mask(small, "PSOAS_L"))[1].mean()

    assert hip > knee
    assert np.nonzero(mask(small, "SACRUM"))[1].mean() > front


def test_a_taller_body_is_larger_in_proportion() -> None:
    """1.76 m is 1.1 times 1.60 m: volumes are 1.1^3 = 1.331 times as large."""
    tall = known_answers(
        replace(SMALL_PHANTOM, body=BodySpec(height_m=1.76), zones=(Zone(5.0, 700.0),))
    )

    for one, two in zip(known_answers(SMALL_PHANTOM), tall, strict=True):
        assert two.volume_cm3 == pytest.approx(1.331 * one.volume_cm3, rel=0.01)


def test_bodies_drawn_with_different_seeds_differ_and_stay_plausible() -> None:
    reference = known_answers(SMALL_PHANTOM)
    drawn = [
        known_answers(replace(SMALL_PHANTOM, body=BodySpec(variation=1.0, variation_seed=seed)))
        for seed in (1, 2)
    ]

    for one, two, known in zip(*drawn, reference, strict=True):
        assert one.volume_cm3 != two.volume_cm3
        assert 0.6 < one.volume_cm3 / known.volume_cm3 < 1.6, known.segment


def test_the_studys_uneven_slices_tile_the_body() -> None:
    """1 mm up to the lower shaft, 6 mm along it, 2 mm in the pelvis, without gap or overlap."""
    geometry = STUDY_PHANTOM.geometry()
    steps = np.diff(geometry.slice_offsets_mm)
    halves = (geometry.extents_mm[1:] + geometry.extents_mm[:-1]) / 2

    np.testing.assert_allclose(steps, halves)
    assert set(geometry.extents_mm) == {1.0, 6.0, 2.0}


def test_uneven_slices_find_the_same_volumes(fine: Phantom) -> None:
    uneven = replace(FINE, zones=(Zone(1.0, 40.0), Zone(6.0, 310.0), Zone(2.0, 595.0)))
    counted = voxel_volumes_cm3(phantom(uneven))[1:]

    np.testing.assert_allclose(counted, voxel_volumes_cm3(fine)[1:], rtol=0.04)


def test_a_scan_that_ends_at_mid_thigh_knows_only_what_it_shows() -> None:
    def of(answers: tuple[KnownStructure, ...], key: str) -> KnownStructure:
        return answers[BY_KEY[key].number - 1]

    cut = known_answers(replace(SMALL_PHANTOM, lower_mm=200.0))
    whole = known_answers(SMALL_PHANTOM)

    assert not of(cut, "FEMUR_R").complete
    assert of(cut, "FEMUR_R").volume_cm3 < 0.7 * of(whole, "FEMUR_R").volume_cm3
    assert of(cut, "GMED_R") == of(whole, "GMED_R")
    assert of(known_answers(replace(SMALL_PHANTOM, zones=(Zone(5.0, 200.0),))), "GMED_R") == (
        KnownStructure(BY_KEY["GMED_R"], 0.0, 0.0, 0.0, complete=False)
    )


def test_hemipelves_touch_only_when_asked_to(fine: Phantom) -> None:
    body = BodySpec(touching_hemipelves=True)
    touching = phantom(replace(FINE, body=body, lower_mm=320.0, zones=(Zone(2.0, 400.0),)))

    assert not touch(mask(fine, "PELVIS_R"), mask(fine, "PELVIS_L"))
    assert touch(mask(touching, "PELVIS_R"), mask(touching, "PELVIS_L"))


def test_crossing_thighs_touch_beyond_the_midline() -> None:
    crossing = phantom(replace(SMALL_PHANTOM, body=BodySpec(crossing_thighs=True)))
    middle = SMALL_PHANTOM.columns // 2

    assert touch(mask(crossing, "GRAC_R"), mask(crossing, "GRAC_L"))
    assert mask(crossing, "GRAC_R")[:, :, middle:].any()


def test_an_implant_shows_as_metal_and_takes_its_share_of_the_femur() -> None:
    spec = replace(SMALL_PHANTOM, body=BodySpec(implant=Side.LEFT))
    found = phantom(spec)
    rows, femur = np.nonzero(found.volume.hu > 3000)[1:], BY_KEY["FEMUR_L"].number

    assert (rows[1] > SMALL_PHANTOM.columns // 2).all()
    assert len(rows[1]) > 100
    known = found.truth[femur - 1].volume_cm3
    assert known < 0.9 * known_answers(SMALL_PHANTOM)[femur - 1].volume_cm3
    assert voxel_volumes_cm3(found)[femur] == pytest.approx(known, rel=0.1)


def test_the_table_lies_where_it_is_asked_for() -> None:
    def densest_row(table: Table) -> int:
        found = phantom(replace(SMALL_PHANTOM, table=table, noise_hu=0.0))
        plain = phantom(replace(SMALL_PHANTOM, table=Table.NONE, noise_hu=0.0))
        changed = (found.volume.hu != plain.volume.hu).sum(axis=(0, 2))
        return int(changed.argmax())

    assert densest_row(Table.BEHIND) > SMALL_PHANTOM.rows // 2
    assert densest_row(Table.IN_FRONT) < SMALL_PHANTOM.rows // 2


def test_the_label_map_holds_all_structures_and_named_neighbours() -> None:
    labels = phantom_labels(spacing_mm=4.0)
    counts = np.bincount(labels.ravel(), minlength=256)
    known = np.zeros(23)
    for answer in known_answers():
        known[answer.segment.structure.label] += answer.volume_cm3

    np.testing.assert_allclose(counts[1:23] * 0.064, known[1:], rtol=0.08)
    assert {"patella", "tibia", "fat", "skin", "vessel", "bladder", "bowel gas"} <= {
        t.name for t in TISSUES if counts[t.code]
    }
    assert not counts[23:101].any()


def test_the_default_is_a_clinical_stack() -> None:
    assert DEFAULT_PHANTOM.geometry().shape == (123, 512, 512)
    assert SMALL_PHANTOM.geometry().shape == (40, 128, 128)


def test_lower_legs_go_down_to_the_soles_and_leave_the_rest_as_it_is() -> None:
    """The knee's voxels are the same to the bit, noise included."""
    plain = replace(SMALL_PHANTOM, table=Table.NONE, zones=(Zone(15.25, 60.0),))
    whole = replace(plain, body=LEG_PHANTOM.body)
    legs = phantom(replace(LEG_PHANTOM, zones=(Zone(10.0, 0.0),), table=Table.NONE))

    np.testing.assert_array_equal(phantom(whole).volume.hu, phantom(plain).volume.hu)
    assert (legs.volume.hu > -200).any(axis=(1, 2)).all()
    assert not legs.segments.any()


def test_a_lower_leg_may_be_missing() -> None:
    body = BodySpec(lower_legs=(Side.LEFT,))
    spec = replace(LEG_PHANTOM, body=body, zones=(Zone(8.0, -60.0),), table=Table.NONE)
    tissue = (phantom(spec).volume.hu > -200).any(axis=(0, 1))

    assert not tissue[: LEG_PHANTOM.columns // 2].any()
    assert tissue[LEG_PHANTOM.columns // 2 :].any()


def test_a_calf_is_smaller_than_a_thigh_and_larger_than_an_ankle() -> None:
    """About 95, 40 and 32 cm2 of the reference body's legs are drawn at these heights."""
    spec = replace(LEG_PHANTOM, table=Table.NONE, noise_hu=0.0)
    volume = phantom(spec).volume
    heights = volume.geometry.slice_offsets_mm
    areas_cm2 = (volume.hu > -200).sum(axis=(1, 2)) * 0.32**2 / 2
    at = [float(areas_cm2[np.abs(heights - z).argmin()]) for z in (-110, -260, -300)]

    assert at == pytest.approx([95, 40, 32], rel=0.1)


@pytest.mark.parametrize(
    ("kind", "side", "lowest_mm", "highest_mm", "cm3"),
    [
        (ImplantKind.HIP, Side.LEFT, 205, 416, 59),
        (ImplantKind.KNEE, Side.RIGHT, -58, 58, 62),
        (ImplantKind.NAIL, Side.LEFT, 48, 396, 44),
        (ImplantKind.PLATE, Side.RIGHT, 36, 232, 15),
        (ImplantKind.SCREWS, Side.LEFT, 312, 408, 9.4),
    ],
)
def test_implants_lie_where_surgeons_leave_them(
    kind: ImplantKind, side: Side, lowest_mm: float, highest_mm: float, cm3: float
) -> None:
    """Metal reads at the end of a 12-bit scale. Three screws: 3 pi 3.25^2 95 mm3 = 9.4 cm3."""
    body = BodySpec(implants=(Implant(kind, side),))
    zones = (Zone(4.0, highest_mm + 20),)
    spec = replace(FINE, body=body, lower_mm=lowest_mm - 20, zones=zones, noise_hu=0.0)
    found = phantom(replace(spec, maximum_hu=TWELVE_BIT_HU))
    metal = found.volume.hu == TWELVE_BIT_HU
    slices, _, columns = np.nonzero(metal)
    heights = found.volume.geometry.slice_offsets_mm

    assert heights[slices.min()] == pytest.approx(lowest_mm, abs=6)
    assert heights[slices.max()] == pytest.approx(highest_mm, abs=6)
    assert ((columns > FINE.columns // 2) == (side is Side.LEFT)).all()
    assert metal.sum() * 1.5**2 * 4 / 1000 == pytest.approx(cm3, rel=0.15)


def test_an_implant_moves_with_its_bone() -> None:
    """A nail in a body of another build and pose lies inside its femur all along the shaft."""
    body = replace(VARIED, implants=(Implant(ImplantKind.NAIL, Side.RIGHT),))
    shaft = replace(FINE, body=body, lower_mm=120.0, zones=(Zone(20.0, 300.0),), rows=320)
    found = phantom(replace(shaft, columns=320, noise_hu=0.0))
    without = phantom(replace(shaft, body=VARIED, columns=320, noise_hu=0.0))
    metal = found.volume.hu > 3000

    assert metal.any(axis=(1, 2)).all()
    assert (without.segments[metal] == BY_KEY["FEMUR_R"].number).mean() > 0.97


def test_streaks_come_from_the_metal_of_each_side() -> None:
    """Two hips at once streak around each joint as one alone does, and add up."""
    spec = replace(SMALL_PHANTOM, lower_mm=380.0, zones=(Zone(8.0, 396.0),), noise_hu=0.0)
    hips = {side: Implant(ImplantKind.HIP, side) for side in Side}
    plain, right, left, both = (
        phantom(replace(spec, body=BodySpec(implants=some), partial_volume=False)).volume.hu
        for some in ((), (hips[Side.RIGHT],), (hips[Side.LEFT],), tuple(hips.values()))
    )
    soft = (np.abs([plain, right, left, both]) < 900).all(axis=0)

    assert (right != plain).mean() > 0.05
    np.testing.assert_allclose((both - plain)[soft], (right + left - 2 * plain)[soft], atol=2)


def test_contrast_agent_fills_vessels_and_bladder() -> None:
    spec = replace(SMALL_PHANTOM, noise_hu=0.0, partial_volume=False)
    plain, bright = (phantom(replace(spec, contrast_hu=hu)).volume.hu for hu in (0.0, 300.0))
    changed = bright != plain

    assert set((bright - plain)[changed]) == {300}
    assert set(plain[changed]) == {8, 45}


def test_fields_that_came_later_do_not_change_what_a_phantom_is_called() -> None:
    """Its UIDs derive from these words, and with them every seed and every figure."""
    assert repr(BodySpec()) == (
        "BodySpec(height_m=1.6, girth=1.0, fat=1.0, variation=0.0, variation_seed=0, "
        "touching_hemipelves=False, crossing_thighs=False, implant=None)"
    )
    assert "maximum_hu" not in repr(SMALL_PHANTOM)
    assert "maximum_hu=3071" in repr(replace(SMALL_PHANTOM, maximum_hu=3071))
    assert repr(LEG_PHANTOM.body) != repr(BodySpec())
