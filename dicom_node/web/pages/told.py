"""What users do on the pages, told to the audit trail (PS3.15 A.5)."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request

from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
from dicom_node.web.access import caller, known_user
from dicom_node.web.pages.shown import config_of


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
