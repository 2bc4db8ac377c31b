"""Cases as records, and their reports, for tests of tables, changes and pseudonyms."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from dicom_node.case_files.case_report import case_report, described_image, refusal_report
from dicom_node.case_files.report_json import Report, report_json
from dicom_node.case_files.source_json import CaseSource, source_json
from dicom_node.cohort.records import CaseRecord, Model, Source, StructureRecord
from dicom_node.persistence.rows import CaseRow
from dicom_node.series.scan_facts import ScanFacts
from inference.geometry import Geometry
from inference.results import SideGrade, Uncertainty, Verdict
from inference.structures import BY_KEY
from inference.volume import Patient, Volume
from support.cases import SHAPE, small_case

ANALYSED_AT = datetime(2026, 11, 22, 6, 4, 5, tzinfo=UTC)
MODEL = Model("compact", "3.0", "5f" * 32, 10, Uncertainty.VARIANCE, "a1" * 32)
GEOMETRY = Geometry.regular(SHAPE, (5.0, 4.0, 4.0))


def structure(key: str, **changes: Any) -> StructureRecord:
    """An accepted structure of 100 cm3 (95 to 110) at 50 HU (48 to 51)."""
    usual = StructureRecord(
        segment=BY_KEY[key],
        verdict=Verdict.ACCEPTED,
        volume_cm3=100.0,
        volume_range_cm3=(95.0, 110.0),
        mean_hu=50.0,
        mean_hu_range=(48.0, 51.0),
        lean=0.75,
        mixed=0.2,
        fat=0.05,
    )
    return replace(usual, **changes)


def record(uid: str = "1.2.3", **changes: Any) -> CaseRecord:
    """A case of one structure, of a woman of 75; `changes` may be of its source, too."""
    usual = Source(
        name=uid,
        patient_key="k1",
        patient_id="MSK0001",
        study_instance_uid=f"{uid}.1",
        series_instance_uid=uid,
        study_date=date(2026, 11, 20),
        sex="F",
        age_years=75.8,
        scanner="Scanner Works Spiral 64",
        station_name="CT2",
        kernel="B30f",
        slice_thickness_mm=5.0,
        sender="CT1",
        analysed_at=ANALYSED_AT,
    )
    of_source = {name: changes.pop(name) for name in list(changes) if hasattr(usual, name)}
    case = CaseRecord(
        source=replace(usual, **of_source),
        state="reported",
        verdict=Verdict.ACCEPTED,
        words="=1+1",
        model=MODEL,
        structures=(structure("GMED_R"),),
    )
    return replace(case, **changes)


def report(grades: tuple[SideGrade, ...] = ()) -> Report:
    """The report of the case of `support.cases`."""
    volume = Volume(np.zeros(SHAPE, np.int16), GEOMETRY)
    case = replace(small_case(GEOMETRY), grades=grades)
    return case_report(case, described_image(volume, Patient(1.58), ()), None)


def row(uid: str = "1.2.3", revision: int = 1, **changes: Any) -> CaseRow:
    """A case in the ledger; a code makes it a refusal."""
    code = changes.get("code", "")
    said = refusal_report(code, "words") if code else report()
    usual = CaseRow(
        series_instance_uid=uid,
        revision=revision,
        study_instance_uid=f"{uid}.1",
        state="refused" if code else "reported",
        analysed_at=ANALYSED_AT,
        source="",
        report=gzip.compress(report_json(said), mtime=0),
        verdict="" if code else "inaccurate",
        bundle="" if code else "compact 1.0",
        sender="CT1",
        patient_key="k1",
        study_date=date(2026, 11, 20),
    )
    found = replace(usual, **changes)
    if found.source:
        return found
    scan = ScanFacts(
        study_instance_uid=found.study_instance_uid,
        series_instance_uid=uid,
        study_date=found.study_date,
        sex="F",
    )
    source = CaseSource(
        patient_key=found.patient_key,
        revision=revision,
        sender=found.sender,
        analysed_at=found.analysed_at,
        settings="a1" * 32,
        state=found.state,
        scan=scan,
    )
    return replace(found, source=source_json(source).decode())
