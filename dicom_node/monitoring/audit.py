"""The audit trail: who did what to which study (PS3.15 A.5).

An `AuditEvent` says what happened; an `AuditTrail` keeps it. Whoever has something to tell
makes an event and records it, and waits for nothing:

    audit.py            the way to a trail
    audit_events.py     events
    audit_messages.py   an event as XML
    audit_file.py       the file: a chain of lines, by several processes at once
    audit_writer.py     the thread of a process that writes what it has recorded
    audit_syslog.py     a copy of the file's lines for a syslog server
"""

from __future__ import annotations

from typing import Final, Protocol

from dicom_node.monitoring.audit_events import AuditEvent, AuditKind, AuditOutcome
from dicom_node.settings.node import NodeConfig

__all__ = ["NO_TRAIL", "AuditEvent", "AuditKind", "AuditOutcome", "AuditTrail", "open_trail"]


class AuditTrail(Protocol):
    """Keeps events."""

    def record(self, event: AuditEvent) -> None:
        """Keep an event; never raises, and keeps nobody from work."""

    def close(self) -> None:
        """Write what was recorded, within seconds, before the process ends."""


class _NoTrail:
    """Keeps nothing: there is no `[audit]`."""

    def record(self, event: AuditEvent) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """There is nothing to write."""


NO_TRAIL: Final[AuditTrail] = _NoTrail()


def open_trail(config: NodeConfig, source: str) -> AuditTrail:
    """The trail of this process: one, whoever asks for it.

    Args:
        config: Says where it is kept; without `[audit]` nothing is.
        source: The role or the command that has something to tell.
    """
    if config.audit is None:
        return NO_TRAIL
    from dicom_node.monitoring.audit_writer import trail_of  # noqa: PLC0415 - where there is one

    return trail_of(config, source)
