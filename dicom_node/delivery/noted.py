"""What delivery jobs note for the metrics: attempts, what was taken, and when all was there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from dicom_node.delivery.attempts import Failure, Outcome, OutgoingObject
from dicom_node.monitoring import metrics
from dicom_node.monitoring.metrics_files import harmless
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import FINISHED, DeliveryRow, DeliveryState

THERE: Final = (DeliveryState.CONFIRMED, DeliveryState.REPLACED)
FAILED: Final = "failed"
"""The state, as metrics have it, of what was tried in vain and will be tried again."""


@contextlib.contextmanager
def attempt_timed() -> Iterator[None]:
    """Note how long an attempt took, however it ended."""
    started_s = time.monotonic()
    try:
        yield
    finally:
        elapsed_s = time.monotonic() - started_s
        metrics.STEP_SECONDS.labels(step="delivery").observe(elapsed_s)


@harmless
def note_outcomes(
    destination: str,
    objects: Sequence[OutgoingObject],
    outcome_by_uid: Mapping[str, Outcome],
) -> None:
    """Note what was taken of what was sent, and what was not."""
    for each in objects:
        outcome = outcome_by_uid.get(each.row.sop_instance_uid)
        if isinstance(outcome, int):
            metrics.INSTANCES_SENT.labels(destination=destination).inc()
            with contextlib.suppress(OSError):
                size_bytes = each.path.stat().st_size
                metrics.BYTES_SENT.labels(destination=destination).inc(size_bytes)
        elif isinstance(outcome, Failure):
            remedy = outcome.remedy.name.lower().replace("_", "-")
            metrics.DELIVERY_FAILURES.labels(destination=destination, remedy=remedy).inc()


@harmless
def note_news(
    news: Sequence[DeliveryRow], all_there: Sequence[DeliveryRow], ledger: Ledger, now: datetime
) -> None:
    """Note what deliveries of one group became, and how long it took until all was there.

    Args:
        news: those that have changed.
        all_there: all of the group, as they are now.
        ledger: knows when the last image of the series came.
        now: when they did.
    """
    fresh = [row for row in news if _is_fresh(row)]
    for row in fresh:
        state = FAILED if row.state is DeliveryState.WAITING else row.state.value
        metrics.DELIVERIES_CHANGED.labels(destination=row.destination, state=state).inc()
    states = {row.state for row in fresh}
    if DeliveryState.SENT in states and _all(all_there, FINISHED):
        _note_since_last_image(metrics.STORED_SECONDS, news[0], ledger, now)
    if DeliveryState.CONFIRMED in states and _all(all_there, THERE):
        _note_since_last_image(metrics.CONFIRMED_SECONDS, news[0], ledger, now)
        sent = [row.sent_at for row in all_there if row.sent_at is not None]
        if sent:
            waited_s = (now - max(sent)).total_seconds()
            metrics.STEP_SECONDS.labels(step="confirmation").observe(waited_s)


def _is_fresh(row: DeliveryRow) -> bool:
    """True if a delivery has come to its state just now.

    One that was asked for in vain stays sent; one that waits without a reason has not been
    tried.
    """
    if row.state is DeliveryState.WAITING:
        return bool(row.reason)
    return not (row.is_unconfirmed and row.attempts)


def _all(rows: Sequence[DeliveryRow], states: Sequence[DeliveryState]) -> bool:
    return all(row.state in states for row in rows)


def _note_since_last_image(
    metric: metrics.Metric, row: DeliveryRow, ledger: Ledger, now: datetime
) -> None:
    came_at = ledger.last_image_at(row.series_instance_uid, row.revision)
    if came_at is not None:
        elapsed_s = (now - came_at).total_seconds()
        metric.labels(destination=row.destination).observe(elapsed_s)
