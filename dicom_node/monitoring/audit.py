"""The audit trail: who did what to which study, as values (PS3.15 A.5).

An `AuditEvent` says what happened; an `AuditTrail` keeps it. Where the messages go, and in
which form, is its own matter: whoever has something to tell makes an event and records it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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


class AuditOutcome(StrEnum):
    """The Event Outcome Indicator (PS3.15 A.5.1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event.

    user: who: a user's name, or an AE title.
    host: from where, an address; empty for the node itself.
    peer: the other side: an AE title, or a destination's name.
    peer_host: its address.
    study_instance_uids, series_instance_uids: what it was about.
    instances: how many.
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
    words: str = ""


class AuditTrail(Protocol):
    """Keeps events."""

    def record(self, event: AuditEvent) -> None:
        """Keep an event; never raises, and keeps nobody from work."""
