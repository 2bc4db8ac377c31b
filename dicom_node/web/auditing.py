"""What people do in the pages and the API, told to the audit trail."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request

from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, AuditTrail
from dicom_node.web.access import caller, known_user


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
