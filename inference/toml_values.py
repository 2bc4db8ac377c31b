"""Tables of a TOML file as frozen values, checked against the values' own annotations.

`bundle.toml` and a recipe are read with it, and so on a machine that has torch and numpy and
no parsers, such as one lent for training.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

Value = TypeVar("Value")

PLAIN: Final = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which numbers a field takes: `iterations: Annotated[int, Bounds(above=0)]`."""

    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def misfit(self, value: float) -> str:
        """What is wrong with a number; empty where nothing is."""
        limits = (
            (value >= self.at_least, f"at least {self.at_least:g}"),
            (value > self.above, f"above {self.above:g}"),
            (value <= self.at_most, f"at most {self.at_most:g}"),
            (value < self.below, f"below {self.below:g}"),
        )
        return "; ".join(f"is {value:g}, must be {words}" for met, words in limits if not met)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a text must look like, from its beginning to its end."""

    expression: str

    def misfit(self, value: str) -> str:
        """What is wrong with a text; empty where nothing is."""
        fits = re.fullmatch(self.expression, value)
        return "" if fits else f"is {value!r}, must match {self.expression}"


class MisfitError(ValueError):
    """A table does not fit its value: every misfit as `key.key: what is wrong`."""

    def __init__(self, misfits: Iterable[tuple[str, str]]) -> None:
        self.misfits = tuple(misfits)
        super().__init__(
            "; ".join(f"{k}: {words}" if k else words for k, words in self.misfits)
        )

    def below(self, key: str) -> tuple[tuple[str, str], ...]:
        """The same misfits, seen from the table around."""
        return tuple(
            (f"{key}.{inner}" if inner else key, words) for inner, words in self.misfits
        )


def value_of(kind: type[Value], table: Any) -> Value:
    """A frozen dataclass from a table of a TOML file.

    Fields are numbers, texts, dates, enumerations, lists of them, and dataclasses as tables
    within the table. A key that is no field is refused.

    Raises:
        MisfitError: what does not fit, each with its key.
    """
    if not isinstance(table, Mapping):
        raise MisfitError([("", f"is {table!r}, must be a table")])
    hints = get_type_hints(kind, include_extras=True)
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    misfits = [(key, "no such key here") for key in table if key not in known]
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name in table:
            _gather(values, misfits, name, hints[name], table[name])
        elif field.default is MISSING and field.default_factory is MISSING:
            misfits.append((name, "is missing"))
    if misfits:
        raise MisfitError(misfits)
    try:
        return kind(**values)
    except ValueError as error:  # what no single value shows
        raise MisfitError([("", str(error))]) from error


def _gather(
    values: dict[str, Any], misfits: list[tuple[str, str]], key: str, kind: Any, found: Any
) -> None:
    """Read one entry into `values`, or its misfits into the others."""
    try:
        values[key] = _read(kind, found)
    except MisfitError as error:
        misfits += error.below(key)


def _read(kind: Any, found: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _within(_read(inner[0], found), inner[1:])
    if origin in {Union, types.UnionType}:  # TOML has no null: what is there is not None
        (kind,) = (one for one in inner if one is not type(None))
        return _read(kind, found)
    if origin is Literal:
        return _expect(found, found in inner, f"one of {', '.join(map(repr, inner))}")
    for origins, read in _CONTAINERS.items():
        if origin in origins:
            return read(inner, found)
    return found if kind is Any else _read_plain(kind, found)


def _read_plain(kind: type, found: Any) -> Any:
    if is_dataclass(kind):
        return value_of(kind, found)
    if issubclass(kind, Enum):
        known = [one.value for one in kind]
        return kind(_expect(found, found in known, f"one of {', '.join(map(repr, known))}"))
    if kind is float:
        number = isinstance(found, int | float) and not isinstance(found, bool)
        return float(_expect(found, number and math.isfinite(found), PLAIN[float]))
    fits = isinstance(found, kind) and (kind is bool or not isinstance(found, bool))
    return _expect(found, fits, PLAIN.get(kind, f"a {kind.__name__}"))


def _read_sequence(inner: tuple[Any, ...], found: Any) -> Any:
    """`list[X]`, `tuple[X, ...]` or `tuple[X, Y]`."""
    _expect(found, isinstance(found, list), "a list")
    if len(inner) == 2 and inner[1] is not Ellipsis:
        _expect(found, len(found) == 2, "two values")
    values: dict[str, Any] = {}
    misfits: list[tuple[str, str]] = []
    for k, one in enumerate(found):
        kind = inner[0] if len(inner) == 1 or inner[1] is Ellipsis else inner[k]
        _gather(values, misfits, str(k), kind, one)
    if misfits:
        raise MisfitError(misfits)
    return tuple(values.values())


def _read_mapping(inner: tuple[Any, ...], found: Any) -> dict[str, Any]:
    _expect(found, isinstance(found, Mapping), "a table")
    values: dict[str, Any] = {}
    misfits: list[tuple[str, str]] = []
    for key, one in found.items():
        _gather(values, misfits, key, inner[1], one)
    if misfits:
        raise MisfitError(misfits)
    return values


_CONTAINERS: Final[dict[tuple[type, ...], Callable[[tuple[Any, ...], Any], Any]]] = {
    (tuple,): _read_sequence,
    (dict, Mapping): _read_mapping,
}


def _within(value: Any, rules: Iterable[Any]) -> Any:
    words = [rule.misfit(value) for rule in rules]
    if any(words):
        raise MisfitError([("", "; ".join(word for word in words if word))])
    return value


def _expect(found: Any, fits: bool, words: str) -> Any:  # noqa: FBT001 - a check's outcome
    if not fits:
        raise MisfitError([("", f"is {found!r}, must be {words}")])
    return found
