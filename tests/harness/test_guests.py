"""Networks of other programs in a whole node: a CT is routed to it, answers lie in the study.

One node with two bundles: MuscleMap's for all, nnU-Net's for who calls it by another title.
Their networks are small, of the originals' architecture, and know bone and muscle only.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from support.answers import Answers, answers, as_own_series, ask, picture, study_of, words
from support.guest_networks import LEFT_LEG, write_musclemap, write_nnunet
from support.namespace import Namespace
from support.node_process import NodeProcess, install_node, node_toml
from support.orthanc import NODE_PORT, Orthanc
from typer.testing import CliRunner

from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.case_files.report_reader import ReportedStructure, reported_structures
from dicom_node.commands import cli
from inference.phantom.spec import SMALL_PHANTOM, Zone
from inference.results import Verdict

OTHER_TITLE = "MSKOURS"
KNOWN = {"FEMUR_R", "FEMUR_L", "VLVI_R", "VLVI_L"}
PIPELINE = f"""
[[pipelines]]
called_ae_title = "{OTHER_TITLE}"
bundle = "./ours"
"""


def run(*arguments: object) -> str:
    """What a command says."""
    done = CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def node(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node with the bundles that the two importers made; ten samples are asked of each."""
    folder = tmp_path_factory.mktemp("guests")
    weights, config = write_musclemap(folder)
    results = write_nnunet(folder)
    settings = node_toml(samples=10).replace("[analysis]", '[analysis]\nbundle = "./musclemap"')
    node = install_node(namespace, folder / "node", settings + PIPELINE)
    run("import-musclemap", weights, config, "--out", node.folder / "musclemap")
    run("import-nnunet", results, "--out", node.folder / "ours")
    with namespace.inside():
        node.start()
    yield node
    node.stop()


def by_key(report: Dataset) -> dict[str, ReportedStructure]:
    return {one.segment.key: one for one in reported_structures(report)}


def parameters(segmentation: Dataset) -> str:
    (algorithm,) = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    return str(algorithm.AlgorithmParameters)


def kept(found: Answers, out: Path, name: str) -> None:
    """For a person to look at."""
    picture(found["OT"]).save(out / f"{name}_qc.png")
    (out / f"{name}_sr.txt").write_text(str(found["SR"]))


def test_a_network_of_musclemap_answers_and_is_not_judged(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path, out: Path
) -> None:
    """A left leg: the right is absent, the pelvis not provided, and nothing is accepted."""
    series = write_phantom_series(tmp_path, LEFT_LEG)

    found = ask(orthanc, series, {"SEG", "SR", "OT", "KO"})

    kept(found, out, "guest_musclemap")
    said, reported = words(found["SR"]), by_key(found["SR"])
    assert {segment.SegmentDescription for segment in found["SEG"].SegmentSequence} == {
        "FEMUR_L",
        "VLVI_L",
    }
    assert reported["FEMUR_R"].verdict is Verdict.ABSENT
    assert reported.keys() == KNOWN
    assert Verdict.ACCEPTED not in {one.verdict for one in reported.values()}
    assert "Case not judged: the model does not provide the bones" in said
    assert "Not provided by the model: pelvis (both sides), sacrum" in said
    assert "No predictive uncertainty is given (no measure of doubt: not judged)" in said
    assert "the model does not provide the pelvis" in said
    assert "origin: MuscleMap 1.4, imported from wholebody.pth (sha256 " in said
    assert "samples_of=none; origin=MuscleMap 1.4" in parameters(found["SEG"])


def test_the_folds_of_an_nnu_net_answer_and_say_how_much_they_agree(
    node: NodeProcess, orthanc: Orthanc, tmp_path: Path, out: Path
) -> None:
    """Sent to the other title by a scanner. Of ten samples that are asked for it has two."""
    body = replace(SMALL_PHANTOM, zones=(Zone(15.25, 640.0),))
    write_phantom_series(tmp_path / "made", body)
    series = as_own_series(tmp_path / "made", tmp_path / "own")
    call = ("/usr/bin/dcmsend", "--aetitle", "SCANNER", "--call", OTHER_TITLE, "127.0.0.1")
    subprocess.run([*call, str(NODE_PORT), *map(str, series)], check=True)

    found = answers(orthanc, study_of(series), {"SEG", "SR", "OT"})

    kept(found, out, "guest_nnunet")
    said, reported = words(found["SR"]), by_key(found["SR"])
    assert {segment.SegmentDescription for segment in found["SEG"].SegmentSequence} == KNOWN
    assert reported.keys() == KNOWN
    assert "the variance of the model's answers (2 folds of a cross-validation)" in said
    assert "is how far the 2 folds of a cross-validation reach" in said
    assert "Dice between the samples of the model" in str(found["SR"])
    assert "samples: 2 folds of a cross-validation" in said
    assert "origin: nnU-Net Dataset901_Phantom 2d, imported from fold_0/" in said
    assert "samples=2; " in parameters(found["SEG"])


def test_check_and_bundles_say_what_the_guests_are(node: NodeProcess) -> None:
    told = run("check", "--config", node.settings)
    listed = run("bundles", "--config", node.settings)

    assert "bundle musclemap 1 (MuscleMap 1.4, imported from wholebody.pth" in told
    assert "4 of 43 segments; not PELVIS, SACRUM, GMAX" in told
    assert "2 folds of a cross-validation, all it has of the 10 asked for" in told
    assert "licence not stated: to be read by the site" in listed
    assert "ours 1 (configured)" in listed
