"""The ledger's part about operating a node: events of series, orders, keys to find by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    CANCELLED_CODE,
    UNANSWERED,
    EventRow,
    KeyKind,
    OrderKind,
    OrderRow,
    ResultRow,
    SeriesKeyRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.tables import ORDERS, RESULTS, SERIES, SERIES_EVENTS, SERIES_KEYS

ORDERS_IN_A_TRANSACTION: Final = 200

Change = Callable[[sa.Connection], str | None]
"""What carries an order out, in the transaction that notes it as done; its outcome.

None where things have moved on meanwhile: nothing is written, and the order waits for the
next look.
"""


class _LookAgainError(Exception):
    """Takes back a transaction."""


class OperationLedger:
    """Three tables of a ledger; safe to use from many threads.

    A ledger that an older node left has none of them, and then there is nothing in them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def is_there(self) -> bool:
        """True if the tables are there."""
        return self.ledger.has_table(SERIES_EVENTS)

    def events(self, series_instance_uid: str) -> tuple[EventRow, ...]:
        """What happened to every revision of a series, the earliest first."""
        of_series = SERIES_EVENTS.c.series_instance_uid == series_instance_uid
        order = (SERIES_EVENTS.c.revision, SERIES_EVENTS.c.at, SERIES_EVENTS.c.name)
        return self.ledger.read(EventRow, of_series, order=order)

    def orders(
        self,
        series_instance_uid: str,
        revision: int | None = None,
        within: sa.Connection | None = None,
    ) -> tuple[OrderRow, ...]:
        """The orders for a series, or for one revision, the earliest first.

        within: read them in this transaction.
        """
        wanted = [ORDERS.c.series_instance_uid == series_instance_uid]
        if revision is not None:
            wanted.append(ORDERS.c.revision == revision)
        order = (ORDERS.c.ordered_at,)
        return self.ledger.read(OrderRow, *wanted, order=order, within=within)

    def open_orders(self, most: int) -> tuple[OrderRow, ...]:
        """Orders that nobody has carried out yet, those that wait the longest first."""
        return self._open(most)

    def new_orders(self, most: int) -> tuple[OrderRow, ...]:
        """Open orders that nothing is known to be in the way of, the earliest first."""
        return self._open(most, ORDERS.c.outcome == "")

    def waiting_orders(self, most: int, after: OrderRow | None) -> tuple[OrderRow, ...]:
        """Open orders that wait for something (`note`), from the one after another on."""
        waits = [ORDERS.c.outcome != ""]
        if after is not None:
            at = sa.literal(after.ordered_at, ORDERS.c.ordered_at.type)
            key = sa.tuple_(ORDERS.c.ordered_at, ORDERS.c.order_uid)
            waits.append(key > sa.tuple_(at, after.order_uid))
        return self._open(most, *waits)

    def _open(self, most: int, *conditions: sa.ColumnElement[bool]) -> tuple[OrderRow, ...]:
        order = (ORDERS.c.ordered_at, ORDERS.c.order_uid)
        is_open = ORDERS.c.done_at.is_(None)
        return self.ledger.read(OrderRow, is_open, *conditions, order=order, most=most)

    def place(self, placed: Sequence[tuple[OrderRow, EventRow]]) -> None:
        """Enter orders, each with the event that tells of it."""
        for at in range(0, len(placed), ORDERS_IN_A_TRANSACTION):
            part = placed[at : at + ORDERS_IN_A_TRANSACTION]
            self.ledger.add_many([row for pair in part for row in pair])

    def note(self, order: OrderRow, words: str) -> None:
        """Say what an order waits for that is not carried out yet."""
        if order.outcome == words:
            return
        update = (
            sa.update(ORDERS)
            .where(ORDERS.c.order_uid == order.order_uid, ORDERS.c.done_at.is_(None))
            .values(outcome=words)
        )
        self.ledger.transact(lambda connection: connection.execute(update))

    def conclude(self, order: OrderRow, now: datetime, change: Change) -> bool:
        """Carry an order out and note it as done, in one transaction; False if it was before.

        Of two workers that try, one does it. False, too, where it waits for the next look.
        """
        is_open = (ORDERS.c.order_uid == order.order_uid, ORDERS.c.done_at.is_(None))
        take = sa.update(ORDERS).where(*is_open).values(done_at=now)
        named = ORDERS.c.order_uid == order.order_uid

        def work(connection: sa.Connection) -> bool:
            if connection.execute(take).rowcount == 0:
                return False
            outcome = change(connection)
            if outcome is None:
                raise _LookAgainError
            connection.execute(sa.update(ORDERS).where(named).values(outcome=outcome))
            return True

        try:
            return self.ledger.transact(work)
        except _LookAgainError:
            return False

    def is_unanswered(self, connection: sa.Connection, row: SeriesRow) -> bool:
        """True if a series has no answer, and gets none before this transaction ends."""
        own = (
            SERIES.c.series_instance_uid == row.series_instance_uid,
            SERIES.c.revision == row.revision,
            SERIES.c.state.in_(UNANSWERED),
        )
        # A row that is written is nobody else's to write, with either database.
        update = sa.update(SERIES).where(*own).values(changed_at=SERIES.c.changed_at)
        return connection.execute(update).rowcount > 0

    def write(
        self,
        connection: sa.Connection,
        *rows: SeriesRow | EventRow,
        new: bool = False,
    ) -> int:
        """Write rows as a part of carrying out an order; how many of them were written.

        new: only those that are not there yet.
        """
        statements = (
            self.ledger.statement(row, keep=new or isinstance(row, EventRow)) for row in rows
        )
        return sum(connection.execute(each).rowcount for each in statements)

    def cancel(self, connection: sa.Connection, row: SeriesRow) -> bool:
        """Cancel a series, unless it was answered or decided on meanwhile.

        row: as it is to be then.
        """
        update = (
            sa.update(SERIES)
            .where(
                SERIES.c.series_instance_uid == row.series_instance_uid,
                SERIES.c.revision == row.revision,
                SERIES.c.state.in_(UNANSWERED),
            )
            .values(
                # As `Ledger` stores it: a worker of a version before knows no cancelled one.
                state=SeriesState.REFUSED,
                code=CANCELLED_CODE,
                reason=row.reason,
                changed_at=row.changed_at,
            )
        )
        return connection.execute(update).rowcount > 0

    def held_destinations(
        self, series_instance_uid: str, revision: int, within: sa.Connection | None = None
    ) -> dict[str, str]:
        """Where the results of a revision are not to go before somebody releases them.

        To each destination, or "" for every one, who has ordered that.

        within: as this transaction sees it.
        """
        held: dict[str, str] = {}
        for order in self.orders(series_instance_uid, revision, within):
            match order.kind:
                case OrderKind.HOLD:
                    held[order.destination] = order.ordered_by
                case OrderKind.RELEASE if order.destination:
                    held.pop(order.destination, None)
                case OrderKind.RELEASE:
                    held.clear()
                case _:
                    pass
        return held

    def series_with_key(self, kind: KeyKind, digests: Iterable[str]) -> frozenset[str]:
        """The series that can be found by one of these digests."""
        found = self.ledger.read(
            SeriesKeyRow,
            SERIES_KEYS.c.kind == kind,
            SERIES_KEYS.c.digest.in_(sorted(digests)),
        )
        return frozenset(row.series_instance_uid for row in found)

    def results_in(self, own_series_instance_uid: str) -> tuple[ResultRow, ...]:
        """The result objects in a series of the node's own."""
        return self.ledger.read(
            ResultRow, RESULTS.c.own_series_instance_uid == own_series_instance_uid
        )
