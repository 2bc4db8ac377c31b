"""Devices: who sends, by AE title and scanner, and who was turned away."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from dicom_node.node.devices import LATEST, devices
from dicom_node.receiving.rejections import read_rejections
from dicom_node.web.access import require_viewer
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import show

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])


@router.get("/devices")
def devices_page(request: Request) -> HTMLResponse:
    """Who sends, and who may not."""
    config = config_of(request)
    with reading(request) as ledger:
        found = devices(ledger) if ledger is not None else ()
    since, counts = read_rejections(config.node.spool)
    turned_away = [(each, datetime.fromisoformat(each.last_at)) for each in counts]
    turned_away.sort(key=lambda pair: pair[1], reverse=True)
    return show(
        request,
        "devices.html",
        devices=found,
        most=LATEST,
        turned_away=turned_away,
        counted_since=datetime.fromisoformat(since) if since else None,
        senders=config.senders,
        titles=config.node.calling_ae_titles,
    )
