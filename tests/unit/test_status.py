"""Claims about what `msk-node status` says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from dicom_node.config import parse_config
from dicom_node.ledger import DeliveryRow, DeliveryState, SeriesRow, SeriesState
from dicom_node.status import node_status, render, summary

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
SERIES = SeriesRow("1.2.3", 1, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW)
DOWN = DeliveryRow(
    "2.25.3",
    "pacs",
    "1.2.3",
    1,
    NOW,
    attempts=4,
    reason="no connection",
    next_attempt_at=NOW + timedelta(minutes=4),
)


def test_series_and_objects_are_counted_by_state() -> None:
    reported = SERIES.become(SeriesState.REPORTED, NOW)
    sent = replace(DOWN, sop_instance_uid="2.25.4", state=DeliveryState.SENT)
    status = summary([SERIES, reported], [DOWN, sent], {})

    assert status.series[SeriesState.RECEIVED] == 1
    assert status.series[SeriesState.REPORTED] == 1
    assert status.series[SeriesState.FAILED] == 0
    assert status.deliveries == {
        DeliveryState.WAITING: 1,
        DeliveryState.SENT: 1,
        DeliveryState.HELD: 0,
    }


def test_objects_of_one_series_wait_for_one_destination_together() -> None:
    other = replace(DOWN, sop_instance_uid="2.25.4")
    (waiting,) = summary([], [DOWN, other], {}).waiting

    assert (waiting.objects, waiting.attempts, waiting.reason) == (2, 4, "no connection")
    assert waiting.next_attempt_at == NOW + timedelta(minutes=4)


def test_a_held_delivery_and_a_refused_series_show_their_reasons() -> None:
    held = replace(DOWN, state=DeliveryState.HELD, next_attempt_at=None)
    refused = SERIES.become(SeriesState.REFUSED, NOW, code="gantry-tilt", reason="sheared")
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(render(summary([refused], [held], {"spool": 812})))

    text = shown.get()
    for words in ("no connection", "held", "gantry-tilt", "sheared", "812 MB"):
        assert words in text


def test_a_node_that_never_ran_has_a_status_and_nothing_is_made(tmp_path: Path) -> None:
    config = parse_config({}, source="", folder=tmp_path)
    status = node_status(config)

    assert sum(status.series.values()) == 0
    assert status.free_mb["spool"] > 0
    assert list(tmp_path.iterdir()) == []
