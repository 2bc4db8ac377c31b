"""What users do on the pages, told to the audit trail (PS3.15 A.5)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Final

from fastapi import Request

from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
from dicom_node.web.access import caller, known_user
from dicom_node.web.pages.shown import config_of

SITTING_S: Final = 900.0
"""For so long the parts of a series' page are of the look that was told."""
MOST_LOOKS: Final = 10_000


@dataclass(slots=True)
class Looks:
    """Who has looked at which series of late, as it was told to the trail.

    A page asks for its pictures by themselves, once or a hundred times: they are told where
    no look of the same user from the same address was, whatever the request says of itself.
    """

    _at_s: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, user: str, host: str, uid: str, now_s: float, *, is_part: bool) -> bool:
        """True if this is a look that is to be told."""
        key = user, host, uid
        with self._lock:
            last_s = self._at_s.get(key)
            if is_part and last_s is not None and now_s - last_s < SITTING_S:
                return False
            self._at_s.pop(key, None)
            while len(self._at_s) >= MOST_LOOKS:
                del self._at_s[next(iter(self._at_s))]
            self._at_s[key] = now_s
        return True


def tell_look(request: Request, study: str, series: str, *, is_part: bool = False) -> None:
    """Record that the user looks at a series; of its parts, only where no look was told."""
    looks: Looks = request.app.state.looks
    user = known_user(request)
    name = user.name if user is not None else ""
    host, now_s = caller(request).address, time.monotonic()
    if looks.begin(name, host, series, now_s, is_part=is_part):
        tell(request, accessed(study, series))


def tell(request: Request, event: AuditEvent) -> None:
    """Record what the user who is logged in does, and from where."""
    user = known_user(request)
    trail = open_trail(config_of(request), "web")
    name = user.name if user is not None else ""
    trail.record(replace(event, user=name, host=caller(request).address))


def accessed(study_instance_uid: str, series_instance_uid: str) -> AuditEvent:
    """A series was looked at."""
    return AuditEvent(
        AuditKind.STUDY_ACCESSED,
        study_instance_uids=(study_instance_uid,) if study_instance_uid else (),
        series_instance_uids=(series_instance_uid,),
    )
