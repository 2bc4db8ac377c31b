"""Grades by a network that looks at the radiograph of each hip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from inference.anatomy.hip_centres import NoHipCentre, find_hip_centres
from inference.grading.bundle import GraderBundle, code_of
from inference.grading.hip_radiograph import hip_radiograph
from inference.grading.subject import Subject
from inference.results import CaseResult, GraderIdentity, HipCentre, SideGrade, Verdict
from inference.structures import BY_KEY, Side
from inference.volume import Volume

MOST_UNSEEN: Final = 0.1
"""A radiograph of a cube with more than this share outside the scan is not graded."""

SPOILED: Final = "metal spoils the pelvis"
"""As that of the other hip does: its streaks cross the radiograph."""

NO_NUMBERS: Final = "the grader's probabilities are no numbers"
"""Weights that are finite each may still be too large together."""

DOUBTED: Final = {
    Verdict.FAILED: "failed",
    Verdict.ABSENT: "was not found",
    Verdict.NOT_PROVIDED: "is not provided by the model",
}
"""What is wrong with a bone from which no hip is found."""


@dataclass(frozen=True, slots=True, eq=False)
class BundleGrader:
    """A bundle as a grader."""

    bundle: GraderBundle

    @property
    def identity(self) -> GraderIdentity:
        """The bundle."""
        return self.bundle.identity

    def grade(
        self,
        volume: Volume,
        case: CaseResult,
        subject: Subject,  # noqa: ARG002 - a network knows nobody by name
    ) -> tuple[SideGrade, ...]:
        """Both sides by their radiographs."""
        hips = find_hip_centres(volume, case.segments)
        return tuple(self._grade(volume, case, side, hips[side]) for side in Side)

    def _grade(
        self, volume: Volume, case: CaseResult, side: Side, hip: HipCentre | NoHipCentre
    ) -> SideGrade:
        reason = _doubted(case, side)
        if reason or isinstance(hip, NoHipCentre):
            return SideGrade(side, self.identity, reason=reason or str(hip))
        if case.of(BY_KEY[f"PELVIS_{side}"]).verdict is Verdict.SPOILED:
            return SideGrade(side, self.identity, reason=SPOILED, hip=hip)
        seen = hip_radiograph(volume, hip, side, self.bundle.framing)
        if seen.unseen > MOST_UNSEEN:
            words = f"{seen.unseen:.0%} of the cube around the hip lies outside the scan"
            return SideGrade(side, self.identity, reason=words, hip=hip)
        declared = self.bundle.declared
        probabilities = self.bundle.probabilities(seen.image)
        if not all(map(math.isfinite, probabilities)):
            return SideGrade(side, self.identity, reason=NO_NUMBERS, hip=hip)
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        names = (one.name for one in declared.classes)
        return SideGrade(
            side,
            self.identity,
            grade=declared.classes[best].name,
            probability=probabilities[best],
            probabilities=tuple(zip(names, probabilities, strict=True)),
            scale=declared.scale,
            code=code_of(declared.classes[best].code),
            scale_code=code_of(declared.scale_code),
            hip=hip,
        )


def _doubted(case: CaseResult, side: Side) -> str:
    """What is wrong with the bones of a hip, in words; empty if nothing is."""
    for name in ("femur", "pelvis"):
        verdict = case.of(BY_KEY[f"{name.upper()}_{side}"]).verdict
        if verdict in DOUBTED:
            of = "the segmentation of " if verdict is Verdict.FAILED else ""
            return f"{of}the {name} {DOUBTED[verdict]}"
    return ""
