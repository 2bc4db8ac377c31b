"""The table of alarms: when they are raised, and who is told."""

from __future__ import annotations

from pydantic import Field

from dicom_node.settings.values import Hours, Seconds, Section


class Alarms(Section):
    """When something is an alarm."""

    stuck_s: Seconds = 60.0
    """How long a part of a process may be without a sign of life."""
    queue_h: Hours = 4.0
    """How long a complete series may wait for its answer."""
    failures: int = Field(default=5, ge=1)
    """How many series after one another may fail."""
