"""Claims about heartbeats: what a process says of itself, and what is believed of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from support.waiting import wait_until

from dicom_node.monitoring import heartbeats as module
from dicom_node.monitoring.heartbeats import (
    HEARTBEATS,
    Beat,
    Heart,
    Presence,
    presence,
    read_beats,
    software_version,
)


def beat_of(process: subprocess.Popen[bytes], spool: Path) -> Beat:
    """A beat as that process would have written it."""
    with Heart(spool, "work"):
        (mine,) = read_beats(spool)
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return replace(mine, pid=process.pid, start=words[19])


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_beat_says_which_process_it_is_and_when_its_loops_moved(tmp_path: Path) -> None:
    with Heart(tmp_path, "work", node="left") as heart:
        heart.note("watcher", 1.0)
        heart._write()
        (beat,) = read_beats(tmp_path)

    assert (beat.role, beat.node, beat.pid) == ("work", "left", os.getpid())
    assert beat.version == software_version()
    assert presence(beat) is Presence.THERE
    assert datetime.now(UTC) - beat.loops["watcher"].at < timedelta(seconds=10)
    assert beat.loops["watcher"].every_s == 1.0
    assert beat.ended_at is None


def test_a_loop_that_has_ended_is_expected_no_more(tmp_path: Path) -> None:
    with Heart(tmp_path, "work") as heart:
        heart.note("start", 60.0)
        heart.forget("start")
        heart._write()

        assert read_beats(tmp_path)[0].loops == {}


def test_a_heart_beats_again_and_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.05)
    with Heart(tmp_path, "work"):
        first = read_beats(tmp_path)[0].beat_at

        wait_until(lambda: read_beats(tmp_path)[0].beat_at > first)


def test_nodes_on_one_spool_have_a_beat_each_and_so_have_supervisors_of_roles(
    tmp_path: Path,
) -> None:
    hearts = [
        Heart(tmp_path, "work", node="a"),
        Heart(tmp_path, "work", node="b"),
        Heart(tmp_path, "supervise", node="a", serves=["work"]),
        Heart(tmp_path, "supervise", node="a", serves=["receive"]),
    ]
    for heart in hearts:
        heart.start()
        heart.stop()

    assert len(read_beats(tmp_path)) == len(hearts)


def test_the_name_of_a_node_leads_no_file_out_of_its_folder(tmp_path: Path) -> None:
    Heart(tmp_path, "work", node="../../x y").start().stop()

    assert [path.parent.name for path in tmp_path.rglob("*.json")] == [HEARTBEATS]


def test_an_orderly_end_is_told_and_an_end_by_an_error_is_not(tmp_path: Path) -> None:
    with Heart(tmp_path, "work"):
        pass
    assert read_beats(tmp_path)[0].ended_at is not None

    with pytest.raises(RuntimeError), Heart(tmp_path, "work"):
        raise RuntimeError

    assert read_beats(tmp_path)[0].ended_at is None


def test_a_file_is_overwritten_in_place_for_a_full_disk_gives_no_new_one(
    tmp_path: Path,
) -> None:
    heart = Heart(tmp_path, "work").start()
    (path,) = (tmp_path / HEARTBEATS).glob("*.json")
    before = path.stat()
    heart.stop()

    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)


def test_a_process_that_is_frozen_by_a_signal_is_seen_at_once(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    beat = beat_of(sleeper, tmp_path)
    assert presence(beat) is Presence.THERE
    sleeper.send_signal(signal.SIGSTOP)

    wait_until(lambda: presence(beat) is Presence.STOPPED)

    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: presence(beat) is Presence.THERE)


def test_a_killed_process_is_gone_also_before_it_is_waited_for(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    beat = beat_of(sleeper, tmp_path)
    sleeper.kill()

    wait_until(lambda: presence(beat) is Presence.GONE)


def test_another_process_with_the_same_number_is_not_taken_for_it(tmp_path: Path) -> None:
    Heart(tmp_path, "work").start().stop()
    (beat,) = read_beats(tmp_path)

    assert presence(replace(beat, start="12345")) is Presence.GONE
    assert presence(replace(beat, start="")) is Presence.GONE


def test_a_process_on_another_machine_is_known_by_its_beats_alone(tmp_path: Path) -> None:
    Heart(tmp_path, "work").start().stop()
    (beat,) = read_beats(tmp_path)

    assert presence(replace(beat, place="another")) is Presence.ELSEWHERE


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"role": "work"}', "\x00" * 4096, "[" * 100_000]
)
def test_a_damaged_file_is_no_beat(text: str, tmp_path: Path) -> None:
    folder = tmp_path / HEARTBEATS
    folder.mkdir()
    (folder / "work.node.json").write_text(text)

    assert read_beats(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beat_at", "2026-01-01T00:00:00"),
        ("started_at", "0001-01-01T00:00:00+14:00"),
        ("beat_at", "9999-12-31T23:59:59-14:00"),
        ("ended_at", "2026-01-01T00:00:00"),
        ("loops", {"main thread": ["2026-01-01T00:00:00", 1.0]}),
        ("pid", float("inf")),
    ],
)
def test_what_nobody_could_count_with_is_no_beat(
    name: str, value: object, tmp_path: Path
) -> None:
    """A file that a person or another version wrote must not keep health from its answer."""
    with Heart(tmp_path, "work"):
        (path,) = (tmp_path / HEARTBEATS).iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    assert read_beats(tmp_path) == ()


def test_a_disk_that_takes_no_beat_ends_nobody(tmp_path: Path) -> None:
    (tmp_path / HEARTBEATS).write_text("no folder")

    with Heart(tmp_path, "work") as heart:
        heart.note("watcher")

    assert read_beats(tmp_path) == ()


def test_loops_may_be_noted_by_many_threads_while_beats_are_written(tmp_path: Path) -> None:
    heart, until = Heart(tmp_path, "work").start(), time.monotonic() + 0.5
    failed = []

    def note(which: int) -> None:
        n = 0
        while time.monotonic() < until:
            heart.note(f"loop {which} {n % 50}")
            heart.forget(f"loop {which} {(n + 7) % 50}")
            n += 1

    threads = [threading.Thread(target=note, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        heart._write()
        failed += [1] if not read_beats(tmp_path) else []
    for thread in threads:
        thread.join()
    heart.stop()

    assert failed == []


@pytest.mark.parametrize("set_by", [timedelta(hours=-1), timedelta(hours=1)])
def test_all_moments_of_a_beat_can_be_compared_when_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_by: timedelta
) -> None:
    """Else a role that is gone would be older than its supervisor, and missed by nobody."""
    heart = Heart(tmp_path, "work")
    (tmp_path / HEARTBEATS).mkdir()
    heart.note("main thread")

    class SetClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + set_by

    monkeypatch.setattr(module, "datetime", SetClock)
    heart._write()
    (beat,) = read_beats(tmp_path)

    assert beat.beat_at - beat.started_at < timedelta(seconds=10)
    assert beat.started_at <= beat.loops["main thread"].at <= beat.beat_at
