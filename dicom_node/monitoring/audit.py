"""The audit trail: who did what to which study, as values (PS3.15 A.5).

An `AuditEvent` says what happened; an `AuditTrail` keeps it. Whoever has something to tell
makes an event and records it, and waits for nothing:

    audit.py            events, and the way to a trail
    audit_messages.py   an event as XML
    audit_file.py       the file: a chain of lines, by several processes at once
    audit_writer.py     the thread of a process that writes what it has recorded
    audit_syslog.py     a copy of the file's lines for a syslog server
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from dicom_node.settings.node import NodeConfig


class AuditKind(StrEnum):
    """What is told, by the names of PS3.15 A.5.3."""

    APPLICATION_STARTED = "Application Start"
    APPLICATION_STOPPED = "Application Stop"
    ASSOCIATION_REFUSED = "Security Alert: Node Authentication"
    INSTANCES_RECEIVED = "DICOM Instances Transferred: received"
    INSTANCES_SENT = "DICOM Instances Transferred: sent"
    STUDY_ACCESSED = "DICOM Instances Accessed"
    DATA_EXPORTED = "Data Export"
    QUERY = "Query"
    USER_LOGGED_IN = "User Authentication: Login"
    USER_LOGGED_OUT = "User Authentication: Logout"
    CONFIGURATION_CHANGED = "Security Alert: Software Configuration"
    ORDERED = "Order Record"
    LOG_USED = "Audit Log Used"


class AuditOutcome(StrEnum):
    """The Event Outcome Indicator (PS3.15 A.5.1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"
    MAJOR_FAILURE = "12"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event.

    user: who: a user's name, or an AE title; empty for the node itself.
    host: from where, an address; empty for the node itself.
    peer: the other side: an AE title, a destination's name, or a file that was written.
    peer_host: its address.
    study_instance_uids, series_instance_uids: what it was about.
    instances: how many.
    sop_classes: of which classes, each with how many.
    patient_id: whose; what of it is told says `audit.patient`.
    words: what else there is to say, without patient data.
    """

    kind: AuditKind
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    user: str = ""
    host: str = ""
    peer: str = ""
    peer_host: str = ""
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    instances: int | None = None
    sop_classes: tuple[tuple[str, int], ...] = ()
    patient_id: str = ""
    words: str = ""


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
