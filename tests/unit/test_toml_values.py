"""TOML tables as frozen values: every misfit is named by its key."""

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest

from inference.toml_values import Bounds, MisfitError, Pattern, value_of


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

    count: Annotated[int, Bounds(at_least=1, below=10)] = 1
    name: Annotated[str, Pattern("[a-z]+")] = "a"
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
        ("count = 0", "count: is 0, must be at least 1"),
        ("count = 10", "count: is 10, must be below 10"),
        ("count = 2.0", "count: is 2.0, must be a whole number"),
        ("count = true", "count: is True, must be a whole number"),
        ('name = "A1"', r"name: is 'A1', must match \[a-z\]\+"),
        ("name = 1", "name: is 1, must be text"),
        ("sure = 1", "sure: is 1, must be true or false"),
        ('kind = "z"', "kind: is 'z', must be one of 'x', 'y'"),
        ('colour = "grey"', "colour: is 'grey', must be one of 'red', 'blue'"),
        ('day = "2025-02-03"', "day: is '2025-02-03', must be a date"),
        ("pair = [1]", r"pair: is \[1\], must be two values"),
        ('pair = [1, "b"]', "pair.1: is 'b', must be a whole number"),
        ('words = "abc"', "words: is 'abc', must be a list"),
        ("inner = 3", "inner: is 3, must be a table"),
        ("inner = {}", "inner.low: is missing"),
        ("inner = { low = nan }", "inner.low: is nan, must be a number"),
        ("inner = { low = 2 }", "inner: low lies above high"),
        ("inners.first = { low = 2 }", "inners.first: low lies above high"),
        ("inners = 1", "inners: is 1, must be a table"),
        ("cuont = 1", "cuont: no such key here"),
    ],
)
def test_a_misfit_is_named_by_its_key(text: str, words: str) -> None:
    with pytest.raises(MisfitError, match=f"^{words}$"):
        read(text)


def test_all_misfits_are_told_together() -> None:
    with pytest.raises(MisfitError, match=r"^cuont: .*; count: .*; inner\.low: is missing$"):
        read("cuont = 1\ncount = 0\ninner = {}")
