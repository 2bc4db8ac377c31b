"""One series: what happened to it, what was found in it, where its results are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field

from dicom_node.node.history import RevisionHistory, series_history
from dicom_node.node.measured_series import measured_series, patient_of_series
from dicom_node.node.orders import WAITS_ALREADY, Planner, place, plan
from dicom_node.persistence.database import ORDER_WITHIN_S
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import OrderKind, SeriesRow
from dicom_node.results.changes import Changes
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import read_waiting
from dicom_node.web.access import caller, require_operator, require_viewer
from dicom_node.web.accounts.roles import User
from dicom_node.web.auditing import tell_look
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.pictures import kept_page, pictured
from dicom_node.web.pages.shown import existing_uid, show, with_query
from dicom_node.web.pages.work import FOR_DESTINATION, ORDERS

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

DONE: Final = {each.value: f"{word}: ordered." for each, word, _ in ORDERS}
EVENT_TONES: Final = {
    "answered": "good",
    "sent": "good",
    "confirmed": "good",
    "analysis ended": "good",
    "not taken": "warn",
    "held": "bad",
    "analysis lost": "bad",
    "left out": "warn",
    "cancelled": "warn",
}


class SeriesAsked(BaseModel):
    """What a page of a series shows.

    revision: the latest without one. slice: from 1; the middle of what was found without.
    shown: whether the form with the slider was sent, in which a cleared box says nothing.
    pictures: whether slices are shown: the first time their headers are read, which takes a
        long scan seconds. The page comes without them, and asks for them when it is there.
    """

    revision: int | None = Field(default=None, ge=1, le=10**6)
    slice: int | None = Field(default=None, ge=1, le=1 << 20)
    overlay: bool = False
    shown: bool = False
    pictures: bool = False
    done: str = Field(default="", max_length=20)


class SeriesOrder(BaseModel):
    """An order for one revision of a series."""

    kind: OrderKind
    revision: int = Field(ge=1, le=10**6)
    destination: str = Field(default="", max_length=64)


@router.get("/series/{uid}")
def series_page(
    request: Request, uid: str, asked: Annotated[SeriesAsked, Query()]
) -> HTMLResponse:
    """All there is to know of a series."""
    uid = existing_uid(uid)
    with reading(request) as ledger:
        rows = ledger.revisions(uid) if ledger is not None else ()
        row = _chosen(rows, asked.revision)
        if ledger is None or row is None:
            return _not_known(request, uid)
        values = _values(request, ledger, row, asked)
    tell_look(request, row.study_instance_uid, uid, is_part=asked.pictures)
    return show(request, "series.html", uid=uid, rows=rows, row=row, **values)


@router.post("/series/{uid}/order")
def order(
    request: Request,
    uid: str,
    user: Annotated[User, Depends(require_operator)],
    asked: Annotated[SeriesOrder, Form()],
) -> RedirectResponse:
    """Order something for one revision of a series; a second click is the same order."""
    uid = existing_uid(uid)
    config = config_of(request)
    chosen = [(uid, asked.revision)]
    is_placed = place(
        config,
        asked.kind,
        chosen,
        by=user.name,
        destination=asked.destination,
        host=caller(request).address,
        within_s=ORDER_WITHIN_S,
    )
    if not is_placed and (objection := _objection(request, asked, uid)) != WAITS_ALREADY:
        raise HTTPException(409, f"nothing was ordered: {objection}")
    back = with_query(f"/series/{uid}", revision=asked.revision, done=asked.kind.value)
    return RedirectResponse(back, status_code=303)


def _objection(request: Request, asked: SeriesOrder, uid: str) -> str:
    """Why an order cannot be carried out, as things are by now."""
    with reading(request) as ledger:
        if ledger is None:
            return "no node has run"
        chosen, where = [(uid, asked.revision)], asked.destination
        planned = plan(config_of(request), ledger, asked.kind, chosen, destination=where)
    return planned[0].objection or "things were changing; try again"


def _chosen(rows: tuple[SeriesRow, ...], revision: int | None) -> SeriesRow | None:
    """The revision that is asked for; without one, the latest.

    Raises:
        HTTPException: there are others only.
    """
    if revision is None or not rows:
        return rows[-1] if rows else None
    found = next((row for row in rows if row.revision == revision), None)
    if found is None:
        raise HTTPException(404, "there is no such revision of a series")
    return found


def _not_known(request: Request, uid: str) -> HTMLResponse:
    """A series that the ledger does not have: it may be arriving."""
    waiting = read_waiting(config_of(request).node.spool)
    found = next((each for each in waiting if each.series_instance_uid == uid), None)
    words = (
        f"{found.instances} images are here, and more may come: {found.reason}" if found else ""
    )
    status = 200 if found else 404
    values = {"uid": uid, "row": None, "arriving": words, "done": ""}
    return show(request, "series.html", status_code=status, **values)


def _values(
    request: Request, ledger: Ledger, row: SeriesRow, asked: SeriesAsked
) -> Mapping[str, Any]:
    """What the page shows of a revision."""
    config, uid = config_of(request), row.series_instance_uid
    (history,) = series_history(ledger, uid, row.revision).revisions
    measured = measured_series(ledger, uid, row.revision)
    may_see = config.web is not None and config.web.show_patients
    return {
        "done": DONE.get(asked.done, ""),
        "patient": patient_of_series(config.node.spool, uid) if may_see else {},
        "has_rules": bool(config.rules),
        "measured": measured,
        "case": measured.record if measured else None,
        "changes": measured.changes if measured else Changes(),
        "has_qc": kept_page(history.results) is not None,
        "orderable": _orderables(config, ledger, row),
        "event_tones": EVENT_TONES,
        **_told(history),
        **_slices(request, ledger, row, asked),
    }


@dataclass(frozen=True, slots=True)
class Orderable:
    """An order, and whether it can be given for this series now.

    objection: why not; empty where it can. remark: what comes before it.
    destinations: of which one may be chosen.
    """

    kind: str
    word: str
    meaning: str
    objection: str
    remark: str
    destinations: tuple[str, ...]


def _orderables(config: NodeConfig, ledger: Ledger, row: SeriesRow) -> list[Orderable]:
    """Every order, as it stands for this series."""
    planner = Planner(config, ledger)
    names = tuple(each.name for each in config.destinations)
    found = []
    for kind, word, meaning in ORDERS:
        if kind is OrderKind.RESEND:
            there, objection = planner.resendable(row)
            found.append(Orderable(kind.value, word, meaning, objection, "", there))
            continue
        planned = planner.planned(kind, row)
        there = names if kind in FOR_DESTINATION else ()
        found.append(
            Orderable(kind.value, word, meaning, planned.objection, planned.remark, there)
        )
    return found


def _told(history: RevisionHistory) -> Mapping[str, Any]:
    """What happened to a revision, what was ordered for it, and its objects."""
    events = history.events
    took_s = (events[-1].row.at - events[0].row.at).total_seconds() if events else None
    names = sorted(history.deliveries)
    to = {
        (each.sop_instance_uid, name): each
        for name, rows in history.deliveries.items()
        for each in rows
    }
    objects = [
        (one, {name: to.get((one.sop_instance_uid, name)) for name in names})
        for one in sorted(history.results, key=lambda each: each.kind)
    ]
    return {
        "events": events,
        "events_words": history.words,
        "hops": history.hops,
        "took_s": took_s if len(events) > 1 else None,
        "orders": history.orders,
        "objects": objects,
        "object_destinations": names,
    }


def _slices(
    request: Request, ledger: Ledger, row: SeriesRow, asked: SeriesAsked
) -> Mapping[str, Any]:
    """The slice that is shown first, and what its colours mean."""
    if not (asked.pictures or asked.shown or asked.slice):
        return {"pictured": None, "no_pictures": ""}
    series, words = pictured(request, ledger, row.series_instance_uid, row.revision)
    if series is None:
        return {"pictured": None, "no_pictures": f"No slices can be shown: {words}."}
    wanted = asked.slice or series.middle
    return {
        "pictured": series,
        "slice": min(wanted, series.slices),
        "overlay": asked.overlay or not asked.shown,
        "picture_height": series.height_px,
        "legend": list(dict.fromkeys(one.structure for one in series.shown)),
    }
