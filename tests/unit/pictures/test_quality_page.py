"""Pictures: size, sides, true proportions, and that they hold up without anything to show."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.cases import with_numbers
from support.volumes import Body, body

from inference.anatomy.coverage import coverage
from inference.anatomy.metal import find_metal
from inference.measurement.measure import measure
from inference.pictures.canvas import BACKGROUND, FAINT, PANEL, TEXT, Colour
from inference.pictures.captions import VERDICT_COLOURS, case_uncertainty, in_figures
from inference.pictures.panels import Shown, overlay_slice
from inference.pictures.projections import View, coloured, mean_inside, radiograph, upright
from inference.pictures.quality_page import LEGEND_TOP, qc_picture, refusal_picture
from inference.quality.calibration import Calibration, ScoreLimits, StructureCalibration
from inference.quality.gate import average_limits, judge_case, judge_structure, mean_uncertainty
from inference.results import CaseResult, Finding, JudgedBy, ModelIdentity, Score, Verdict
from inference.structures import BY_KEY, STRUCTURES
from inference.volume import Patient

MODEL = ModelIdentity("by hand", "1", "0" * 64, samples=10, seed=1, device="none")
LINE = StructureCalibration(
    0.95,
    0.01,
    (0.92, 0.91),
    Score.UNCERTAINTY,
    {Score.UNCERTAINTY: ScoreLimits(1.0, -200.0, (4e-4, 6e-4))},
)
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


@pytest.mark.parametrize(
    "options",
    [
        {"z_mm": (200.0, 204.0)},
        {"offsets_mm": np.array([0.0, 110.0, 220.0, 330.0, 440.0])},
        {"x_mm": (-220.0, 0.0)},
        {"spacing_mm": (40.0, 1.0, 4.0)},
    ],
    ids=["one slice", "five slices", "half a body", "very anisotropic"],
)
def test_odd_scans_have_pictures(options: dict[str, Any]):
    patient = body(**options)
    picture = qc_picture(patient.volume, case_of(patient, 3e-4))

    assert picture.shape == (768, 1024, 3)
    assert picture[130:460, 12:312].max() > 100


def worst(case: CaseResult) -> CaseResult:
    """All 43 structures failed, each for three reasons."""
    findings = (Finding.UNCERTAIN, Finding.VOLUME_IMPLAUSIBLE, Finding.HU_IMPLAUSIBLE)
    failed = replace(
        case.of(BY_KEY["GMED_L"]),
        verdict=Verdict.FAILED,
        findings=findings,
        uncertainty_limits=(4e-4, 6e-4),
    )
    numbers = {"uncertainty": 9e-4, "volume_cm3": 123.0, "mean_hu": -70.0}
    structures = tuple(
        with_numbers(failed, segment=one.segment, **numbers) for one in case.structures
    )
    return replace(case, structures=structures)


def test_43_flagged_structures_leave_the_rest_of_the_page_as_it_is():
    """Neither the slices on the right nor the legend below are written over."""
    patient = body()
    case = case_of(patient, 3e-4)
    usual = qc_picture(patient.volume, case)
    full = qc_picture(patient.volume, worst(case))

    assert (usual[460:LEGEND_TOP, :770] != full[460:LEGEND_TOP, :770]).any()
    np.testing.assert_array_equal(usual[460:, 780:], full[460:, 780:])
    np.testing.assert_array_equal(usual[LEGEND_TOP:], full[LEGEND_TOP:])


def test_a_long_title_is_never_written_over():
    """Where both find no room, the page's own headline gives way."""
    patient = body()
    case = case_of(patient, 3e-4)
    wide = replace(case, verdict=Verdict.SPOILED)
    title = "MSK quality image of series 3, revision 2"
    places = [qc_picture(patient.volume, one, title=title)[12:32, 640:] for one in (case, wide)]

    np.testing.assert_array_equal(*places)


def test_reasons_are_value_and_limit():
    failed = worst(case_of(body(), 3e-4)).structures[0]

    assert in_figures(failed) == (
        "9.0e-04 > 6.0e-04, 123 cm\u00b3 implausible, -70 HU implausible"
    )


def luminance(colour: Colour) -> float:
    """Relative luminance of WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in (part / 255 for part in colour)]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio of WCAG 2.1, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ink", [TEXT, FAINT, *VERDICT_COLOURS.values()])
def test_every_ink_can_be_read_on_dark_ground_and_dark_words_on_every_badge(ink: Colour):
    """At least 4.5 to 1 (WCAG 2.1, 1.4.3); a page of black and white has 21."""
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast(ink, BACKGROUND) >= 4.5
    assert contrast(ink, PANEL) >= 4.5


def test_a_refusal_has_words_and_the_scan_where_there_is_one():
    words = "slices are missing between 2.0 and 5.0 mm"
    alone, with_scan = refusal_picture(words), refusal_picture(words, body().volume)

    assert alone.shape == with_scan.shape == (768, 1024, 3)
    np.testing.assert_array_equal(alone[:160], with_scan[:160])
    assert with_scan[250:].mean() > alone[250:].mean()


def test_a_refused_scan_of_little_height_is_shown_by_its_slices():
    """From the front it would be a line: most of the lower page would be black."""
    thin = refusal_picture("too few slices", body(z_mm=(200.0, 204.0)).volume)

    assert (thin[250:].max(axis=2) > 60).mean() > 0.2


def test_what_is_shown_reaches_a_little_beyond_the_segments():
    """25 mm at 4 mm a pixel: 6 pixels on each side."""
    patient = body()
    shown = Shown.around(patient.volume, patient.segments)
    columns = np.flatnonzero(patient.segments.any(axis=(0, 1)))

    assert (shown.columns.start, shown.columns.stop) == (columns[0] - 6, columns[-1] + 7)


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


def test_a_verdict_by_the_samples_disagreement_is_told_as_the_dice_between_them():
    """Limits .25 and .375 on 1 - Dice, of which a structure has .3, the case .1."""
    patient = body()
    case = case_of(patient, 3e-4)
    by = JudgedBy(Score.DISAGREEMENT, 0.3, (0.25, 0.375))
    flagged = replace(
        case.of(BY_KEY["GMED_L"]),
        verdict=Verdict.INACCURATE,
        findings=(Finding.SAMPLES_DISAGREE,),
        judged_by=by,
    )
    varied = replace(flagged, judged_by=replace(by, score=Score.VOLUME_CV, value=0.4))

    assert in_figures(flagged) == "Dice of samples 0.70 < 0.75"
    assert in_figures(varied) == "volume varies 0.40 > 0.38"
    assert case_uncertainty(replace(case, judged_by=replace(by, value=0.1))) == (
        "mean Dice between samples 0.90 (inaccurate < 0.75, failed < 0.62)"
    )
