"""`made_of.json` in the folder of a case: that it is done, and what its results were made of.

It is the last file of a case. Where what a case would be made of has changed since, it is
done again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from dicom_node.batch.cases import Case
from dicom_node.batch.sources import file_facts
from dicom_node.case_files.result_names import MARKER_FILE

MARKER_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class MadeOf:
    """All that the results of a case depend on.

    files: how many. content: digest of their names, sizes and times, in relation to the
        folder that they share, so that an archive may be moved as a whole.
    samples: None for as many as the bundle says. height_m: told on the command line or list.
    grader_sha256: empty without a grader.
    """

    files: int
    content: str
    bundle_sha256: str
    samples: int | None
    height_m: float | None
    grader_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Marker:
    """The end of a case.

    verdict: the case's, `refused (code)`, or `failed`.
    seconds: of work, in all steps, whatever they had to wait for.
    tool: name and version of the program; told, not compared.
    """

    format: int
    case: str
    source: str
    made_of: MadeOf
    outcome: Literal["analysed", "refused", "failed"]
    verdict: str
    words: tuple[str, ...]
    seconds: float
    finished_at: datetime
    tool: str


_MARKER: Final = TypeAdapter(Marker)


def made_of(
    case: Case, bundle_sha256: str, samples: int | None, grader_sha256: str = ""
) -> MadeOf:
    """What the results of a case would be made of now."""
    facts = file_facts(case.source.parent, _relative(case.files, case.source.parent))
    content = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    return MadeOf(
        len(case.files), content, bundle_sha256, samples, case.height_m, grader_sha256
    )


def _relative(files: Sequence[Path], folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in files]


def marker_bytes(marker: Marker) -> bytes:
    """A marker as its file."""
    return _MARKER.dump_json(marker, indent=1) + b"\n"


def marker_of(content: bytes) -> Marker:
    """The marker in a file.

    Raises:
        ValidationError: it is none.
    """
    return _MARKER.validate_json(content)


def read_marker(folder: Path) -> Marker | None:
    """The marker of a case; None where there is none that this version wrote."""
    try:
        marker = marker_of((folder / MARKER_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return marker if marker.format == MARKER_FORMAT else None


def is_done(marker: Marker | None, now: MadeOf, *, again_failed: bool = False) -> bool:
    """True if a case needs nothing: it was made of the same, and has not failed, if asked."""
    if marker is None or marker.made_of != now:
        return False
    return not (again_failed and marker.outcome == "failed")
