"""The tables of selection rules: which series are taken, and which of a study is the best.

What they mean is in `series/eligibility.py`, for people in `docs/selection.md`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.settings.values import Section

NOT_COMPARED: Final = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
"""Value representations (PS3.5 6.2) that are no text or number to compare."""


def compared_attribute(keyword: str) -> str:
    """An attribute by its keyword (PS3.6 6), with a value that can be compared."""
    # Only rules need the dictionary, which takes a tenth of a second to load.
    from pydicom.datadict import dictionary_VR, tag_for_keyword  # noqa: PLC0415

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no keyword of a DICOM attribute")
    vr = dictionary_VR(tag)
    if NOT_COMPARED & set(vr.split(" or ")):
        raise ValueError(f"{keyword} ({vr}) has no value that could be compared")
    return keyword


def _different(items: Sequence[str]) -> None:
    """Refuse what stands twice."""
    if twice := sorted({item for item in items if items.count(item) > 1}):
        raise ValueError(f"{', '.join(map(repr, twice))} stands there twice")


def _listed_once(items: tuple[str, ...]) -> tuple[str, ...]:
    _different(items)
    return items


Text = Annotated[str, Field(min_length=1, max_length=256)]
Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]
KernelWord = Literal["soft", "medium", "unlisted", "bone"]
Criterion = Literal[
    "soft_kernel", "thin_slices", "close_slices", "long", "many_slices", "original"
]


class Range(Section):
    """A range, with both its ends."""

    at_least: Limit | None = None
    """The smallest value that fits; without it, any."""
    at_most: Limit | None = None
    """The largest value that fits; without it, any."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        """At least one end, and in order."""
        _check_ends(self.at_least, self.at_most)
        return self

    def __contains__(self, value: float) -> bool:
        return _is_within(value, self.at_least, self.at_most)

    def __str__(self) -> str:
        return _range_words(self.at_least, self.at_most)


class Condition(Section):
    """A condition on one attribute; of several values one has to fulfil it."""

    attribute: Annotated[str, AfterValidator(compared_attribute)]
    """The keyword of the attribute: `SeriesDescription`, `Modality`, `KVP`."""
    like: tuple[Text, ...] = ()
    """Patterns for the whole value, of which one has to fit; `*` is any text, `?` any one
    character, and capitals make no difference."""
    equals: tuple[str, ...] = ()
    """Values, of which it has to be one, letter by letter."""
    at_least: float | None = Field(default=None, allow_inf_nan=False)
    """The smallest number that fits."""
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    """The largest number that fits."""
    present: bool | None = None
    """Whether it has to have a value, or must have none."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        """At least one test, and none that contradicts another."""
        numbers = self.at_least is not None or self.at_most is not None
        if not (self.like or self.equals or numbers or self.present is not None):
            raise ValueError("give like, equals, at_least, at_most or present")
        if numbers:
            _check_ends(self.at_least, self.at_most)
        if self.present is False and (self.like or self.equals or numbers):
            raise ValueError("an attribute without a value cannot have one that fits")
        return self

    def has_number(self, value: float) -> bool:
        """True if a number is within the limits."""
        return _is_within(value, self.at_least, self.at_most)

    def __str__(self) -> str:
        """The condition in words: it repeats the settings, never a value of a patient."""
        words = []
        if self.like:
            words.append(f"like {' or '.join(map(repr, self.like))}")
        if self.equals:
            words.append(f"equal to {' or '.join(map(repr, self.equals))}")
        if self.at_least is not None or self.at_most is not None:
            words.append(_range_words(self.at_least, self.at_most))
        if self.present is not None:
            words.append("with a value" if self.present else "without a value")
        return f"{self.attribute} {' and '.join(words)}"


class RuleSet(Section):
    """A set of rules. A series is taken that every one of them takes."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """How `[analysis]`, pipelines and schedules call it."""
    take: tuple[Condition, ...] = ()
    """Conditions that all have to hold."""
    leave_out: tuple[Condition, ...] = ()
    """Conditions of which none may hold."""
    images: Range | None = None
    """The number of instances, as an archive counts them; a multi-frame one is one."""
    slices: Range | None = None
    """The number of slices that our reader finds."""
    age_y: Range | None = None
    """The patient's age in years, by Patient's Age or by the dates of birth and study."""
    slice_thickness_mm: Range | None = None
    """The nominal thickness of its slices (their median)."""
    slice_spacing_mm: Range | None = None
    """The distance between its slices (the median)."""
    length_mm: Range | None = None
    """The length from its first slice to its last."""
    axial: bool | None = None
    """Whether it has to be axial, or must not be."""
    analysable: bool | None = None
    """Whether our reader has to find a whole volume in it, without gaps; without this key
    such a series is taken, and answered with the reason."""
    kernels: Annotated[tuple[KernelWord, ...], AfterValidator(_listed_once)] = ()
    """The kinds of convolution kernels that are taken; empty takes any."""
    soft_kernels: tuple[Text, ...] = ()
    """Patterns of kernels that count as soft, whatever our own table says."""
    bone_kernels: tuple[Text, ...] = ()
    """Patterns of kernels that count as bone, whatever our own table says."""
    best: Annotated[tuple[Criterion, ...], AfterValidator(_listed_once)] = ()
    """What makes one series better than another, the most important first; with any, only
    the best is taken. Of equals it is the one with the lowest Series Number, then UID."""
    best_of: Literal["frame_of_reference", "study"] = "frame_of_reference"
    """Among which the best is chosen: those of one study and frame of reference, or all of
    a study."""

    @property
    def digest(self) -> str:
        """A digest of all that it says, whatever it is called."""
        table = self.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _check_ends(at_least: float | None, at_most: float | None) -> None:
    """Refuse a range without ends, or with its ends the wrong way round."""
    if at_least is None and at_most is None:
        raise ValueError("give at_least, at_most or both")
    if at_least is not None and at_most is not None and at_least > at_most:
        raise ValueError(f"at_least is {at_least:g}, more than at_most {at_most:g}")


def _is_within(value: float, at_least: float | None, at_most: float | None) -> bool:
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    return low <= value <= high


def _range_words(at_least: float | None, at_most: float | None) -> str:
    if at_most is None:
        return f"at least {at_least:g}"
    if at_least is None:
        return f"at most {at_most:g}"
    return f"{at_least:g} to {at_most:g}"
