"""The report of a case: what `segment` writes as report.json, and the node keeps with each."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicom_node.case_files.report_json import (
    REPORT_VERSION,
    CalibratedOn,
    Input,
    LeftOutImage,
    NiftiGrid,
    Refused,
    Report,
    Tool,
    case_of,
)
from dicom_node.series.ct_series import CtSeries
from inference.results import CaseResult
from inference.volume import Patient, Volume
from sr_templates.words import case_words

TOOL: Final = Tool("msk-node", version("msk-node"))


def case_report(
    case: CaseResult,
    described: Input,
    calibrated_on: CalibratedOn | None,
    *,
    nifti_grid: NiftiGrid | None = None,
) -> Report:
    """The report of a case that was analysed.

    Args:
        case: its result.
        described: what was analysed.
        calibrated_on: what the bundle's limits were fitted on.
        nifti_grid: how the label map lies to the input; None where there is none beside it.
    """
    return Report(
        report_version=REPORT_VERSION,
        tool=TOOL,
        use="research use only",
        input=described,
        nifti_grid=nifti_grid,
        refused=None,
        case=replace(case_of(case, None, case_words(case)), calibrated_on=calibrated_on),
    )


def refusal_report(code: str, words: str) -> Report:
    """The report of a series that was refused, or whose analysis failed."""
    return Report(
        report_version=REPORT_VERSION,
        tool=TOOL,
        use="research use only",
        input=None,
        nifti_grid=None,
        refused=Refused(code, words),
        case=None,
    )


def described_series(series: CtSeries, patient: Patient) -> Input:
    """A DICOM series, as a report describes what was analysed.

    patient: with the height that was used, wherever it comes from.
    """
    left_out = (LeftOutImage(one.sop_instance_uid, one.reason) for one in series.left_out)
    return replace(
        described_image(series.volume, patient, series.notes),
        kind="dicom",
        series_instance_uid=str(series.header.SeriesInstanceUID),
        left_out=tuple(left_out),
    )


def described_image(volume: Volume, patient: Patient, notes: tuple[str, ...]) -> Input:
    """An image file, as a report describes what was analysed."""
    geometry = volume.geometry
    return Input(
        kind="image file",
        slices=geometry.shape[0],
        rows=geometry.rows,
        columns=geometry.columns,
        spacing_mm=geometry.spacing_mm,
        slice_positions_mm=_rounded(geometry.slice_offsets_mm),
        slice_extents_mm=_rounded(geometry.extents_mm),
        height_m=patient.height_m,
        series_instance_uid=None,
        notes=notes,
        left_out=(),
    )


def _rounded(values_mm: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values_mm)
