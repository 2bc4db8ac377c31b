"""What the audit trail is told, as values (PS3.15 A.5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
