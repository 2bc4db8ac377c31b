"""Series, what became of them, and the results on their way."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, cast

from fastapi import APIRouter, Path, Query, Request
from pydantic import BeforeValidator

from dicom_node.errors import UnknownNameError
from dicom_node.monitoring.audit import AuditKind
from dicom_node.node.find import find
from dicom_node.node.history import SeriesHistory, series_history
from dicom_node.persistence.listing import (
    DeliveriesWanted,
    SeriesWanted,
    list_deliveries,
    list_series,
)
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.web.api.reading import (
    After,
    ConfigNow,
    LedgerNow,
    Limit,
    iso_moment,
    mark_of,
    place_of,
)
from dicom_node.web.api.schemas import (
    DeliveryOut,
    EventOut,
    FoundOut,
    HistoryOut,
    HopOut,
    Name,
    OrderOut,
    PageOf,
    ResultOut,
    RevisionOut,
    SeriesOut,
    Uid,
    Wanted,
)
from dicom_node.web.auditing import tell

router: Final = APIRouter(tags=["series"])

Title = Annotated[str | None, Query(max_length=16)]
Code = Annotated[str | None, Query(max_length=64, pattern=r"^[a-z0-9-]*$")]
Moment = Annotated[
    datetime | None, BeforeValidator(iso_moment), Query(description="As 2026-01-31T12:00:00Z.")
]


@router.get("/series")
def series(  # noqa: PLR0913, PLR0917 - a filter has as many sides
    request: Request,
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
    tell(request, AuditKind.QUERY, words=f"{len(rows)} series listed")
    return PageOf(
        items=[SeriesOut.model_validate(row) for row in rows],
        next=mark_of((last.series_instance_uid, last.revision)) if last else None,
    )


@router.get("/series/{series_instance_uid}")
def history(
    request: Request, ledger: LedgerNow, series_instance_uid: Annotated[Uid, Path()]
) -> HistoryOut:
    """All that is known of a series: its revisions, the oldest first, and what each became."""
    found = series_history(ledger, series_instance_uid) if ledger is not None else None
    if found is None or not found.revisions:
        raise UnknownNameError(f"there is no series {series_instance_uid}")
    studies = [each.row.study_instance_uid for each in found.revisions]
    tell(request, AuditKind.STUDY_ACCESSED, studies=studies, series=[series_instance_uid])
    return _history_out(found)


@router.post("/find")
def find_series(request: Request, config: ConfigNow, wanted: Wanted) -> list[FoundOut]:
    """Find series by Accession Number, Patient ID, or any UID; the latest first.

    A POST, for what is looked for may name a patient, and addresses stand in logs.
    """
    found = find(config, wanted.text)
    tell(request, AuditKind.QUERY, studies=[each.study_instance_uid for each in found])
    return [FoundOut.model_validate(each) for each in found]


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


def _history_out(found: SeriesHistory) -> HistoryOut:
    """A history in the form of the API."""
    return HistoryOut(
        series_instance_uid=found.series_instance_uid,
        revisions=[
            RevisionOut(
                series=SeriesOut.model_validate(each.row),
                events=[
                    EventOut.model_validate(event.row).model_copy(
                        update={"after_s": event.after_s}
                    )
                    for event in each.events
                ],
                hops=[HopOut.model_validate(hop) for hop in each.hops],
                results=[ResultOut.model_validate(row) for row in each.results],
                deliveries=[
                    DeliveryOut.model_validate(row)
                    for rows in each.deliveries.values()
                    for row in rows
                ],
                orders=[OrderOut.model_validate(row) for row in each.orders],
            )
            for each in found.revisions
        ],
    )
