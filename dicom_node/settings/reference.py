"""Every setting explained, from one source: the docstrings of the settings' own classes.

`msk-node check` adds the meaning of a key to a problem with it, the reference in the docs and
the page of settings are made of these entries.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dicom_node.settings.destinations import KINDS, Destination
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Keyword
from dicom_node.settings.tls import Fingerprint
from dicom_node.settings.values import AeTitle, Host, OpeningHours, Section, Weekdays

UNITS: Final = {
    "_s": "seconds",
    "_h": "hours",
    "_d": "days",
    "_y": "years",
    "_mm": "millimetres",
    "_mb": "megabytes",
}
"""The unit that the end of a key's name says."""

PLAIN: Final[dict[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    date: "date",
}
NAMED: Final = {
    get_args(alias)[1]: words
    for alias, words in (
        (AeTitle, "AE title"),
        (Host, "address, network or host name"),
        (OpeningHours, "hours of the week"),
        (Weekdays, "days of the week"),
        (Fingerprint, "SHA-256 fingerprint"),
        (Keyword, "keyword of an attribute"),
    )
}
"""Types that are a text with a rule of their own, by that rule."""

PATTERNS: Final = {
    r"^[A-Za-z0-9._-]+$": 'letters, digits, ".", "_" and "-"',
    r"^[^:\x00-\x1f]+$": "without a colon",
    r"^([01]?\d|2[0-3]):[0-5]\d$": "a time of the day as 20:00",
    r"^(auto|cpu|cuda(:\d+)?)$": "one of those",
}
"""Patterns in words; one that is not here is shown as it is."""


@dataclass(frozen=True, slots=True)
class SettingEntry:
    """One key of the file.

    key: as problems name it: `node.port`, `destinations[].tls.ca`.
    type_words: what its value is.
    default: as the file would give it; empty where there is none.
    meaning: a sentence or two.
    unit: of its number; mostly empty.
    section: the table that it stands in: `node`, `destinations[].tls`.
    limits: what its value may be, beyond its type; mostly empty.
    is_required: whether its table is refused without it.
    kind: of destinations of which kind it is; empty where of any.
    """

    key: str
    type_words: str
    default: str
    meaning: str
    unit: str
    section: str
    limits: str = ""
    is_required: bool = False
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SectionEntry:
    """One table of the file.

    key: as problems name it: `receive.tls`, `destinations[]`.
    meaning: what it is for.
    is_list: whether it may stand there several times.
    is_optional: whether leaving it out is something else than leaving it empty.
    """

    key: str
    meaning: str
    is_list: bool
    is_optional: bool


@functools.cache
def settings_reference() -> tuple[SettingEntry, ...]:
    """Every key of `node.toml`, in the order of the classes."""
    return tuple(each for each in _walk(NodeConfig, "") if isinstance(each, SettingEntry))


@functools.cache
def sections_reference() -> tuple[SectionEntry, ...]:
    """Every table of `node.toml`, in the order of the classes."""
    return tuple(each for each in _walk(NodeConfig, "") if isinstance(each, SectionEntry))


def setting_of(key: str) -> SettingEntry | None:
    """The entry of a key as a problem names it: `destinations[0].port`."""
    general = re.sub(r"\[\d+\]", "[]", key)
    known = {each.key: each for each in settings_reference()}
    # A problem with the third of a list's values is one of the list.
    return known.get(general) or known.get(general.removesuffix("[]"))


def explained(problems: str) -> str:
    """Problems of a file, one a line, each followed by what its key means, where that helps."""
    return "\n".join(line for problem in problems.splitlines() for line in _explain(problem))


_PROBLEM: Final = re.compile(
    r"(?:.*?: )?(?P<key>[a-z_]+(?:\[\d+\])*(?:\.[A-Za-z_]+(?:\[\d+\])*)+): (?P<words>.*)"
)


def _explain(problem: str) -> Iterator[str]:
    yield problem
    found = _PROBLEM.fullmatch(problem)
    if found is None:
        return
    entry = setting_of(found["key"])
    if entry is not None:
        yield f"    {in_words(entry)}"
    elif found["words"] == "unknown key" and (near := _nearest(found["key"])):
        yield f"    did you mean {near}?"


def in_words(entry: SettingEntry) -> str:
    """An entry on one line: its meaning, its type and limits, and its default."""
    facts = [entry.type_words, entry.limits, entry.unit]
    if entry.default:
        facts.append(f"{entry.default} where it is left out")
    return f"{entry.meaning} ({', '.join(filter(None, facts))})"


def _nearest(key: str) -> str:
    """The key of the same table that is most like one which is not there; mostly empty."""
    section, _, name = re.sub(r"\[\d+\]", "[]", key).rpartition(".")
    there = (each for each in settings_reference() if each.section == section)
    names = [each.key.rpartition(".")[2] for each in there]
    return "".join(difflib.get_close_matches(name, names, n=1, cutoff=0.6))


def _walk(table: type[Section], prefix: str) -> Iterator[SettingEntry | SectionEntry]:
    """The entries of a table and of all below it."""
    for name, field in table.model_fields.items():
        key = f"{prefix}.{name}".lstrip(".")
        inner, is_list, is_optional = _section_in(field.annotation)
        if inner is None:
            yield _entry(key, prefix, field)
            continue
        place = f"{key}[]" if is_list else key
        meaning = field.description or _first_words(inner)
        yield SectionEntry(place, meaning, is_list, is_optional)
        if inner is Destination:
            yield from _destinations(place)
        else:
            yield from _walk(inner, place)


def _destinations(place: str) -> Iterator[SettingEntry | SectionEntry]:
    """The entries of every kind of destination; what several have stands there once."""
    met: set[str] = set()
    common = set(Destination.model_fields)
    for kind in reversed(KINDS):
        for each in _walk(kind, place):
            own = each.key.removeprefix(f"{place}.").partition(".")[0]
            if each.key in met:
                continue
            met.add(each.key)
            if isinstance(each, SettingEntry) and own not in common:
                yield replace(each, kind=kind.standard)
            else:
                yield each


def _section_in(annotation: Any) -> tuple[type[Section] | None, bool, bool]:
    """The table that a type holds, if it does; whether it is a list, or may be left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _section_in(arguments[0])
    if origin in (Union, types.UnionType):
        return (*_section_in(arguments[0])[:2], True)
    if origin is tuple:
        inner, _, _ = _section_in(arguments[0])
        return inner, inner is not None, False
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False, False
    return None, False, False


def _entry(key: str, section: str, field: FieldInfo) -> SettingEntry:
    """The entry of one key."""
    words, limits = _type_words(field.annotation, field.metadata)
    default = field.get_default(call_default_factory=True, validated_data={})
    is_required = default is PydanticUndefined
    return SettingEntry(
        key=key,
        type_words=words,
        default="" if is_required or default is None else _in_toml(default),
        meaning=" ".join((field.description or "").split()),
        unit=_unit(key),
        section=section,
        limits=limits,
        is_required=is_required,
    )


def _unit(key: str) -> str:
    """The unit of a key's number, by its own name or by that of a range it is an end of."""
    *above, name = key.split(".")
    if name in ("at_least", "at_most") and above:
        name = above[-1]
    end = f"_{name.rpartition('_')[2]}" if "_" in name else ""
    return UNITS.get(end, "")


def _type_words(annotation: Any, metadata: Any) -> tuple[str, str]:
    """A type and its limits, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_words(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        (one,) = (each for each in arguments if each is not types.NoneType)
        return _type_words(one, metadata)
    if origin is tuple:
        words, limits = _type_words(arguments[0], ())
        several = _limits(metadata, "values")
        return f"list of {words}", ", ".join(filter(None, (several, limits)))
    if origin is dict:
        return f"table of {_type_words(arguments[1], ())[0]}", ""
    return _simple_words(annotation, metadata)


def _simple_words(annotation: Any, metadata: Any) -> tuple[str, str]:
    """A type that holds no other, and its limits, in words."""
    if get_origin(annotation) is Literal:
        return " or ".join(json.dumps(each) for each in get_args(annotation)), ""
    rules = [each for each in metadata if isinstance(each, AfterValidator)]
    named = next((NAMED[each] for each in rules if each in NAMED), None)
    if named is not None:
        return named, ""
    said = "; ".join(_first_words(rule.func) for rule in rules).rstrip(".")
    return PLAIN[annotation], _limits(metadata, "characters") or said


def _limits(metadata: Any, of: str) -> str:
    """The limits that a type is given with, in words; `of` are the things that it has."""
    found: dict[str, Any] = {}
    for each in _flat(metadata):
        match each:
            case annotated_types.Ge(ge=value):
                found["at least"] = value
            case annotated_types.Gt(gt=value):
                found["more than"] = value
            case annotated_types.Le(le=value):
                found["at most"] = value
            case annotated_types.Lt(lt=value):
                found["less than"] = value
            case annotated_types.MinLen(min_length=count):
                found["at least"] = f"{count} {of if count != 1 else of[:-1]}"
            case annotated_types.MaxLen(max_length=count):
                found["at most"] = f"{count} {of}"
    if "more than" in found and "at least" in found:
        del found["more than"]  # a stricter limit of one key's, on a type that has its own
    words = [f"{word} {value}" for word, value in found.items()]
    patterns = (getattr(each, "pattern", None) for each in _flat(metadata))
    words += [PATTERNS.get(each, f"as {each}") for each in patterns if isinstance(each, str)]
    return ", ".join(words)


def _flat(metadata: Any) -> Iterator[Any]:
    """What a type is given with, without the wrappings of pydantic's own."""
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from _flat(each.metadata)
        else:
            yield each


def _in_toml(value: Any) -> str:
    """A default as the file would give it."""
    if isinstance(value, Path):
        return json.dumps(str(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_in_toml, value))}]"
    if isinstance(value, dict):
        return "{}" if not value else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def _first_words(of: Any) -> str:
    """The first paragraph of a table's or rule's docstring."""
    return " ".join((of.__doc__ or "").strip().partition("\n\n")[0].split())
