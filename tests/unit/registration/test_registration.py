"""A label map is laid on a CT of the same body: known motions and shapes are found again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dicom_node.case_files.labelled_cases import listed_cases, read_case
from inference.errors import RegistrationError
from inference.phantom.render import phantom_labels
from inference.registration.__main__ import _read, main
from inference.registration.following import followed, looked_up
from inference.registration.plan import read_plan
from inference.registration.reference import OWN_SURFACE_MM, Anchor, Body, register
from inference.registration.rigid import Rigid, SignedDistance, fitted
from inference.registration.tissue import bone_of, midline_mm, muscle_of, surface_of
from inference.structures import Side

STEP_MM = 4.0
GRID_MM = (STEP_MM, STEP_MM, STEP_MM)
PELVIS, FEMUR, GMED = 1, 2, 5
ROOT = Path(__file__).parents[3]
PLAN = ROOT / "inference" / "registration" / "visible-human-female.toml"
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def body() -> Body:
    """The analytic phantom with what the atlases label: no skin, no fat, no bowel."""
    labels = phantom_labels(spacing_mm=STEP_MM)
    labels[labels > 109] = 0
    return Body(labels, GRID_MM)


TURN = np.array([0.03, -0.02, 0.04])
SHIFT_MM = np.array([7.0, -5.0, 4.0])


def scan_of(body: Body, low_mm: float, high_mm: float) -> tuple[np.ndarray, Rigid]:
    """A CT of a part of the body, turned and shifted, and the motion back to the label map.

    Slices of 4 mm from `low_mm` to `high_mm` of the label map; bone 400, muscle 50, fat -100.
    """
    slices = np.arange(low_mm, high_mm, STEP_MM)
    index = np.stack(
        np.meshgrid(
            slices, *(np.arange(n) * STEP_MM for n in body.labels.shape[1:]), indexing="ij"
        ),
        axis=-1,
    )
    centre = np.array(
        [(low_mm + high_mm) / 2, *(np.array(body.labels.shape[1:]) * STEP_MM / 2)]
    )
    there = (Rotation.from_rotvec(TURN).apply((index - centre).reshape(-1, 3))) + centre
    there = (there + SHIFT_MM) / STEP_MM
    labels = ndimage.map_coordinates(body.labels, there.T, order=0).reshape(index.shape[:3])
    around = ndimage.binary_dilation(labels > 0, iterations=4)
    hu = np.where(around, -100, -1000)
    hu[labels > 0] = 50
    hu[np.isin(labels, (1, 2, 3, 101, 102, 103, 104))] = 400
    first = np.array([low_mm, 0, 0])
    truth = Rigid(TURN, centre - first, SHIFT_MM + first)
    return hu.astype(np.int16), truth


def pelvic(body: Body) -> tuple[float, float]:
    """The upper part of the pelvis: 45 mm of it, in mm of the label map."""
    top = float(np.argwhere(body.labels == PELVIS)[:, 0].max()) * STEP_MM
    return top - 60, top - 15


def test_a_slab_of_a_bone_finds_its_place_in_the_whole_bone(body: Body) -> None:
    """Turned by up to 2.3 degrees and shifted by 9.5 mm; the start is 9.5 mm and more off.

    Half a voxel is 2 mm.
    """
    low, high = pelvic(body)
    hu, truth = scan_of(body, low, high)
    points = surface_of(bone_of(hu, STEP_MM)) * STEP_MM
    bone = SignedDistance.of(body.labels == PELVIS, GRID_MM)

    found = fitted(points, bone, Rigid.shift((low, 0.0, 0.0)), STEP_MM / 2)

    assert found is not None
    probe = np.array([[0.0, 100.0, 100.0], [30.0, 200.0, 300.0], [45.0, 150.0, 200.0]])
    assert np.abs(found(probe) - truth(probe)).max() < 2.0


def test_the_same_motion_may_turn_about_any_centre() -> None:
    motion = Rigid(TURN, np.array([1.0, 2.0, 3.0]), SHIFT_MM)
    probe = np.array([[0.0, 10.0, 20.0], [5.0, 5.0, 5.0]])

    assert motion.about(np.array([50.0, 0.0, -9.0]))(probe) == pytest.approx(motion(probe))


def test_points_far_from_every_bone_find_nothing(body: Body) -> None:
    bone = SignedDistance.of(body.labels == PELVIS, GRID_MM)

    assert fitted(np.full((500, 3), 9000.0), bone, Rigid.shift((0.0, 0.0, 0.0))) is None


def test_a_distance_is_zero_on_the_surface_and_negative_inside() -> None:
    """A cube of voxels 10 to 19: its surface lies at 9.5; 4 outside of it, 3.5 inside."""
    mask = np.zeros((30, 30, 30), bool)
    mask[10:20, 10:20, 10:20] = True
    distance = SignedDistance.of(mask, (1.0, 1.0, 1.0))

    found = distance.at(np.array([[9.5, 15.0, 15.0], [5.5, 15.0, 15.0], [13.0, 15.0, 15.0]]))

    assert found == pytest.approx([0.0, 4.0, -3.5], abs=0.01)


def test_a_shifted_and_swollen_disk_is_followed() -> None:
    """Radius 20 becomes 23, shifted by 2 columns: overlap from 0.83 to above 0.95."""
    y, x = np.mgrid[:80, :80]
    small = np.repeat((np.hypot(y - 40, x - 40) < 20)[None], 3, axis=0)
    large = np.repeat((np.hypot(y - 40, x - 42) < 23)[None], 3, axis=0)
    spacing = (2.0, 1.0, 1.0)

    field = followed(small.astype(np.float32), large.astype(np.float32), small | True, spacing)

    moved = looked_up(small.astype(np.float32), field, spacing, order=0) > 0
    dice = 2 * (moved & large).sum() / (moved.sum() + large.sum())
    assert 2 * (small & large).sum() / (small.sum() + large.sum()) < 0.87
    assert dice > 0.95


def test_nothing_moves_where_nothing_can_be_compared() -> None:
    y, x = np.mgrid[:40, :40]
    disk = np.repeat((np.hypot(y - 20, x - 20) < 9)[None], 2, axis=0).astype(np.float32)

    field = followed(
        disk, np.roll(disk, 3, axis=2), np.zeros(disk.shape, bool), (2.0, 1.0, 1.0)
    )

    assert not field.any()


def test_marrow_behind_a_broken_cortex_is_bone_and_muscle_beyond_its_end_is_not() -> None:
    """A ring of 2 pixels, radius 12, with a gap of 10 pixels; a claim that reaches past it."""
    y, x = np.mgrid[:60, :60]
    radius = np.hypot(y - 30, x - 30)
    ring = (radius <= 12) & (radius > 9.5) & ~((np.abs(y - 30) < 5) & (x > 30))
    hu = np.where(ring, 900, 40).astype(np.int16)[None]
    claimed = ((radius < 9) | ((np.abs(y - 30) < 4) & (x > 44)))[None]

    open_ = bone_of(hu, 1.0)[0]
    found = bone_of(hu, 1.0, claimed)[0]

    assert not open_[30, 30]
    assert found[30, 30]
    assert not found[30, 50]


def test_a_marker_on_the_skin_is_no_bone() -> None:
    hu = np.full((1, 40, 40), 40, np.int16)
    hu[0, 5:9, 5:9] = 1000

    assert not bone_of(hu, 1.0).any()


def test_the_midline_runs_between_two_legs() -> None:
    hu = np.full((2, 60, 100), -1000, np.int16)
    hu[:, 20:40, 10:30] = hu[:, 20:40, 50:70] = 40

    assert midline_mm(hu, 2.0) == pytest.approx((10 + 69) / 2 * 2.0)


def test_fat_is_no_muscle() -> None:
    hu = np.array([[[-100] * 9 + [50] * 9]] * 1, np.int16).repeat(9, axis=1)

    found = muscle_of(hu, 1.0)[0]

    assert found[:, 12:].all()
    assert not found[:, :6].any()


@pytest.fixture(scope="module")
def pelvis_scan(body: Body) -> tuple[np.ndarray, Rigid, float]:
    low, high = pelvic(body)
    hu, truth = scan_of(body, low, high)
    return hu, truth, low


def truth_on(body: Body, hu: np.ndarray, truth: Rigid) -> np.ndarray:
    index = np.argwhere(np.ones(hu.shape, bool)) * STEP_MM
    there = truth(index) / STEP_MM
    return ndimage.map_coordinates(body.labels, there.T, order=0).reshape(hu.shape)


def test_labels_come_to_lie_where_the_body_has_them(
    body: Body, pelvis_scan: tuple[np.ndarray, Rigid, float]
) -> None:
    hu, truth, low = pelvis_scan

    found = register(hu, GRID_MM, body, (Anchor((PELVIS,), start_mm=(low, 0.0, 0.0)),))

    true = truth_on(body, hu, truth)
    for label in (PELVIS, GMED):
        one, other = found.labels == label, true == label
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.9, label
    assert found.bones[0].mean_mm < 1.5
    by_name = {one.structure: one for one in found.structures}
    assert by_name["PELVIS"].dice is not None
    assert by_name["PELVIS"].dice > 0.9
    assert by_name["GMED"].muscle_share is not None
    assert min(by_name["GMED"].muscle_share) > 0.9


def test_each_thigh_goes_by_its_own_femur(body: Body) -> None:
    """The middle of the thighs; the scan's right leg lies 8 mm farther back."""
    femur = np.argwhere(body.labels == FEMUR)[:, 0]
    low = float(np.percentile(femur, 5)) * STEP_MM
    k = int(low / STEP_MM)
    labels = body.labels[k : k + 12].copy()
    right = body.side(Side.RIGHT)
    labels[:, :, right] = np.roll(labels[:, :, right], 2, axis=1)
    hu = np.where(labels > 0, 50, -100).astype(np.int16)
    hu[np.isin(labels, (1, 2, 3, 101, 102, 103, 104))] = 400
    start = (k * STEP_MM, 0.0, 0.0)

    found = register(
        hu, GRID_MM, body, tuple(Anchor((FEMUR,), side=side, start_mm=start) for side in Side)
    )

    one, other = found.labels == FEMUR, labels == FEMUR
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.9
    assert [fit.side for fit in found.bones] == list(Side)


def test_a_bone_that_is_not_there_is_named(
    body: Body, pelvis_scan: tuple[np.ndarray, Rigid, float]
) -> None:
    hu, _, low = pelvis_scan

    with pytest.raises(RegistrationError, match="label map has no bone 99"):
        register(hu, GRID_MM, body, (Anchor((99,), start_mm=(low, 0.0, 0.0)),))
    with pytest.raises(RegistrationError, match="CT shows no bone near 2, R"):
        register(hu, GRID_MM, body, (Anchor((2,), Side.RIGHT, start_mm=(-900.0, 0.0, 0.0)),))
    with pytest.raises(RegistrationError, match="nothing says where to look for 1"):
        register(hu, GRID_MM, body, (Anchor((PELVIS,)),))


def written(folder: Path, body: Body, hu: np.ndarray, low: float, left_out: str = "") -> Path:
    for name, values in (("labels", body.labels), ("ct", hu)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(GRID_MM)
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    plan = folder / "plan.toml"
    plan.write_text(
        f"""label_map = "labels.nii.gz"
[[scans]]
name = "slab"
ct = "ct.nii.gz"
left_out = {{ {left_out} }}
[[scans.anchors]]
bones = [1]
start_mm = [{low}, 0.0, 0.0]
""",
        encoding="utf-8",
    )
    return plan


def test_a_registered_scan_is_a_labelled_case_like_any_other(
    body: Body,
    pelvis_scan: tuple[np.ndarray, Rigid, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hu, _, low = pelvis_scan
    plan = written(tmp_path, body, hu, low, 'ILI = "thin"')

    main([str(plan), "--data", str(tmp_path), "--out", str(tmp_path / "cases")])

    assert "slab: bone 1: mean distance" in capsys.readouterr().out
    (listed,) = listed_cases(tmp_path / "cases")
    case = read_case(listed)
    assert np.array_equal(case.volume.hu, hu)
    assert {1, 2} <= set(np.unique(case.truth))  # both sides of the pelvis
    folder = tmp_path / "cases" / "slab"
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nii.gz"))) != 7).all()
    facts = json.loads((folder / "registration.json").read_text())
    assert facts["left_out"] == {"ILI": "thin"}
    assert (folder / "contours.png").is_file()


def test_a_plan_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('label_map = "x"\nscans = []\n')
    with pytest.raises(RegistrationError, match="scans"):
        read_plan(plan)
    with pytest.raises(RegistrationError, match="missing"):
        read_plan(tmp_path / "missing.toml")
    plan.write_text(
        'label_map = "x"\n[[scans]]\nname = "a"\nct = "b"\nleft_out = { NOSE = "no" }\n'
        "[[scans.anchors]]\nbones = [1]\n"
    )
    with pytest.raises(RegistrationError, match=r"unknown.*NOSE"):
        read_plan(plan)


def test_a_scan_that_is_missing_ends_the_command_in_words(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'label_map = "none.nii.gz"\n[[scans]]\nname = "a"\nct = "b"\n'
        "[[scans.anchors]]\nbones = [1]\n"
    )

    with pytest.raises(SystemExit, match=r"RegistrationError: .*none"):
        main([str(plan), "--data", str(tmp_path), "--out", str(tmp_path)])


def test_the_shipped_plan_can_be_read() -> None:
    assert [scan.name for scan in read_plan(PLAN).scans] == ["vhf_pelvis", "vhf_knee"]


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no reference data beside the checkout")
def test_a_real_pelvis_lies_within_millimetres_of_its_label_map() -> None:
    """Five slices of the Visible Human Female; half of her bone's surface within 1.5 mm."""
    plan = read_plan(PLAN)
    scan = plan.scans[0]
    labels, ct = (_read(SHARED / path) for path in (plan.label_map, scan.ct))
    points = surface_of(bone_of(sitk.GetArrayFromImage(ct), 1.0)).astype(float)
    pelvis = sitk.GetArrayFromImage(labels) == PELVIS
    bone = SignedDistance.of(pelvis, (1.5, 1.5, 1.5))
    start = scan.anchors[0].start_mm
    assert start is not None

    found = fitted(points[::4], bone, Rigid.shift(start), 0.5)

    assert found is not None
    far_mm = np.abs(bone.at(found(points)) + 0.5)
    own = far_mm[far_mm < OWN_SURFACE_MM]
    assert len(own) > 2000
    assert np.median(own) < 1.5
