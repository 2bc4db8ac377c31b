"""Whom a grade is asked for, and why there may be none before any grader is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from inference.results import CaseResult, GraderIdentity, SideGrade, Verdict
from inference.structures import Side
from inference.volume import Volume

FAILED: Final = "the segmentation of the case failed"
AGAINST_HEADER: Final = "the anatomy contradicts the header: no side is believed"


@dataclass(frozen=True, slots=True)
class Subject:
    """A case by the names that a table of grades may call it; empty where it has none.

    case: the name of its folder or file; in a batch the case's.
    """

    series_instance_uid: str = ""
    patient_id: str = ""
    case: str = ""


class Grader(Protocol):
    """A source of grades: a network, or a table."""

    @property
    def identity(self) -> GraderIdentity:
        """What a side without a grade names as its grader."""

    def grade(
        self, volume: Volume, case: CaseResult, subject: Subject
    ) -> tuple[SideGrade, ...]:
        """The grades of both sides, right first; each with a grade or a reason."""


def ungraded(grader: GraderIdentity, reason: str) -> tuple[SideGrade, ...]:
    """Both sides without a grade, for one reason."""
    return tuple(SideGrade(side, grader, reason=reason) for side in Side)


def why_none(case: CaseResult) -> str:
    """The reason why a case gets no grade from any grader; empty if it may."""
    if case.coverage.against_header:
        return AGAINST_HEADER
    return FAILED if case.verdict is Verdict.FAILED else ""
