"""Claims about what is told of alarms: once when one begins, once when it has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.monitoring.alarm_memory import (
    ENDS_AFTER,
    Changes,
    Memory,
    MemoryFile,
    first_seen,
    untold,
)
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity

NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
HELD = Alarm(AlarmKind.DELIVERY_HELD, Severity.WARNING, "pacs", "2 objects held")
DOWN = Alarm(AlarmKind.DESTINATION_DOWN, Severity.CRITICAL, "pacs", "takes nothing", NOW)
ALL = Severity.WARNING


def told(memory: Memory, channel: str = "mail") -> Memory:
    """The memory after one way of telling has told of everything."""
    return memory.after(channel, memory.changes(channel, (HELD, DOWN), ALL))


def test_an_alarm_is_told_once_however_often_it_is_seen() -> None:
    memory = Memory().seeing((HELD,), NOW)
    first = memory.changes("mail", (HELD,), ALL)
    memory = memory.after("mail", first)

    assert first == Changes(began=(HELD,))
    for minute in range(1, 5):
        memory = memory.seeing((HELD,), NOW + timedelta(minutes=minute))
        again = replace(HELD, reason=f"{minute} objects held")
        assert not memory.changes("mail", (again,), ALL)


def test_its_end_is_told_once_it_has_been_gone_for_a_while() -> None:
    memory = told(Memory().seeing((HELD, DOWN), NOW))
    just = memory.seeing((DOWN,), NOW + timedelta(seconds=60))
    over = just.seeing((DOWN,), NOW + timedelta(seconds=60) + ENDS_AFTER)

    assert not just.changes("mail", (DOWN,), ALL)
    ended = over.changes("mail", (DOWN,), ALL)
    assert [each.kind for each in ended.ended] == [AlarmKind.DELIVERY_HELD]
    assert not over.after("mail", ended).changes("mail", (DOWN,), ALL)


def test_an_end_is_told_although_the_clock_was_set_back_by_a_day() -> None:
    past = NOW - timedelta(days=1)
    memory = told(Memory().seeing((HELD, DOWN), NOW)).seeing((DOWN,), NOW)
    memory = memory.seeing((DOWN,), past).seeing((DOWN,), past + ENDS_AFTER)

    ended = memory.changes("mail", (DOWN,), ALL).ended
    assert [each.kind for each in ended] == [AlarmKind.DELIVERY_HELD]


def test_one_that_comes_and_goes_is_one_alarm_since_it_was_first_seen() -> None:
    memory = told(Memory().seeing((HELD, DOWN), NOW))
    for minute in range(1, 6):
        seen = (HELD, DOWN) if minute % 2 else (DOWN,)
        memory = memory.seeing(seen, NOW + timedelta(minutes=minute))

        assert not memory.changes("mail", seen, ALL)
    assert memory.since[HELD.key] == NOW


@pytest.mark.parametrize("away_min", [3, 5, 10])
def test_one_that_comes_back_again_and_again_floods_nobody(
    tmp_path: Path, away_min: int
) -> None:
    """There for five minutes and gone for some, for a whole day, through restarts."""
    file, memory, messages = MemoryFile(tmp_path, "workers"), Memory(), 0
    file.path.parent.mkdir()
    for minute in range(24 * 60):
        seen = (DOWN,) if minute % (5 + away_min) < 5 else ()
        memory = memory.seeing(seen, NOW + timedelta(minutes=minute))
        changes = memory.changes("mail", seen, ALL)
        messages += bool(changes)
        memory = memory.after("mail", changes)
        if minute % 240 == 0:
            file.save(memory)
            memory = file.load()
    file.save(memory)

    assert messages <= 10
    later = NOW + timedelta(days=2)
    quiet = file.load().seeing((), later).seeing((), later + timedelta(hours=1))
    assert quiet.changes("mail", (), ALL).ended
    assert not quiet.seeing((), later + timedelta(hours=3)).returns


def test_each_way_of_telling_has_told_its_own() -> None:
    memory = told(Memory().seeing((HELD, DOWN), NOW))

    assert not memory.changes("mail", (HELD, DOWN), ALL)
    assert memory.changes("webhook", (HELD, DOWN), ALL).began == (HELD, DOWN)


def test_what_is_less_severe_than_wanted_is_not_told_until_it_becomes_so() -> None:
    worse = replace(HELD, severity=Severity.CRITICAL)
    memory = Memory().seeing((HELD,), NOW)

    assert not memory.changes("mail", (HELD,), Severity.CRITICAL)
    assert memory.changes("mail", (worse,), Severity.CRITICAL).began == (worse,)
    assert told(memory).changes("mail", (worse,), ALL).began == (worse,)


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    memory = told(Memory().seeing((HELD, DOWN), NOW)).after_failure("webhook", "503", NOW)
    MemoryFile(tmp_path, "workers").save(memory)

    assert MemoryFile(tmp_path, "workers").load() == memory
    assert first_seen(tmp_path) == {HELD.key: NOW, DOWN.key: NOW}
    assert untold(tmp_path) == {"webhook": (NOW, "503")}


def test_a_way_of_telling_that_fails_is_remembered_since_its_first_failure() -> None:
    memory = Memory().after_failure("mail", "no connection", NOW)
    memory = memory.after_failure("mail", "421", NOW + timedelta(minutes=5))

    assert memory.failing == {"mail": (NOW, "421")}
    assert memory.after("mail", Changes()).failing == {}
    assert memory.only(["log"]).failing == {}


def test_who_finds_the_memory_held_leaves_the_telling_to_its_holder(tmp_path: Path) -> None:
    with MemoryFile(tmp_path, "workers").held() as first:
        with MemoryFile(tmp_path, "workers").held() as second:
            assert (first, second) == (True, False)
        with MemoryFile(tmp_path, "supervisors").held() as other:
            assert other
    with MemoryFile(tmp_path, "workers").held() as again:
        assert again


def test_a_damaged_memory_is_an_empty_one_and_is_replaced(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path, "workers")
    since = '"since": {"x": "2026-01-01T00:00:00"}'
    naive = f'{{{since}, "gone": {{}}, "told": {{}}, "failing": {{}}}}'
    for text in ("", "[]", "{}", '{"since": 3}', "\x00", naive, "[" * 100_000):
        file.path.parent.mkdir(exist_ok=True)
        file.path.write_text(text)
        assert file.load() == Memory()
    memory = Memory().seeing((HELD,), NOW)
    file.save(memory)

    assert MemoryFile(tmp_path, "workers").load() == memory


def test_a_disk_that_does_not_take_it_makes_nobody_tell_twice(tmp_path: Path) -> None:
    (tmp_path / ".alarms").write_text("no folder")
    file, memory = MemoryFile(tmp_path, "workers"), told(Memory().seeing((HELD, DOWN), NOW))
    file.save(memory)

    assert file.load() == memory
