"""Knees with a lower leg below them, found in the CT of phantoms and of a real body."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.case_files.phantom_series import (
    DEFAULT_HEADER,
    PatientPosition,
    write_phantom_series,
)
from dicom_node.series.reading import read_series
from inference.anatomy.knees import find_knees, only_lower_legs_at
from inference.anatomy.lower_legs import first_to_segment
from inference.phantom.body import BodySpec
from inference.phantom.implants import Implant, ImplantKind
from inference.phantom.render import phantom
from inference.phantom.spec import LEG_PHANTOM, SMALL_PHANTOM, PhantomSpec, Zone
from inference.structures import Side
from inference.volume import Volume

MIDDLE = LEG_PHANTOM.columns // 2
UNSURE_MM = 30.0
"""With pixels of 3.2 mm the fibula's head melts into the tibia."""


@cache
def legs() -> Volume:
    """Both whole limbs; the knee joints are at 0 mm."""
    return phantom(LEG_PHANTOM).volume


def with_hu(hu: NDArray[np.int16]) -> Volume:
    return Volume(hu, legs().geometry)


def row_of(height_mm: float) -> int:
    return int(np.searchsorted(legs().geometry.slice_offsets_mm, height_mm))


def heights(volume: Volume) -> list[float]:
    return [knee.height_mm for knee in find_knees(volume)]


def test_both_knees_of_whole_limbs_are_found_the_right_one_first() -> None:
    right, left = find_knees(legs())

    assert right.height_mm == pytest.approx(0, abs=UNSURE_MM)
    assert left.height_mm == pytest.approx(0, abs=UNSURE_MM)
    middle_mm = MIDDLE * LEG_PHANTOM.pixel_mm
    assert right.across_mm[1] < middle_mm < left.across_mm[1]


def test_what_lies_well_below_the_knees_need_not_be_segmented() -> None:
    """All that is kept after the network lies above: 40 mm below the joint at 0 mm."""
    first = first_to_segment(legs(), find_knees(legs()))
    lowest_mm = legs().geometry.slice_offsets_mm[first]

    assert -40 - 30 - UNSURE_MM - 8 <= lowest_mm < -40


def test_legs_of_different_length_have_knees_at_different_heights() -> None:
    """The left half lies 80 mm lower: ten slices of 8 mm."""
    hu = legs().hu.copy()
    hu[:-10, :, MIDDLE:] = legs().hu[10:, :, MIDDLE:]
    right, left = heights(with_hu(hu))

    assert left - right == pytest.approx(-80, abs=8)
    assert first_to_segment(with_hu(hu), find_knees(with_hu(hu))) == pytest.approx(
        first_to_segment(legs(), find_knees(legs())) - 10, abs=1
    )


def test_a_leg_that_ends_below_the_knee_has_no_lower_leg() -> None:
    body = BodySpec(lower_legs=(Side.RIGHT,))
    (knee,) = find_knees(phantom(replace(LEG_PHANTOM, body=body)).volume)

    assert knee.across_mm[1] < MIDDLE * LEG_PHANTOM.pixel_mm


def test_a_leg_that_ends_in_mid_thigh_does_not_hinder_the_cut_of_the_other() -> None:
    hu = legs().hu.copy()
    hu[: row_of(180), :, MIDDLE:] = -1000
    volume = with_hu(hu)
    knees = find_knees(volume)

    assert len(knees) == 1
    assert first_to_segment(volume, knees) == first_to_segment(legs(), find_knees(legs()))


def test_nothing_is_left_out_before_the_network_where_another_bone_may_be_a_femur() -> None:
    """The left leg is 160 mm longer and its lower leg in plaster: its thigh goes on below."""
    hu = legs().hu.copy()
    hu[:-20, :, MIDDLE:] = legs().hu[20:, :, MIDDLE:]
    plaster = hu[: row_of(-200), :, MIDDLE:]
    plaster[plaster > -300] = 400
    volume = with_hu(hu)
    knees = find_knees(volume)

    assert len(knees) == 1
    assert not only_lower_legs_at(volume, knees[0].height_mm - 70)
    assert first_to_segment(volume, knees) == 0


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(SMALL_PHANTOM, id="hip to knee"),
        pytest.param(replace(SMALL_PHANTOM, contrast_hu=450.0), id="angiography to the knee"),
        pytest.param(replace(SMALL_PHANTOM, lower_mm=150.0), id="to mid-thigh"),
        pytest.param(replace(LEG_PHANTOM, zones=(Zone(8.0, -80.0),)), id="lower legs alone"),
        pytest.param(replace(SMALL_PHANTOM, lower_mm=-38.0), id="to just below the knee"),
    ],
)
def test_scans_without_a_lower_leg_below_a_knee_have_none(spec: PhantomSpec) -> None:
    assert find_knees(phantom(spec).volume) == ()


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(replace(LEG_PHANTOM, contrast_hu=450.0), id="angiography"),
        pytest.param(replace(LEG_PHANTOM, zones=(Zone(15.0, 595.0),)), id="15 mm slices"),
        pytest.param(
            replace(
                LEG_PHANTOM,
                maximum_hu=3071,
                body=replace(
                    LEG_PHANTOM.body,
                    implants=(
                        Implant(ImplantKind.KNEE, Side.LEFT),
                        Implant(ImplantKind.NAIL, Side.RIGHT),
                    ),
                ),
            ),
            id="implants",
        ),
        pytest.param(
            replace(
                LEG_PHANTOM, body=replace(LEG_PHANTOM.body, variation=1.0, variation_seed=5)
            ),
            id="another body",
        ),
    ],
)
def test_knees_are_found_in_scans_that_are_harder_to_read(spec: PhantomSpec) -> None:
    assert heights(phantom(spec).volume) == pytest.approx([0, 0], abs=UNSURE_MM)


def test_feet_first_and_in_any_order_the_legs_are_below(tmp_path: Path) -> None:
    """What counts is where slices lie in the patient, not how they are listed."""
    spec = replace(LEG_PHANTOM, zones=(Zone(15.0, 595.0),))
    header = replace(DEFAULT_HEADER, position=PatientPosition.FEET_FIRST_SUPINE, shuffled=True)
    volume = read_series(write_phantom_series(tmp_path, spec, header)).volume

    assert heights(volume) == heights(phantom(spec).volume)


def test_the_knees_of_a_real_body_are_found(shared_data: Path) -> None:
    """Visible Human Female: by eye both joint gaps are in the slice at 470 mm, 5 mm apart."""
    paths = sorted((shared_data / "ct" / "vhf_knee_5mm").glob("*"))
    volume = read_series(paths).volume
    knees = find_knees(volume)

    assert [knee.height_mm for knee in knees] == pytest.approx([470, 470], abs=10)
    assert first_to_segment(volume, knees) == pytest.approx(50, abs=3)
    slab = read_series(sorted((shared_data / "ct" / "vhf_pelvis_slab").glob("*"))).volume
    assert find_knees(slab) == ()
