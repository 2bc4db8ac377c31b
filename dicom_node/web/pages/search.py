"""Find: a study by what a person has in hand."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from dicom_node.monitoring.audit import AuditKind
from dicom_node.node.find import find
from dicom_node.web.access import require_viewer
from dicom_node.web.auditing import tell
from dicom_node.web.behind import config_of
from dicom_node.web.pages.shown import show

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

MOST_FOUND: Final = 50


@router.get("/find")
def find_page(request: Request) -> Response:
    """The form alone."""
    return show(request, "find.html", found=None, most=MOST_FOUND)


@router.post("/find")
def find_study(request: Request, text: Annotated[str, Form(max_length=128)] = "") -> Response:
    """What is found; the series itself, where it is one alone.

    It is a form that is sent: what names a patient has no place in an address.
    """
    wanted = text.strip()
    found = find(config_of(request), wanted, most=MOST_FOUND) if wanted else ()
    words = f"{len(found)} found"  # what was looked for may name a patient
    tell(request, AuditKind.QUERY, words=words)
    series = {each.series_instance_uid for each in found}
    if len(series) == 1:
        return RedirectResponse(f"/series/{series.pop()}", status_code=303)
    return show(request, "find.html", found=found, most=MOST_FOUND, find_text=wanted)
