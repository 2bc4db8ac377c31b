"""What every page shows around its own matter, and what every page needs to look up."""

from __future__ import annotations

from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator, BeforeValidator

from dicom_node.node.work_lists import day_start
from dicom_node.uids import is_uid
from dicom_node.web.behind import config_of
from dicom_node.web.pages import words
from dicom_node.web.templating import environment, page

PLACES: Final = (
    ("/", "Overview"),
    ("/work", "Work"),
    ("/devices", "Devices"),
    ("/destinations", "Destinations"),
    ("/schedules", "Schedules"),
    ("/rules", "Rules"),
    ("/audit", "Audit"),
    ("/settings", "Settings"),
)
"""The pages that the head of every page leads to."""

environment.filters.update(words.FILTERS)


def show(
    request: Request, template: str, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A page of the dashboard."""
    config = config_of(request)
    around = {
        "node_name": config.node.name or config.node.ae_title,
        "ae_title": config.node.ae_title,
        "places": PLACES,
        "section": _section(request.url.path),
        "find_text": "",
        "back": _here(request),
        "now": datetime.now(UTC),
        "zone": words.zone_words(),
        "version": version("msk-node"),
    }
    return page(request, template, status_code=status_code, **(around | values))


def existing_uid(uid: str) -> str:
    """A UID of an address, if it is one.

    Raises:
        HTTPException: it is none, so there is nothing of that name.
    """
    if not is_uid(uid):
        raise HTTPException(404, "there is no series of that UID")
    return uid


def with_query(path: str, **values: object) -> str:
    """A path with a query; what is empty is left out."""
    told = {name: value for name, value in values.items() if value not in (None, "", ())}
    return f"{path}?{urlencode(told, doseq=True)}" if told else path


def or_none(value: Any) -> Any:
    """Nothing for an empty field of a form: it says nothing."""
    return value or None


def _in_the_calendar(day: date | None) -> date | None:
    """A day that has a morning and an evening in every zone.

    Raises:
        ValueError: it lies where there is nothing to look for.
    """
    if day is not None and day.year not in YEARS:
        raise ValueError(f"a day from {YEARS.start} to {YEARS.stop - 1}")
    return day


YEARS: Final = range(1900, 3000)
Day = Annotated[date | None, BeforeValidator(or_none), AfterValidator(_in_the_calendar)]
"""A field of a form for a day; nothing where it is empty."""


def day_starts(day: date | None) -> datetime | None:
    """When a day begins where the pages are served; None where none is asked for."""
    return day_start(day) if day is not None else None


def _section(path: str) -> str:
    """The place that a page belongs to."""
    if path.startswith("/series"):
        return "/work"
    found = (place for place, _ in PLACES if place != "/" and path.startswith(place))
    return next(found, "/" if path == "/" else "")


def _here(request: Request) -> str:
    """The address of a page, to come back to it."""
    if request.method != "GET":
        return "/"
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
