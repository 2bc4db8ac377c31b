"""source.json: where a case comes from, beside its report.json, which names nobody.

The table of results, a cohort's report and norms read both. It tells scans of one patient
from those of others by a key: in a folder a digest that anybody can repeat who knows the id,
in a node's database one under a secret of the node. So a folder with this file is as
confidential as the images are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from pydantic import TypeAdapter

from dicom_node.series.scan_facts import PatientNumber, ScanFacts

SOURCE_FILE: Final = "source.json"
SOURCE_VERSION: Final = 1
KEY_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class CaseSource:
    """The source of a case; empty, or None, where nothing says so.

    patient_key: the same for all scans of one patient; empty where none is named.
    settings: digest of all that changes volumes and uncertainties beside the images, so not of
        a grader (`uids.settings_digest`).
    sender: Calling AE title.
    state: "failed", where the analysis failed; a refusal and a case need not say so.
    is_test: whether it is of a test patient or a phantom of quality control, so of nobody.
    """

    source_version: Literal[1] = SOURCE_VERSION
    patient_key: str = ""
    patient_id: str = ""
    revision: int = 1
    sender: str = ""
    analysed_at: datetime | None = None
    settings: str = ""
    state: str = ""
    is_test: bool = False
    scan: ScanFacts = field(default_factory=ScanFacts)


_SOURCE: Final = TypeAdapter(CaseSource)


def source_json(source: CaseSource) -> bytes:
    """The source as it is written."""
    return _SOURCE.dump_json(source, indent=1) + b"\n"


def read_source(text: bytes | str) -> CaseSource:
    """The source in a text that `source_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    return _SOURCE.validate_json(text)


def open_patient_key(patient: PatientNumber) -> str:
    """The key of a patient that anybody can repeat who knows the id; empty without an id."""
    if not patient.patient_id:
        return ""
    said = f"{patient.issuer}\n{patient.patient_id}"
    if said.count("\n") > 1:  # which of them stands between the two has to be said
        said = f"{len(patient.issuer)}\n{said}"
    return hashlib.sha256(said.encode()).hexdigest()[:KEY_DIGITS]
