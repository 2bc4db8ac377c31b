"""Health and status as JSON, for programs: documented in docs/operating.md, and stable.

`schema` is raised when a key changes its meaning or goes; new keys may come without that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from dicom_node.monitoring.heartbeats import software_version
from dicom_node.node.health import Health
from dicom_node.node.status import NodeStatus

SCHEMA: Final = 1


def health_values(health: Health) -> dict[str, Any]:
    """A node's health as values of JSON."""
    return {"schema": SCHEMA, "version": software_version(), **_values(health)}


def status_values(status: NodeStatus) -> dict[str, Any]:
    """A node's status as values of JSON."""
    return {"schema": SCHEMA, "version": software_version(), **_values(status)}


def _values(value: Any) -> Any:
    """Any of our frozen values likewise."""
    if isinstance(value, Mapping):
        return {str(_values(key)): _values(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_values(each) for each in value]
    if is_dataclass(value):
        return {each.name: _values(getattr(value, each.name)) for each in fields(value)}
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
