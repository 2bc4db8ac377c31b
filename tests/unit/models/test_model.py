"""The seam for kinds of networks, proven with a second kind that goes the whole way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bundles import untrained_bundle
from support.threshold_kind import KIND, THRESHOLDS, threshold_bundle
from support.volumes import body

from inference.errors import BundleError
from inference.models.bayesian_unet.declaration import LABELS
from inference.models.bundle import DEFAULT_KIND, KINDS, load_bundle
from inference.models.model import Model, check_counts, predict
from inference.pipeline import analyse, analyse_growing
from inference.results import Region, Uncertainty
from inference.structures import BY_KEY, SEGMENTS
from inference.training.calibrate import by_bundle

THIGHS = body(spacing_mm=(20.0, 4.0, 4.0), z_mm=(60.0, 360.0))
LIMITS_HU = {"VLVI": 0.0, "FEMUR": 150.0}
"""The crude body has fat of -100 HU, muscles of 50 and bones of 400."""


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
    assert femur.mean_hu == pytest.approx(THIGHS.volume.hu[THIGHS.labels == 2].mean())
    assert femur.mean_hu_spread is not None
    assert (case.model.name, case.model.samples) == ("thresholds", 4)
    assert case.model.weights_sha256 == bundle.weights_sha256
    assert case.model.device == "cpu thresholds"
    assert case.model.uncertainty is Uncertainty.VARIANCE


@pytest.mark.usefixtures("two_kinds")
def test_another_kind_grows_by_samples_and_repeats_itself(tmp_path: Path):
    """A spread of 50 HU lets muscles waver around a threshold of 50 HU."""
    bundle = threshold_bundle(tmp_path / "b", LIMITS_HU | {"VLVI": 50.0}, spread_hu=50.0)
    volume = THIGHS.volume
    together = list(analyse_growing(volume, bundle, counts=(1, 3), seed=5))

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
    path.write_text(f'kind = "nnunet"\n{path.read_text()}')

    words = r"bundle\.toml: kind is 'nnunet', this version knows bayesian_unet"
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
