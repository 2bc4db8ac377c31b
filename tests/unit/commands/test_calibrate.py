"""`msk-node calibrate`: labelled cases from disk to limits in the bundle, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from support.bundles import untrained_bundle
from support.threshold_kind import Thresholds

import dicom_node.commands.calibrate as command
from dicom_node.case_files.labelled_cases import listed_cases, read_case, write_segments
from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.commands.calibrate import calibrate
from dicom_node.errors import ConfigurationError
from dicom_node.series.reading import read_series
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bundle import Bundle, load_bundle
from inference.models.bundle_files import CALIBRATION_FILE
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Zone
from inference.prediction import Prediction, SampleProfiles
from inference.results import Score
from inference.structures import SEGMENTS
from inference.training.scoring import Segment
from inference.training.synthesis.stream import labels_of
from inference.volume import Volume


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five coarse phantoms; the fifth is damaged."""
    folder = tmp_path_factory.mktemp("cases")
    for number in range(4):
        body = BodySpec(variation=1.0, variation_seed=number + 1)
        spec = PhantomSpec(
            body=body, zones=(Zone(40.0, 595.0),), pixel_mm=8.0, rows=48, columns=64
        )
        own = folder / f"body{number}"
        series = read_series(write_phantom_series(own / "series", spec))
        write_segments(own / "labels.nii.gz", series, phantom(spec).segments)
    damaged = folder / "body9"
    (damaged / "series").mkdir(parents=True)
    (damaged / "series" / "1.dcm").write_bytes(b"nothing")
    (damaged / "labels.nii.gz").write_bytes(b"nothing")
    (damaged / "labels.json").write_text('{"1": "PELVIS"}')
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return untrained_bundle(tmp_path / "untrained")


def knowing(cases: Path) -> Segment:
    """Knows every truth, and loses voxels and certainty as the image strays from its own."""
    known = [read_case(one) for one in listed_cases(cases)[:4]]

    def segment(volume: Volume, seed: int) -> Prediction:
        hu = np.asarray(volume.hu, float)
        apart = [np.abs(hu - case.volume.hu).mean() for case in known]
        best = int(np.argmin(apart))
        lost = min(apart[best] / 100, 0.95)
        labels = labels_of(known[best].truth).copy()
        labels[np.random.default_rng(seed).random(labels.shape) < lost] = 0
        none, nothing = np.zeros((1, 1, 1, 1), np.int32), np.zeros((1, 1, 1, 1), np.float32)
        edges = np.array([0.0, 1.0])
        profiles = SampleProfiles(none, nothing, none[0], nothing[0], none[0], edges, 1.0)
        uncertainty = np.full(labels.shape, lost / 1000, np.float32)
        return Prediction(labels, uncertainty, profiles, "cpu")

    return segment


def test_limits_are_fitted_tried_on_other_cases_and_written(
    cases: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "by_bundle", lambda *_: knowing(cases))

    fitted = calibrate(bundle, cases, "four phantoms", version="1", device="cpu")

    written = load_bundle(bundle.folder)
    assert written.version == "1"
    assert written.weights_sha256 == bundle.weights_sha256
    assert written.calibration is not None
    assert written.calibration.data_set == "four phantoms"
    assert written.calibration.script.startswith("msk-node ")
    assert written.calibration.expected_cases == 9
    assert fitted.held_out is not None
    assert fitted.held_out.cases == 3
    assert fitted.held_out.structure_failed is not None
    assert fitted.held_out.structure_failed > 0.95
    assert [line.partition(":")[0] for line in fitted.left_out] == ["body9"]


def test_a_bundle_stays_as_it_was_where_cases_are_too_few(
    cases: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """One case gives three segmentations, and one that is not spoiled."""
    copytree(cases / "body0", tmp_path / "one" / "body0")

    with pytest.raises(ConfigurationError, match="three readable cases"):
        calibrate(bundle, tmp_path / "one", "one phantom", hold_out_every=0, device="cpu")

    assert not (bundle.folder / CALIBRATION_FILE).exists()
    assert load_bundle(bundle.folder).sha256 == bundle.sha256


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Thresholds(Path(), ("PELVIS",)), "no measure of uncertainty"),
        (Thresholds(Path(), ("PELVIS",), 20.0), "a single sample varies by nothing"),
    ],
)
def test_a_model_that_has_no_score_is_refused_before_any_case_is_read(
    bundle: Bundle, tmp_path: Path, model: Thresholds, words: str
) -> None:
    alone = replace(bundle, model=model, samples=1)

    with pytest.raises(ConfigurationError, match=words):
        calibrate(alone, tmp_path / "no cases", "none", device="cpu")


def test_what_a_model_lacks_or_no_limit_could_be_fitted_of_is_named(
    cases: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pelvis, femur and piriformis; coarse phantoms show too little of the last."""
    some = frozenset(
        one for one in SEGMENTS if one.structure.abbreviation in {"PELVIS", "FEMUR", "PI"}
    )
    monkeypatch.setattr(command, "by_bundle", lambda *_: knowing(cases))
    monkeypatch.setattr(BayesianUNetModel, "segments", some)

    fitted = calibrate(bundle, cases, "four phantoms", device="cpu")

    assert fitted.without_limits == ("PI",)
    assert len(fitted.not_provided) == 19
    assert set(fitted.by_score) == {Score.UNCERTAINTY}
    assert fitted.by_score[Score.UNCERTAINTY] == fitted.held_out
