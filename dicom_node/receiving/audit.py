"""What the receiver tells the audit trail: who was rejected, and what each association sent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, AuditTrail
from dicom_node.receiving.rejections import Caller, Reason, printable

SAME_AGAIN_S: Final = 60.0
"""A caller who is rejected again and again is told of so often, with how often it was."""
MOST_CALLERS: Final = 1_000
MOST_STUDIES: Final = 200
"""Of an association with more studies the first ones are told before it ends."""


@dataclass(slots=True)
class RejectionAudit:
    """Tells of rejected callers; one who keeps calling cannot fill the trail."""

    trail: AuditTrail
    _told: dict[tuple[str, Caller], list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rejected(self, reason: Reason, caller: Caller) -> None:
        """Tell that a caller was rejected."""
        count = self._count(reason, caller)
        if count:
            times = f" ({count} times)" if count > 1 else ""
            self.trail.record(
                AuditEvent(
                    AuditKind.ASSOCIATION_REFUSED,
                    AuditOutcome.MINOR_FAILURE,
                    user=printable(caller.calling_ae_title),
                    host=caller.host,
                    words=f"association refused{times}: {reason.value};"
                    f" called as {printable(caller.called_ae_title) or '(nobody)'}",
                )
            )

    def _count(self, reason: Reason, caller: Caller) -> int:
        """How many rejections to tell of now; none, where it was told a moment ago."""
        now_s, key = time.monotonic(), (reason.value, caller)
        with self._lock:
            told = self._told.get(key)
            if told is not None and now_s - told[0] < SAME_AGAIN_S:
                told[1] += 1
                return 0
            if len(self._told) >= MOST_CALLERS:
                self._told.clear()
            self._told[key] = [now_s, 0]
            return 1 + (int(told[1]) if told is not None else 0)


@dataclass(slots=True)
class _StudyReceived:
    """What has come of a study on one association."""

    series: dict[str, None] = field(default_factory=dict)
    classes: Counter[str] = field(default_factory=Counter)
    patient_id: str = ""


@dataclass(slots=True)
class AssociationAudit:
    """Tells what one association has sent, a message for each study, when it ends."""

    trail: AuditTrail
    caller: Caller = field(default_factory=lambda: Caller("", "", ""))
    _studies: dict[str, _StudyReceived] = field(default_factory=dict)

    def came(self, study: str, series: str, sop_class: str, patient_id: str) -> None:
        """Count an instance that was kept."""
        if study not in self._studies and len(self._studies) >= MOST_STUDIES:
            self.end()
        found = self._studies.setdefault(study, _StudyReceived())
        found.series[series] = None
        found.classes[sop_class] += 1
        found.patient_id = patient_id

    def end(self) -> None:
        """Tell of what came since it began."""
        for study, received in self._studies.items():
            self.trail.record(
                AuditEvent(
                    AuditKind.INSTANCES_RECEIVED,
                    user=printable(self.caller.calling_ae_title),
                    host=self.caller.host,
                    study_instance_uids=(study,) if study else (),
                    series_instance_uids=tuple(received.series),
                    instances=received.classes.total(),
                    sop_classes=tuple(received.classes.items()),
                    patient_id=received.patient_id,
                )
            )
        self._studies = {}
