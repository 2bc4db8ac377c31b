"""Destinations: how each stands, what it takes when it is asked, and what was sent to it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from dicom_node.monitoring.audit import AuditKind
from dicom_node.node.destination_check import DestinationCheck, check_destination
from dicom_node.node.health import node_health
from dicom_node.node.work_lists import sent_to
from dicom_node.settings.description import describe_destination
from dicom_node.settings.destinations import Destination
from dicom_node.web.access import require_operator, require_viewer
from dicom_node.web.auditing import tell
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import Day, day_starts, show

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

MOST_SENT: Final = 500
"""Rows of what was sent; a narrower time shows the rest."""


@router.get("/destinations")
def destinations_page(request: Request) -> HTMLResponse:
    """All of them."""
    config = config_of(request)
    health = node_health(config, datetime.now(UTC))
    stands = {each.name: each for each in health.destinations}
    return show(
        request,
        "destinations.html",
        destinations=[(each, stands.get(each.name)) for each in config.destinations],
        gone=[each for each in health.destinations if config.destination(each.name) is None],
    )


@router.get("/destinations/{name}")
def destination_page(
    request: Request, name: str, since: Day = None, until: Day = None
) -> HTMLResponse:
    """One of them, with what was sent to it in a time: without one, since yesterday."""
    return _page(request, _named(request, name), since, until)


@router.post("/destinations/{name}/test", dependencies=[Depends(require_operator)])
def test_destination(request: Request, name: str) -> HTMLResponse:
    """Ask it whether it is there and what it takes; nothing is stored."""
    destination = _named(request, name)
    tell(request, AuditKind.ORDERED, words=f"test of destination {name}")
    answer = check_destination(config_of(request), destination)
    return _page(request, destination, None, None, answer)


def _page(
    request: Request,
    destination: Destination,
    since: date | None,
    until: date | None,
    answer: DestinationCheck | None = None,
) -> HTMLResponse:
    config, now = config_of(request), datetime.now(UTC)
    today = now.astimezone().date()
    since = since or min(until or today, today - timedelta(days=1))
    until = until or max(today, since)
    with reading(request) as ledger:
        sent = (
            sent_to(
                ledger,
                destination.name,
                day_starts(since),
                day_starts(until + timedelta(days=1)),
            )
            if ledger is not None
            else ()
        )
    health = node_health(config, now)
    return show(
        request,
        "destination.html",
        destination=destination,
        stand=next((e for e in health.destinations if e.name == destination.name), None),
        described=list(describe_destination(destination)),
        answer=answer,
        sent=sent[:MOST_SENT],
        sent_more=max(0, len(sent) - MOST_SENT),
        since_day=since,
        until_day=until,
    )


def _named(request: Request, name: str) -> Destination:
    found = config_of(request).destination(name)
    if found is None:
        raise HTTPException(404, "there is no destination of that name in the settings")
    return found
