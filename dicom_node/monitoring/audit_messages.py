"""An audit event as an XML message by the schema of PS3.15 A.5.1.

Values come from peers and are hostile: the library escapes them, and what XML has no
character for is a question mark here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from dicom_node.monitoring.audit_events import AuditEvent, AuditKind, AuditOutcome

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: its code, its system, and its meaning."""

    code: str
    system: str
    meaning: str


def _dcm(code: str, meaning: str) -> Code:
    return Code(code, "DCM", meaning)


APPLICATION_ACTIVITY: Final = _dcm("110100", "Application Activity")
TRANSFERRED: Final = _dcm("110104", "DICOM Instances Transferred")
SECURITY_ALERT: Final = _dcm("110113", "Security Alert")
USER_AUTHENTICATION: Final = _dcm("110114", "User Authentication")

EVENTS: Final[dict[AuditKind, tuple[Code, Code | None, str]]] = {
    AuditKind.APPLICATION_STARTED: (
        APPLICATION_ACTIVITY,
        _dcm("110120", "Application Start"),
        "E",
    ),
    AuditKind.APPLICATION_STOPPED: (
        APPLICATION_ACTIVITY,
        _dcm("110121", "Application Stop"),
        "E",
    ),
    AuditKind.ASSOCIATION_REFUSED: (SECURITY_ALERT, _dcm("110126", "Node Authentication"), "E"),
    AuditKind.INSTANCES_RECEIVED: (TRANSFERRED, None, "C"),
    AuditKind.INSTANCES_SENT: (TRANSFERRED, None, "R"),
    AuditKind.STUDY_ACCESSED: (_dcm("110103", "DICOM Instances Accessed"), None, "R"),
    AuditKind.DATA_EXPORTED: (_dcm("110106", "Export"), None, "R"),
    AuditKind.QUERY: (_dcm("110112", "Query"), None, "E"),
    AuditKind.USER_LOGGED_IN: (USER_AUTHENTICATION, _dcm("110122", "Login"), "E"),
    AuditKind.USER_LOGGED_OUT: (USER_AUTHENTICATION, _dcm("110123", "Logout"), "E"),
    AuditKind.CONFIGURATION_CHANGED: (
        SECURITY_ALERT,
        _dcm("110131", "Software Configuration"),
        "E",
    ),
    AuditKind.ORDERED: (_dcm("110109", "Order Record"), None, "C"),
    AuditKind.LOG_USED: (_dcm("110101", "Audit Log Used"), None, "R"),
}
"""Event ID, Event Type Code and Event Action Code of each kind (PS3.15 A.5.3, PS3.16)."""

SOURCE: Final = _dcm("110153", "Source Role ID")
DESTINATION: Final = _dcm("110152", "Destination Role ID")
MEDIA: Final = _dcm("110154", "Destination Media")
APPLICATION: Final = _dcm("110150", "Application")
LAUNCHER: Final = _dcm("110151", "Application Launcher")

STUDY: Final = _dcm("110180", "Study Instance UID")
SOP_CLASS: Final = _dcm("110181", "SOP Class UID")
PATIENT: Final = Code("2", "RFC-3881", "Patient Number")
NODE: Final = Code("11", "RFC-3881", "User Identifier")
URI: Final = Code("12", "RFC-3881", "URI")

ALERTS: Final = (AuditKind.ASSOCIATION_REFUSED, AuditKind.CONFIGURATION_CHANGED)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: the node's AE title, its host, its site and the process.

    file: the audit trail's own.
    """

    ae_title: str
    host: str
    site: str = ""
    source: str = ""
    pid: int = 0
    file: str = ""


def message_of(event: AuditEvent, at: datetime, reporter: Reporter) -> str:
    """The XML of an event, on one line.

    Args:
        event: What happened.
        at: When, with its zone.
        reporter: Who reports it.
    """
    event_id, event_type, action = EVENTS[event.kind]
    root = Element("AuditMessage")
    identification = SubElement(
        root,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=event.outcome.value,
    )
    _code(identification, "EventID", event_id)
    if event_type is not None:
        _code(identification, "EventTypeCode", event_type)
    if event.words and event.outcome is not AuditOutcome.SUCCESS:
        SubElement(identification, "EventOutcomeDescription").text = _clean(event.words)
    for participant in _participants(event, reporter):
        participant.add_to(root)
    _source(root, reporter)
    _objects(root, event, reporter)
    return tostring(root, encoding="unicode").replace("\n", " ")


@dataclass(frozen=True, slots=True)
class _Participant:
    """Somebody who took part."""

    user: str
    host: str
    role: Code | None
    asks: bool
    alternative: str = ""

    def add_to(self, root: Element) -> None:
        """Name it in a message."""
        found = SubElement(root, "ActiveParticipant", UserID=_clean(self.user) or "unknown")
        if self.alternative:
            found.set("AlternativeUserID", _clean(self.alternative))
        found.set("UserIsRequestor", "true" if self.asks else "false")
        if self.host:
            found.set("NetworkAccessPointID", _clean(self.host))
            found.set("NetworkAccessPointTypeCode", "2" if _is_address(self.host) else "1")
        if self.role is not None:
            _code(found, "RoleIDCode", self.role)


def _participants(event: AuditEvent, reporter: Reporter) -> Iterator[_Participant]:
    """Who took part: who asked for it, and the node as what it was in it."""
    titles = f"AETITLES={reporter.ae_title}"
    role, others_role, ours_asks = _ROLES.get(event.kind, (APPLICATION, None, False))
    asks = ours_asks or not event.user
    yield _Participant(reporter.ae_title, reporter.host, role, asks, titles)
    if event.user:
        yield _Participant(event.user, event.host, others_role, not ours_asks)
    if event.peer:
        far = MEDIA if event.kind is AuditKind.DATA_EXPORTED else DESTINATION
        yield _Participant(event.peer, event.peer_host, far, asks=False)


_ROLES: Final[dict[AuditKind, tuple[Code, Code | None, bool]]] = {
    AuditKind.INSTANCES_RECEIVED: (DESTINATION, SOURCE, False),
    AuditKind.INSTANCES_SENT: (SOURCE, None, True),
    AuditKind.QUERY: (SOURCE, None, True),
    AuditKind.APPLICATION_STARTED: (APPLICATION, LAUNCHER, False),
    AuditKind.APPLICATION_STOPPED: (APPLICATION, LAUNCHER, False),
}
"""The node's role, the other's, and whether it was the node that asked."""


def _source(root: Element, reporter: Reporter) -> None:
    """Who reports."""
    found = SubElement(root, "AuditSourceIdentification")
    if reporter.site:
        found.set("AuditEnterpriseSiteID", _clean(reporter.site))
    found.set("AuditSourceID", _clean(f"{reporter.ae_title}@{reporter.host}"))
    SubElement(found, "AuditSourceTypeCode", {"csd-code": "4"})


def _objects(root: Element, event: AuditEvent, reporter: Reporter) -> None:
    """What it was about."""
    for study in event.study_instance_uids:
        _study(root, event, study)
    if event.patient_id:
        _object(root, PATIENT, event.patient_id, "1", "1")
    if event.kind is AuditKind.QUERY:
        found = _object(root, SOP_CLASS, STUDY_ROOT_FIND, "2", "24", query=event.words)
        del found
    elif event.kind in ALERTS:
        alerted = event.user if event.kind is AuditKind.ASSOCIATION_REFUSED else "node.toml"
        code = NODE if event.kind is AuditKind.ASSOCIATION_REFUSED else URI
        found = _object(root, code, alerted or "unknown", "2", "13")
        _detail(found, "Alert Description", event.words)
    elif event.kind is AuditKind.LOG_USED:
        _object(root, URI, reporter.file, "2", "13", name="Security Audit Log")
    elif event.words and not event.study_instance_uids:
        found = _object(root, NODE, reporter.source, "2", "26")
        _detail(found, "Words", event.words)


def _study(root: Element, event: AuditEvent, study: str) -> None:
    """One study, with what of it the event was about."""
    found = _object(root, STUDY, study, "2", "3")
    for series in event.series_instance_uids:
        _detail(found, "Series Instance UID", series)
    if event.words:
        _detail(found, "Words", event.words)
    classes = event.sop_classes
    if not classes and event.instances is not None:
        classes = (("", event.instances),)
    if classes:
        description = SubElement(found, "ParticipantObjectDescription")
        for uid, count in classes:
            held = SubElement(description, "SOPClass")
            if uid:
                held.set("UID", _clean(uid))
            held.set("NumberOfInstances", str(count))


def _object(  # noqa: PLR0913 - as many as the schema has
    root: Element, code: Code, identifier: str, kind: str, role: str, *,
    name: str = "", query: str = "",
) -> Element:  # fmt: skip
    """One object; the schema wants a name or a query of each."""
    found = SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_clean(identifier) or "unknown",
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _code(found, "ParticipantObjectIDTypeCode", code)
    if query:
        SubElement(found, "ParticipantObjectQuery").text = _base64(query)
    else:
        SubElement(found, "ParticipantObjectName").text = _clean(name)
    return found


def _detail(of: Element, kind: str, value: str) -> None:
    SubElement(of, "ParticipantObjectDetail", type=kind, value=_base64(value))


def _code(of: Element, name: str, code: Code) -> None:
    """A coded value; its original text is mandatory."""
    attributes = {
        "csd-code": code.code,
        "codeSystemName": code.system,
        "displayName": code.meaning,
        "originalText": code.meaning,
    }
    SubElement(of, name, attributes)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _clean(text: str) -> str:
    return _NO_XML.sub("?", text)


def _is_address(host: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host))
