"""Many cases as columns of numbers: what distributions, drift, sides and norms are made of.

Only structures whose verdict is in `COUNTED` count in distributions, sides and norms: what
the gate doubts would describe the network, not the patients. Scans of one patient are not
independent: there the first scan of each patient speaks for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicom_node.cohort.records import CaseRecord, Model
from inference.results import Verdict
from inference.structures import SEGMENTS, Group, Segment, Side, Structure, segment_of

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

COUNTED: Final = frozenset({Verdict.ACCEPTED, Verdict.NOT_JUDGED})
"""Verdicts of structures whose numbers stand for the patient."""

REPORTED: Final = "reported"
FEWEST_HASH_DIGITS: Final = 6


class Quantity(StrEnum):
    """A number of a structure; the value is its field in a `StructureRecord`."""

    VOLUME = "volume_cm3"
    NORMALISED = "normalised_volume_cm3_per_m2"
    MEAN_HU = "mean_hu"
    LEAN = "lean"
    MIXED = "mixed"
    FAT = "fat"
    UNCERTAINTY = "uncertainty"


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Every case once, and the numbers of the reported ones.

    records: reported, refused and failed ones, in the order of their dates, those without
        any date last.
    cases: the reported ones among them, likewise; they are the rows of every column.
    repeated: records left out because the same analysis was there already, or another run
        of the same series has numbers.
    numbers: of each quantity (cases, 43), nan where there is none.
    counted: (cases, 43), True where the structure's verdict is in `COUNTED`.
    """

    records: tuple[CaseRecord, ...]
    cases: tuple[CaseRecord, ...]
    repeated: int
    numbers: MappingProxyType[Quantity, Values]
    counted: Mask

    @classmethod
    def of(cls, records: Iterable[CaseRecord]) -> Cohort:
        """Put records in the order of their dates, each analysis once."""
        given = list(records)
        once = sorted(_once(given), key=_order)
        cases = tuple(one for one in once if one.state == REPORTED)
        shape = (len(cases), len(SEGMENTS))
        numbers = {quantity: np.full(shape, np.nan) for quantity in Quantity}
        counted = np.zeros(shape, dtype=bool)
        for row, case in enumerate(cases):
            for one in case.structures:
                place = one.segment.number - 1
                counted[row, place] = one.verdict in COUNTED
                for quantity, column in numbers.items():
                    value = getattr(one, quantity.value)
                    column[row, place] = np.nan if value is None else value
        for column in (*numbers.values(), counted):
            column.flags.writeable = False
        repeated = len(given) - len(once)
        return cls(tuple(once), cases, repeated, MappingProxyType(numbers), counted)

    def column(self, quantity: Quantity, segment: Segment) -> Values:
        """(cases,) of one segment, nan where it does not count."""
        place = segment.number - 1
        values = self.numbers[quantity][:, place]
        return np.where(self.counted[:, place], values, np.nan)

    def sides(self, quantity: Quantity, structure: Structure) -> tuple[Values, Values]:
        """(cases,) of the right and of the left; twice the same of the sacrum."""
        right, left = (
            self.column(quantity, segment_of(structure, side))
            for side in (Side.RIGHT, Side.LEFT)
        )
        return right, left

    @property
    def sexes(self) -> NDArray[np.str_]:
        """(cases,) `M`, `F`, `O`, or empty."""
        return np.array([case.source.sex for case in self.cases], dtype=np.str_)

    @property
    def ages(self) -> Values:
        """(cases,) in years, nan where unknown."""
        return _known(case.source.age_years for case in self.cases)

    @property
    def mean_uncertainty(self) -> Values:
        """(cases,), nan where a case has none."""
        return _known(case.mean_uncertainty for case in self.cases)

    @property
    def muscle_hu_shift(self) -> Values:
        """(cases,) how far the muscles' mean HU lie from what is usual here, in HU.

        The mean over a case's muscles of the difference to the median of that muscle: a
        muscle that is missing moves nothing.
        """
        return self._hu_shift({Group.HIP_MUSCLE, Group.THIGH_MUSCLE})

    @property
    def bone_hu_shift(self) -> Values:
        """(cases,) the same of the bones."""
        return self._hu_shift({Group.BONE})

    def _hu_shift(self, groups: set[Group]) -> Values:
        places = [one.number - 1 for one in SEGMENTS if one.structure.group in groups]
        values = np.where(self.counted, self.numbers[Quantity.MEAN_HU], np.nan)[:, places]
        known = np.isfinite(values)
        usual = np.array(
            [
                np.median(v[k]) if k.any() else np.nan
                for v, k in zip(values.T, known.T, strict=True)
            ]
        )
        shifts = np.where(known, values - usual, 0.0).sum(axis=1)
        count = known.sum(axis=1)
        mean: Values = shifts / np.where(count > 0, count, np.nan)
        return mean

    def first_scans(self, among: Mask | None = None) -> Mask:
        """(cases,) True for the first scan of each patient, of all or among some cases."""
        seen: set[str] = set()
        first = np.zeros(len(self.cases), dtype=bool)
        for row, case in enumerate(self.cases):
            if among is not None and not among[row]:
                continue
            key = _patient_of(case)
            first[row] = key not in seen
            seen.add(key)
        return first

    @property
    def models(self) -> tuple[tuple[Model, int], ...]:
        """Every bundle with its settings, and how many cases it made; the most used first."""
        counts: dict[Model, int] = {}
        for case in self.cases:
            if case.model is not None:
                counts[case.model] = counts.get(case.model, 0) + 1
        return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0]))))

    @property
    def has_one_bundle(self) -> bool:
        """True if the weights of all cases are the same."""
        return len({model.weights_sha256 for model, _ in self.models}) <= 1


def day_of(case: CaseRecord) -> date | None:
    """The day of the scan; of the analysis where the scan has none."""
    source = case.source
    if source.study_date is not None:
        return source.study_date
    return source.analysed_at.date() if source.analysed_at is not None else None


def of_bundles(records: Iterable[CaseRecord], names: Collection[str]) -> Iterable[CaseRecord]:
    """The records that one of these bundles made, and those that none made; all without names.

    names: of a bundle, name and version, or the first digits of the hash of its weights.
    """
    return (
        one for one in records if not names or one.model is None or _goes_by(one.model, names)
    )


def _goes_by(model: Model, names: Iterable[str]) -> bool:
    known = {model.name, f"{model.name} {model.version}"}
    return any(
        name in known
        or (len(name) >= FEWEST_HASH_DIGITS and model.weights_sha256.startswith(name))
        for name in names
    )


def differing_settings(models: Sequence[Model]) -> tuple[str, ...]:
    """Names of what differs between models beside their name."""
    names = (one.name for one in fields(Model) if one.name != "name")
    return tuple(name for name in names if len({getattr(one, name) for one in models}) > 1)


def _once(records: Iterable[CaseRecord]) -> list[CaseRecord]:
    """The newest of each series and model, whatever folder or database it came from.

    A run without numbers (refused, failed) is of no model. It stands beside none that has
    some: the newer revision counts, and of one revision those with numbers.
    """
    of_series: dict[str, dict[Model | None, CaseRecord]] = {}
    for record in records:
        source = record.source
        kept = of_series.setdefault(source.series_instance_uid or source.name, {})
        there = kept.get(record.model)
        if there is None or _age(record) >= _age(there):
            kept[record.model] = record
    for kept in of_series.values():
        without = kept.pop(None, None)
        if without is None:
            continue
        if all(one.source.revision < without.source.revision for one in kept.values()):
            kept.clear()
            kept[None] = without
    return [record for kept in of_series.values() for record in kept.values()]


def _age(record: CaseRecord) -> tuple[int, float]:
    analysed = record.source.analysed_at
    return record.source.revision, analysed.timestamp() if analysed else 0.0


def _order(record: CaseRecord) -> tuple[date, str]:
    return day_of(record) or date.max, record.source.name


def _patient_of(case: CaseRecord) -> str:
    source = case.source
    return source.patient_key or source.series_instance_uid or source.name


def _known(values: Iterable[float | None]) -> Values:
    return np.array([np.nan if one is None else one for one in values], dtype=np.float64)
