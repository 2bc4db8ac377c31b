"""Alarms: what a person has to look at, as values; each kind once, with its meaning.

An alarm is a state, not an event: it is raised for as long as its reason lasts. Whoever
tells of alarms (the command line, the web, metrics, e-mail) takes them from one place,
`node/alarms.py`; what to do about each stands in `docs/operating.md` under its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Severity(StrEnum):
    """How soon a person has to look: in working hours, or now."""

    WARNING = "warning"
    CRITICAL = "critical"


class AlarmKind(StrEnum):
    """The kinds of alarms."""

    PROCESS_GONE = "process-gone"
    PROCESS_STUCK = "process-stuck"
    DATABASE_UNREACHABLE = "database-unreachable"
    DISK_SHORT = "disk-short"
    INCOMING_TROUBLE = "incoming-trouble"
    QUEUE_OLD = "queue-old"
    DELIVERY_STALLED = "delivery-stalled"
    DELIVERY_HELD = "delivery-held"
    DELIVERY_UNCONFIRMED = "delivery-unconfirmed"
    DESTINATION_DOWN = "destination-down"
    CERTIFICATE_EXPIRES = "certificate-expires"
    ANALYSES_FAIL = "analyses-fail"
    SENDERS_REJECTED = "senders-rejected"
    ARCHIVE_TROUBLE = "archive-trouble"
    AUDIT_UNWRITTEN = "audit-unwritten"
    ALARM_UNTOLD = "alarm-untold"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm.

    subject: what it is about: a process, a folder, a destination's or an archive's name.
    reason: in words, without patient data: numbers and codes.
    since: when its reason began, as far as that is known.
    series: some of the Series Instance UIDs that it is about; told to nobody by e-mail or
        webhook unless the settings say so.
    """

    kind: AlarmKind
    severity: Severity
    subject: str
    reason: str
    since: datetime | None = None
    series: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells this alarm from others: the same as long as its reason lasts."""
        return f"{self.kind.value}/{self.subject}"
