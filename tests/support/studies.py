"""Studies for an archive: small CT series that the node can analyse, with UIDs by number."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from support.cases import source_datasets

ROOT = "1.2.826.0.1.3680043.8.498.9"


def study_uid(study: int) -> str:
    return f"{ROOT}.{study}"


def series_uid(study: int, series: int = 1) -> str:
    return f"{study_uid(study)}.{series}"


def series(
    study: int,
    number: int = 1,
    *,
    slices: int = 12,
    without: tuple[int, ...] = (),
    **elements: Any,
) -> list[Dataset]:
    """One series of a study, 5 mm apart; `without` slices that never were in the archive."""
    datasets = source_datasets(
        offsets_mm=tuple(5.0 * each for each in range(slices)),
        StudyInstanceUID=study_uid(study),
        SeriesInstanceUID=series_uid(study, number),
        FrameOfReferenceUID=f"{series_uid(study, number)}.0",
        **{
            "StudyDate": "20260105",
            "StudyTime": f"{8 + study % 10:02d}{study % 60:02d}00",
            "PatientID": f"P{study:04d}",
            **elements,
        },
    )
    kept = [each for each in datasets if each.InstanceNumber not in without]
    for each in kept:
        each.SOPInstanceUID = f"{series_uid(study, number)}.1.{each.InstanceNumber}"
        each.file_meta.MediaStorageSOPInstanceUID = each.SOPInstanceUID
    return kept
