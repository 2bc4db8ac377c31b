"""What a person orders for series that the node has: placed here, carried out by a worker.

    retry       analyse again what was refused, failed or cancelled
    reanalyse   analyse again what was answered, with today's bundle and settings
    cancel      end what waits or is being analysed; nobody is answered
    hold        send nothing of it before somebody releases it
    release     send what is held, or slow, now; analyse what rules left out
    resend      send the same objects, byte for byte, to a destination once more

An order is a row of the ledger. What it does and that it is done are one transaction, so that
it is done once, whoever is killed in between. Another analysis is another revision.
Where its images are gone they are fetched from an archive, if there is one; an order that
cannot be carried out ends after a day, with the reason.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from dicom_node.delivery.attempts import first_rows
from dicom_node.delivery.events import group_event
from dicom_node.delivery.holding import hold
from dicom_node.delivery.release import due_again, is_releasable, released_event
from dicom_node.errors import UnknownNameError
from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
from dicom_node.node.find import resolved
from dicom_node.node.selection import are_images_here, arrival_in_spool
from dicom_node.node.series_events import event, ordered
from dicom_node.node.work_lists import WorkFilter, key_of, matching
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import WRITE_WITHIN_S, Ledger, existing_ledger
from dicom_node.persistence.operation_ledger import Change, OperationLedger
from dicom_node.persistence.rows import (
    ANSWERED,
    RELEASED,
    UNANSWERED,
    DeliveryRow,
    DeliveryState,
    EventRow,
    OrderKind,
    OrderRow,
    ResultRow,
    SeriesEvent,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.work_queries import OfMany, of_many
from dicom_node.results.kinds import ResultKind, kinds_for
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival

log = structlog.get_logger()

ORDER_LIFE: Final = timedelta(days=1)
"""An order that could not be carried out for so long is given up."""
AT_A_TIME: Final = 100
"""Orders that a look carries out; the next look comes in two seconds."""
ROWS_AT_A_TIME: Final = 500
MOST_ORDERS: Final = 10_000
"""Of one filter at once; what is more is ordered the next time."""
MOST_OF_A_NAME: Final = 128
NOT_DONE: Final = "not done: "
WAITS_ALREADY: Final = "the same order waits already"
FAILED_ONCE: Final = "it failed, and is tried again; the log says why"
AGAIN: Final = (OrderKind.RETRY, OrderKind.REANALYSE)
RETRIED: Final = (SeriesState.REFUSED, SeriesState.FAILED, SeriesState.CANCELLED)
UNSENT: Final = (DeliveryState.WAITING, DeliveryState.HELD)

Chosen = WorkFilter | Sequence[tuple[str, int]]
"""Which series are meant: by a filter, or by Series Instance UID and revision."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of an order for one revision of a series.

    objection: why it cannot be carried out; empty where it can.
    remark: what has to happen first, or else is to be known.
    """

    row: SeriesRow
    objection: str = ""
    remark: str = ""


def place(  # noqa: PLR0913 - all that an order is
    config: NodeConfig,
    kind: OrderKind,
    chosen: Chosen,
    *,
    by: str,
    destination: str = "",
    host: str = "",
    within_s: float = WRITE_WITHIN_S,
) -> int:
    """Order something; a worker carries it out within seconds. How many series it is for.

    Those for which it cannot be carried out are passed over (`plan` says why).

    Args:
        config: says where the ledger is.
        kind: what.
        chosen: for which series.
        by: who orders it.
        destination: only what goes there; empty for all.
        host: from which address, for the audit trail; empty on this machine.
        within_s: so long it waits for a ledger that others have locked.

    Raises:
        ConfigurationError: the ledger cannot be used, or no node of this version has run.
        UnknownNameError: no such destination or series here.
    """
    ledger = existing_ledger(config.node.database_url, within_s=within_s)
    if ledger is None:
        raise UnknownNameError("no series has been taken up here: no node has run")
    try:
        planned = plan(config, ledger, kind, chosen, destination=destination)
        rows = [each.row for each in planned if not each.objection]
        return enter(config, ledger, kind, rows, by=by, destination=destination, host=host)
    finally:
        ledger.close()


def enter(  # noqa: PLR0913 - all that an order is
    config: NodeConfig,
    ledger: Ledger,
    kind: OrderKind,
    rows: Sequence[SeriesRow],
    *,
    by: str,
    destination: str = "",
    host: str = "",
) -> int:
    """Enter an order for each of these series; how many there are."""
    now, who = datetime.now(UTC), _printable(by)
    orders = [
        OrderRow(
            order_uid=uuid.uuid4().hex,
            kind=kind,
            series_instance_uid=row.series_instance_uid,
            revision=row.revision,
            ordered_by=who,
            ordered_at=now,
            destination=destination,
        )
        for row in rows
    ]
    OperationLedger(ledger).place([(order, ordered(order)) for order in orders])
    if rows:
        told = AuditEvent(
            AuditKind.ORDERED, user=who, host=host, peer=destination, words=kind.value
        )
        _tell_trail(config, rows, told)
    return len(orders)


def _tell_trail(config: NodeConfig, rows: Sequence[SeriesRow], told: AuditEvent) -> None:
    """Tell the audit trail who ordered what, study by study."""
    trail = open_trail(config, "orders")
    by_study: dict[str, list[str]] = {}
    for row in rows:
        by_study.setdefault(row.study_instance_uid, []).append(row.series_instance_uid)
    for study, series in by_study.items():
        about = replace(
            told,
            study_instance_uids=(study,) if study else (),
            series_instance_uids=tuple(dict.fromkeys(series)),
        )
        trail.record(about)


def plan(
    config: NodeConfig,
    ledger: Ledger,
    kind: OrderKind,
    chosen: Chosen,
    *,
    destination: str = "",
) -> tuple[Planned, ...]:
    """For which series an order would be carried out, and for which not, and why.

    Raises:
        ConfigurationError: no node of this version has run on the database.
        UnknownNameError: no such destination or series here.
    """
    if destination and config.destination(destination) is None:
        raise UnknownNameError(f"there is no destination {destination!r} in the settings")
    if kind is OrderKind.RESEND and not destination:
        raise UnknownNameError("send again to which destination?")
    if not OperationLedger(ledger).is_there():
        raise UnknownNameError("no node of this version has run on this database yet")
    planner = Planner(config, ledger)
    waiting = {
        (order.kind, order.series_instance_uid, order.revision, order.destination)
        for order in OperationLedger(ledger).open_orders(MOST_ORDERS)
    }
    planned = []
    for rows in _pages(config, ledger, chosen):
        knowing = replace(planner, known=of_many(ledger, rows))
        for row in rows:
            one = knowing.planned(kind, row, destination)
            if (kind, row.series_instance_uid, row.revision, destination) in waiting:
                one = replace(one, objection=WAITS_ALREADY)
            planned.append(one)
    return tuple(planned)


def _pages(config: NodeConfig, ledger: Ledger, chosen: Chosen) -> Iterator[Sequence[SeriesRow]]:
    """The series that are meant, some hundred at a time; of a filter, so many at most."""
    if not isinstance(chosen, WorkFilter):
        for at in range(0, len(chosen), ROWS_AT_A_TIME):
            yield [_known_row(ledger, each) for each in chosen[at : at + ROWS_AT_A_TIME]]
        return
    wanted = resolved(config, ledger, chosen)
    after, count = None, 0
    while count < MOST_ORDERS:
        page = matching(ledger, wanted, ROWS_AT_A_TIME, after)
        yield page
        if len(page) < ROWS_AT_A_TIME:
            return
        after, count = key_of(page[-1]), count + len(page)


def _known_row(ledger: Ledger, key: tuple[str, int]) -> SeriesRow:
    """One revision of a series.

    Raises:
        UnknownNameError: there is none.
    """
    row = ledger.series(*key)
    if row is None:
        raise UnknownNameError(f"no series {key[0]!r} has a revision {key[1]} here")
    return row


@dataclass(frozen=True, slots=True)
class Planner:
    """Says what would become of orders, by the ledger and the disks.

    known: what the ledger has of the series in question, where it was read before.
    """

    config: NodeConfig
    ledger: Ledger
    known: OfMany | None = None

    def planned(self, kind: OrderKind, row: SeriesRow, destination: str = "") -> Planned:
        """What would become of an order for a series."""
        match kind:
            case OrderKind.RETRY | OrderKind.REANALYSE:
                return self._again(kind, row)
            case OrderKind.CANCEL:
                words = "" if row.state in UNANSWERED else f"it is {row.state} already"
                return Planned(row, words)
            case OrderKind.RESEND:
                return Planned(row, self._against_resending(row, destination))
            case OrderKind.HOLD:
                return self._hold(row, destination)
            case OrderKind.RELEASE:
                return self._release(row, destination)

    def _again(self, kind: OrderKind, row: SeriesRow) -> Planned:
        """Another analysis."""
        if row.state in UNANSWERED:
            return Planned(row, "it is not answered yet")
        if row.state is SeriesState.LEFT_OUT:
            return Planned(row, "rules left it out: release it")
        if kind is OrderKind.RETRY and row.state not in RETRIED:
            return Planned(row, f"it is {row.state}: analyse it again")
        known = self.known or of_many(self.ledger, [row])
        latest = known.latest[row.series_instance_uid]
        if latest != row.revision:
            return Planned(row, f"revision {latest} came after it")
        return self._if_images(row)

    def _if_images(self, row: SeriesRow) -> Planned:
        """What needs the images of a series."""
        if are_images_here(self.config.node.spool, row):
            return Planned(row)
        if not self.config.archives:
            words = "its images are here no more, and there is no archive to fetch them from"
            return Planned(row, f"{words}: send it again")
        names = ", ".join(each.name for each in self.config.archives)
        return Planned(row, remark=f"its images are fetched from {names} first")

    def _against_resending(self, row: SeriesRow, destination: str) -> str:
        if row.state not in ANSWERED:
            return f"it is {row.state}: there is nothing to send"
        rows, results = self.to_resend(row, destination)
        if not rows:
            return f"it has no object of a kind that {destination} gets"
        gone = [each for each in results if not Path(each.path).exists()]
        return f"{len(gone)} of its result files are here no more" if gone else ""

    def resendable(self, row: SeriesRow) -> tuple[tuple[str, ...], str]:
        """To which destinations it can be sent again; where to none, why."""
        objections = {
            each.name: self._against_resending(row, each.name)
            for each in self.config.destinations
        }
        there = tuple(name for name, words in objections.items() if not words)
        why = next(iter(objections.values()), "there is no destination")
        return there, "" if there else why

    def _hold(self, row: SeriesRow, destination: str) -> Planned:
        if row.state in UNANSWERED:
            return Planned(row, remark="its results are held when they come to be")
        waiting = [
            each
            for each in self.deliveries(row, destination)
            if each.state in UNSENT and not each.is_held_by_person
        ]
        return Planned(row, "" if waiting else "nothing of it waits to be sent")

    def _release(self, row: SeriesRow, destination: str) -> Planned:
        if row.state is SeriesState.LEFT_OUT:
            return self._if_images(row)
        if row.state in UNANSWERED:
            held = OperationLedger(self.ledger).held_destinations(*_key(row))
            return Planned(row, "" if held else "nothing of it is held")
        held_rows = self.releasable(row, destination)
        return Planned(row, "" if held_rows else "nothing of it is held")

    def deliveries(self, row: SeriesRow, destination: str) -> tuple[DeliveryRow, ...]:
        """The deliveries of a revision, to one destination or to all."""
        known = self.known or of_many(self.ledger, [row])
        found = known.deliveries.get(_key(row), ())
        return tuple(each for each in found if destination in ("", each.destination))

    def releasable(self, row: SeriesRow, destination: str) -> list[DeliveryRow]:
        """Those that are held, or tried slowly."""
        rows = self.deliveries(row, destination)
        return [each for each in rows if is_releasable(each, self.config.delivery)]

    def to_resend(
        self, row: SeriesRow, destination: str
    ) -> tuple[tuple[DeliveryRow, ...], tuple[ResultRow, ...]]:
        """What goes to a destination once more, as it stands, with its objects.

        A destination that never got any of it gets what its profile asks for, of what was made.
        """
        known = self.known or of_many(self.ledger, [row])
        results = known.results.get(_key(row), ())
        rows = self.deliveries(row, destination)
        if not rows:
            rows = self._never_sent(row, results, destination)
        sent = tuple(each for each in rows if each.state is not DeliveryState.REPLACED)
        uids = {each.sop_instance_uid for each in sent}
        return sent, tuple(each for each in results if each.sop_instance_uid in uids)

    def _never_sent(
        self, row: SeriesRow, results: Sequence[ResultRow], destination: str
    ) -> tuple[DeliveryRow, ...]:
        settings = self.config.destination(destination)
        if settings is None:
            return ()
        wanted: tuple[ResultKind, ...] = tuple(ResultKind)
        if row.state is SeriesState.REPORTED:
            kinds = {ResultKind(each.kind) for each in results}
            accepted = ResultKind.KO not in kinds
            wanted = kinds_for(settings.profile, accepted=accepted, replaces=False)
        return first_rows(results, wanted, destination, datetime.now(UTC))


def _printable(name: str) -> str:
    """A user's name without what could confuse a terminal or a page; never empty."""
    return "".join(each if each.isprintable() else "?" for each in name)[:MOST_OF_A_NAME] or "?"


def _key(row: SeriesRow) -> tuple[str, int]:
    return (row.series_instance_uid, row.revision)


@dataclass(frozen=True, slots=True)
class Orders:
    """Carries orders out, as a part of a worker.

    fingerprint: of a series under today's settings.
    fetch: the job that has an archive give the images of a series; None without archives.
    clock: tells the time, with its zone.
    """

    config: NodeConfig
    ledger: Ledger
    fingerprint: Callable[[SeriesArrival], str]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    fetch: Callable[[OrderRow, SeriesRow], JobRequest] | None = None
    _fetching: set[str] = field(default_factory=set)
    _looked_at: list[OrderRow] = field(default_factory=list)

    def carry_out(self) -> tuple[JobRequest, ...]:
        """Carry out what was ordered; the jobs that fetch images for the rest."""
        jobs: list[JobRequest] = []
        new = OperationLedger(self.ledger).new_orders(AT_A_TIME)
        for order in (*new, *self._next_waiting()):
            try:
                jobs += self._try(order)
            except Exception:
                # One that cannot be carried out must not keep the others from it.
                log.exception("order.failed", key=order.order_uid, kind=order.kind.value)
                self._put_back(order)
        return tuple(jobs)

    def _next_waiting(self) -> tuple[OrderRow, ...]:
        """Some of the orders that wait, in turn: they may be thousands, for a day."""
        last = self._looked_at[-1] if self._looked_at else None
        found = OperationLedger(self.ledger).waiting_orders(AT_A_TIME, last)
        self._looked_at[:] = found[-1:] if len(found) == AT_A_TIME else ()
        return found

    def _put_back(self, order: OrderRow) -> None:
        """Have an order that failed wait among those that do, for so long."""
        with contextlib.suppress(Exception):  # what fails it may be the database
            if self.clock() - order.ordered_at > ORDER_LIFE:
                self._refuse(order, "it failed at every try; the log says why")
            elif not order.outcome:
                OperationLedger(self.ledger).note(order, FAILED_ONCE)

    def _try(self, order: OrderRow) -> Iterator[JobRequest]:
        """Carry one order out, refuse it, or leave it until its images are here."""
        row = self.ledger.series(order.series_instance_uid, order.revision)
        if row is None:
            self._refuse(order, "there is no such series")
            return
        planned = self._planner.planned(order.kind, row, order.destination)
        if planned.objection:
            self._refuse(order, planned.objection)
            return
        needs_images = order.kind in AGAIN or row.state is SeriesState.LEFT_OUT
        arrival = arrival_in_spool(self.config.node.spool, row) if needs_images else None
        if needs_images and arrival is None:
            yield from self._fetch(order, row, planned.remark)
            return
        change = self._change(order, row, arrival)
        if OperationLedger(self.ledger).conclude(order, self.clock(), change):
            log.info("order.done", kind=order.kind.value, **_about(order))

    def _fetch(self, order: OrderRow, row: SeriesRow, words: str) -> Iterator[JobRequest]:
        """Have the images of a series fetched; the order waits for them, for so long."""
        if self.clock() - order.ordered_at > ORDER_LIFE:
            is_told = order.outcome not in {"", words}
            why = order.outcome if is_told else "its images did not come"
            self._refuse(order, f"{why}; given up after a day")
            return
        if not order.outcome:
            OperationLedger(self.ledger).note(order, words)
        if self.fetch is not None and order.order_uid not in self._fetching:
            self._fetching.add(order.order_uid)
            yield self.fetch(order, row)

    @property
    def _planner(self) -> Planner:
        return Planner(self.config, self.ledger)

    def _refuse(self, order: OrderRow, words: str) -> None:
        """Conclude an order that cannot be carried out."""
        operation = OperationLedger(self.ledger)
        if operation.conclude(order, self.clock(), lambda _connection: NOT_DONE + words):
            log.warning("order.refused", kind=order.kind.value, reason=words, **_about(order))

    def _change(self, order: OrderRow, row: SeriesRow, arrival: SeriesArrival | None) -> Change:
        """What carries an order out."""
        match order.kind:
            case OrderKind.CANCEL:
                return self._cancelled(order, row)
            case OrderKind.HOLD:
                return self._held(order, row)
            case OrderKind.RESEND:
                return self._resent(order, row)
            case OrderKind.RELEASE if row.state is SeriesState.LEFT_OUT:
                return self._taken(order, row)
            case OrderKind.RELEASE:
                return self._released(order, row)
            case OrderKind.RETRY | OrderKind.REANALYSE:
                if arrival is None:
                    raise UnknownNameError("its images are here no more")
                return self._analysed_again(order, row, arrival)

    def _analysed_again(
        self, order: OrderRow, row: SeriesRow, arrival: SeriesArrival
    ) -> Change:
        """A new revision, which the next look at what is released takes up."""
        now, operation = self.clock(), OperationLedger(self.ledger)
        words = f"{order.kind} ordered by {order.ordered_by}"
        again = replace(
            row,
            revision=row.revision + 1,
            study_instance_uid=arrival.study_instance_uid,
            instances=len(arrival.paths),
            fingerprint=self.fingerprint(arrival),
            received_at=now,
            changed_at=now,
            state=SeriesState.RECEIVED,
            code=RELEASED,
            reason=words,
        )
        told = event(
            again, SeriesEvent.ACCEPTED, now, reason=f"revision {row.revision}: {words}"
        )

        def change(connection: Any) -> str:
            if not operation.write(connection, again, new=True):
                return f"{NOT_DONE}revision {again.revision} came in just now"
            operation.write(connection, told)
            return f"it is analysed again, as revision {again.revision}"

        return change

    def _cancelled(self, order: OrderRow, row: SeriesRow) -> Change:
        """The end of a series; who analyses it sees that within seconds."""
        now, operation = self.clock(), OperationLedger(self.ledger)
        words = f"cancelled by {order.ordered_by}"
        cancelled = replace(
            row, state=SeriesState.CANCELLED, code="cancelled", reason=words, changed_at=now
        )
        told = event(cancelled, SeriesEvent.CANCELLED, now, reason=f"by {order.ordered_by}")

        def change(connection: Any) -> str:
            if not operation.cancel(connection, cancelled):
                return f"{NOT_DONE}it was answered just now"
            operation.write(connection, told)
            return "it is cancelled"

        return change

    def _taken(self, order: OrderRow, row: SeriesRow) -> Change:
        """A series that rules left out, to be analysed all the same."""
        now, operation = self.clock(), OperationLedger(self.ledger)
        words = f"released by {order.ordered_by}"
        taken = row.become(SeriesState.RECEIVED, now, code=RELEASED, reason=words)
        name = f"released:{order.order_uid}"
        told = event(row, SeriesEvent.RELEASED, now, name=name, reason=words)

        def change(connection: Any) -> str:
            operation.write(connection, taken, told)
            return "it is analysed"

        return change

    def _held(self, order: OrderRow, row: SeriesRow) -> Change:
        waiting = [
            each
            for each in self._planner.deliveries(row, order.destination)
            if each.state in UNSENT and not each.is_held_by_person
        ]
        if not waiting:
            return self._while_unanswered(row, "its results are held when they come to be")
        now = self.clock()
        groups = self._groups(row, waiting)
        changed = [hold(rows, group, order.ordered_by, now) for rows, group in groups]
        told = [
            group_event(rows, SeriesEvent.HELD, rows[0].visit, now, f"by {order.ordered_by}")
            for rows in changed
        ]
        return self._advance([each for rows in changed for each in rows], told, "held")

    def _while_unanswered(self, row: SeriesRow, words: str) -> Change:
        """Nothing to change now: the answer goes by the order, if it has not just come."""
        operation = OperationLedger(self.ledger)

        def change(connection: Any) -> str | None:
            return words if operation.is_unanswered(connection, row) else None

        return change

    def _released(self, order: OrderRow, row: SeriesRow) -> Change:
        chosen = self._planner.releasable(row, order.destination)
        if not chosen:
            return self._while_unanswered(row, "its results are sent when they come to be")
        now = self.clock()
        changed = [due_again(rows, group, now) for rows, group in self._groups(row, chosen)]
        told = [released_event(rows, now, order.ordered_by) for rows in changed]
        return self._advance([each for rows in changed for each in rows], told, "released")

    def _resent(self, order: OrderRow, row: SeriesRow) -> Change:
        """The same objects once more; what was confirmed before is asked for again."""
        rows, _ = self._planner.to_resend(row, order.destination)
        now = self.clock()
        due = [replace(each, reason="") for each in due_again(rows, rows, now)]
        return self._advance(due, [], "due again", anew=True)

    def _groups(
        self, row: SeriesRow, chosen: Sequence[DeliveryRow]
    ) -> Iterator[tuple[list[DeliveryRow], Sequence[DeliveryRow]]]:
        """Deliveries by destination, each with all that go there."""
        for name in dict.fromkeys(each.destination for each in chosen):
            own = [each for each in chosen if each.destination == name]
            yield own, self._planner.deliveries(row, name)

    def _advance(
        self,
        rows: Sequence[DeliveryRow],
        told: Sequence[EventRow],
        words: str,
        *,
        anew: bool = False,
    ) -> Change:
        """Write deliveries; anew: also over what is confirmed."""

        def change(connection: Any) -> str:
            count = 0
            for each in rows:
                statement = self.ledger.statement(each, unless_later=not anew)
                count += connection.execute(statement).rowcount
            OperationLedger(self.ledger).write(connection, *told)
            noun = "object is" if count == 1 else "objects are"
            return f"{count} {noun} {words}"

        return change


def _about(order: OrderRow) -> dict[str, Any]:
    """The order that an event is about."""
    return {
        "key": order.order_uid,
        "series_instance_uid": order.series_instance_uid,
        "revision": order.revision,
        "destination": order.destination,
    }
