"""Asking the harness's Orthanc for what a study was answered with, and reading the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import Dataset
from pydicom.uid import generate_uid

from support.orthanc import Orthanc
from support.waiting import wait_until

Answers = dict[str, Dataset]
"""The one object of each modality that a study was answered with."""


@dataclass(frozen=True, slots=True)
class RealSeries:
    """A real CT series by the name of its folder."""

    name: str
    paths: list[Path]


def study_of(series: Sequence[Path]) -> str:
    """The Study Instance UID of a series of files."""
    return str(pydicom.dcmread(series[0], stop_before_pixels=True).StudyInstanceUID)


def ask(
    orthanc: Orthanc, series: Sequence[Path], modalities: set[str], *, within_s: float = 600
) -> Answers:
    """Store a series in Orthanc, which routes it to the node, and take the answers."""
    orthanc.store(series)
    return answers(orthanc, study_of(series), modalities, within_s=within_s)


def answers(
    orthanc: Orthanc, study_instance_uid: str, modalities: set[str], *, within_s: float = 600
) -> Answers:
    """Wait until a study has results of these modalities; no modality may be there twice."""
    wait_until(
        lambda: counts(orthanc, study_instance_uid).keys() >= modalities,
        within_s=within_s,
        words=f"the study is answered with {sorted(modalities)}",
        every_s=0.5,
    )
    results = orthanc.results(study_instance_uid)
    assert max(counts(orthanc, study_instance_uid).values()) == 1, results
    return {one.modality: pydicom.dcmread(BytesIO(orthanc.file(one))) for one in results}


def counts(orthanc: Orthanc, study_instance_uid: str) -> Counter[str]:
    """How many results of which modality a study has."""
    return Counter(one.modality for one in orthanc.results(study_instance_uid))


def as_own_series(folder: Path, target: Path) -> list[Path]:
    """A copy of a series under a Series Instance UID and a Study Instance UID of its own.

    The two real series share theirs; together they would be one series with a gap.
    """
    study, series = generate_uid(), generate_uid()
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for path in sorted(folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        copy = target / path.name
        dataset.save_as(copy)
        paths.append(copy)
    return paths


def picture(secondary_capture: Dataset) -> Image.Image:
    """The (first frame of the) QC image."""
    pixels = secondary_capture.pixel_array
    return Image.fromarray(np.ascontiguousarray(pixels if pixels.ndim == 3 else pixels[0]))


def words(document: Dataset) -> str:
    """All texts of a structured document, in its order."""
    own = [str(document.TextValue)] if "TextValue" in document else []
    below = [words(item) for item in document.get("ContentSequence", ())]
    return " ".join((*own, *below))
