"""Claims about what is concluded from heartbeats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.monitoring.alarms import AlarmKind
from dicom_node.monitoring.heartbeats import SUPERVISE, Beat, LoopBeat, Presence
from dicom_node.node.process_health import NodeProcesses, node_processes
from dicom_node.settings.loading import parse_config

NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
CONFIG = parse_config({"node": {"name": "node"}}, source="", folder=Path("/nowhere"))
JUST = NOW - timedelta(seconds=1)
LONG_AGO = NOW - timedelta(seconds=90)


def beat(role: str, **change: object) -> Beat:
    serves = ("receive", "work") if role == SUPERVISE else ()
    usual = Beat(role, "node", 7, "1", "here", "ct-host", "1.0", LONG_AGO, JUST, serves=serves)
    return replace(usual, **change)  # type: ignore[arg-type]


RUNNING = (beat(SUPERVISE), beat("receive"), beat("work"))


def judged(*beats: Beat, gone: str = "", stopped: str = "") -> NodeProcesses:
    def look(each: Beat) -> Presence:
        if each.role in gone.split():
            return Presence.GONE
        if each.role in stopped.split():
            return Presence.STOPPED
        return Presence.ELSEWHERE if each.place == "elsewhere" else Presence.THERE

    return node_processes(CONFIG, NOW, beats, look)


def alarms(found: NodeProcesses) -> list[tuple[AlarmKind, str]]:
    return [(each.kind, each.subject) for each in found.alarms]


def test_a_node_that_beats_runs_and_there_is_no_alarm() -> None:
    found = judged(*RUNNING)

    assert (found.is_running, found.alarms) == (True, ())
    assert all(each.is_moving for each in found.processes)
    assert found.words.startswith("the node runs (node)")


def test_a_node_that_never_ran_is_told_from_one_that_ended_and_one_that_was_killed() -> None:
    ended = tuple(replace(each, ended_at=JUST) for each in RUNNING)
    killed = judged(*RUNNING, gone="supervise receive work")

    assert judged().words == "the node has never run here"
    assert "ended in order" in judged(*ended, gone="supervise receive work").words
    assert judged(*ended, gone="supervise receive work").alarms == ()
    assert "killed or crashed" in killed.words
    assert not killed.is_running
    assert alarms(killed) == [(AlarmKind.PROCESS_GONE, "node supervise")]


@pytest.mark.parametrize("role", ["supervise", "receive", "work"])
def test_a_process_that_is_frozen_by_a_signal_is_stuck_however_fresh_its_beat(
    role: str,
) -> None:
    found = judged(*RUNNING, stopped=role)

    assert found.is_running
    assert alarms(found) == [(AlarmKind.PROCESS_STUCK, f"node {role}")]
    assert "frozen" in found.alarms[0].reason
    assert found.alarms[0].since == JUST


def test_a_process_without_a_beat_for_long_is_stuck_though_it_is_there() -> None:
    found = judged(RUNNING[0], RUNNING[1], beat("work", beat_at=LONG_AGO))

    assert alarms(found) == [(AlarmKind.PROCESS_STUCK, "node work")]
    assert found.alarms[0].since == LONG_AGO


def test_a_loop_that_hangs_is_named_while_its_process_beats() -> None:
    loops = {"watcher": LoopBeat(LONG_AGO, 1.0), "poll": LoopBeat(JUST, 2.0)}
    found = judged(RUNNING[0], RUNNING[1], beat("work", loops=loops))

    assert alarms(found) == [(AlarmKind.PROCESS_STUCK, "node work")]
    assert found.alarms[0].reason.startswith("watcher: not moved since")
    assert found.alarms[0].since == LONG_AGO


def test_a_loop_that_is_slow_by_nature_is_given_its_time() -> None:
    loops = {"purge": LoopBeat(LONG_AGO, 3600.0)}

    assert judged(RUNNING[0], RUNNING[1], beat("work", loops=loops)).alarms == ()


@pytest.mark.parametrize("role", ["receive", "work"])
def test_a_role_that_is_gone_is_missed_while_its_supervisor_lives(role: str) -> None:
    found = judged(*RUNNING, gone=role)

    assert found.is_running
    assert alarms(found) == [(AlarmKind.PROCESS_GONE, f"node {role}")]


def test_a_role_that_never_began_to_beat_is_missed() -> None:
    assert alarms(judged(RUNNING[0], RUNNING[1])) == [(AlarmKind.PROCESS_GONE, "node work")]


def test_a_role_has_time_to_start_also_where_one_of_an_earlier_start_was_killed() -> None:
    just_started = beat(SUPERVISE, started_at=JUST)
    killed_before = beat("work", beat_at=LONG_AGO)
    found = judged(just_started, beat("receive"), killed_before, gone="work")

    assert found.alarms == ()


def test_a_spool_without_any_worker_is_told_so() -> None:
    found = judged(beat(SUPERVISE, serves=("receive",)), beat("receive"))

    assert alarms(found) == [(AlarmKind.PROCESS_GONE, "work")]
    assert "no node on this spool serves `work`" in found.alarms[0].reason


def test_a_role_that_is_served_no_more_is_not_missed() -> None:
    found = judged(*RUNNING, beat("web", beat_at=LONG_AGO), gone="web")

    assert found.alarms == ()
    assert {each.role: each.is_expected for each in found.processes}["web"] is False


def test_nodes_that_share_a_spool_are_judged_each_by_its_own_supervisor() -> None:
    other = [replace(each, node="other", place="elsewhere") for each in RUNNING]
    silent = [replace(each, beat_at=LONG_AGO) for each in other]

    assert judged(*RUNNING, *other).alarms == ()
    found = judged(*RUNNING, *silent)
    assert alarms(found) == [(AlarmKind.PROCESS_GONE, "other supervise")]
    assert found.is_running


def test_another_node_that_was_killed_a_week_ago_is_forgotten_and_our_own_is_not() -> None:
    past = NOW - timedelta(days=8)
    other = [
        replace(each, node="other", place="elsewhere", beat_at=past, started_at=past)
        for each in RUNNING
    ]
    own = [replace(each, beat_at=past, started_at=past) for each in RUNNING]

    assert judged(*RUNNING, *other).alarms == ()
    assert "killed" in judged(*own, gone="supervise receive work").words


def test_a_clock_that_was_set_back_does_not_make_a_silent_process_a_living_one() -> None:
    future = NOW + timedelta(days=2)
    found = judged(RUNNING[0], RUNNING[1], beat("work", beat_at=future))

    assert alarms(found) == [(AlarmKind.PROCESS_STUCK, "node work")]
