"""Our frozen values as values of JSON: one way for every command that has `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any


def plain_values(value: Any) -> Any:
    """A frozen value, or many in one, as values of JSON."""
    if isinstance(value, Mapping):
        return {str(plain_values(key)): plain_values(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain_values(each) for each in value]
    if is_dataclass(value):
        return {each.name: plain_values(getattr(value, each.name)) for each in fields(value)}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """A single value: moments in ISO 8601, in UTC."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Enum():
            return value.value
        case Path():
            return str(value)
        case _:
            return value
