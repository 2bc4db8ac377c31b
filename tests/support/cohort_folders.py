"""Result folders as `msk-node segment` leaves them, of cases that nobody segmented."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from dicom_node.case_files.source_json import SOURCE_FILE, CaseSource, source_json
from dicom_node.cohort.records import CaseRecord, StructureRecord
from dicom_node.series.scan_facts import ScanFacts


def write_folders(
    root: Path,
    records: Iterable[CaseRecord],
    *,
    pictures: bool = False,
    sources: bool = False,
) -> Path:
    """A folder for each record: report.json, and source.json and a QC page where wanted."""
    for record in records:
        folder = root / record.source.name
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(_report(record)), encoding="utf-8")
        if sources:
            (folder / SOURCE_FILE).write_bytes(source_json(_source(record)))
        if pictures:
            Image.new("RGB", (800, 600), (30, 60, 90)).save(folder / "qc.png")
    return root


def _source(record: CaseRecord) -> CaseSource:
    source = record.source
    return CaseSource(
        patient_key=source.patient_key,
        patient_id=source.patient_id,
        revision=source.revision,
        sender=source.sender,
        analysed_at=source.analysed_at,
        settings=record.model.settings if record.model else "",
        state="failed" if record.state == "failed" else "",
        scan=ScanFacts(**{each.name: getattr(source, each.name) for each in fields(ScanFacts)}),
    )


def _report(record: CaseRecord) -> dict[str, Any]:
    source, model = record.source, record.model
    refused = {"code": record.code, "words": record.words}
    case = {
        "verdict": record.verdict,
        "findings": record.findings,
        "words": record.words,
        "mean_uncertainty": record.mean_uncertainty,
        "mean_uncertainty_limits": _limits(record.mean_uncertainty_limits),
        "model": model
        and {
            "name": model.name,
            "version": model.version,
            "weights_sha256": model.weights_sha256,
            "samples": model.samples,
            "uncertainty": model.uncertainty,
        },
        "structures": [_structure(one) for one in record.structures],
    }
    return {
        "input": {
            "series_instance_uid": source.series_instance_uid,
            "height_m": source.height_m,
        },
        "refused": None if model else refused,
        "case": case if model else None,
    }


def _structure(one: StructureRecord) -> dict[str, Any]:
    composition = {"lean": one.lean, "mixed": one.mixed, "fat": one.fat}
    return {
        "key": one.segment.key,
        "verdict": one.verdict,
        "findings": one.findings,
        "volume_cm3": one.volume_cm3,
        "volume_spread_cm3": _spread(one.volume_range_cm3),
        "normalised_volume_cm3_per_m2": one.normalised_volume_cm3_per_m2,
        "mean_hu": one.mean_hu,
        "mean_hu_spread": _spread(one.mean_hu_range),
        "composition": None if one.lean is None else composition,
        "uncertainty": one.uncertainty,
        "pairwise_dice": one.pairwise_dice,
        "volume_cv": one.volume_cv,
        "uncertainty_limits": _limits(one.uncertainty_limits),
    }


def _spread(pair: tuple[float, float] | None) -> dict[str, float] | None:
    return pair and {"low": pair[0], "high": pair[1]}


def _limits(pair: tuple[float, float] | None) -> dict[str, float] | None:
    return pair and {"inaccurate": pair[0], "failed": pair[1]}
