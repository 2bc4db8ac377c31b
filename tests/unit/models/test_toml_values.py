"""TOML tables as frozen values: every misfit is named by its key."""

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from inference.models.toml_values import MisfitError, value_of


class Colour(StrEnum):
    """An enumeration."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    """A table within a table."""

    low: float
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low lies above high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """One field of every kind."""

    count: Annotated[int, Field(ge=1, lt=10)] = 1
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    sure: bool = True
    kind: Literal["x", "y"] = "x"
    colour: Colour = Colour.RED
    day: dt.date | None = None
    pair: tuple[int, int] = (0, 0)
    words: tuple[str, ...] = ()
    inner: Inner = Inner(0.0)
    inners: Mapping[str, Inner] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)


def read(text: str) -> Outer:
    return value_of(Outer, tomllib.loads(text))


def test_what_is_not_said_has_its_default() -> None:
    assert read("") == Outer()


def test_every_kind_of_value_is_read() -> None:
    found = read(
        """
        count = 9
        name = "abc"
        sure = false
        kind = "y"
        colour = "blue"
        day = 2025-02-03
        pair = [3, 4]
        words = ["p", "q"]
        inner = { low = 1, high = 2.5 }
        inners.first = { low = -1 }
        anything = { deep = [1, "two"] }
        """
    )

    assert found == Outer(
        count=9,
        name="abc",
        sure=False,
        kind="y",
        colour=Colour.BLUE,
        day=dt.date(2025, 2, 3),
        pair=(3, 4),
        words=("p", "q"),
        inner=Inner(1.0, 2.5),
        inners={"first": Inner(-1.0)},
        anything={"deep": [1, "two"]},
    )
    assert isinstance(found.inner.low, float)  # written as a whole number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("count = 0", "count: Input should be greater than or equal to 1"),
        ('name = "A1"', "name: String should match pattern .*"),
        ('kind = "z"', "kind: Input should be 'x' or 'y'"),
        ("pair = [1]", "pair.1: Field required"),
        ('words = "abc"', "words: Input should be a valid tuple"),
        ("inner = {}", "inner.low: Field required"),
        ("inner = { low = nan }", "inner.low: Input should be a finite number"),
        ("inner = { low = 2 }", "inner: low lies above high"),
        ("inners.first = { low = 2 }", "inners.first: low lies above high"),
        ("cuont = 1", "cuont: Unexpected keyword argument"),
        ("inner = { low = 0, lower = 1 }", "inner.lower: Unexpected keyword argument"),
    ],
)
def test_a_misfit_is_named_by_its_key(text: str, words: str) -> None:
    with pytest.raises(MisfitError, match=f"^{words}$"):
        read(text)


def test_all_misfits_are_told_together() -> None:
    with pytest.raises(MisfitError, match=r"count: .*; inner\.low: .*; cuont: "):
        read("cuont = 1\ncount = 0\ninner = {}")
