"""Claims about what the receiver tells the audit trail."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dicom_node.monitoring.audit import AuditEvent, AuditKind
from dicom_node.receiving import audit as module
from dicom_node.receiving.audit import AssociationAudit, RejectionAudit
from dicom_node.receiving.rejections import Caller, Reason

CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(slots=True)
class Trail:
    """A trail that keeps events in memory."""

    events: list[AuditEvent] = field(default_factory=list)

    def record(self, event: AuditEvent) -> None:
        """Keep an event."""
        self.events.append(event)

    def close(self) -> None:
        """There is nothing to write."""


def test_an_association_is_told_of_once_for_each_study() -> None:
    trail = Trail()
    audit = AssociationAudit(trail, Caller("CT1", "MSKNODE", "10.1.2.3"))
    for series in ("1.1", "1.2", "1.1"):
        audit.came("1", series, CT, "4711")
    audit.came("2", "2.1", CT, "4712")
    assert trail.events == []
    audit.end()
    audit.end()

    first, second = trail.events
    assert (first.user, first.host, first.kind) == (
        "CT1",
        "10.1.2.3",
        AuditKind.INSTANCES_RECEIVED,
    )
    assert (first.study_instance_uids, first.series_instance_uids) == (("1",), ("1.1", "1.2"))
    assert (first.instances, first.sop_classes, first.patient_id) == (3, ((CT, 3),), "4711")
    assert (second.instances, second.patient_id) == (1, "4712")


def test_an_association_with_very_many_studies_holds_few_of_them() -> None:
    trail = Trail()
    audit = AssociationAudit(trail)
    for number in range(450):
        audit.came(str(number), "1", CT, "")
    assert len(trail.events) == 400
    audit.end()

    assert len({event.study_instance_uids for event in trail.events}) == 450


def test_a_caller_that_keeps_calling_is_told_of_once_a_minute_with_the_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    trail = Trail()
    audit = RejectionAudit(trail)
    caller = Caller("EVIL\x1b[2J", "MSKNODE", "10.9.9.9")
    for _ in range(40):
        audit.rejected(Reason.CALLING_TITLE, caller)
    audit.rejected(Reason.NO_ROOM, caller)
    now_s[0] = 61.0
    audit.rejected(Reason.CALLING_TITLE, caller)

    words = [event.words for event in trail.events]
    assert words == [
        "association refused: calling AE title not known; called as MSKNODE",
        "association refused: no room for more images; called as MSKNODE",
        "association refused (40 times): calling AE title not known; called as MSKNODE",
    ]
    assert {event.user for event in trail.events} == {"EVIL?[2J"}
