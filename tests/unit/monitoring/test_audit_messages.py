"""Claims about audit messages: each kind is valid by PS3.15's schema, whatever is in it."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from lxml import etree
from support.audit_schema import problems

from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome
from dicom_node.monitoring.audit_messages import Reporter, message_of

AT = datetime(2026, 11, 30, 12, 0, 1, 500_000, UTC)
US = Reporter("MSKNODE", "ct-node", "Example", "receive", 17, "file:///var/audit.jsonl")
WHOLE = AuditEvent(
    AuditKind.INSTANCES_RECEIVED,
    user="CT1",
    host="10.1.2.3",
    peer="PACS",
    peer_host="pacs.example",
    study_instance_uids=("1.2.3", "1.2.4"),
    series_instance_uids=("1.2.3.1",),
    instances=7,
    sop_classes=(("1.2.840.10008.5.1.4.1.1.2", 7),),
    patient_id="4711",
    words="words",
)


def read(event: AuditEvent) -> etree._Element:
    return etree.fromstring(message_of(event, AT, US).encode())


@pytest.mark.parametrize("outcome", AuditOutcome)
@pytest.mark.parametrize("kind", AuditKind)
def test_every_kind_is_valid_by_the_schema(kind: AuditKind, outcome: AuditOutcome) -> None:
    whole = replace(WHOLE, kind=kind, outcome=outcome)

    assert problems(message_of(whole, AT, US)) == []
    assert problems(message_of(AuditEvent(kind, outcome), AT, US)) == []


def test_the_schema_finds_what_is_no_message() -> None:
    assert problems("<AuditMessage/>")
    assert problems(message_of(WHOLE, AT, US).replace('EventOutcomeIndicator="0"', ""))


@pytest.mark.parametrize("hostile", ['"><x/>', "\0\x1b[2J", "a\nb", "\ud800", "&amp;]]>", "="])
def test_hostile_values_stay_values(hostile: str) -> None:
    """Titles and words come from peers, and may be anything."""
    event = replace(
        WHOLE,
        kind=AuditKind.ASSOCIATION_REFUSED,
        user=hostile,
        host=hostile,
        peer=hostile,
        study_instance_uids=(hostile,),
        words=hostile,
        patient_id=hostile,
    )
    message = message_of(event, AT, US)

    assert problems(message) == []
    assert "\n" not in message
    assert len(etree.fromstring(message.encode()).findall("ActiveParticipant")) == 3


def test_what_was_received_says_from_whom_of_which_study_and_how_much() -> None:
    message = read(WHOLE)
    code = message.find("EventIdentification/EventID")
    roles = {
        each.find("RoleIDCode").get("csd-code"): each.get("UserID")
        for each in message.findall("ActiveParticipant")[:2]
    }
    study = message.find("ParticipantObjectIdentification")
    held = study.find("ParticipantObjectDescription/SOPClass")

    assert (code.get("csd-code"), code.get("codeSystemName")) == ("110104", "DCM")
    assert roles == {"110152": "MSKNODE", "110153": "CT1"}
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert (held.get("UID"), held.get("NumberOfInstances")) == (
        "1.2.840.10008.5.1.4.1.1.2",
        "7",
    )


def test_a_failure_says_why() -> None:
    failed = replace(WHOLE, outcome=AuditOutcome.MINOR_FAILURE, words="no room")
    message = read(failed).find("EventIdentification")

    assert message.get("EventOutcomeIndicator") == "4"
    assert message.findtext("EventOutcomeDescription") == "no room"


def test_an_alert_has_its_description() -> None:
    event = AuditEvent(AuditKind.CONFIGURATION_CHANGED, user="admin", words="routes changed")
    detail = read(event).find("ParticipantObjectIdentification/ParticipantObjectDetail")

    assert base64.b64decode(detail.get("value")) == b"routes changed"
