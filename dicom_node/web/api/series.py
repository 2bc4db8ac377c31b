"""Series, what became of them, and the results on their way."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, cast

from fastapi import APIRouter, HTTPException, Query

from dicom_node.persistence.listing import (
    DeliveriesWanted,
    SeriesWanted,
    list_deliveries,
    list_series,
)
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.web.api.reading import After, LedgerNow, Limit, mark_of, place_of
from dicom_node.web.api.schemas import (
    DeliveryOut,
    Name,
    PageOf,
    SeriesOut,
    Uid,
)

router: Final = APIRouter(tags=["series"])

Title = Annotated[str | None, Query(max_length=16)]
Code = Annotated[str | None, Query(max_length=64, pattern=r"^[a-z0-9-]*$")]
Moment = Annotated[
    datetime | None, BeforeValidator(iso_moment), Query(description="ISO 8601, in UTC or not.")
]
LARGEST_REVISION: Final = 1_000_000


@router.get("/series")
def series(  # noqa: PLR0913, PLR0917 - a filter has as many sides
    ledger: LedgerNow,
    state: SeriesState | None = None,
    study_instance_uid: Annotated[Uid | None, Query()] = None,
    calling_ae_title: Title = None,
    called_ae_title: Title = None,
    code: Code = None,
    since: Moment = None,
    until: Moment = None,
    limit: Limit = 100,
    after: After = None,
) -> PageOf[SeriesOut]:
    """Series in the order of their UIDs; `since` and `until` are of their last change."""
    place = place_of(after, (str, int))
    if ledger is None:
        return PageOf(items=[])
    wanted = SeriesWanted(
        state,
        study_instance_uid,
        calling_ae_title,
        called_ae_title,
        code,
        since,
        until,
    )
    rows = list_series(ledger, wanted, limit, cast("tuple[str, int] | None", place))
    last = rows[-1] if len(rows) == limit else None
    return PageOf(
        items=[SeriesOut.model_validate(row) for row in rows],
        next=mark_of((last.series_instance_uid, last.revision)) if last else None,
    )


@router.get("/deliveries")
def deliveries(  # noqa: PLR0913, PLR0917 - a filter has as many sides
    ledger: LedgerNow,
    state: DeliveryState | None = None,
    destination: Annotated[Name | None, Query()] = None,
    series_instance_uid: Annotated[Uid | None, Query()] = None,
    limit: Limit = 100,
    after: After = None,
) -> PageOf[DeliveryOut]:
    """Result objects on their way, in the order of their UIDs."""
    place = place_of(after, (str, str))
    if ledger is None:
        return PageOf(items=[])
    wanted = DeliveriesWanted(state, destination, series_instance_uid)
    rows = list_deliveries(ledger, wanted, limit, cast("tuple[str, str] | None", place))
    last = rows[-1] if len(rows) == limit else None
    return PageOf(
        items=[DeliveryOut.model_validate(row) for row in rows],
        next=mark_of((last.sop_instance_uid, last.destination)) if last else None,
    )

