"""Queries to a destination on whether it has what it took, by the method that it wants.

By storage commitment, whose report comes later and is entered by `jobs.py`; by a query; or,
where an archive that should commit does not know how, by a query instead. What it refuses
as being there already is asked for in whatever way it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from dicom_node.delivery.attempts import wait_after
from dicom_node.delivery.confirmation import (
    ConfirmationAnswer,
    ConfirmationRequest,
    Presence,
    after_answers,
    answers_of_listing,
)
from dicom_node.errors import PeerError, PeerLacksServiceError
from dicom_node.peers.transports import transport_for
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import CommitmentRow, DeliveryRow
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.commitment_reports import REPORTS, handle_report
from dicom_node.uids import derived_uid

log = structlog.get_logger()

NO_REPORT_YET: Final = "no commitment report yet"
"""The reason of what was asked for and not answered, which may take days."""


def reports_folder(config: NodeConfig) -> Path:
    """The folder for reports of storage commitment until they are in the ledger."""
    return config.node.spool / REPORTS


def confirmation_request(
    config: NodeConfig, number: int, now: datetime, wait: timedelta | None = None
) -> ConfirmationRequest:
    """The request of a delivery job; made again after `wait`, or when a report is overdue."""
    confirmation = config.confirmation
    wait = wait or timedelta(seconds=confirmation.ask_again_s)
    return ConfirmationRequest(number, now, now + wait, confirmation, config.delivery)


@dataclass(frozen=True, slots=True)
class ConfirmationQueries:
    """Questions to destinations, with all they need; `clock` tells the time, with its zone."""

    config: NodeConfig
    ledger: Ledger
    clock: Callable[[], datetime]

    def ask(
        self,
        destination: Destination,
        rows: Sequence[DeliveryRow],
        due: Sequence[DeliveryRow],
        number: int,
    ) -> tuple[DeliveryRow, ...]:
        """Ask once; the deliveries that this changes.

        Args:
            destination: which one.
            rows: all that goes to it of one revision of one series.
            due: those of them to ask for.
            number: of the delivery job.
        """
        wait = wait_after(max(row.attempts for row in due) + 1, self.config.delivery)
        try:
            if destination.confirm == "commitment":
                answers = self._ask_to_commit(due, destination, number)
                wait = timedelta(seconds=self.config.confirmation.ask_again_s)
            else:
                answers = self._look_up(due, destination)
        except PeerLacksServiceError as lacking:
            answers = self._look_up_instead(due, destination, lacking)
        except PeerError as error:
            answers = _unknown(due, error)
        return after_answers(
            rows, answers, confirmation_request(self.config, number, self.clock(), wait)
        )

    def listed(
        self, destination: Destination, rows: Sequence[DeliveryRow]
    ) -> frozenset[str] | PeerError:
        """The SOP Instance UIDs that a destination lists beside these, or why it does not say.

        Args:
            destination: which one; its `confirm` does not matter.
            rows: of one revision of one series.
        """
        try:
            return self._listed(rows, destination)
        except PeerError as error:
            return error

    def ask_once(
        self, destination: Destination, rows: Sequence[DeliveryRow], number: int
    ) -> None:
        """Ask a destination to commit to what it is believed to have; it may never answer."""
        try:
            self._ask_to_commit(rows, destination, number)
        except PeerError as error:
            log.info("commitment.unasked", destination=destination.name, reason=str(error))

    def _ask_to_commit(
        self,
        due: Sequence[DeliveryRow],
        destination: Destination,
        number: int,
    ) -> Mapping[str, ConfirmationAnswer]:
        """Ask for commitment; what is said comes later, as a report."""
        uid, revision, name = due[0].group
        transaction = derived_uid("commitment", uid, str(revision), name, str(number))
        # Known before it is asked: the report may be here before the answer.
        self.ledger.add(CommitmentRow(transaction, name, uid, revision, self.clock()))
        classes = {
            result.sop_instance_uid: result.sop_class_uid
            for result in self.ledger.results(uid, revision)
        }
        instances = [(classes[row.sop_instance_uid], row.sop_instance_uid) for row in due]
        transport = transport_for(self.config, destination)
        keep = partial(handle_report, folder=reports_folder(self.config))
        transport.ask_to_commit(transaction, instances, keep)
        log.info("commitment.asked", destination=name, key=transaction, count=len(due))
        no_report = ConfirmationAnswer(Presence.UNKNOWN, NO_REPORT_YET)
        return {row.sop_instance_uid: no_report for row in due}

    def _look_up(
        self, due: Sequence[DeliveryRow], destination: Destination
    ) -> Mapping[str, ConfirmationAnswer]:
        """Ask for the instances that the destination lists."""
        listed = self._listed(due, destination)
        return answers_of_listing(due, listed, destination.query_service)

    def _listed(self, due: Sequence[DeliveryRow], destination: Destination) -> frozenset[str]:
        """The instances that the destination lists in the series of these."""
        uid, revision, _ = due[0].group
        series = self.ledger.series(uid, revision)
        wanted = {row.sop_instance_uid for row in due}
        own_series = {
            result.own_series_instance_uid
            for result in self.ledger.results(uid, revision)
            if result.sop_instance_uid in wanted
        }
        study = series.study_instance_uid if series is not None else ""
        return transport_for(self.config, destination).list_instances(study, sorted(own_series))

    def _look_up_instead(
        self,
        due: Sequence[DeliveryRow],
        destination: Destination,
        lacking: PeerLacksServiceError,
    ) -> Mapping[str, ConfirmationAnswer]:
        """Ask by a query where there is no commitment; every reason says so."""
        try:
            answers = self._look_up(due, destination)
        except PeerError as error:
            answers = _unknown(due, error)
        return {
            uid: ConfirmationAnswer(
                answer.presence, "; ".join(filter(None, (str(lacking), answer.reason)))
            )
            for uid, answer in answers.items()
        }


def _unknown(rows: Iterable[DeliveryRow], error: PeerError) -> Mapping[str, ConfirmationAnswer]:
    """No word on any of these."""
    return {
        row.sop_instance_uid: ConfirmationAnswer(Presence.UNKNOWN, str(error)) for row in rows
    }
