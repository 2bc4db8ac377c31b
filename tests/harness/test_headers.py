"""Names in every character set, as DCMTK and Orthanc read them in a result object."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from support.cases import CREATED, source_datasets
from support.encoded_names import GARBLED, NAMES, save_encoded
from support.orthanc import Orthanc
from support.validators import dciodvfy_errors

from dicom_node.results.headers import Equipment, Identity, ObjectHeader
from dicom_node.results.key_object import build_key_object
from dicom_node.results.kinds import ResultKind
from dicom_node.series.ct_series import InstanceReference
from dicom_node.series.study_header import readable_header

STUDY = "1.2.826.0.1.3680043.8.498.70"
CASES = dict(enumerate((*NAMES, *GARBLED), start=1))
# The library warns of what is wrong here on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A result object for a source image with each of the names, each of its own study."""
    folder = tmp_path_factory.mktemp("headers")
    return {number: _result(number, folder) for number in CASES}


def _result(number: int, folder: Path) -> Path:
    case = CASES[number]
    (image,) = source_datasets(
        offsets_mm=(0.0,),
        PatientName="NAME",
        ReferringPhysicianName="NAME",
        PatientID=f"P{number}",
        StudyInstanceUID=f"{STUDY}.{number}",
    )
    (path,) = save_encoded([image], folder / str(number), case.declared, {"NAME": case.raw})
    header = readable_header(dcmread(path, stop_before_pixels=True))
    identity = Identity(ResultKind.KO, f"2.25.77{number}", f"2.25.78{number}", revision=1)
    object_header = ObjectHeader(header, identity, Equipment(CREATED, "2.25.3", ("0.1.0",)))
    sources = [InstanceReference(image.SOPClassUID, image.SOPInstanceUID)]
    result = folder / f"{number}.dcm"
    build_key_object("words", sources, object_header).save_as(result, enforce_file_format=True)
    return result


def test_dcmtk_reads_the_names(results: dict[int, Path]) -> None:
    read = {number: _dcmtk(path) for number, path in results.items()}

    assert read == {number: (case.text, case.text) for number, case in CASES.items()}


def _dcmtk(path: Path) -> tuple[str, str]:
    """Patient's and Referring Physician's Name."""
    said = subprocess.run(
        ["/usr/bin/dcmdump", "+U8", "+L", "-q", str(path)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    found = dict(
        re.findall(r"^\((\S+)\) PN (?:\[(.*)\]|\(no value available\))", said, re.MULTILINE)
    )
    return found["0010,0010"], found["0008,0090"]


def test_orthanc_reads_the_names(orthanc: Orthanc, results: dict[int, Path]) -> None:
    """By its REST API and by DICOMweb, where the groups of a name are apart."""
    orthanc.store(results.values())

    tags = {number: _tags(orthanc, number) for number in CASES}
    names = {number: _dicomweb_name(orthanc, number) for number in CASES}

    assert tags == {number: (f"P{number}", case.text) for number, case in CASES.items()}
    assert names == {number: case.text for number, case in CASES.items()}


def _tags(orthanc: Orthanc, number: int) -> tuple[str, str]:
    (stored,) = orthanc.instances(f"{STUDY}.{number}")
    tags = orthanc.get(f"/instances/{stored.orthanc_id}/simplified-tags")
    return tags["PatientID"], tags["PatientName"]


def _dicomweb_name(orthanc: Orthanc, number: int) -> str:
    ((metadata),) = orthanc.get(f"/dicom-web/studies/{STUDY}.{number}/metadata")
    values: list[dict[str, Any]] = metadata["00100010"].get("Value", [{}])
    groups = [values[0].get(each, "") for each in ("Alphabetic", "Ideographic", "Phonetic")]
    return "=".join(groups).rstrip("=")


def test_the_objects_pass_dciodvfy_whatever_the_name(results: dict[int, Path]) -> None:
    """A name is carried on as it is, so one that is too long stays so, and is said to be."""
    errors = {CASES[number].title: dciodvfy_errors(path) for number, path in results.items()}

    assert {title for title, said in errors.items() if said} <= {"long"}
