"""Cohorts that nobody scanned: records with known sexes, ages, sides, scanners and drift.

Volumes and mean HU lie around the study's Table 7 (unaffected side); women, the old and the
affected side have less of both. What is put in on purpose stands in the arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from dicom_node.cohort.records import CaseRecord, Grade, Model, Source, StructureRecord
from inference.evaluation.study import TABLE_7
from inference.results import Finding, Uncertainty, Verdict
from inference.structures import SEGMENTS, Group, Segment

MODEL = Model("compact", "1", "a1" * 32, 10, Uncertainty.VARIANCE, "5e77" * 16)
SCANNERS = ("ACME Tomo 64", "ACME Tomo 128", "Nordlicht CT 3")
LIMITS = (6e-4, 9e-4)
FIRST_DAY = date(2023, 1, 9)
REFUSALS = (
    ("series-incomplete", "3 of 120 slices are missing between 212 and 218 mm"),
    ("gantry-tilt", "slices are sheared by 12 degrees"),
)


def cohort(
    cases: int = 120,
    *,
    seed: int = 1,
    model: Model = MODEL,
    scanners: Sequence[str] = SCANNERS,
    days: int = 900,
    uncertain_from: int | None = None,
    factor: float = 1.5,
    affected_less: float = 0.0,
    refused_every: int = 15,
    prefix: str = "case",
) -> tuple[CaseRecord, ...]:
    """Records of cases in the order of their dates.

    Args:
        cases: how many.
        seed: of all that varies.
        model: of the reported ones.
        scanners: they take turns by chance.
        days: from the first scan to the last.
        uncertain_from: number of the case from which uncertainty is `factor` times as high.
        factor: see there.
        affected_less: share of volume that the affected side lacks; graded, where not 0.
        refused_every: each n-th case is refused or failed; 0: none.
        prefix: of the names.
    """
    rng = np.random.default_rng(seed)
    made = []
    for number in range(cases):
        name = f"{prefix}{number + 1:04d}"
        day = FIRST_DAY + timedelta(days=number * days // max(cases - 1, 1))
        source = _source(rng, name, day, scanners)
        if refused_every and number % refused_every == refused_every - 1:
            made.append(_without_numbers(source, number // refused_every))
            continue
        high = uncertain_from is not None and number >= uncertain_from
        made.append(_case(rng, source, model, factor if high else 1.0, affected_less))
    return tuple(made)


def _source(rng: np.random.Generator, name: str, day: date, scanners: Sequence[str]) -> Source:
    sex = "F" if rng.random() < 0.6 else "M"
    height_m = float(rng.normal(1.55 if sex == "F" else 1.69, 0.06))
    return Source(
        name,
        patient_key=f"key-{name}",
        patient_id=f"P-{name}",
        study_instance_uid=f"2.25.1{name[-4:]}",
        series_instance_uid=f"2.25.2{name[-4:]}",
        study_date=day,
        sex=sex,
        age_years=float(np.clip(rng.normal(64, 13), 18, 95)),
        height_m=round(height_m, 3),
        weight_kg=round(float(22 * height_m**2 + rng.normal(0, 6)), 1),
        scanner=scanners[int(rng.integers(len(scanners)))],
        kernel="B30f",
        slice_thickness_mm=1.0,
        kvp=120.0,
        sender="CT1",
        analysed_at=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
    )


def _without_numbers(source: Source, number: int) -> CaseRecord:
    if number % 4 == 3:
        return CaseRecord(source, "failed", code="job-failed", words="the device was lost")
    code, words = REFUSALS[number % len(REFUSALS)]
    return CaseRecord(source, "refused", code=code, words=words)


def _case(
    rng: np.random.Generator,
    source: Source,
    model: Model,
    factor: float,
    affected_less: float,
) -> CaseRecord:
    affected = "R" if rng.random() < 0.5 else "L"
    size = float(np.exp(rng.normal(0, 0.12))) * (0.86 if source.sex == "F" else 1.06)
    shape = {s.structure.abbreviation: float(np.exp(rng.normal(0, 0.08))) for s in SEGMENTS}
    doubt = float(np.exp(rng.normal(np.log(3.6e-4), 0.22))) * factor
    age = source.age_years or 60.0
    structures = []
    for segment in SEGMENTS:
        volume, hu = TABLE_7[segment.structure.abbreviation]
        muscle = segment.structure.group is not Group.BONE
        volume *= (
            size * shape[segment.structure.abbreviation] * float(np.exp(rng.normal(0, 0.04)))
        )
        if muscle:
            volume *= 1 - 0.005 * (age - 60)
            hu += -0.35 * (age - 60) + rng.normal(0, 5)
        else:
            hu += rng.normal(0, 25)
        if segment.side == affected and muscle:
            volume *= 1 - affected_less
            hu -= 40 * affected_less
        structures.append(_structure(rng, segment, source, volume, float(hu), doubt))
    known = [one.uncertainty for one in structures if one.uncertainty is not None]
    mean = float(np.mean(known))
    grades = _grades(rng, affected) if affected_less else ()
    verdict = Verdict.FAILED if mean > LIMITS[1] else Verdict.INACCURATE
    return CaseRecord(
        source,
        "reported",
        verdict if mean > LIMITS[0] else Verdict.ACCEPTED,
        findings=(Finding.UNCERTAIN.name,) if mean > LIMITS[0] else (),
        mean_uncertainty=mean,
        mean_uncertainty_limits=LIMITS,
        model=model,
        structures=tuple(structures),
        grades=grades,
    )


def _structure(  # noqa: PLR0917 - what a structure is made of
    rng: np.random.Generator,
    segment: Segment,
    source: Source,
    normalised: float,
    hu: float,
    doubt: float,
) -> StructureRecord:
    uncertainty = doubt * float(np.exp(rng.normal(0, 0.3)))
    height = source.height_m
    volume = normalised * (height or 1.6) ** 2
    if rng.random() < 0.01:
        return StructureRecord(
            segment, Verdict.TRUNCATED, ("CUT_BY_SCAN",), mean_hu=hu, uncertainty=uncertainty
        )
    fat = float(np.clip(0.18 - 0.003 * (hu - 35) + rng.normal(0, 0.02), 0.01, 0.9))
    lean = float(np.clip(0.6 + 0.006 * (hu - 35) + rng.normal(0, 0.03), 0.01, 0.98 - fat))
    beyond = sum(uncertainty > limit for limit in (1.6 * LIMITS[0], 1.6 * LIMITS[1]))
    return StructureRecord(
        segment,
        (Verdict.ACCEPTED, Verdict.INACCURATE, Verdict.FAILED)[beyond],
        volume_cm3=volume,
        volume_range_cm3=(0.98 * volume, 1.02 * volume),
        normalised_volume_cm3_per_m2=None if height is None else normalised,
        mean_hu=hu,
        mean_hu_range=(hu - 1, hu + 1),
        lean=lean,
        mixed=1 - lean - fat,
        fat=fat,
        uncertainty=uncertainty,
        uncertainty_limits=(1.6 * LIMITS[0], 1.6 * LIMITS[1]),
    )


def _grades(rng: np.random.Generator, affected: str) -> tuple[Grade, ...]:
    other = "L" if affected == "R" else "R"
    worse = str(int(rng.integers(2, 5)))
    return (
        Grade(affected, worse, 0.8, "grader"),
        Grade(other, str(int(rng.integers(0, 2))), 0.9, "grader"),
    )


def renamed(record: CaseRecord, **source: object) -> CaseRecord:
    """The same case with other facts about its source."""
    return replace(record, source=replace(record.source, **source))  # type: ignore[arg-type]
