"""Claims about what `msk-node status` says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node.commands.status_tables import render
from dicom_node.node.status import NodeStatus, node_status, summary
from dicom_node.persistence.rows import (
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.receiving.rejections import Count
from dicom_node.settings.loading import parse_config

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
NOT_TAKEN = "presentation context SOP class not supported"


def result(uid: str, kind: str) -> ResultRow:
    return ResultRow(uid, "1.1", kind, "2.25.9", "1.2.3", 1, "a.dcm", "0" * 64, NOW)


RESULTS = (result("2.25.3", "SEG"), result("2.25.4", "SR"), result("2.25.5", "SEG-LABELMAP"))


def shown(status: NodeStatus) -> str:
    console = Console(width=200, markup=False)  # as the commands' own
    with console.capture() as captured:
        console.print(render(status))
    return captured.get()


def test_series_and_objects_are_counted_by_state() -> None:
    reported = SERIES.become(SeriesState.REPORTED, NOW)
    sent = replace(DOWN, sop_instance_uid="2.25.4", state=DeliveryState.SENT)
    status = summary([SERIES, reported], RESULTS, [DOWN, sent], {})

    assert status.series[SeriesState.RECEIVED] == 1
    assert status.series[SeriesState.REPORTED] == 1
    assert status.series[SeriesState.FAILED] == 0
    assert status.deliveries == {
        DeliveryState.WAITING: 1,
        DeliveryState.SENT: 1,
        DeliveryState.CONFIRMED: 0,
        DeliveryState.HELD: 0,
        DeliveryState.REPLACED: 0,
    }


def test_a_series_that_a_person_cancelled_says_by_whom() -> None:
    row = SERIES.become(SeriesState.CANCELLED, NOW, reason="cancelled by ops")
    status = summary([row], [], [], {})

    assert status.series[SeriesState.CANCELLED] == 1
    assert "series that a person cancelled" in " ".join(shown(status).split())
    assert "cancelled by ops" in shown(status)


def test_objects_of_one_series_wait_for_one_destination_together() -> None:
    other = replace(DOWN, sop_instance_uid="2.25.4")
    (waiting,) = summary([], RESULTS, [DOWN, other], {}).waiting

    assert waiting.objects == ("SEG", "SR")
    assert (waiting.attempts, waiting.reason) == (4, "no connection")
    assert waiting.next_attempt_at == NOW + timedelta(minutes=4)


def test_a_held_delivery_and_a_refused_series_show_their_reasons() -> None:
    held = replace(DOWN, state=DeliveryState.HELD, next_attempt_at=None)
    refused = SERIES.become(SeriesState.REFUSED, NOW, code="gantry-tilt", reason="sheared")
    text = shown(summary([refused], RESULTS, [held], {"spool": 812}))

    for words in ("no connection", "held", "gantry-tilt", "sheared", "812 MB"):
        assert words in text


def test_it_says_which_form_went_to_whom_and_what_was_replaced_for_which_reason() -> None:
    """Two series, whose label maps the archive did not take; it got a SEG for each."""
    sent = replace(DOWN, state=DeliveryState.SENT)
    refused = replace(DOWN, sop_instance_uid="2.25.5", state=DeliveryState.REPLACED)
    rows = [
        replace(row, series_instance_uid=uid, reason="" if row is sent else NOT_TAKEN)
        for row in (sent, refused)
        for uid in ("1.2.3", "1.2.4")
    ]
    status = summary([], RESULTS, rows, {})

    sent_kinds = {(one.kind, one.objects[DeliveryState.SENT]) for one in status.traffic}
    assert sent_kinds == {("SEG", 2), ("SEG-LABELMAP", 0)}
    (replaced,) = status.replaced
    assert (replaced.kind, replaced.objects, replaced.reason) == ("SEG-LABELMAP", 2, NOT_TAKEN)
    assert NOT_TAKEN in shown(status)


def test_who_was_turned_away_is_shown_as_it_called_and_why() -> None:
    """Also a title that looks like markup."""
    row = Count(
        "calling AE title not known", "X[b]", "MSKNODE", "10.0.0.9", 17, NOW.isoformat()
    )
    status = replace(
        summary([], [], [], {}), turned_away=(row,), turned_away_since=NOW.isoformat()
    )
    text = shown(status)

    for words in ("Turned away since 2026-11-22", "X[b]", "10.0.0.9", "17", row.reason):
        assert words in text
    assert "Turned away" not in shown(summary([], [], [], {}))


@pytest.mark.parametrize("words", ["X[b]", "full [/disk]", "[red]", "C:\\[a]"])
def test_brackets_in_a_reason_are_brackets(words: str) -> None:
    """`[/disk]` ended `status` with a traceback, and `[red]` was left out."""
    held = replace(DOWN, state=DeliveryState.HELD, reason=words)
    refused = SERIES.become(SeriesState.REFUSED, NOW, code="pixel-data", reason=words)
    told = SERIES.become(SeriesState.REPORTED, NOW, reason=words)
    status = summary([refused, told], RESULTS, [held], {})

    assert shown(status).count(words) == 3


def test_what_was_taken_with_a_warning_is_shown_with_its_status() -> None:
    """0xB000, Coercion of Data Elements: the archive changed something."""
    sent = replace(DOWN, state=DeliveryState.SENT, status=0xB000, reason="")
    status = summary([], RESULTS, [sent, replace(sent, destination="b", status=0)], {})

    (warned,) = status.warned
    assert (warned.destination, warned.kind, warned.objects) == ("pacs", "SEG", 1)
    assert "0xB000" in shown(status)


def test_what_is_remarkable_about_a_report_is_shown_the_newest_first() -> None:
    """The lower leg left out, metal: the series has a report, but somebody should know."""
    cut = SERIES.become(SeriesState.REPORTED, NOW, reason="It was cut 40 mm below the knee")
    metal = replace(
        SERIES.become(SeriesState.REPORTED, NOW + timedelta(hours=1), reason="Metal in: femur"),
        series_instance_uid="1.2.4",
    )
    quiet = replace(cut, series_instance_uid="1.2.5", reason="")
    status = summary([cut, metal, quiet], [], [], {})

    assert [remark.words for remark in status.remarks] == [metal.reason, cut.reason]
    assert "Remarks on the latest reports" in shown(status)
    assert "Remarks" not in shown(summary([quiet], [], [], {}))


def test_a_node_that_never_ran_has_a_status_and_nothing_is_made(tmp_path: Path) -> None:
    config = parse_config({}, source="", folder=tmp_path)
    status = node_status(config)

    assert sum(status.series.values()) == 0
    assert status.free_mb["spool"] > 0
    assert list(tmp_path.iterdir()) == []
