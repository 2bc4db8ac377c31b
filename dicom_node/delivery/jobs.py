"""Dealing with one destination: sending it what waits, asking for what it has taken.

What goes to one destination of one revision of one series is a group. A *delivery job* is a job
of the queue for one group. They are numbered, and every delivery keeps the number of the last
one that dealt with it (the column `visit`). The next has the highest number and one: its key is
the same whoever puts it, so that it is done once, and a number that has been used is a job that
was done already, or that something newer has overtaken.

Between two jobs a delivery may also change: by a report of storage commitment, or because a
held one is released. Such a change takes a number of its own and leaves it due; the maintenance
tasks put jobs for whatever is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from dicom_node.delivery import noted
from dicom_node.delivery.attempts import (
    Attempt,
    Failure,
    Outcome,
    OutgoingObject,
    Remedy,
    after_attempt,
    attempt_delivery,
    is_believed,
    is_slow,
    outgoing_objects,
)
from dicom_node.delivery.claims import after_listing, claimed
from dicom_node.delivery.confirmation import after_answers, answers_of_report
from dicom_node.delivery.confirmation_queries import (
    NO_REPORT_YET,
    ConfirmationQueries,
    confirmation_request,
    reports_folder,
)
from dicom_node.delivery.events import delivery_events
from dicom_node.delivery.release import release
from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, open_trail
from dicom_node.peers.outcome import MAX_RETRY_AFTER_S
from dicom_node.peers.transports import transport_for
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    NOT_CONFIGURED,
    CommitmentRow,
    DeliveryRow,
    DeliveryState,
)
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.commitment_reports import Report, forget_report, read_reports

log = structlog.get_logger()

Group = tuple[str, int, str]
"""Series Instance UID, revision, and the destination's name."""

CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By so much, those of two workers may."""
SENT: Final = (DeliveryState.SENT, DeliveryState.CONFIRMED)


@dataclass(frozen=True, slots=True)
class DeliveryJobs:
    """The delivery jobs, with all they need; `clock` tells the time, with its zone."""

    config: NodeConfig
    ledger: Ledger
    clock: Callable[[], datetime]

    def run(self, group: Group, number: int) -> tuple[JobRequest, ...]:
        """Run one delivery job; the next one, unless nothing is left to do."""
        rows, now = self._rows(group), self.clock()
        if number > _last_number(rows):
            due = [row for row in rows if _is_due(row, now)]
            if any(row.state is DeliveryState.WAITING for row in due):
                self._send(group, rows, number)
            elif due:
                self._ask(group, rows, due, number)
            else:
                # Nothing yet; the number is used all the same.
                later = [row for row in rows if row.next_attempt_at is not None]
                self.ledger.advance(*(replace(row, visit=number) for row in later))
        return self._next(group)

    def pending_jobs(self) -> tuple[JobRequest, ...]:
        """The delivery jobs that are not finished, for a node that starts.

        What is held continues, what is tried slowly is tried now, and what was sent before its
        destination was to confirm it is asked for. A delivery job that is in the queue already
        has the same key, and so is not put twice.
        """
        now = self.clock()
        release(self.ledger, now)
        waits = self.ledger.deliveries(states=[DeliveryState.WAITING])
        slow = [row for row in waits if is_slow(row, self.config.delivery)]
        self._bring_forward([row for row in slow if not _is_due(row, now)], now)
        asked = {each.name for each in self.config.destinations if each.confirm != "no"}
        sent = [replace(row, next_attempt_at=now) for row in self.ledger.never_asked_for(asked)]
        self.ledger.save(*sent)
        return self._jobs(self.ledger.scheduled())

    def due(self) -> tuple[JobRequest, ...]:
        """The jobs for what is due now, or due so late that the clock was set back since.

        The job that waits for that late time keeps its number; these take the next one.
        """
        now = self.clock()
        delivery, confirmation = self.config.delivery, self.config.confirmation
        longest_s = max(
            delivery.max_wait_s,
            delivery.slow_wait_s,
            confirmation.ask_again_s,
            MAX_RETRY_AFTER_S,
        )
        late = self.ledger.due_after(now + timedelta(seconds=longest_s) + CLOCKS_DIFFER)
        for group, count in self._bring_forward(late, now).items():
            log.warning("delivery.brought_forward", destination=group[2], count=count)
        return self._jobs(self.ledger.due(now))

    def _bring_forward(
        self, chosen: Sequence[DeliveryRow], now: datetime
    ) -> Mapping[Group, int]:
        """Make deliveries due now; how many of each group were."""
        counts: dict[Group, int] = {}
        wanted = set(chosen)
        for group in dict.fromkeys(row.group for row in chosen):
            rows = self._rows(group)
            forward = [row for row in rows if row in wanted]
            number = _last_number(rows) + 1
            self.ledger.advance(
                *(replace(row, visit=number, next_attempt_at=now) for row in forward)
            )
            counts[group] = len(forward)
        return counts

    def take_reports(self) -> None:
        """Enter every report of storage commitment that came into the ledger."""
        folder = reports_folder(self.config)
        for report in read_reports(folder):
            asked = self.ledger.commitment(report.transaction_uid)
            if asked is None:
                log.warning("commitment.unknown", key=report.transaction_uid)
            else:
                self._take_report(asked, report)
            forget_report(folder, report)

    def _take_report(self, asked: CommitmentRow, report: Report) -> None:
        """Change the deliveries that one report speaks of."""
        rows = self._rows((asked.series_instance_uid, asked.revision, asked.destination))
        request = confirmation_request(self.config, _last_number(rows) + 1, self.clock())
        answers = answers_of_report(rows, report, asked.asked_at)
        self._enter(after_answers(rows, answers, request))

    def _send(self, group: Group, rows: Sequence[DeliveryRow], number: int) -> None:
        """Send what waits, and note what became of it."""
        uid, revision, name = group
        destination = self.config.destination(name)
        results = self.ledger.results(uid, revision)
        objects = outgoing_objects(rows, results)
        with noted.attempt_timed():
            outcome_by_uid = self._attempt(objects, destination)
        noted.note_outcomes(name, objects, outcome_by_uid)
        confirm = destination is not None and destination.confirm != "no"
        attempt = Attempt(number, self.clock(), self.config.delivery, confirm)
        after = after_attempt(objects, outcome_by_uid, attempt, results)
        self._enter(after)
        self._tell(group, after, objects, destination)

    def _tell(
        self,
        group: Group,
        after: Sequence[DeliveryRow],
        objects: Sequence[OutgoingObject],
        destination: Destination | None,
    ) -> None:
        """Tell the audit trail what was sent, and what was not."""
        if self.config.audit is None or destination is None:
            return
        waited = {each.row.sop_instance_uid for each in objects if each.waits}
        tried = [row for row in after if row.sop_instance_uid in waited]
        by_uid = {each.row.sop_instance_uid: each for each in objects}
        sent = [row for row in tried if row.state in SENT]
        failed = [row for row in tried if row.state not in SENT and row.reason]
        series = self.ledger.series(group[0], group[1])
        told = AuditEvent(
            AuditKind.INSTANCES_SENT,
            peer=destination.name,
            peer_host=destination.host_name,
            study_instance_uids=(series.study_instance_uid,) if series else (),
            series_instance_uids=(group[0],),
        )
        trail = open_trail(self.config, "work")
        if sent:
            classes = Counter(by_uid[row.sop_instance_uid].result.sop_class_uid for row in sent)
            trail.record(replace(told, instances=len(sent), sop_classes=tuple(classes.items())))
        if failed:
            trail.record(
                replace(
                    told,
                    outcome=AuditOutcome.MINOR_FAILURE,
                    instances=len(failed),
                    words=failed[0].reason,
                )
            )

    def _attempt(
        self, objects: Sequence[OutgoingObject], destination: Destination | None
    ) -> Mapping[str, Outcome]:
        """Send what is on its way to one destination; ask for what it says it has already."""
        if destination is None:
            gone = Failure(NOT_CONFIGURED, Remedy.PERSON)
            return {each.row.sop_instance_uid: gone for each in objects if each.waits}
        outcome_by_uid = attempt_delivery(transport_for(self.config, destination), objects)
        there = claimed([each.row for each in objects], outcome_by_uid)
        if not there:
            return outcome_by_uid
        listed = self._queries.listed(destination, there)
        query = destination.query_service
        return {**outcome_by_uid, **after_listing(there, outcome_by_uid, listed, query)}

    @property
    def _queries(self) -> ConfirmationQueries:
        return ConfirmationQueries(self.config, self.ledger, self.clock)

    def _ask(
        self,
        group: Group,
        rows: Sequence[DeliveryRow],
        due: Sequence[DeliveryRow],
        number: int,
    ) -> None:
        """Ask a destination whether it has what it took, by the method that it wants."""
        destination = self.config.destination(group[2])
        if destination is None or destination.confirm == "no":
            # Nobody is to be asked any more: sent is what it stays.
            believed = [row for row in due if is_believed(row)]
            done = [row if row in believed else replace(row, reason="") for row in due]
            self.ledger.advance(
                *(replace(row, visit=number, next_attempt_at=None) for row in done)
            )
            if believed and destination is not None:
                self._queries.ask_once(destination, believed, number)
            return
        self._enter(self._queries.ask(destination, rows, due, number))

    def _enter(self, rows: Sequence[DeliveryRow]) -> None:
        """Enter changed deliveries of one group, and log those that are what they became.

        A report that came meanwhile stands, and has been told of.
        """
        if not rows:
            return
        self.ledger.advance(*rows, told=delivery_events(rows))
        now_there = self._rows(rows[0].group)
        news = [row for row in rows if row in now_there]
        changed_at = max(row.changed_at for row in rows)
        noted.note_news(news, now_there, self.ledger, changed_at)
        log_rows(news)

    def _next(self, group: Group) -> tuple[JobRequest, ...]:
        """The next delivery job to a group, at the time at which something is due."""
        rows, now = self._rows(group), self.clock()
        due = [row.next_attempt_at for row in rows if row.next_attempt_at is not None]
        if not due:
            return ()
        wait = max(min(due) - now, timedelta(0))
        return (delivery_job(group, _last_number(rows) + 1, wait.total_seconds()),)

    def _jobs(self, rows: Iterable[DeliveryRow]) -> tuple[JobRequest, ...]:
        """A delivery job at once to each group of these deliveries."""
        chosen = tuple(rows)
        last = self.ledger.last_visits(chosen)
        groups = dict.fromkeys(row.group for row in chosen)
        return tuple(delivery_job(group, last[group] + 1) for group in groups)

    def _rows(self, group: Group) -> tuple[DeliveryRow, ...]:
        uid, revision, destination = group
        return self.ledger.deliveries(
            series_instance_uid=uid, revision=revision, destination=destination
        )


def delivery_job(group: Group, number: int, delay_s: float = 0.0) -> JobRequest:
    """One delivery job."""
    uid, revision, destination = group
    payload = {
        "series_instance_uid": uid,
        "revision": revision,
        "destination": destination,
        "attempt": number,
    }
    return JobRequest(
        "deliver", f"deliver:{uid}:{revision}:{destination}:{number}", payload, delay_s
    )


def _last_number(rows: Iterable[DeliveryRow]) -> int:
    return max((row.visit for row in rows), default=0)


def _is_due(row: DeliveryRow, now: datetime) -> bool:
    return row.next_attempt_at is not None and row.next_attempt_at <= now


EVENTS: Final = {
    DeliveryState.WAITING: ("warning", "delivery.failed"),
    DeliveryState.SENT: ("info", "delivery.sent"),
    DeliveryState.CONFIRMED: ("info", "delivery.confirmed"),
    DeliveryState.HELD: ("error", "delivery.held"),
    DeliveryState.REPLACED: ("info", "delivery.replaced"),
}


def _is_no_news(row: DeliveryRow) -> bool:
    """True if nothing came of a delivery that an administrator wants to know.

    What waits without a reason has not been tried: it stands in for what was replaced. And
    a report of storage commitment cannot be here when it has just been asked for.
    """
    if row.state is DeliveryState.WAITING:
        return not row.reason
    return row.is_unconfirmed and row.attempts == 1 and row.reason == NO_REPORT_YET


def log_rows(rows: Sequence[DeliveryRow]) -> None:
    """One event for each state that deliveries of one group came to, with how many did."""
    for state, (level, event) in EVENTS.items():
        of_state = [row for row in rows if row.state is state and not _is_no_news(row)]
        if of_state:
            first = of_state[0]
            getattr(log, level)(
                "delivery.unanswered" if first.is_unconfirmed and first.attempts else event,
                series_instance_uid=first.series_instance_uid,
                revision=first.revision,
                destination=first.destination,
                count=len(of_state),
                attempt=first.attempts,
                status=first.status,
                reason=first.reason,
            )
