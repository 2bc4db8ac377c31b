"""One case against norms: z-scores where the comparison is fair, the reason where not.

The group is the closest that has at least `FEWEST_TO_COMPARE` patients: sex and age, else
sex, else everyone; every line says which. Nothing is compared across bundles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dicom_node.cohort.age_groups import ALL_AGES
from dicom_node.cohort.cohort import COUNTED, REPORTED, Quantity
from dicom_node.cohort.norms import EVERYONE, MadeBy, Norm, Norms
from dicom_node.cohort.records import CaseRecord, Model, Source
from inference.structures import BY_KEY, Segment

FEWEST_TO_COMPARE: Final = 20
"""Patients behind a mean and an SD that a single patient is measured by."""

FAR_Z: Final = 2.0
"""As far out lie 1 in 22 of a normal distribution."""

SMALLEST_SD: Final = 1e-9
"""In parts of the mean, or of the value if it is larger: rounding alone makes smaller SDs."""

Z_WORDS: Final = (
    "z is the distance from the group's mean in its standard deviations. Of any patient of this"
    " cohort about 1 in 20 of the numbers lies beyond 2; the numbers of one patient are not"
    " independent. The group is a user's own cohort, patients all: a z-score is no diagnosis."
)
SEX_WORDS: Final = {"F": "women", "M": "men", EVERYONE: "everyone"}


@dataclass(frozen=True, slots=True)
class Score:
    """One quantity of one segment. z: None where the norm does not vary."""

    segment: Segment
    quantity: Quantity
    value: float
    norm: Norm
    z: float | None

    @property
    def group_words(self) -> str:
        """As in `women, 60 to 69 (n 34)`."""
        sex = SEX_WORDS[self.norm.sex]
        group = self.norm.age_group
        ages = "" if group == ALL_AGES else f", {group.words}"
        return f"{sex}{ages} (n {self.norm.n})"

    @property
    def percentile_words(self) -> str:
        """Between which percentiles of the norm the value lies."""
        below = [one.percent for one in self.norm.percentiles if one.value <= self.value]
        above = [one.percent for one in self.norm.percentiles if one.value > self.value]
        if not below:
            return f"below {above[0]}th" if above else ""
        return f"{below[-1]}th to {above[0]}th" if above else f"above {below[-1]}th"


@dataclass(frozen=True, slots=True)
class Compared:
    """A case against norms.

    scores: in the order of the segments.
    refused: why nothing is compared; then there are no scores.
    left_out: segments that are not compared, by the reason.
    notes: what a reader must know of the comparison.
    """

    case: CaseRecord
    scores: tuple[Score, ...] = ()
    refused: str = ""
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()


def compare_case(case: CaseRecord, norms: Norms) -> Compared:
    """Every quantity that the norms have and the case may be measured by."""
    refused = _why_not(case, norms)
    if refused:
        return Compared(case, refused=refused)
    known: dict[tuple[str, Quantity], list[Norm]] = {}
    for one in norms.norms:
        known.setdefault((one.key, one.quantity), []).append(one)
    by_key = {one.segment.key: one for one in case.structures}
    quantities = tuple(dict.fromkeys(one.quantity for one in norms.norms))
    scores: list[Score] = []
    doubted: list[str] = []
    empty: list[str] = []
    few: list[str] = []
    for key in BY_KEY:
        record = by_key.get(key)
        if record is None or record.verdict not in COUNTED:
            doubted.append(key)
            continue
        values = {
            quantity: value
            for quantity in quantities
            if (value := getattr(record, quantity.value)) is not None
        }
        found = [
            _score(record.segment, quantity, value, norm)
            for quantity, value in values.items()
            if (norm := _closest(known.get((key, quantity), ()), case.source)) is not None
        ]
        scores += found
        if not found:
            (few if values else empty).append(key)
    reasons = (
        ("no number to rely on (see the verdict)", tuple(doubted)),
        ("no number of those that the norms have", tuple(empty)),
        (f"fewer than {FEWEST_TO_COMPARE} patients in the norms", tuple(few)),
    )
    left_out = tuple((words, keys) for words, keys in reasons if keys)
    if not scores:
        return Compared(case, refused="; ".join(words for words, _ in left_out))
    return Compared(case, tuple(scores), "", left_out, _notes(case, norms))


def _why_not(case: CaseRecord, norms: Norms) -> str:
    if case.state != REPORTED or case.model is None:
        return f"the case has no numbers: {case.code or case.state}"
    model, theirs = case.model, norms.model
    if model.weights_sha256 != theirs.weights_sha256:
        return (
            f"the case was made by {model.name} {model.version} (weights"
            f" {model.weights_sha256[:8]}), the norms by {theirs.name} {theirs.version}"
            f" (weights {theirs.weights_sha256[:8]}): results of two bundles are not compared"
        )
    largest = max((one.n for one in norms.norms), default=0)
    if largest < FEWEST_TO_COMPARE:
        return (
            f"the largest group of the norms has {largest} patients: at least"
            f" {FEWEST_TO_COMPARE} are needed to measure a single one by"
        )
    return ""


def _closest(norms: Iterable[Norm], source: Source) -> Norm | None:
    """The narrowest group the case belongs to that has enough patients."""
    age = source.age_years
    groups = [
        norm
        for norm in norms
        if norm.sex in {source.sex, EVERYONE}
        and norm.n >= FEWEST_TO_COMPARE
        and (norm.age_group == ALL_AGES or (age is not None and norm.age_group.holds(age)))
    ]
    return min(groups, key=_width, default=None)


def _width(norm: Norm) -> tuple[bool, bool]:
    return norm.sex == EVERYONE, norm.age_group == ALL_AGES


def _score(segment: Segment, quantity: Quantity, value: float, norm: Norm) -> Score:
    varies = norm.sd > SMALLEST_SD * max(abs(norm.mean), abs(value))
    z = (value - norm.mean) / norm.sd if varies else None
    return Score(segment, quantity, value, norm, z)


def _notes(case: CaseRecord, norms: Norms) -> tuple[str, ...]:
    notes = [Z_WORDS]
    source = case.source
    if source.sex not in {"F", "M"}:
        notes.append("The sex of the case is not known: it is compared with everyone.")
    if source.age_years is None:
        notes.append("The age of the case is not known: it is compared with all ages.")
    if case.model is not None:
        notes += _differences(case.model, norms.model)
    return tuple(notes)


def _differences(model: Model, theirs: MadeBy) -> list[str]:
    """What differs in the settings, of one and the same bundle."""
    notes = []
    if model.samples not in theirs.samples:
        numbers = ", ".join(str(number) for number in theirs.samples)
        notes.append(f"The case took {model.samples} samples, the norms {numbers}.")
    if model.settings and theirs.settings and model.settings not in theirs.settings:
        notes.append("The case was made with other settings than the norms.")
    return notes
