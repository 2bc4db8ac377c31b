"""Schedules: when archives are asked, what last night brought; pause, resume, run now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from dicom_node.archive.by_hand import (
    again,
    archive_ledger,
    check_archive,
    pause,
    run_now,
    schedule_named,
)
from dicom_node.archive.overview import ScheduleStatus, overview
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import EVERY_ARCHIVE
from dicom_node.persistence.database import ORDER_WITHIN_S
from dicom_node.web.access import require_operator, require_viewer
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import show, with_query

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

DONE: Final = {
    "run": "A run begins now.",
    "listing": "It is still listing its last run: no other one was begun.",
    "paused": "Paused: nothing more is asked of it.",
    "resumed": "It goes on.",
    "again": "What was given up is wanted again.",
}
"""What was done, by the word in the address."""


@router.get("/schedules")
def schedules_page(request: Request, done: str = "") -> HTMLResponse:
    """Every schedule, and every archive."""
    config, now = config_of(request), datetime.now(UTC)
    rows: tuple[ScheduleStatus, ...] = ()
    paused: frozenset[str] = frozenset()
    with reading(request) as ledger:
        if ledger is not None:
            archives = ArchiveLedger(ledger)
            rows = overview(config, archives, now)
            if archives.is_there():
                paused = frozenset(each.archive for each in archives.pauses())
    return show(
        request,
        "schedules.html",
        schedules=rows,
        settings={each.name: each for each in config.schedules},
        archives=config.archives,
        paused=paused,
        all_paused=EVERY_ARCHIVE in paused,
        done=DONE.get(done, ""),
    )


@router.post("/schedules", dependencies=[Depends(require_operator)])
def act(
    request: Request,
    action: Annotated[Literal["run", "again", "pause", "resume"], Form()],
    name: Annotated[str, Form(max_length=128)] = "",
) -> RedirectResponse:
    """Do as the command `requery` does; a running node follows within seconds."""
    config = config_of(request)
    with archive_ledger(config, within_s=ORDER_WITHIN_S) as ledger:
        match action:
            case "run":
                begun = run_now(config, ledger, schedule_named(config, name))
                done = "run" if begun else "listing"
            case "again":
                again(ledger, schedule_named(config, name))
                done = "again"
            case "pause" | "resume":
                if name:
                    check_archive(config, name)
                pause(ledger, name or None, paused=action == "pause")
                done = "paused" if action == "pause" else "resumed"
            case _:
                raise HTTPException(422, "no such action")
    return RedirectResponse(with_query("/schedules", done=done), status_code=303)
