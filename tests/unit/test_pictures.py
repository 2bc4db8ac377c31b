"""Pictures: size, sides, true proportions, and that they hold up without anything to show."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from support.volumes import Body, body

from inference.calibration import Calibration, StructureCalibration
from inference.coverage import coverage
from inference.measure import measure
from inference.metal import find_metal
from inference.pictures import overlay_slice, qc_picture, refusal_picture
from inference.projections import View, coloured, mean_inside, radiograph, upright
from inference.quality import average_limits, judge_case, judge_structure, mean_uncertainty
from inference.results import CaseResult, ModelIdentity
from inference.structures import BY_KEY, STRUCTURES
from inference.volume import Patient

MODEL = ModelIdentity("by hand", "1", "0" * 64, samples=10, seed=1, device="none")
LINE = StructureCalibration(0.95, 0.01, (0.92, 0.91), 1.0, -200.0, (4e-4, 6e-4))
CALIBRATION = Calibration(
    "hand-made",
    "none",
    dt.date(2026, 1, 1),
    10,
    LINE,
    {s.abbreviation: LINE for s in STRUCTURES},
)


def case_of(patient: Body, uncertainty: float, *, empty: bool = False) -> CaseResult:
    """The case of a crude body that is segmented as it is, or not at all."""
    segments = np.zeros_like(patient.segments) if empty else patient.segments.copy()
    unsure = np.full(segments.shape, uncertainty, dtype=np.float32)
    shown, metal = coverage(segments, patient.volume), find_metal(patient.volume, segments)
    structures = tuple(
        judge_structure(one, CALIBRATION, shown, metal)
        for one in measure(patient.volume, segments, unsure, Patient())
    )
    verdict, findings = judge_case(structures, CALIBRATION, shown, metal)
    return CaseResult(
        patient.geometry,
        segments,
        unsure,
        structures,
        verdict,
        findings,
        shown,
        metal,
        MODEL,
        mean_uncertainty(structures),
        average_limits(CALIBRATION),
    )


@pytest.mark.parametrize("uncertainty", [3e-4, 5e-4, 9e-4])
def test_a_qc_picture_is_1024_by_768_and_dark(uncertainty: float):
    patient = body()
    picture = qc_picture(patient.volume, case_of(patient, uncertainty), title="a title")

    assert (picture.shape, picture.dtype) == ((768, 1024, 3), np.uint8)
    assert np.median(picture) < 30


def test_the_badge_tells_verdicts_apart():
    patient = body()
    badges = [
        tuple(qc_picture(patient.volume, case_of(patient, u))[16, 30]) for u in (3e-4, 9e-4)
    ]

    assert badges == [(96, 200, 120), (240, 92, 84)]


@pytest.mark.parametrize("z_mm", [(-40.0, 720.0), (520.0, 560.0)])
def test_a_case_without_segments_has_a_picture_too(z_mm: tuple[float, float]):
    patient = body(z_mm=z_mm)

    picture = qc_picture(patient.volume, case_of(patient, 0.0, empty=True))

    assert picture.shape == (768, 1024, 3)


def test_a_refusal_has_words_and_the_scan_where_there_is_one():
    words = "slices are missing between 2.0 and 5.0 mm"
    alone, with_scan = refusal_picture(words), refusal_picture(words, body().volume)

    assert alone.shape == with_scan.shape == (768, 1024, 3)
    np.testing.assert_array_equal(alone[:160], with_scan[:160])
    assert with_scan[250:].mean() > alone[250:].mean()


def test_an_overlay_keeps_the_shape_of_the_body():
    """63 rows of 4 mm and 111 columns of 4 mm, 400 pixels wide: 227 high."""
    patient = body()
    picture = overlay_slice(patient.volume, patient.segments, 40, width_px=400)

    assert picture.shape == (227, 400, 3)


def test_the_patients_right_is_on_the_readers_left():
    patient = body()
    right = np.where(patient.segments == BY_KEY["VLVI_R"].number, patient.segments, 0)
    plain = overlay_slice(patient.volume, np.zeros_like(right), 32)
    changed = (overlay_slice(patient.volume, right, 32) != plain).any(axis=(0, 2))

    assert changed[: len(changed) // 2].any()
    assert not changed[len(changed) // 2 :].any()


def test_projections_put_the_head_up_and_uneven_slices_at_their_heights():
    """Slices at 0, 10, 20 and then 80 mm: the uppermost fills from half-way, 50 to 110 mm.

    In all 115 mm, so at 1 mm a pixel the uppermost 60 pixels show it.
    """
    patient = body(offsets_mm=np.array([0.0, 10.0, 20.0, 80.0]))
    plane = np.zeros((4, patient.geometry.columns), dtype=np.float32)
    plane[3] = 1
    shown = upright(plane, patient.geometry, View.CORONAL, 1.0, smooth=False)

    assert shown.shape == (115, 444)
    assert (shown[:60] == 1).all()
    assert (shown[60:] == 0).all()


def test_a_radiograph_runs_from_0_to_1_and_shows_bone_brightest():
    patient = body()
    front = radiograph(patient.volume, View.CORONAL)
    femur = (patient.segments == BY_KEY["FEMUR_L"].number).any(axis=1)

    assert (front.min(), front.max()) == (0.0, 1.0)
    assert front[femur].mean() > 2 * front[~femur].mean()


def test_colours_and_uncertainty_are_only_where_segments_are():
    patient = body()
    empty = ~(patient.segments > 0).any(axis=1)
    colours = coloured(patient.segments, patient.geometry, View.CORONAL)
    unsure = np.full(patient.segments.shape, 3e-4, dtype=np.float32)
    mean = mean_inside(unsure, patient.segments, View.CORONAL)

    assert not colours.opacity[empty].any()
    assert np.isnan(mean[empty]).all()
    assert mean[~empty] == pytest.approx(3e-4)
