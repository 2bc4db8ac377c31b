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

from inference.results import Finding, Region, Verdict
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
class QuantityTerm:
    """The name and unit of a measurement, and how its value was derived."""

    name: Code
    unit: Code
    verified: str
    source: str
    derivation: Code | None = None


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
    derivation = _code(row["derivation"]) if "derivation" in row else None
    return QuantityTerm(
        _code(row["name"]), _code(row["unit"]), row["verified"], row["source"], derivation
    )


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
BODY_PART_EXAMINED: Final[str] = _STRUCTURES["region"]["body_part_examined"]

QUANTITY_TERMS: Final[Mapping[str, QuantityTerm]] = MappingProxyType(
    {name: _quantity_term(row) for name, row in _QUANTITIES["quantity"].items()}
)

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
