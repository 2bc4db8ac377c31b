"""What people do in the pages and the API, told to the audit trail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fastapi import Request

from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, AuditTrail
from dicom_node.web.access import caller, known_user

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
    """Tell that the user looks at a series; of its parts, only where no look was told."""
    looks: Looks = request.app.state.looks
    user = known_user(request)
    name = user.name if user is not None else ""
    host, now_s = caller(request).address, time.monotonic()
    if looks.begin(name, host, series, now_s, is_part=is_part):
        studies = [study] if study else []
        tell(request, AuditKind.STUDY_ACCESSED, studies=studies, series=[series])


def tell(
    request: Request,
    kind: AuditKind,
    *,
    words: str = "",
    studies: Iterable[str] = (),
    series: Iterable[str] = (),
) -> None:
    """Tell what the user of a request has done, or has looked at."""
    user = known_user(request)
    _trail(request).record(
        AuditEvent(
            kind,
            user=user.name if user is not None else "",
            host=caller(request).address,
            study_instance_uids=tuple(dict.fromkeys(studies)),
            series_instance_uids=tuple(dict.fromkeys(series)),
            words=words,
        )
    )


def tell_login(request: Request, name: str, *, reason: str = "") -> None:
    """Tell that a user has logged in, or why not."""
    outcome = AuditOutcome.MINOR_FAILURE if reason else AuditOutcome.SUCCESS
    event = AuditEvent(
        AuditKind.USER_LOGGED_IN, outcome, name, caller(request).address, words=reason
    )
    _trail(request).record(event)


def _trail(request: Request) -> AuditTrail:
    found: AuditTrail = request.app.state.trail
    return found
