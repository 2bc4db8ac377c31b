"""A series by the names that a table of grades may call it."""

from __future__ import annotations

from dicom_node.series.ct_series import CtSeries
from inference.grading.subject import Subject


def subject_of(series: CtSeries, case: str = "") -> Subject:
    """The series by its UID and its patient's ID; and by a name of its own, if it has one."""
    return Subject(
        series_instance_uid=str(series.header.get("SeriesInstanceUID", "")),
        patient_id=str(series.header.get("PatientID", "") or "").strip(),
        case=case,
    )
