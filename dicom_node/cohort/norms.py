"""Norms of a cohort: mean, spread and percentiles by sex, age group, structure and side.

The classes below are the format of the file, in the manner of `report.json`; its published
JSON Schema, `norms.schema.json`, is made from them (`python -m dicom_node.cohort.norms`,
written into it), and a test keeps the two together. Norms are of one bundle: what another
network measures differs by more than what they are to tell. No name and no identifier is in
it. What is withheld, so that nobody's own values are told:

norms of fewer than `FEWEST_IN_GROUP` people, and norms that leave so few when they are taken
    from each other: everyone less women and men, women less their age groups
percentiles of fewer than `FEWEST_FOR_PERCENTILES` people: a percentile is a person's value or
    lies between two of them, and is rounded to 3 digits therefore

Two files whose cohorts differ by one patient tell this patient's values together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dicom_node.cohort.age_groups import ALL_AGES, FEWEST_IN_GROUP, AgeGroup, age_groups
from dicom_node.cohort.cohort import Cohort, Mask, Quantity, Values
from dicom_node.cohort.statistics import PERCENTILES
from dicom_node.durable_files import write_durably
from dicom_node.errors import ConfigurationError
from inference.structures import BY_KEY, SEGMENTS

NORMS_VERSION: Final = 1
SCHEMA_ID: Final = "urn:msk-node:norms:1"

NORM_QUANTITIES: Final = (
    Quantity.VOLUME,
    Quantity.NORMALISED,
    Quantity.MEAN_HU,
    Quantity.LEAN,
    Quantity.MIXED,
    Quantity.FAT,
)

SEXES: Final = ("F", "M")
EVERYONE: Final = "all"
FEWEST_FOR_PERCENTILES: Final = 20


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The bundle and the settings behind the norms.

    samples, uncertainty, settings: every value that occurs among the cases.
    """

    name: str
    version: str
    weights_sha256: str
    samples: tuple[int, ...]
    uncertainty: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Percentile:
    """The value below which so many percent lie (linear between neighbours)."""

    percent: int
    value: float


@dataclass(frozen=True, slots=True)
class Norm:
    """One quantity of one segment in one group.

    sex: `F`, `M`, or `all`: both, and those whose sex is unknown or another.
    from_year, below_year: of age at the scan; null: no end. 0 and null: all ages, and
        those whose age is unknown.
    key: of the segment, as in `report.json`.
    quantity: as there; its unit is in its name, shares have none.
    n: patients. sd: of the sample, n - 1.
    percentiles: none of fewer than 20 patients.
    """

    sex: Literal["F", "M", "all"]
    from_year: int
    below_year: int | None
    key: str
    quantity: Quantity
    n: int
    mean: float
    sd: float
    percentiles: tuple[Percentile, ...]

    @property
    def age_group(self) -> AgeGroup:
        """Its ages."""
        return AgeGroup(self.from_year, self.below_year)


@dataclass(frozen=True, slots=True)
class Norms:
    """A file of norms.

    patients: who are behind them; each counts with the first scan.
    first_scan, last_scan: dates as ISO 8601, to the month; empty where none is known.
    withheld: norms that were left out: of fewer than `fewest` patients, or from which, by
        way of others, the mean of so few could be worked out.
    """

    norms_version: Literal[1]
    use: Literal["research use only"]
    model: MadeBy
    patients: int
    first_scan: str
    last_scan: str
    fewest: int
    withheld: int
    norms: tuple[Norm, ...]


_NORMS: Final = TypeAdapter(Norms)


def norms_of(cohort: Cohort) -> Norms:
    """The norms of a cohort.

    Raises:
        ConfigurationError: several bundles made it, or it has too few patients.
    """
    if not cohort.has_one_bundle:
        names = ", ".join(
            f"{model.name} {model.version} ({count} cases, weights {model.weights_sha256[:8]})"
            for model, count in cohort.models
        )
        raise ConfigurationError(f"norms are of one bundle, here are several: {names}")
    first = cohort.first_scans()
    if not cohort.models or first.sum() < FEWEST_IN_GROUP:
        patients = int(first.sum())
        few = f"{patients} patient{'' if patients == 1 else 's'} with results"
        raise ConfigurationError(f"no norms of {few}: {FEWEST_IN_GROUP} are the least")
    found = [_norm(*cell) for cell in _cells(cohort, first)]
    kept = _without_small_rests([one for one in found if one is not None])
    days = [case.source.study_date for case in cohort.cases if case.source.study_date]
    return Norms(
        norms_version=NORMS_VERSION,
        use="research use only",
        model=_made_by(cohort),
        patients=int(first.sum()),
        first_scan=f"{min(days):%Y-%m}" if days else "",
        last_scan=f"{max(days):%Y-%m}" if days else "",
        fewest=FEWEST_IN_GROUP,
        withheld=len(found) - len(kept),
        norms=kept,
    )


def _without_small_rests(norms: Sequence[Norm]) -> tuple[Norm, ...]:
    """Withhold what would tell of fewer than `FEWEST_IN_GROUP` people by subtraction.

    Of a sex, the smallest age groups; then everyone, as a sex says more.
    """
    together: dict[tuple[str, Quantity], list[Norm]] = {}
    for one in norms:
        together.setdefault((one.key, one.quantity), []).append(one)
    kept = {id(norm) for cells in together.values() for norm in _told_of(cells)}
    return tuple(one for one in norms if id(one) in kept)


def _told_of(cells: Sequence[Norm]) -> Iterator[Norm]:
    """Of the norms of one quantity of one segment, those that may be told beside each other."""
    whole = {one.sex: one for one in cells if one.age_group == ALL_AGES}
    for sex in SEXES:
        parent = whole.get(sex)
        ages = [one for one in cells if one.sex == sex and one.age_group != ALL_AGES]
        ages.sort(key=lambda one: one.n)
        while parent and ages and 0 < parent.n - sum(one.n for one in ages) < FEWEST_IN_GROUP:
            ages = ages[1:]
        yield from ages
    sexes = [whole[sex] for sex in SEXES if sex in whole]
    yield from sexes
    if EVERYONE in whole:
        rest = whole[EVERYONE].n - sum(one.n for one in sexes)
        if not 0 < rest < FEWEST_IN_GROUP:
            yield whole[EVERYONE]


_Cell = tuple[Literal["F", "M", "all"], AgeGroup, str, Quantity, Values]


def _cells(cohort: Cohort, first: Mask) -> Iterator[_Cell]:
    """Every group with the values of every segment that anyone has."""
    for sex, group, members in _groups(cohort, first):
        for segment in SEGMENTS:
            for quantity in NORM_QUANTITIES:
                values = cohort.column(quantity, segment)[members]
                known = values[np.isfinite(values)]
                if len(known):
                    yield sex, group, segment.key, quantity, known


def _groups(
    cohort: Cohort, first: Mask
) -> Iterator[tuple[Literal["F", "M", "all"], AgeGroup, Mask]]:
    """Everyone, each sex, and the ages of each sex."""
    yield EVERYONE, ALL_AGES, first
    for sex in ("F", "M"):
        of_sex = first & (cohort.sexes == sex)
        yield sex, ALL_AGES, of_sex
        groups = age_groups(cohort.ages[of_sex])
        for group in groups if len(groups) > 1 else ():
            yield sex, group, of_sex & group.members(cohort.ages)


def _norm(
    sex: Literal["F", "M", "all"],
    group: AgeGroup,
    key: str,
    quantity: Quantity,
    values: Values,
) -> Norm | None:
    """None of fewer people than may be told."""
    if len(values) < FEWEST_IN_GROUP:
        return None
    percents = PERCENTILES if len(values) >= FEWEST_FOR_PERCENTILES else ()
    found = np.percentile(values, percents)
    return Norm(
        sex=sex,
        from_year=group.from_year,
        below_year=group.below_year,
        key=key,
        quantity=quantity,
        n=len(values),
        mean=_rounded(values.mean()),
        sd=_rounded(values.std(ddof=1)),
        percentiles=tuple(
            Percentile(percent, _rounded(value, digits=3))
            for percent, value in zip(percents, found, strict=True)
        ),
    )


def _rounded(value: np.floating[Any], digits: int = 6) -> float:
    """To so many digits: more would say nothing, and could give single values away."""
    return float(f"{float(value):.{digits}g}")


def _made_by(cohort: Cohort) -> MadeBy:
    models = [model for model, _ in cohort.models]
    first = models[0]
    return MadeBy(
        name=first.name,
        version=first.version,
        weights_sha256=first.weights_sha256,
        samples=tuple(sorted({one.samples for one in models})),
        uncertainty=tuple(sorted({one.uncertainty for one in models})),
        settings=tuple(sorted({one.settings for one in models if one.settings})),
    )


def write_norms(norms: Norms, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, _NORMS.dump_json(norms, indent=1) + b"\n")


def read_norms(path: Path) -> Norms:
    """Read a file of norms.

    Raises:
        ConfigurationError: it is none, or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    try:
        norms = _NORMS.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{path}: no norms: {where or 'file'}: {first['msg']}"
        ) from error
    strange = {one.key for one in norms.norms} - set(BY_KEY)
    if strange:
        raise ConfigurationError(f"{path}: no norms: no segment {min(strange)!r}")
    return norms


def norms_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a file of norms."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **_NORMS.json_schema(mode="serialization"),
    }


if __name__ == "__main__":
    print(json.dumps(norms_schema(), indent=1))  # noqa: T201 - the schema is the output
