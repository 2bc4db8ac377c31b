"""The report of a case as FHIR, in a file beside the result objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dicom_node.durable_files import write_durably
from dicom_node.results.fhir.measurement_bundle import measurement_bundle
from dicom_node.results.kinds import REPORTS
from dicom_node.results.result_files import ResultObject

BUNDLE_FILE: Final = "report.fhir.json"


def keep_bundle(objects: Iterable[ResultObject], folder: Path) -> None:
    """Write the first report among the objects as a Bundle; nothing where there is none."""
    report = next((each.dataset for each in objects if each.kind in REPORTS), None)
    if report is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measurement_bundle(report), indent=1, ensure_ascii=False)
    write_durably(folder / BUNDLE_FILE, f"{text}\n".encode())
