"""How the parts are joined: what a prediction becomes, and the whole way with a tiny network.

The tiny network was never trained and labels by chance; what a trained bundle finds is
tested where the bundle is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.bundles import untrained_bundle
from support.chests import with_chest
from support.volumes import body

from inference.anatomy.knees import SeenKnee
from inference.models.bundle import Bundle
from inference.phantom.render import phantom
from inference.phantom.spec import LEG_PHANTOM, SMALL_PHANTOM, Zone
from inference.pipeline import analyse, conclude
from inference.prediction import Prediction, SampleProfiles
from inference.results import (
    CaseResult,
    Chest,
    Finding,
    ModelIdentity,
    Region,
    Uncertainty,
    Verdict,
)
from inference.structures import BY_KEY, SEGMENTS
from inference.volume import Patient, Volume

MODEL = ModelIdentity("by hand", "1", "0" * 64, samples=2, seed=1, device="none")
PATIENT = body(spacing_mm=(10.0, 4.0, 4.0))
VLVI_L = BY_KEY["VLVI_L"]


def concluded(
    labels: np.ndarray,
    *,
    uncertainty: float = 3e-4,
    volume: Volume = PATIENT.volume,
    knees: Sequence[SeenKnee] = (),
    chest: Chest | None = None,
) -> CaseResult:
    """The case that follows from labels of the crude body; both samples agree with them."""
    shape = (2, len(labels), 23, 1)
    counts = np.stack([np.bincount(image.ravel(), minlength=23) for image in labels])
    voxels = np.broadcast_to(counts[np.newaxis, :, :, np.newaxis], shape).astype(np.int32)
    hu_sums = voxels.astype(np.float32) * 50
    edges = np.array([-0.5, labels.shape[2] - 0.5])
    prediction = Prediction(
        labels=labels,
        uncertainty=np.full(labels.shape, uncertainty, dtype=np.float32),
        profiles=SampleProfiles(voxels, hu_sums, voxels[0], hu_sums[0], voxels[0], edges, 1.0),
        device="none",
    )
    patient = Patient(height_m=2.0)
    return conclude(volume, prediction, None, patient, MODEL, knees=knees, chest=chest)


def test_labels_become_sided_segments_with_their_measurements():
    """A voxel is 10 x 4 x 4 mm = 0.16 cm3; over (2 m) squared 0.04 cm3/m2."""
    case = concluded(PATIENT.labels.copy())
    vastus = case.of(VLVI_L)
    voxels = int((PATIENT.segments == VLVI_L.number).sum())

    np.testing.assert_array_equal(case.segments, PATIENT.segments)
    assert (case.verdict, case.findings) == (Verdict.ACCEPTED, ())
    assert vastus.measured.voxel_count == voxels
    assert vastus.measured.volume_cm3 == pytest.approx(voxels * 0.16)
    assert vastus.measured.normalised_volume_cm3_per_m2 == pytest.approx(voxels * 0.04)
    assert (vastus.measured.mean_hu, vastus.measured.uncertainty) == pytest.approx((50.0, 3e-4))
    assert case.mean_uncertainty == pytest.approx(3e-4)


def test_samples_that_agree_spread_from_the_volume_to_the_volume():
    vastus = concluded(PATIENT.labels.copy()).of(VLVI_L)

    assert vastus.measured.volume_spread_cm3 is not None
    assert vastus.measured.volume_spread_cm3.low == pytest.approx(vastus.measured.volume_cm3)
    assert vastus.measured.volume_spread_cm3.high == pytest.approx(vastus.measured.volume_cm3)


def test_labels_that_are_no_anatomy_leave_no_segments():
    labels = np.where(PATIENT.labels == 1, 1, 0).astype(np.uint8)
    case = concluded(labels)

    assert case.coverage.region is Region.ELSEWHERE
    assert (case.verdict, case.findings) == (Verdict.FAILED, (Finding.WRONG_REGION,))
    assert not case.segments.any()
    assert {s.verdict for s in case.structures} == {Verdict.ABSENT}


def test_what_is_below_the_knee_counts_in_no_measurement():
    """Vastus labels 100 mm below the knee; a metal plate there is not in the region either."""
    patient = body(spacing_mm=(10.0, 4.0, 4.0), z_mm=(-300.0, 720.0))
    labels, hu = patient.labels.copy(), patient.volume.hu.copy()
    labels[:20, 28:34, 70:80] = VLVI_L.structure.label
    hu[5:10, 28:31, 70:73] = 3071
    knees = [SeenKnee(0.0, (124.0, 130.0)), SeenKnee(0.0, (124.0, 310.0))]
    case = concluded(labels, volume=Volume(hu, patient.geometry), knees=knees)
    without = concluded(patient.labels.copy(), volume=patient.volume, knees=knees)

    assert case.findings == (Finding.BELOW_KNEE_LEFT_OUT,)
    assert case.verdict is Verdict.ACCEPTED
    assert case.of(VLVI_L) == without.of(VLVI_L)
    assert case.coverage.lower_legs is not None
    assert case.coverage.lower_legs.slices == 27


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a network that was never trained."""
    return untrained_bundle(tmp_path_factory.mktemp("bundles") / "untrained")


def test_a_volume_goes_all_the_way_and_says_how_far_it_is(bundle: Bundle):
    volume = body(spacing_mm=(40.0, 8.0, 8.0)).volume
    done: list[tuple[int, int]] = []
    case = analyse(volume, bundle, seed=5, progress=lambda *counts: done.append(counts))

    assert done[-1] == (len(volume.hu), len(volume.hu))
    assert len(case.structures) == len(SEGMENTS)
    assert (case.model.name, case.model.samples, case.model.seed) == ("untrained", 2, 5)
    assert case.model.weights_sha256 == bundle.weights_sha256


def test_the_network_does_not_see_the_lower_legs(bundle: Bundle):
    """Cut 40 mm below the knee, with a margin before the network: knees are at 0 mm."""
    volume = phantom(replace(LEG_PHANTOM, zones=(Zone(15.0, 50.0),))).volume
    done: list[tuple[int, int]] = []
    case = analyse(volume, bundle, seed=5, progress=lambda *counts: done.append(counts))
    heights = volume.geometry.slice_offsets_mm

    assert done[-1][1] == pytest.approx((heights > -40).sum(), abs=5)
    assert case.segments.shape == volume.hu.shape
    assert not case.segments[heights < -110].any()
    assert not case.uncertainty[heights < -110].any()


def test_the_network_does_not_see_the_chest(bundle: Bundle):
    """Nor is metal there told: a pacemaker, wires in the sternum."""
    scan = with_chest(phantom(SMALL_PHANTOM).volume, abdomen_mm=60, chest_mm=200)
    hu = scan.hu.copy()
    hu[-6:, 60:64, 60:64] = 3071
    scan = Volume(hu, scan.geometry)
    done: list[tuple[int, int]] = []
    case = analyse(scan, bundle, seed=5, progress=lambda *counts: done.append(counts))

    assert case.coverage.chest is not None
    seen = len(hu) - case.coverage.chest.slices
    assert done[-1] == (seen, seen)
    assert case.segments.shape == hu.shape
    assert not case.segments[seen:].any()
    assert not case.uncertainty[seen:].any()
    assert case.metal.volume_cm3 == 0
    assert "slices of the chest left out" in case.coverage.words


def test_what_is_left_out_of_the_chest_is_a_finding_and_changes_no_number():
    chest = Chest(lung_mm=700.0, slices=3, kept_mm=20.0)
    labels = PATIENT.labels.copy()
    labels[-3:] = 0
    case, without = (concluded(labels, chest=each) for each in (chest, None))

    assert case.findings == (*without.findings, Finding.CHEST_LEFT_OUT)
    assert case.verdict is without.verdict
    assert case.structures == without.structures


def by_entropy(bundle: Bundle) -> Bundle:
    return replace(bundle, model=replace(bundle.model, uncertainty=Uncertainty.ENTROPY))


def test_a_bundle_may_measure_uncertainty_by_the_entropy_of_one_pass(bundle: Bundle):
    volume = body(spacing_mm=(40.0, 8.0, 8.0)).volume
    case = analyse(volume, by_entropy(bundle), seed=5)

    assert (case.model.uncertainty, case.model.samples) == (Uncertainty.ENTROPY, 1)
    assert case.uncertainty.max() > 0  # the variance of a single sample would be 0


def test_the_same_input_and_seed_give_the_same_result(bundle: Bundle):
    volume = body(spacing_mm=(40.0, 8.0, 8.0)).volume
    first, second = (analyse(volume, bundle, seed=5, samples=3) for _ in range(2))

    np.testing.assert_array_equal(first.segments, second.segments)
    np.testing.assert_array_equal(first.uncertainty, second.uncertainty)
    assert first.structures == second.structures


def test_labels_upside_down_leave_no_segments_no_numbers_and_no_side_of_metal():
    hu = PATIENT.volume.hu.copy()
    hu[40:44, 28:34, 70:76] = 3071
    volume = Volume(np.ascontiguousarray(hu[::-1, :, ::-1]), PATIENT.geometry)
    case = concluded(np.ascontiguousarray(PATIENT.labels[::-1, :, ::-1]), volume=volume)

    assert (case.verdict, case.findings) == (Verdict.FAILED, (Finding.AGAINST_HEADER,))
    assert case.coverage.region is Region.HIP_TO_KNEE
    assert not case.segments.any()
    assert {s.verdict for s in case.structures} == {Verdict.FAILED}
    assert {s.measured.volume_cm3 for s in case.structures} == {None}
    assert case.metal.volume_cm3 > 0
    assert (case.metal.sides, case.metal.held_by, case.metal.spoiled) == ((), (), ())
    assert case.mean_uncertainty is None


def test_a_weak_network_s_labels_by_chance_contradict_no_header(bundle: Bundle):
    """Labels by chance are doubted; turned over they are no better, so nothing is said."""
    volume = body(spacing_mm=(40.0, 8.0, 8.0)).volume

    assert not analyse(volume, bundle, seed=5).coverage.against_header
