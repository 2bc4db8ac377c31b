"""Frozen values as TOML text: the standard library reads TOML, but does not write it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def as_table(value: Any) -> Any:
    """A frozen value as what TOML knows; fields that are None are left out."""
    if is_dataclass(value):
        pairs = ((item.name, getattr(value, item.name)) for item in fields(value))
        return {name: as_table(part) for name, part in pairs if part is not None}
    if isinstance(value, Mapping):
        return {key: as_table(part) for key, part in value.items()}
    return [as_table(part) for part in value] if isinstance(value, tuple) else value


def as_toml(table: Mapping[str, Any], path: str = "") -> str:
    """TOML text of plain values, dates, nested tables, and lists of any of them."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    lines = [f"[{path}]"] if path and (plain or not nested) else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    text = "\n".join([*lines, ""]) if lines else ""
    for key, value in nested.items():
        inner = f"{path}.{_key(key)}" if path else _key(key)
        text += ("\n" if text else "") + as_toml(value, inner)
    return text


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, dt.date):  # datetimes are dates, too
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(part) for part in value)}]"
    if isinstance(value, Mapping):
        return (
            f"{{ {', '.join(f'{_key(key)} = {_value(part)}' for key, part in value.items())} }}"
        )
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, str | bool | int):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"{value!r} has no place in a bundle's TOML")
