"""Every coded term that leaves the node, read from the four tables beside this file.

`structures.toml` names what is segmented, `quantities.toml` what is measured,
`verdicts.toml` what is judged, `document.toml` what a report is made of. Each term carries
how sure its code is and where it was found; what has no standard concept is named in the
project's own scheme, `SCHEME`, which every object using it identifies (Coding Scheme
Identification Sequence, PS3.3 C.12.1.1).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from pydicom.sr.coding import Code

from inference.results import Finding, Measurement, Region, Spread, Verdict
from inference.structures import Side


@dataclass(frozen=True, slots=True)
class CodingScheme:
    """The project's own coding scheme, as objects identify it."""

    designator: str
    uid: str
    name: str
    version: str
    organization: str


@dataclass(frozen=True, slots=True)
class Term:
    """A code and how sure it is.

    verified: "context group", "dictionary", "several tables", "one table" or "no" (see
        `structures.toml`).
    source: where the code was found.
    """

    code: Code
    verified: str
    source: str


@dataclass(frozen=True, slots=True)
class StructureTerm:
    """The code of a structure.

    parent: a standard concept that contains the structure, where its own code is private.
    """

    code: Code
    verified: str
    source: str
    parent: Code | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a quantity in a table for people, with the format of its number."""

    heading: str
    width_mm: float
    format: str


@dataclass(frozen=True, slots=True)
class QuantityTerm:
    """Quantity that is measured: its codes, and the number of a `Measurement` that it is.

    The fields are the keys of `quantities.toml`, which says what they mean.
    """

    name: Code
    unit: Code
    verified: str
    source: str
    derivation: Code | None = None
    value: str = ""
    range: str = ""
    scale: float = 1
    decimals: int | None = None
    digits: int = 3
    key_slice: bool = False
    column: Column | None = None

    def of(self, measured: Measurement) -> float | None:
        """Its number in its unit, not rounded; None where the structure has none."""
        found: Any = measured
        for name in self.value.split("."):
            found = None if found is None else getattr(found, name)
        return None if found is None else self.scale * float(found)

    def range_of(self, measured: Measurement) -> Spread | None:
        """Its range over the samples in its unit, where it has one."""
        spread = getattr(measured, self.range) if self.range else None
        return spread and Spread(self.scale * spread.low, self.scale * spread.high)

    def rounded(self, value: float) -> float:
        """A number as a report gives it: by decimal places, or by significant digits."""
        if self.decimals is not None:
            return round(float(value), self.decimals)
        return float(f"{float(value):.{self.digits}g}")


@dataclass(frozen=True, slots=True)
class WordedTerm:
    """A code for machines with the words for people."""

    code: Code
    words: str
    verified: str
    source: str


def _table(name: str) -> dict[str, Any]:
    text = files("sr_templates").joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def _code(triple: list[str]) -> Code:
    value, scheme, meaning = triple
    return Code(value, scheme, meaning)


def _structure_term(row: Mapping[str, Any]) -> StructureTerm:
    parent = _code(row["parent"]) if "parent" in row else None
    return StructureTerm(_code(row["code"]), row["verified"], row["source"], parent)


def _quantity_term(row: Mapping[str, Any]) -> QuantityTerm:
    codes = {key: _code(row[key]) for key in ("name", "unit", "derivation") if key in row}
    column = Column(**row["column"]) if "column" in row else None
    return QuantityTerm(**{**row, **codes, "column": column})


def _term(row: Mapping[str, Any]) -> Term:
    return Term(_code(row["code"]), row["verified"], row["source"])


def _judgement(row: Mapping[str, Any]) -> Term:
    return _term({**_VERDICTS["otherwise"], **row})


def _worded_term(row: Mapping[str, Any]) -> WordedTerm:
    term = _judgement(row)
    return WordedTerm(term.code, row["words"], term.verified, term.source)


_STRUCTURES: Final = _table("structures.toml")
_QUANTITIES: Final = _table("quantities.toml")
_VERDICTS: Final = _table("verdicts.toml")
_DOCUMENT: Final = _table("document.toml")

SCHEME: Final = CodingScheme(**_STRUCTURES["scheme"])

STRUCTURE_TERMS: Final[Mapping[str, StructureTerm]] = MappingProxyType(
    {name: _structure_term(row) for name, row in _STRUCTURES["structure"].items()}
)
"""By the structure's abbreviation."""

SIDE_TERMS: Final[Mapping[Side, Code]] = MappingProxyType(
    {Side(name): _code(row["code"]) for name, row in _STRUCTURES["side"].items()}
)

CATEGORY: Final = _code(_STRUCTURES["category"]["code"])
REGION: Final = _code(_STRUCTURES["region"]["code"])
HIP_JOINT: Final = _code(_STRUCTURES["hip_joint"]["code"])
BODY_PART_EXAMINED: Final[str] = _STRUCTURES["region"]["body_part_examined"]

QUANTITY_TERMS: Final[Mapping[str, QuantityTerm]] = MappingProxyType(
    {name: _quantity_term(row) for name, row in _QUANTITIES["quantity"].items()}
)
MEASURED_TERMS: Final = tuple(term for term in QUANTITY_TERMS.values() if term.value)
"""What is measured of a structure, in the order a reader wants it."""
KEY_SLICE_TERMS: Final = tuple(term for term in MEASURED_TERMS if term.key_slice)
"""What a key slice shows of it."""

DOCUMENT_TERMS: Final[Mapping[str, Term]] = MappingProxyType(
    {name: _term(row) for name, row in _DOCUMENT["term"].items()}
)

ASPECT_TERMS: Final[Mapping[str, Term]] = MappingProxyType(
    {name: _judgement(row) for name, row in _VERDICTS["aspect"].items()}
)
"""What a question or a text of the report is about."""

VERDICT_TERMS: Final[Mapping[Verdict, WordedTerm]] = MappingProxyType(
    {Verdict(name): _worded_term(row) for name, row in _VERDICTS["verdict"].items()}
)
FINDING_TERMS: Final[Mapping[Finding, WordedTerm]] = MappingProxyType(
    {Finding(name): _worded_term(row) for name, row in _VERDICTS["finding"].items()}
)
REGION_TERMS: Final[Mapping[Region, WordedTerm]] = MappingProxyType(
    {Region(name): _worded_term(row) for name, row in _VERDICTS["region"].items()}
)
PRESENCE_TERMS: Final[Mapping[str, WordedTerm]] = MappingProxyType(
    {name: _worded_term(row) for name, row in _VERDICTS["presence"].items()}
)
