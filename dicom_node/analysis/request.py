"""Request and outcome of an analysis: the files by which worker and child talk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter

from dicom_node.durable_files import OWN, write_durably
from dicom_node.settings.node import Logging

OUTCOME_FILE: Final = "outcome.json"
CASE_FOLDER: Final = "case"


@dataclass(frozen=True, slots=True)
class Request:
    """A request for one analysis: what to analyse, how, and where to put the answer.

    samples: None for as many as the bundle says.
    settings_hash: of the settings that change results.
    grader: a grader's bundle or table, and the hash that it had when the worker started;
        empty without one.
    model_settings: of those that change what the model finds, so not of the grader; part of
        the random seed. Empty of a worker of a version before: then `settings_hash` is.
    """

    series_instance_uid: str
    paths: tuple[Path, ...]
    out: Path
    bundle: str
    device: str
    samples: int | None
    settings_hash: str
    logging: Logging
    grader: str = ""
    grader_sha256: str = ""
    model_settings: str = ""

    @property
    def seed_settings(self) -> str:
        """What of the settings is part of the random seed."""
        return self.model_settings or self.settings_hash


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an analysis; `code` and `words` say why it was refused or failed.

    calibrated_on, calibrated_at: the data set that the bundle's limits were fitted on, and
        the date; empty of a bundle without.
    model_settings: of the settings that change what the model finds, so not of a grader; empty
        of a version before.
    """

    kind: Literal["analysed", "refused", "failed"]
    settings_hash: str
    finished_at: datetime
    code: str = ""
    words: str = ""
    calibrated_on: str = ""
    calibrated_at: str = ""
    model_settings: str = ""


_REQUEST: Final = TypeAdapter(Request)
_OUTCOME: Final = TypeAdapter(Outcome)


def write_request(request: Request) -> Path:
    """Put the request beside where its answer will be."""
    path = request.out / "request.json"
    write_durably(path, _REQUEST.dump_json(request, indent=1), OWN)
    return path


def read_request(path: Path) -> Request:
    """The request in a file that `write_request` wrote."""
    return _REQUEST.validate_json(path.read_bytes())


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome in a folder, or None while there is none."""
    try:
        return _OUTCOME.validate_json((folder / OUTCOME_FILE).read_bytes())
    except FileNotFoundError:
        return None


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Put an outcome into a folder; from then on it stands."""
    write_durably(folder / OUTCOME_FILE, _OUTCOME.dump_json(outcome, indent=1), OWN)
