"""The cut above the pelvis: what lungs are, what is left out, what follows, what is said."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support.chests import with_chest
from support.volumes import body

from inference.anatomy.coverage import chest_words, coverage
from inference.anatomy.knees import SeenKnee
from inference.anatomy.trunk import above_lungs, below_lungs, cut_above_pelvis, find_chest
from inference.phantom.render import phantom
from inference.phantom.spec import LEG_PHANTOM, SMALL_PHANTOM
from inference.results import Chest
from inference.structures import BY_KEY
from inference.volume import Volume

PSOAS_L = BY_KEY["PSOAS_L"]
STEP_MM = SMALL_PHANTOM.zones[0].thickness_mm


@cache
def hips() -> Volume:
    """Hip to knee, up to 590 mm."""
    return phantom(SMALL_PHANTOM).volume


def top_mm(volume: Volume) -> float:
    return float(volume.geometry.slice_offsets_mm[-1] + volume.geometry.extents_mm[-1] / 2)


def painted(volume: Volume, hu: float, *, square_mm: float, from_mm: float) -> Volume:
    """A square of some value inside the body, from a height upwards."""
    image = volume.hu.copy()
    row, column = np.argwhere(volume.hu[-1] > -200).mean(axis=0).astype(int)
    half = round(square_mm / volume.geometry.spacing_mm[0] / 2)
    above = volume.geometry.slice_offsets_mm >= from_mm
    image[above, row - half : row + half, column - half : column + half] = hu
    return Volume(image, volume.geometry)


@pytest.mark.parametrize("lung_hu", [-920.0, -850.0, -650.0])
def test_a_scan_up_to_the_neck_is_cut_20_mm_above_the_lungs_lower_end(lung_hu: float) -> None:
    scan = with_chest(hips(), abdomen_mm=100, chest_mm=250, lung_hu=lung_hu)
    chest = find_chest(scan)

    assert chest is not None
    assert chest.lung_mm == pytest.approx(top_mm(hips()) + 100, abs=2 * STEP_MM)
    assert chest.kept_mm == 20.0
    kept = scan.geometry.slice_offsets_mm[: -chest.slices]
    assert chest.lung_mm < kept[-1] <= chest.lung_mm + 20


def test_a_chest_alone_keeps_a_slice_for_the_network_to_refuse() -> None:
    scan = with_chest(hips(), abdomen_mm=0, chest_mm=300)
    first = len(hips().hu) + 8
    alone = scan.part(range(first, len(scan.hu)))
    chest = find_chest(alone)

    assert chest is not None
    assert 0 < len(alone.hu) - chest.slices <= 3


@pytest.mark.parametrize(("lung_mm", "region"), [(50.0, "neither"), (80.0, "part of")])
def test_close_below_the_lungs_nothing_is_believed(lung_mm: float, region: str) -> None:
    """A network without a chest in its training finds hips in one, with muscles around."""
    hip = body(z_mm=(380, 720))
    bottom = float(hip.geometry.slice_offsets_mm[0] - hip.geometry.extents_mm[0] / 2)
    shown = coverage(hip.segments, hip.volume, chest=Chest(bottom + lung_mm, 5, 20.0))

    assert shown.region.startswith(region)
    assert shown.words.endswith("5 slices of the chest left out.")


def test_the_tips_of_the_lungs_at_the_top_of_an_abdomen_are_no_chest() -> None:
    """There is nothing above them to be left out."""
    assert find_chest(with_chest(hips(), abdomen_mm=100, chest_mm=30)) is None


def test_a_scan_from_hip_to_knee_or_to_the_soles_has_none() -> None:
    assert find_chest(hips()) is None
    assert find_chest(phantom(LEG_PHANTOM).volume) is None


@pytest.mark.parametrize("hu", [-1000.0, -950.0, -450.0, -100.0])
def test_gas_stool_and_fat_are_no_lungs(hu: float) -> None:
    """A bowel blown up to 10 cm over the whole pelvis, which no cut may touch."""
    assert find_chest(painted(hips(), hu, square_mm=100, from_mm=450)) is None


def test_a_loop_that_looks_like_lung_is_too_small_for_one() -> None:
    """Half stool, half gas: 5 x 5 cm of it all the way up, or 10 x 10 cm in two slices."""
    loop = painted(hips(), -750.0, square_mm=50, from_mm=400)
    short = painted(hips(), -750.0, square_mm=100, from_mm=top_mm(hips()) - 2.2 * STEP_MM)

    assert find_chest(loop) is None
    assert find_chest(short) is None


def test_foam_around_the_body_is_no_lung() -> None:
    """It reaches the edge of the image, as air does."""
    foam = hips().hu.copy()
    foam[foam < -600] = -900

    assert find_chest(Volume(foam, hips().geometry)) is None


def test_a_knee_beside_the_lungs_or_close_below_is_none() -> None:
    """Shoulders and elbows of raised arms."""
    chest = Chest(lung_mm=700.0, slices=40, kept_mm=20.0)
    knees = [SeenKnee(height, (0.0, 0.0)) for height in (0.0, 540.0, 560.0, 900.0)]

    assert [knee.height_mm for knee in below_lungs(knees, chest)] == [0.0, 540.0]
    assert below_lungs(knees, None) == tuple(knees)


def test_of_a_body_that_is_upside_down_below_its_chest_the_rest_is_segmented() -> None:
    """Lungs at the lower end, and hips and thighs above: the CT alone takes them for a head."""
    scan = with_chest(hips(), abdomen_mm=100, chest_mm=150)
    turned = Volume(np.ascontiguousarray(scan.hu[::-1]), scan.geometry)
    chest = find_chest(turned)
    assert chest is not None

    above = above_lungs(turned, chest)

    assert above is not None
    assert above.stop == len(turned.hu)
    assert len(above) >= len(hips().hu)


def test_of_an_upright_body_nothing_above_the_lungs_is_segmented() -> None:
    scan = with_chest(hips(), abdomen_mm=100, chest_mm=450)
    chest = find_chest(scan)

    assert chest is not None
    assert above_lungs(scan, chest) is None


def test_nothing_is_kept_higher_above_the_pelvis_than_a_psoas_reaches() -> None:
    """The pelvis ends at 610 mm, psoas at 690; a kidney taken for psoas at 800 is cut."""
    patient = body(z_mm=(0, 880))
    heights = patient.geometry.slice_offsets_mm
    segments = patient.segments.copy()
    segments[heights > 700, 20:30, 20:30] = PSOAS_L.number
    kept = cut_above_pelvis(segments, patient.geometry)
    cut_at = 610 + 160 + 8

    np.testing.assert_array_equal(kept[heights < cut_at - 16], segments[heights < cut_at - 16])
    assert not kept[heights > cut_at].any()


def test_without_a_pelvis_nothing_tells_what_is_too_high() -> None:
    patient = body(z_mm=(0, 880))
    segments = np.zeros_like(patient.segments)
    segments[::4, 20:30, 20:30] = PSOAS_L.number

    assert cut_above_pelvis(segments, patient.geometry) is segments


def test_what_is_said_of_it() -> None:
    assert chest_words(Chest(700.0, 93, 20.0)) == (
        "It was cut 20 mm above the lower end of the lungs: 93 slices of the chest left out."
    )
    assert "1 slice of the chest" in chest_words(Chest(700.0, 1, 20.0))
    assert chest_words(None) == ""
