"""The seam for kinds of networks, proven with a second kind that goes the whole way."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.bundles import untrained_bundle
from support.threshold_kind import KIND, THRESHOLDS, Thresholds, threshold_bundle
from support.volumes import body

from dicom_node.analysis.case_store import load_case, save_case
from dicom_node.results.pdf.summary import summary_pdf
from dicom_node.series.ct_series import CtSeries
from inference.errors import BundleError
from inference.evaluation.scores import Scope, score_structures
from inference.geometry import Orientation
from inference.models.bayesian_unet.channels import LABELS
from inference.models.bundle import DEFAULT_KIND, KINDS, load_bundle
from inference.models.model import Model, check_counts, predict
from inference.pictures.quality_page import qc_picture
from inference.pipeline import analyse, analyse_sample_counts
from inference.results import Region, Uncertainty, Verdict
from inference.structures import BY_KEY, SEGMENTS
from inference.training.calibrate import by_bundle, fit, provided_labels, score
from inference.training.scoring import LabelledImage
from sr_templates.words import case_words

THIGHS = body(spacing_mm=(20.0, 4.0, 4.0), z_mm=(60.0, 360.0))
WHOLE_THIGH = body(spacing_mm=(20.0, 4.0, 4.0))
LIMITS_HU = {"VLVI": 0.0, "FEMUR": 150.0}
"""The crude body has fat of -100 HU, muscles of 50 and bones of 500."""


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the one line in `bundle.py` does."""
    monkeypatch.setattr("inference.models.bundle.KINDS", {**KINDS, **THRESHOLDS})


@pytest.mark.usefixtures("two_kinds")
def test_another_kind_of_network_goes_all_the_way(tmp_path: Path):
    """Where the body is muscle it finds VLVI, where it is bone a femur, right and left."""
    threshold_bundle(tmp_path / "b", LIMITS_HU, spread_hu=5.0)
    bundle = load_bundle(tmp_path / "b")
    done: list[tuple[int, int]] = []
    case = analyse(THIGHS.volume, bundle, seed=5, progress=lambda *told: done.append(told))
    femur = case.of(BY_KEY["FEMUR_L"])

    assert bundle.kind == KIND
    assert done[-1] == (len(THIGHS.volume.hu), len(THIGHS.volume.hu))
    assert case.coverage.region is Region.PARTIAL
    assert (case.segments > 0).sum() == (THIGHS.volume.hu > 0).sum()
    assert femur.measured.mean_hu == pytest.approx(THIGHS.volume.hu[THIGHS.labels == 2].mean())
    assert femur.measured.mean_hu_spread is not None
    assert (case.model.name, case.model.samples) == ("thresholds", 4)
    assert case.model.weights_sha256 == bundle.weights_sha256
    assert case.model.device == "cpu thresholds"
    assert case.model.uncertainty is Uncertainty.VARIANCE


@pytest.mark.usefixtures("two_kinds")
def test_what_a_model_was_not_made_to_find_is_not_provided_and_never_absent(tmp_path: Path):
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU, spread_hu=5.0)
    case = analyse(THIGHS.volume, bundle, seed=5)
    known = {BY_KEY[key] for key in ("VLVI_R", "VLVI_L", "FEMUR_R", "FEMUR_L")}

    assert bundle.model.segments == known
    for result in case.structures:
        not_provided = result.verdict is Verdict.NOT_PROVIDED
        assert not_provided == (result.segment not in known), result.segment.key
    assert "Not provided by the model: pelvis (both sides), sacrum" in case_words(case)


@pytest.mark.usefixtures("two_kinds")
def test_a_model_may_know_one_side_of_a_structure_alone(tmp_path: Path):
    """What the split gives to the other side is left out of segments and measurements."""
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU, spread_hu=5.0)
    known = frozenset(BY_KEY[key] for key in ("VLVI_L", "FEMUR_L", "FEMUR_R"))

    class OneSide(Thresholds):
        segments = known

    model = OneSide(bundle.model.weights_path, bundle.model.structures, 5.0)
    case = analyse(THIGHS.volume, replace(bundle, model=model), seed=5)

    assert set(np.unique(case.segments)) == {0, *(segment.number for segment in known)}
    assert case.of(BY_KEY["VLVI_R"]).verdict is Verdict.NOT_PROVIDED


@pytest.mark.usefixtures("two_kinds")
def test_a_model_without_uncertainty_answers_once_and_is_never_accepted(tmp_path: Path):
    """Bones of the crude body have 500 HU; the seventh sample is asked for in vain."""
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU, samples=10)
    case = analyse(WHOLE_THIGH.volume, bundle, seed=5, samples=7)
    femur = case.of(BY_KEY["FEMUR_L"])

    assert (case.model.uncertainty, case.model.samples) == (Uncertainty.NONE, 1)
    assert case.uncertainty is None
    assert (femur.measured.uncertainty, femur.measured.mean_hu_spread) == (None, None)
    assert femur.measured.mean_hu == pytest.approx(500.0)
    assert femur.verdict is Verdict.NOT_JUDGED
    assert Verdict.ACCEPTED not in {case.verdict, *(one.verdict for one in case.structures)}
    assert "no measure of its uncertainty" in case_words(case)
    with pytest.raises(ValueError, match="1 samples at most"):
        predict(THIGHS.volume, bundle.model, samples=2, seed=5, device="cpu")


@pytest.mark.usefixtures("two_kinds")
def test_a_map_of_a_model_that_says_it_has_no_uncertainty_is_not_believed(tmp_path: Path):
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU, spread_hu=5.0)

    class Denying(Thresholds):
        uncertainty = Uncertainty.NONE

    model = Denying(bundle.model.weights_path, bundle.model.structures, 5.0)
    with pytest.raises(ValueError, match="uncertainty is 'none', with a map"):
        analyse(THIGHS.volume, replace(bundle, model=model), seed=5)


@pytest.mark.usefixtures("two_kinds")
def test_a_case_without_uncertainty_is_drawn_and_handed_over_like_any_other(tmp_path: Path):
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU)
    case = analyse(WHOLE_THIGH.volume, bundle, seed=5)
    series = CtSeries(WHOLE_THIGH.volume, (), Orientation(), Dataset())
    save_case(tmp_path / "case", series, case)
    loaded = load_case(tmp_path / "case")

    assert not (tmp_path / "case" / "uncertainty.npy").exists()
    assert loaded.uncertainty is None
    assert loaded.structures == case.structures
    assert qc_picture(WHOLE_THIGH.volume, case).any()
    assert summary_pdf(WHOLE_THIGH.volume, case, title="") != b""


@pytest.mark.usefixtures("two_kinds")
def test_nothing_is_said_for_calibration_of_what_a_model_does_not_provide(tmp_path: Path):
    """VLVI and femur alone have a Dice; without uncertainty no line can be fitted to them."""
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU)
    hu = np.asarray(THIGHS.volume.hu, np.int16)
    scored = score(bundle, LabelledImage(hu, THIGHS.labels, (20.0, 4.0, 4.0)))

    assert provided_labels(bundle) == (2, 21)
    assert np.flatnonzero(np.isfinite(scored.dice)).tolist() == [1, 20]
    assert not any(np.isfinite(one).any() for one in scored.scores.values())
    assert not fit([scored] * 6, "six", dt.date(2026, 11, 29)).structures


@pytest.mark.usefixtures("two_kinds")
def test_evaluation_scores_only_what_a_model_provides():
    """A structure that was not sought has no Dice, rather than one of 0."""
    truth = np.where(np.isin(THIGHS.labels, (2, 21)), THIGHS.segments, 0).astype(np.uint8)
    missing = [one for one in SEGMENTS if one.structure.abbreviation not in LIMITS_HU]
    scores = score_structures(THIGHS.volume, THIGHS.segments, truth, None, missing)
    dice = {(one.structure, one.scope): one.dice for one in scores if one.true_voxels}

    assert dice["FEMUR", Scope.BOTH] == dice["VLVI", Scope.LEFT] == 1.0
    assert dice["RF", Scope.BOTH] is None
    assert all(one.uncertainty is None for one in scores)


@pytest.mark.usefixtures("two_kinds")
def test_another_kind_grows_by_samples_and_repeats_itself(tmp_path: Path):
    """A spread of 50 HU lets muscles waver around a threshold of 50 HU."""
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU | {"VLVI": 50.0}, spread_hu=50.0)
    volume = THIGHS.volume
    together = list(analyse_sample_counts(volume, bundle, counts=(1, 3), seed=5))

    for count, found in zip((1, 3), together, strict=True):
        alone = analyse(volume, bundle, samples=count, seed=5)
        np.testing.assert_array_equal(found.segments, alone.segments)
        np.testing.assert_array_equal(found.uncertainty, alone.uncertainty)
    assert together[0].uncertainty.max() == 0
    assert together[1].uncertainty.max() > 0


@pytest.mark.usefixtures("two_kinds")
def test_another_kind_is_scored_for_calibration_as_it_is_used(tmp_path: Path):
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU, samples=3, spread_hu=5.0)
    found = by_bundle(bundle)(THIGHS.volume, 7)
    expected = predict(THIGHS.volume, bundle.model, samples=3, seed=7, device="cpu")

    assert found.profiles.voxels.shape[0] == 3
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)


def test_a_bundle_is_calibrated_by_the_uncertainty_that_it_is_used_with(tmp_path: Path):
    """By the entropy of one pass, that is, and not by the variance of its samples."""
    bundle = untrained_bundle(tmp_path / "b")
    model = replace(bundle.model, uncertainty=Uncertainty.ENTROPY)
    found = by_bundle(replace(bundle, model=model))(THIGHS.volume, 7)
    expected = predict(THIGHS.volume, model, samples=1, seed=7, device="cpu")

    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)
    assert found.uncertainty.max() > 0


def test_an_unknown_kind_is_refused_with_the_kinds_there_are(tmp_path: Path):
    untrained_bundle(tmp_path / "b")
    path = tmp_path / "b" / "bundle.toml"
    path.write_text(f'kind = "monai"\n{path.read_text()}')

    words = r"kind is 'monai', this version knows bayesian_unet, musclemap, nnunet"
    with pytest.raises(BundleError, match=words):
        load_bundle(tmp_path / "b")


def test_a_kind_that_is_no_word_is_refused(tmp_path: Path):
    untrained_bundle(tmp_path / "b")
    path = tmp_path / "b" / "bundle.toml"
    path.write_text(f"kind = [1]\n{path.read_text()}")

    with pytest.raises(BundleError, match=r"bundle\.toml: kind is \[1\]"):
        load_bundle(tmp_path / "b")


@pytest.mark.usefixtures("two_kinds")
def test_a_key_of_another_kind_is_refused(tmp_path: Path):
    threshold_bundle(tmp_path / "b", LIMITS_HU)
    path = tmp_path / "b" / "bundle.toml"
    path.write_text(path.read_text() + "\n[window]\nlow_hu = 0.0\n")

    with pytest.raises(BundleError, match=r"bundle\.toml: window: Unexpected keyword"):
        load_bundle(tmp_path / "b")


@pytest.mark.usefixtures("two_kinds")
def test_a_kind_s_own_check_of_its_weights_is_heard(tmp_path: Path):
    threshold_bundle(tmp_path / "b", LIMITS_HU)
    path = tmp_path / "b" / "bundle.toml"
    path.write_text(path.read_text().replace('["VLVI", "FEMUR"]', '["VLVI"]'))

    with pytest.raises(BundleError, match=r"weights\.safetensors: limits_hu is \(2,\)"):
        load_bundle(tmp_path / "b")


def test_bundles_of_today_name_no_kind_and_are_bayesian_u_nets(tmp_path: Path):
    written = untrained_bundle(tmp_path / "b")

    assert "kind" not in (tmp_path / "b" / "bundle.toml").read_text()
    assert written.kind == load_bundle("compact").kind == DEFAULT_KIND
    assert written.model.segments == frozenset(SEGMENTS)


def test_a_bayesian_u_net_is_declared_as_it_always_was(tmp_path: Path):
    """Byte for byte: the hash of this file stands for the bundle in UIDs and seeds."""
    bundle = untrained_bundle(tmp_path / "b")

    assert (tmp_path / "b" / "bundle.toml").read_text() == DECLARED.format(
        labels=", ".join(f'"{label}"' for label in LABELS), weights=bundle.weights_sha256
    )


DECLARED = """\
format = 1
name = "untrained"
version = "0"
samples = 2
labels = [{labels}]
uncertainty = "variance"

[sha256]
"weights.safetensors" = "{weights}"

[architecture]
layers = 2
filters = 2
batch_normalisation = false
dropout = 0.5
dropout_free_levels = 0

[window]
low_hu = -150.0
high_hu = 350.0
low_value = 0.0
high_value = 255.0

[grid]
pixel_mm = 8.0
body_only = true

[precision]
cpu = "bfloat16"
cuda = "bfloat16"

[training]
note = "not trained"
"""


@pytest.mark.parametrize(
    ("asked", "most", "taken"), [(None, None, 2), (7, None, 7), (7, 5, 5), (None, 1, 1)]
)
def test_no_more_samples_are_taken_than_there_can_be(
    tmp_path: Path, asked: int | None, most: int | None, taken: int
):
    """The bundle's own number is 2."""
    bundle = untrained_bundle(tmp_path / "b")

    class Limited:
        most_samples = most

    model: Model = Limited()  # type: ignore[assignment]
    assert replace(bundle, model=model).sample_count(asked) == taken


@pytest.mark.parametrize("counts", [(), (0, 1), (2, 2), (5, 1), (1, 6)])
def test_numbers_of_samples_grow_from_one_to_what_there_is(counts: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"must grow|5 samples at most, not 6"):
        check_counts(counts, 5)
