"""`msk-node bundles`, and what `check` says of a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.small_node import write_small_bundle
from support.threshold_kind import THRESHOLDS, Thresholds, threshold_bundle
from support.truth_kind import BONES, Truth, truth_bundle
from typer.testing import CliRunner, Result

from dicom_node.commands import cli
from inference.models.bundle import KINDS
from inference.models.bundle_facts import facts_of, origin_words
from inference.results import SampleKind
from inference.structures import BY_KEY

ORIGIN = {
    "program": "MuscleMap",
    "version": "1.4",
    "weights": [{"file": "wholebody.pth", "sha256": "ab" * 32}],
    "licence": "not given",
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def values(*arguments: object) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run("bundles", "--json", *arguments).output)
    return found


@pytest.fixture
def two_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the one line in `bundle.py` does."""
    monkeypatch.setattr("inference.models.bundle.KINDS", {**KINDS, **THRESHOLDS})


def test_the_shipped_bundle_is_listed_with_what_it_rests_on():
    done = run("bundles")

    assert done.exit_code == 0
    for words in (
        " (shipped)",
        "43 of 43 segments",
        "10 samples of Monte Carlo dropout",
        "held-out synthetic bodies",
    ):
        assert words in done.output


@pytest.mark.usefixtures("two_kinds")
def test_every_bundle_is_listed_once_with_all_the_reasons_why(tmp_path: Path):
    """One that node.toml names and that lies in a given folder, beside one that does not."""
    threshold_bundle(tmp_path / "bundles" / "few", {"VLVI": 0.0, "FEMUR": 150.0}, spread_hu=5.0)
    write_small_bundle(tmp_path / "bundles" / "small")
    settings = tmp_path / "node.toml"
    settings.write_text(f'[analysis]\nbundle = "{tmp_path}/bundles/few"\n')
    shipped, few, small = values("--config", settings, tmp_path / "bundles")

    assert (shipped["places"], shipped["bundle"]) == (["shipped"], "compact")
    assert (few["places"], small["places"]) == (["configured", "given"], ["given"])
    facts = few["facts"]
    assert isinstance(facts, dict)
    assert facts["provided"] == ["FEMUR_R", "FEMUR_L", "VLVI_R", "VLVI_L"]
    assert len(facts["not_provided"]) == 39
    assert (facts["kind"], facts["samples_of"]) == ("thresholds", "variations of the image")
    assert facts["doubt"] == "4 variations of the image"
    assert facts["calibrated_on"] == ""


def test_a_bundle_that_cannot_be_used_is_listed_with_the_reason(tmp_path: Path):
    bundle = write_small_bundle(tmp_path / "small")
    (bundle / "weights.safetensors").write_bytes(b"\x80\x04")
    done = run("bundles", bundle, tmp_path / "none")

    assert done.exit_code == 3
    assert " (shipped)" in done.output
    assert f"{bundle} (given): cannot be used" in done.output
    assert "none: no such folder" in done.output


def test_a_guest_s_origin_and_the_licence_that_nobody_gave_are_told():
    facts = facts_of(truth_bundle(Truth(..., BONES), origin=ORIGIN))  # type: ignore[arg-type]

    assert facts.origin == "MuscleMap 1.4, imported from wholebody.pth (sha256 abababababab)"
    assert facts.licence == "not stated: to be read by the site"
    assert facts.structures_words.startswith("5 of 43 segments; not GMAX, GMED, ")
    assert origin_words({}) == ""
    told = {**ORIGIN, "licence": "CC BY 4.0"}
    assert facts_of(truth_bundle(Truth(...), origin=told)).licence == "CC BY 4.0"  # type: ignore[arg-type]


def test_the_structures_that_are_lacking_are_named_with_their_side_where_it_is_one():
    known = BONES - {BY_KEY["FEMUR_L"]}
    facts = facts_of(truth_bundle(Truth(..., known)))  # type: ignore[arg-type]

    assert "not FEMUR_L, GMAX, " in facts.structures_words


def test_what_cannot_be_calibrated_says_so():
    once = truth_bundle(Truth(..., members=1))  # type: ignore[arg-type]

    assert facts_of(once).doubt == "no measure of doubt: not judged"
    assert "nothing to calibrate" in facts_of(once).calibration_words


@pytest.mark.usefixtures("two_kinds")
def test_check_says_what_the_bundle_is_and_that_fewer_samples_are_there_than_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A model of five members, of which ten are asked for."""
    threshold_bundle(tmp_path / "few", {"VLVI": 0.0, "FEMUR": 150.0}, spread_hu=5.0, samples=5)
    monkeypatch.setattr(Thresholds, "most_samples", 5)
    monkeypatch.setattr(Thresholds, "samples_of", SampleKind.FOLDS)
    settings = tmp_path / "node.toml"
    words = f'[node]\nspool = "{tmp_path}/spool"\n[analysis]\nsamples = 10\nbundle = "./few"\n'
    settings.write_text(words)
    done = run("check", "--config", settings)
    said = " ".join(done.output.split())

    assert done.exit_code == 0
    assert "bundle thresholds 1 (thresholds): 4 of 43 segments; not PELVIS, SACRUM" in said
    assert "5 folds of a cross-validation, all it has of the 10 asked for" in said


def test_one_bundle_is_no_reason_to_look_into_folders_below_it(tmp_path: Path):
    bundle = write_small_bundle(tmp_path / "outer")
    write_small_bundle(bundle / "inner")

    assert [one["places"] for one in values(bundle)] == [["shipped"], ["given"]]
