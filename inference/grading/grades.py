"""The disease status of both sides of a case: asked of a grader, or why it is not told.

Start reading here: `open_grader` opens what a site gives, `with_grades` asks it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from inference.errors import BundleError
from inference.grading.grader_files import is_table
from inference.grading.subject import Grader, Subject, ungraded, why_none
from inference.grading.table import read_table_of_grades
from inference.results import CaseResult, GraderIdentity
from inference.volume import Volume

CHANGED: Final = "the grader has changed since the node started"


def open_grader(path: str | Path) -> Grader:
    """A grader: a bundle's folder, or a table of grades.

    Raises:
        BundleError: it cannot be used; the message says why.
    """
    path = Path(path)
    if is_table(path):
        return read_table_of_grades(path)
    # Here, for a table needs no network.
    from inference.grading.bundle import load_grader_bundle  # noqa: PLC0415
    from inference.grading.by_bundle import BundleGrader  # noqa: PLC0415

    return BundleGrader(load_grader_bundle(path))


def with_grades(
    case: CaseResult, volume: Volume, grader: Grader, subject: Subject
) -> CaseResult:
    """The case with the grades of both sides, or the reasons why they have none.

    No grader is asked where the case failed or no side is believed.
    """
    reason = why_none(case)
    grades = (
        ungraded(grader.identity, reason) if reason else grader.grade(volume, case, subject)
    )
    return replace(case, grades=grades)


def with_grades_of(
    case: CaseResult, volume: Volume, path: str, sha256: str, subject: Subject
) -> CaseResult:
    """`with_grades` of a grader that must still be the one whose hash was taken before.

    What a case's results are called derives from that hash: a grader that is another one by
    now, or is gone, gives no grade.
    """
    try:
        grader = open_grader(path)
    except (BundleError, OSError):
        grader = None
    if grader is not None and grader.identity.sha256 == sha256:
        return with_grades(case, volume, grader, subject)
    kind: Literal["bundle", "table"] = "table" if is_table(Path(path)) else "bundle"
    asked = GraderIdentity(kind, Path(path).stem, "", sha256)
    return replace(case, grades=ungraded(asked, why_none(case) or CHANGED))
