"""The objects as they come back from Orthanc, before validators and readers of other makers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.answers import ask, words
from support.dcmqi_readers import read_segments
from support.namespace import Namespace
from support.node_process import install_node, node_toml
from support.orthanc import Orthanc
from support.validators import dciodvfy_errors, pixelmed_sr_errors

from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.series.reading import read_series
from inference.models.bundle import DEFAULT_BUNDLE, load_bundle
from inference.phantom.spec import SMALL_PHANTOM
from inference.pipeline import analyse

SAMPLES = 2


@dataclass(frozen=True, slots=True)
class Answered:
    """A series that was sent, and the files of the objects that Orthanc got for it."""

    series: list[Path]
    objects: dict[str, Path]


@pytest.fixture(scope="module")
def answered(
    namespace: Namespace, running_orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Answered]:
    """A small phantom, answered with all kinds of object."""
    folder = tmp_path_factory.mktemp("third_party")
    node = install_node(
        namespace, folder / "node", node_toml(samples=SAMPLES, qc_image="always")
    )
    series = write_phantom_series(folder / "series", SMALL_PHANTOM)
    node.start()
    try:
        with namespace.inside():
            found = ask(running_orthanc, series, {"SEG", "SR", "OT"})
            running_orthanc.empty()
    finally:
        node.stop()
    objects = {}
    for modality, dataset in found.items():
        objects[modality] = folder / f"{modality}.dcm"
        dataset.save_as(objects[modality], enforce_file_format=True)
    return Answered(series, objects)


@pytest.mark.parametrize("modality", ["SEG", "SR", "OT"])
def test_dciodvfy_finds_no_error(answered: Answered, modality: str) -> None:
    assert dciodvfy_errors(answered.objects[modality]) == []


def test_dciodvfy_finds_an_error_where_there_is_one(answered: Answered, tmp_path: Path) -> None:
    """The check above can fail."""
    broken = pydicom.dcmread(answered.objects["SEG"])
    del broken.SegmentSequence[0].SegmentAlgorithmType
    broken.save_as(tmp_path / "broken.dcm")

    assert dciodvfy_errors(tmp_path / "broken.dcm")


def test_the_report_follows_its_templates(answered: Answered) -> None:
    assert pixelmed_sr_errors(answered.objects["SR"]) == []


def test_the_segmentation_reads_back_voxel_exact(answered: Answered, tmp_path: Path) -> None:
    """Dcmqi's label map of the DICOM object against an analysis of the same series here.

    The seed is the one that the report names: same series, bundle, seed and device give
    the same labels.
    """
    series = read_series(answered.series)
    seed = re.search(r"seed: (\d+)", words(pydicom.dcmread(answered.objects["SR"])))
    assert seed is not None
    case = analyse(
        series.volume,
        load_bundle(DEFAULT_BUNDLE),
        patient=series.patient,
        samples=SAMPLES,
        seed=int(seed[1]),
    )

    read = read_segments(answered.objects["SEG"], case.geometry, tmp_path)

    np.testing.assert_array_equal(read, case.segments)
    assert len(np.unique(read)) > 20
