"""Series and deliveries a page at a time, by their keys: a page never moves under a reader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dicom_node.persistence.ledger import Ledger, is_in
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, SeriesRow, SeriesState
from dicom_node.persistence.tables import DELIVERIES, SERIES


@dataclass(frozen=True, slots=True)
class SeriesWanted:
    """Which series are listed: those of which all that is given holds.

    since, until: when they last changed.
    """

    state: SeriesState | None = None
    study_instance_uid: str | None = None
    calling_ae_title: str | None = None
    called_ae_title: str | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeliveriesWanted:
    """Which deliveries are listed likewise."""

    state: DeliveryState | None = None
    destination: str | None = None
    series_instance_uid: str | None = None


def list_series(
    ledger: Ledger, wanted: SeriesWanted, most: int, after: tuple[str, int] | None = None
) -> tuple[SeriesRow, ...]:
    """So many series, in the order of their keys, after one of them."""
    column = SERIES.c
    given = {
        column.study_instance_uid: wanted.study_instance_uid,
        column.calling_ae_title: wanted.calling_ae_title,
        column.called_ae_title: wanted.called_ae_title,
        column.code: wanted.code,
    }
    conditions = [each == value for each, value in given.items() if value is not None]
    if wanted.state is not None:
        conditions.append(is_in(wanted.state))
    if wanted.since is not None:
        conditions.append(column.changed_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(column.changed_at < wanted.until)
    if after is not None:
        conditions.append(sa.tuple_(column.series_instance_uid, column.revision) > after)
    return ledger.read(SeriesRow, *conditions, most=most)


def list_deliveries(
    ledger: Ledger, wanted: DeliveriesWanted, most: int, after: tuple[str, str] | None = None
) -> tuple[DeliveryRow, ...]:
    """So many deliveries, in the order of their keys, after one of them."""
    column = DELIVERIES.c
    given = {
        column.state: wanted.state,
        column.destination: wanted.destination,
        column.series_instance_uid: wanted.series_instance_uid,
    }
    conditions = [each == value for each, value in given.items() if value is not None]
    if after is not None:
        conditions.append(sa.tuple_(column.sop_instance_uid, column.destination) > after)
    return ledger.read(DeliveryRow, *conditions, most=most)
