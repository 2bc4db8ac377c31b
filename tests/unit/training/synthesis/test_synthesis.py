"""Synthetic bodies: complete, seeded, and full of what is not a structure."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from inference.errors import TrainingError
from inference.phantom.render import phantom_labels
from inference.structures import STRUCTURES, Group
from inference.training.synthesis.anatomy import add_background
from inference.training.synthesis.body import Body, BodyGrid, draw_body, label_map
from inference.training.synthesis.canvas import Canvas
from inference.training.synthesis.fields import Draw, dilated, distance_mm, eroded, smooth_noise
from inference.training.synthesis.knee import add_shanks
from inference.training.synthesis.landmarks import find_landmarks
from inference.training.synthesis.pose import LabelMap
from inference.training.synthesis.scanner import View, augmented, blurred, with_metal
from inference.training.synthesis.stream import slice_chances
from inference.training.synthesis.surface import without_hollows
from inference.training.synthesis.tags import FEMUR, PSOAS, Tag, is_any


@pytest.fixture(scope="module")
def source() -> LabelMap:
    torch.set_num_threads(1)
    return label_map(phantom_labels(spacing_mm=4.0), (4.0, 4.0, 4.0), "phantom")


@pytest.fixture(scope="module")
def body(source: LabelMap) -> Body:
    return draw_body(source, 11)


def test_a_seed_names_a_body(source: LabelMap, body: Body) -> None:
    again = draw_body(source, 11)

    assert np.array_equal(body.hu, again.hu)
    assert np.array_equal(body.labels, again.labels)


def test_a_body_has_every_structure_and_nothing_else(body: Body) -> None:
    assert set(np.unique(body.labels)) == set(range(len(STRUCTURES) + 1))


def test_muscles_look_like_muscle_and_bones_like_bone(body: Body) -> None:
    for structure in STRUCTURES:
        mean = body.hu[body.labels == structure.label].mean()
        bone = structure.group is Group.BONE
        assert (100 < mean < 1500) if bone else (-60 < mean < 120), structure.abbreviation


def test_what_looks_like_muscle_is_not_always_a_structure(body: Body) -> None:
    """Abdominal wall, back, calves and bowel: at least a tenth as much as the muscles."""
    muscle = (body.hu > 20) & (body.hu < 80)
    background = (muscle & (body.labels == 0)).sum()

    assert background > 0.1 * (muscle & (body.labels > 3)).sum()


def test_a_body_wears_fat_and_lies_in_air(body: Body) -> None:
    """However lean: a twentieth of the body is fat, and a quarter of the picture is air."""
    inside = body.hu > -400
    fat = (body.hu > -150) & (body.hu < -50)

    assert fat.sum() > 0.05 * inside.sum()
    assert (body.hu < -900).mean() > 0.25


def test_a_knee_without_a_tibia_gets_one_under_each_femur(source: LabelMap) -> None:
    """A plateau of 70 x 50 mm is about 2800 mm2; the shaft 40 mm lower is smaller."""
    tags = source.tags.clone()
    tags[tags == Tag.TIBIA] = 0
    marks = find_landmarks(tags, source.spacing_mm)

    add_shanks(Canvas(tags, marks, Draw(2)))

    middle = int(source.midline_mm / source.spacing_mm[2])
    areas = [(tags[:, :, half] == Tag.TIBIA).sum((1, 2)) * 16.0 for half in _halves(middle)]
    for area, knee in zip(areas, marks.knee, strict=True):
        k = int(knee / 4)
        assert 1800 < float(area[k - 4]) < 4500
        assert 0 < float(area[0]) < float(area[k - 4])
        assert float(area[k + 3 :].sum()) == 0


def _halves(middle: int) -> tuple[slice, slice]:
    return slice(0, middle), slice(middle, None)


def test_bowel_lies_against_a_psoas_and_is_no_structure(source: LabelMap) -> None:
    """Within 10 mm of the psoas of most bodies there is bowel."""
    touching = 0
    for seed in range(4):
        tags = source.tags.clone()
        add_background(Canvas(tags, find_landmarks(tags, source.spacing_mm), Draw(seed)))
        near = dilated(tags == PSOAS, 3)
        bowel = is_any(tags, (Tag.BOWEL, Tag.FAECES, Tag.GAS, Tag.ORGAN))
        touching += int((near & bowel).sum()) > 50

    assert touching >= 3


def test_difficult_slices_are_drawn_more_often_and_empty_ones_less(body: Body) -> None:
    chances = slice_chances(body.labels, body.spacing_mm[0])
    shown = body.labels.any((1, 2))
    knee = int((body.labels == FEMUR).any((1, 2)).argmax())

    assert chances.sum() == pytest.approx(1.0)
    assert chances[0] == chances[~shown].min() < chances[shown].min()
    assert chances[knee] > 1.5 * np.median(chances[shown])


def test_a_map_without_a_pelvis_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="legs lacks structure 1"):
        label_map(np.full((4, 4, 4), 2, np.uint8), (1.0, 1.0, 1.0), "legs")


def test_augmentation_keeps_hu_and_labels_together(body: Body) -> None:
    """Where a bone is labelled, it is mostly bright, however the slice was turned."""
    index = int((body.labels == 2).sum((1, 2)).argmax())
    hu = torch.from_numpy(body.hu[index].astype(np.float32)).repeat(8, 1, 1)
    labels = torch.from_numpy(body.labels[index]).repeat(8, 1, 1)

    images, kept = augmented(hu, labels, Draw(3), View((128, 192)))

    assert images.shape == kept.shape == (8, 128, 192)
    bright = [
        float((image[label == FEMUR] > 90).float().mean())
        for image, label in zip(images, kept, strict=True)
        if (label == FEMUR).sum() > 50
    ]
    assert len(bright) > 4
    assert np.median(bright) > 0.7


def test_images_of_a_batch_differ_and_a_seed_names_them(body: Body) -> None:
    index = int((body.labels == FEMUR).sum((1, 2)).argmax())
    hu = torch.from_numpy(body.hu[index].astype(np.float32)).repeat(3, 1, 1)
    labels = torch.from_numpy(body.labels[index]).repeat(3, 1, 1)

    first, again = (augmented(hu, labels, Draw(5), View((96, 128))) for _ in range(2))

    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1][0], first[1][1])


def test_metal_is_put_into_bone_and_nowhere_else() -> None:
    """The first slice has a square of bone, the second none: that one stays as it was."""
    hu = torch.full((2, 64, 64), 40.0)
    labels = torch.zeros((2, 64, 64), dtype=torch.long)
    labels[0, 20:30, 40:50] = FEMUR

    spoiled = with_metal(hu, labels, Draw(1))

    core = (spoiled[0] > 1900).nonzero().float().mean(0)
    assert 15 < float(core[0]) < 35
    assert 35 < float(core[1]) < 55
    assert torch.equal(spoiled[1], hu[1])


def test_each_image_is_blurred_by_its_own_width() -> None:
    """A point keeps its sum; sigma 0 leaves it, sigma 2 spreads it to 1 / (2 pi 4)."""
    points = torch.zeros((2, 33, 33))
    points[:, 16, 16] = 1.0

    soft = blurred(points, Draw(0), np.array([0.0, 2.0]), np.array([0.0, 2.0]))

    assert torch.allclose(soft[0], points[0], atol=1e-6)
    assert float(soft[1].sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(soft[1, 16, 16]) == pytest.approx(1 / (8 * np.pi), rel=0.05)


def test_a_finer_grid_shows_the_same_body(source: LabelMap) -> None:
    """Volumes of what is large agree within a tenth between pixels of 2 and of 3 mm."""
    volumes = []
    for pixel_mm in (2.0, 3.0):
        grid = BodyGrid.for_pixels(pixel_mm)
        body = draw_body(source, 12, grid=grid)
        voxel_mm3 = grid.step_mm * grid.pixel_mm**2
        volumes.append(np.bincount(body.labels.ravel(), minlength=23)[1:3] * voxel_mm3)

    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_a_refined_label_map_keeps_its_volumes_and_halves_its_pixels(source: LabelMap) -> None:
    """Voxels of 4 mm are coarse for a psoas: it may lose a tenth at its thin ends."""
    fine = source.refined()

    assert fine.spacing_mm == (4.0, 2.0, 2.0)
    for tag in (FEMUR, PSOAS):
        voxels, finer = ((m.tags == tag).sum() for m in (source, fine))
        assert float(finer) / 4 == pytest.approx(float(voxels), rel=0.1)


def test_hollows_between_muscles_hold_fat_and_legs_stay_apart() -> None:
    """Two bars 20 mm apart on one side are joined; a bar on the other side is not."""
    filled = torch.zeros((1, 24, 40), dtype=torch.bool)
    filled[:, 4:20, 4:6] = filled[:, 4:20, 11:13] = filled[:, 4:20, 24:26] = True

    closed = without_hollows(filled, (4.0, 4.0, 4.0), 20)

    assert bool(closed[0, 12, 4:13].all())
    assert not bool(closed[0, 12, 13:24].any())


def test_distance_is_exact_up_to_its_reach() -> None:
    mask = torch.rand((9, 20, 24), generator=torch.Generator().manual_seed(1)) > 0.995
    spacing = (4.0, 2.0, 3.0)

    expected = distance_transform_edt(~mask.numpy(), sampling=spacing)
    actual = distance_mm(mask, spacing, 12.0).numpy()

    near = expected <= 12.0
    assert np.allclose(expected[near], actual[near], atol=1e-3)
    assert (actual[~near] > 12.0).all()


def test_smooth_noise_is_seeded_and_of_about_unit_spread() -> None:
    shape, spacing = (40, 60, 60), (2.0, 2.0, 2.0)

    first = smooth_noise(Draw(3), shape, spacing, 12.0)
    again = smooth_noise(Draw(3), shape, spacing, 12.0)

    assert torch.equal(first, again)
    assert 0.7 < float(first.std()) < 1.3


def test_erosion_and_dilation_undo_each_other_on_a_square() -> None:
    """A 5 x 5 square loses its rim and gets it back, but for the corners."""
    square = torch.zeros((1, 9, 9), dtype=torch.bool)
    square[:, 2:7, 2:7] = True

    assert int(eroded(square).sum()) == 9
    assert int(dilated(eroded(square)).sum()) == 21
