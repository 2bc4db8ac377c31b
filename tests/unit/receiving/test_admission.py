"""Claims about who may send: the rule alone, host names, room, and the count of the refused."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from dicom_node.receiving.admission import Rules, judge
from dicom_node.receiving.host_names import Address, HostNames
from dicom_node.receiving.rejections import (
    BOOK,
    MAX_ROWS,
    Caller,
    Reason,
    TurnedAway,
    read_turned_away,
)
from dicom_node.settings.senders import Sender
from dicom_node.spool.capacity import Room
from dicom_node.spool.spool import Spool

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CALLER = Caller("CT1", "MSKNODE", "10.1.2.3")


def nobody(_name: str) -> Collection[Address]:
    return ()


def names(_name: str) -> Collection[Address]:
    return (ip_address("10.1.2.3"), ip_address("fd00::3"))


# --- the rule


def test_without_rules_anyone_may_come_in() -> None:
    assert judge(CALLER, Rules(), nobody) is None


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [
        (Sender(ae_title="CT1"), None),
        (Sender(ae_title="CT2"), Reason.CALLING_TITLE),
        (Sender(ae_title="ct1"), Reason.CALLING_TITLE),
        (Sender(ae_title="CT1", hosts=("10.1.2.3",)), None),
        (Sender(ae_title="CT1", hosts=("10.1.2.4",)), Reason.HOST),
        (Sender(ae_title="CT1", hosts=("10.1.0.0/16",)), None),
        (Sender(ae_title="CT1", hosts=("10.2.0.0/16", "10.1.2.0/24")), None),
        (Sender(ae_title="CT1", hosts=("10.2.0.0/16",)), Reason.HOST),
        (Sender(ae_title="CT1", hosts=("fd00::/8",)), Reason.HOST),
        (Sender(ae_title=None, hosts=("10.1.2.3",)), None),
        (Sender(ae_title=None, hosts=("10.1.2.4",)), Reason.HOST),
    ],
)
def test_title_and_address_must_both_fit(allowed: Sender, reason: Reason | None) -> None:
    assert judge(CALLER, Rules((allowed,)), nobody) is reason


def test_the_address_of_one_sender_does_not_let_another_in() -> None:
    rules = Rules(
        (
            Sender(ae_title="CT1", hosts=("10.0.0.1",)),
            Sender(ae_title="CT2", hosts=("10.1.2.3",)),
        )
    )

    assert judge(CALLER, rules, nobody) is Reason.HOST


@pytest.mark.parametrize(
    ("host", "reason"),
    [("10.1.2.3", None), ("::ffff:10.1.2.3", None), ("fd00::3", None), ("::1", Reason.HOST)],
)
def test_a_host_name_stands_for_its_addresses(host: str, reason: Reason | None) -> None:
    rules = Rules((Sender(ae_title="CT1", hosts=("ct1.example",)),))

    assert judge(Caller("CT1", "MSKNODE", host), rules, names) is reason


def test_a_host_name_that_nobody_knows_lets_nobody_in() -> None:
    rules = Rules((Sender(ae_title="CT1", hosts=("ct1.example",)),))

    assert judge(CALLER, rules, nobody) is Reason.HOST


def test_a_name_for_us_that_is_not_ours_is_said_first() -> None:
    rules = Rules((Sender(ae_title="CT9"),), called_ae_titles=("MSK2",))

    assert judge(CALLER, rules, nobody) is Reason.CALLED_TITLE


def test_every_reason_of_the_rule_has_an_answer_of_the_standard() -> None:
    """PS3.8 Table 9-21: permanent for who is not known, transient for what may pass."""
    assert {each: each.rejection for each in Reason} == {
        Reason.CALLED_TITLE: (1, 1, 7),
        Reason.CALLING_TITLE: (1, 1, 3),
        Reason.HOST: (1, 1, 3),
        Reason.CERTIFICATE: (1, 1, 3),
        Reason.TOO_MANY: (2, 3, 2),
        Reason.NO_ROOM: (2, 3, 2),
    }


def test_a_name_is_looked_up_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(name)
        return [(2, 1, 6, "", ("10.1.2.3", 0))]

    monkeypatch.setattr("dicom_node.receiving.host_names.socket.getaddrinfo", answer)
    now_s = [0.0]
    look_up = HostNames(clock=lambda: now_s[0])

    found = [look_up("ct1"), look_up("ct1")]
    now_s[0] = 61.0
    look_up("ct1")

    assert found == [{ip_address("10.1.2.3")}] * 2
    assert asked == ["ct1", "ct1"]


def test_a_name_server_that_is_away_shuts_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[(2, 1, 6, "", ("10.1.2.3", 0))]])

    def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
        try:
            return next(answers)
        except StopIteration:
            raise OSError(-3, "Temporary failure in name resolution") from None

    monkeypatch.setattr("dicom_node.receiving.host_names.socket.getaddrinfo", answer)
    now_s = [0.0]
    look_up = HostNames(clock=lambda: now_s[0])

    before = look_up("ct1")
    now_s[0] = 61.0

    assert look_up("ct1") == before == {ip_address("10.1.2.3")}


# --- room


def test_what_is_kept_counts_at_once_and_what_is_purged_at_the_next_measurement(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    room = Room(spool, 0, max_spool_bytes=100)
    room.measure()
    spool.keep("1.2", "1.2.3", (b"m" * 20, b"d" * 60))
    room.add(80)

    before = [bool(room.lacks(size)) for size in (20, 21)]
    room.measure()
    measured = [bool(room.lacks(size)) for size in (20, 21)]
    spool.purge("1.2")
    room.measure()

    assert before == measured == [False, True]
    assert not room.lacks(100)


def test_what_is_kept_while_the_spool_is_measured_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    room = Room(spool, 0, max_spool_bytes=100)

    def measured() -> int:
        room.add(60)
        return 50

    monkeypatch.setattr(spool, "size_bytes", measured)
    room.measure()

    assert room.lacks() == "the spool is as large as it may be"


# --- the count


def test_the_count_outlives_the_process(tmp_path: Path) -> None:
    for hours in range(3):
        later = NOON + timedelta(hours=hours)
        TurnedAway(tmp_path, clock=lambda later=later: later).note(Reason.HOST, CALLER)

    since, (row,) = read_turned_away(tmp_path)

    assert since == "2026-11-23T12:00:00+00:00"
    assert (row.count, row.last_at) == (3, "2026-11-23T14:00:00+00:00")


def test_hundreds_of_made_up_titles_make_no_long_file(tmp_path: Path) -> None:
    book = TurnedAway(tmp_path)
    for number in range(200):
        book.note(Reason.CALLING_TITLE, Caller(f"X{number}", "MSKNODE", "10.0.0.1"))

    _, rows = read_turned_away(tmp_path)

    assert len(rows) == MAX_ROWS + 1
    assert sum(row.count for row in rows) == 200


def test_a_title_that_is_no_title_reaches_no_terminal(tmp_path: Path) -> None:
    TurnedAway(tmp_path).note(Reason.CALLING_TITLE, Caller("\x1b[2JX", "A\nB", "::1"))

    _, (row,) = read_turned_away(tmp_path)

    assert (row.calling_ae_title, row.called_ae_title) == ("?[2JX", "A?B")


@pytest.mark.parametrize(
    "damaged", ['{"since": ', "[]", '{"since": "yesterday", "counts": []}', '{"since": 1}']
)
def test_a_count_that_cannot_be_read_or_written_stops_nobody(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / BOOK).write_text(damaged)
    book = TurnedAway(tmp_path)

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        book.note(Reason.NO_ROOM, CALLER)
    book.note(Reason.NO_ROOM, CALLER)

    assert [row.count for row in read_turned_away(tmp_path)[1]] == [2]
