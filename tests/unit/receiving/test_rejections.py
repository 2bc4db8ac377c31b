"""The count of those who were turned away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.receiving.rejections import (
    MAX_ROWS,
    REJECTIONS_FILE,
    Caller,
    Reason,
    RejectionLog,
    read_rejections,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CALLER = Caller("CT1", "MSKNODE", "10.1.2.3")


def test_the_count_outlives_the_process(tmp_path: Path) -> None:
    for hours in range(3):
        later = NOON + timedelta(hours=hours)
        RejectionLog(tmp_path, clock=lambda later=later: later).note(Reason.HOST, CALLER)

    since, (row,) = read_rejections(tmp_path)

    assert since == "2026-11-23T12:00:00+00:00"
    assert (row.count, row.last_at) == (3, "2026-11-23T14:00:00+00:00")


def test_hundreds_of_made_up_titles_make_no_long_file(tmp_path: Path) -> None:
    book = RejectionLog(tmp_path)
    for number in range(200):
        book.note(Reason.CALLING_TITLE, Caller(f"X{number}", "MSKNODE", "10.0.0.1"))

    _, rows = read_rejections(tmp_path)

    assert len(rows) == MAX_ROWS + 1
    assert sum(row.count for row in rows) == 200


def test_a_title_that_is_no_title_reaches_no_terminal(tmp_path: Path) -> None:
    RejectionLog(tmp_path).note(Reason.CALLING_TITLE, Caller("\x1b[2JX", "A\nB", "::1"))

    _, (row,) = read_rejections(tmp_path)

    assert (row.calling_ae_title, row.called_ae_title) == ("?[2JX", "A?B")


@pytest.mark.parametrize(
    "damaged",
    [
        '{"since": ',
        "[]",
        '{"since": "yesterday", "counts": []}',
        '{"since": "2026-11-23T12:00:00", "counts": []}',
        '{"since": 1}',
        "[" * 100_000,
    ],
)
def test_a_count_that_cannot_be_read_or_written_stops_nobody(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / REJECTIONS_FILE).write_text(damaged)
    book = RejectionLog(tmp_path)

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        book.note(Reason.NO_ROOM, CALLER)
    book.note(Reason.NO_ROOM, CALLER)

    assert [row.count for row in read_rejections(tmp_path)[1]] == [2]
