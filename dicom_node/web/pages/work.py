"""Work: series in batches with counts per state, and a filter whose result orders act upon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from dicom_node.node.orders import place, plan
from dicom_node.node.work_lists import (
    MOST_BATCHES,
    STATE_NAMES,
    BatchBy,
    WorkFilter,
    batches,
    count_matching,
    key_of,
    matching,
)
from dicom_node.persistence.database import ORDER_WITHIN_S
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState, OrderKind, SeriesRow, SeriesState
from dicom_node.uids import is_uid
from dicom_node.web.access import caller, require_operator, require_viewer
from dicom_node.web.accounts.roles import User
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import Day, day_starts, or_none, show, with_query
from inference.results import Verdict

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

ROWS: Final = 50
"""Series on one page."""
MOST_PLANNED: Final = 500
"""For so many it is said before what would become of the order for each."""
USUAL_DAYS: Final = 30
"""Without a filter the series of so many days are shown."""
NAMED: Final = 10
"""Series that are named before something is ordered for all."""

ORDERS: Final = (
    (OrderKind.RETRY, "Retry", "what failed is done again"),
    (OrderKind.REANALYSE, "Re-run", "analysed again with today's bundle and settings"),
    (OrderKind.RESEND, "Re-send", "results are sent again, byte for byte"),
    (OrderKind.HOLD, "Hold", "results wait until they are released"),
    (OrderKind.RELEASE, "Release", "what is held or left out goes on"),
    (OrderKind.CANCEL, "Cancel", "what waits is ended; nothing more is sent"),
)
"""What may be ordered: the order, its word, and what it means."""

WAYS: Final = (
    (BatchBy.DAY, "by day"),
    (BatchBy.SENDER, "by sender"),
    (BatchBy.TITLE, "by called AE title"),
    (BatchBy.CODE, "by reason"),
    (BatchBy.RUN, "by run of a schedule"),
)
"""What batches may be made by."""

FOR_DESTINATION: Final = (OrderKind.RESEND, OrderKind.HOLD, OrderKind.RELEASE)
"""Orders that may be about one destination alone."""


def _known_state(value: str) -> str:
    if value not in STATE_NAMES:
        raise ValueError("no state of a series or of a delivery")
    return value


StateName = Annotated[str, AfterValidator(_known_state)]


class Asked(BaseModel):
    """The filter, as the form's fields.

    days: "all" where nothing else is asked for and yet the days are not the usual ones.
    """

    states: list[StateName] = []
    verdict: Annotated[Verdict | None, BeforeValidator(or_none)] = None
    calling_ae_title: str = ""
    called_ae_title: str = ""
    destination: str = ""
    code: str = ""
    since: Day = None
    until: Day = None
    days: Literal["", "all"] = ""

    def fields(self) -> dict[str, Any]:
        """The fields that say something, as texts."""
        told = self.model_dump(
            mode="json", exclude_none=True, include=set(Asked.model_fields), exclude={"days"}
        )
        return {name: value for name, value in told.items() if value} or {"days": "all"}

    def filter(self) -> WorkFilter:
        """The filter of the ledger."""
        return WorkFilter(
            states=tuple(self.states),
            calling_ae_title=self.calling_ae_title,
            called_ae_title=self.called_ae_title,
            destination=self.destination,
            since=day_starts(self.since),
            until=day_starts(self.until + timedelta(days=1)) if self.until else None,
            code=self.code,
            verdict=self.verdict.value if self.verdict else "",
        )


class Looked(Asked):
    """The filter, and where a page of its result begins.

    by: what batches are made by.
    after: the key of the last series of the page before.
    done: how many something was ordered for.
    """

    by: BatchBy = BatchBy.DAY
    after: str = Field(default="", max_length=200)
    done: int | None = Field(default=None, ge=0)


class Meant(Asked):
    """The filter, and what is to be ordered.

    to: for this destination alone; empty for all.
    """

    kind: OrderKind
    to: str = Field(default="", max_length=64)


class Ordered(Meant):
    """What is ordered, and for how many the user was told that it is."""

    count: int = Field(ge=0)


@router.get("/work")
def work_page(request: Request, asked: Annotated[Looked, Query()]) -> HTMLResponse:
    """The filter, the batches, and what matches; without a filter, of the latest days."""
    if not set(Asked.model_fields) & set(request.query_params):
        asked = asked.model_copy(update={"since": _usual_day()})
    with reading(request) as ledger:
        found = batches(ledger, asked.filter(), by=asked.by) if ledger is not None else ()
        # All of them are there, unless there are as many batches as a page has.
        is_all = len(found) < MOST_BATCHES
        total = sum(each.total for each in found) if is_all else _count(ledger, asked)
        rows = _rows(ledger, asked, ROWS + 1, asked.after)
    return show(
        request,
        "work.html",
        asked=asked,
        fields=asked.fields(),
        is_filtered=asked.fields() != {"days": "all"},
        batches=found,
        total=total,
        batch_by=asked.by,
        ways=WAYS,
        rows=rows[:ROWS],
        next_page=_next(asked, rows),
        done=asked.done,
        **_choices(request),
    )


def _usual_day() -> date:
    """The first day that is shown where none is asked for."""
    return datetime.now().astimezone().date() - timedelta(days=USUAL_DAYS)


@router.get("/work/confirm")
def confirm_page(request: Request, asked: Annotated[Meant, Query()]) -> HTMLResponse:
    """How many series an order would be for, before it is given."""
    return _confirm(request, asked)


@router.post("/work/order")
def order(
    request: Request,
    user: Annotated[User, Depends(require_operator)],
    asked: Annotated[Ordered, Form()],
) -> Response:
    """Order something for all that match; asked again where they are others by now."""
    config = config_of(request)
    with reading(request) as ledger:
        now_matching = _count(ledger, asked)
    if now_matching != asked.count:
        return _confirm(request, asked, was=asked.count)
    if _lacks_destination(asked):
        return _confirm(request, asked)
    placed = place(
        config,
        asked.kind,
        asked.filter(),
        by=user.name,
        destination=asked.to,
        host=caller(request).address,
        within_s=ORDER_WITHIN_S,
    )
    return RedirectResponse(with_query("/work", **asked.fields(), done=placed), 303)


def _confirm(request: Request, asked: Meant, was: int | None = None) -> HTMLResponse:
    config = config_of(request)
    with reading(request) as ledger:
        count = _count(ledger, asked)
        rows = _rows(ledger, asked, NAMED, "")
        planned = None
        if ledger is not None and count <= MOST_PLANNED and not _lacks_destination(asked):
            planned = plan(config, ledger, asked.kind, asked.filter(), destination=asked.to)
    word, meaning = next(each[1:] for each in ORDERS if each[0] is asked.kind)
    objections = Counter(each.objection for each in planned or () if each.objection)
    return show(
        request,
        "work_confirm.html",
        asked=asked,
        fields=asked.fields(),
        kind=asked.kind,
        word=word,
        meaning=meaning,
        to=asked.to,
        needs_destination=asked.kind is OrderKind.RESEND,
        count=count,
        possible=count - objections.total() if planned is not None else None,
        objections=objections.most_common(),
        remarks=Counter(each.remark for each in planned or () if each.remark).most_common(),
        was=was,
        rows=rows,
        **_choices(request),
    )


def _lacks_destination(asked: Meant) -> bool:
    """True where it has to be said to whom."""
    return asked.kind is OrderKind.RESEND and not asked.to


def _count(ledger: Ledger | None, asked: Asked) -> int:
    """How many revisions of series match."""
    return count_matching(ledger, asked.filter()) if ledger is not None else 0


def _rows(ledger: Ledger | None, asked: Asked, most: int, after: str) -> tuple[SeriesRow, ...]:
    """So many of the series that match, the latest first."""
    if ledger is None:
        return ()
    return matching(ledger, asked.filter(), most, _key(after))


def _choices(request: Request) -> dict[str, Any]:
    """What fields of the filter offer."""
    config = config_of(request)
    return {
        "destinations": [each.name for each in config.destinations],
        "verdicts": tuple(Verdict),
        "series_states": tuple(SeriesState),
        "delivery_states": tuple(each for each in DeliveryState if each != "replaced"),
        "orders": ORDERS,
        "usual_days": USUAL_DAYS,
        "for_destination": FOR_DESTINATION,
    }


def _next(asked: Asked, rows: Sequence[SeriesRow]) -> str:
    """Where the rest is; empty where there is none."""
    if len(rows) <= ROWS:
        return ""
    received_at, uid, revision = key_of(rows[ROWS - 1])
    after = f"{received_at.isoformat()}_{uid}_{revision}"
    return with_query("/work", **asked.fields(), after=after)


def _key(text: str) -> tuple[datetime, str, int] | None:
    """The key of the last series of the page before, as `_next` wrote it."""
    if not text:
        return None
    try:
        at, uid, revision = text.split("_")
        key = datetime.fromisoformat(at), uid, int(revision)
    except ValueError:
        key = None
    if key is None or key[0].tzinfo is None or not is_uid(key[1]):
        raise HTTPException(404, "there is no such page")
    return key
