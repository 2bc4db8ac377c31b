"""Health and status as JSON, for programs: documented in docs/operating.md, and stable.

`schema` is raised when a key changes its meaning or goes; new keys may come without that.
"""

from __future__ import annotations

from typing import Any, Final

from dicom_node.monitoring.heartbeats import software_version
from dicom_node.node.health import Health
from dicom_node.node.plain_json import plain_values
from dicom_node.node.status import NodeStatus

SCHEMA: Final = 1


def health_values(health: Health) -> dict[str, Any]:
    """A node's health as values of JSON."""
    return {"schema": SCHEMA, "version": software_version(), **plain_values(health)}


def status_values(status: NodeStatus) -> dict[str, Any]:
    """A node's status as values of JSON."""
    return {"schema": SCHEMA, "version": software_version(), **plain_values(status)}
