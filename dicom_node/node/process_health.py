"""The node's processes by their heartbeats: alive, moving, or not; needs no database.

A supervisor says which roles it looks after, so a role that never began to beat is missed too.
What was ended in order is no alarm: then the node does not run, which is another thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.heartbeats import (
    BEAT_EVERY_S,
    STARTING,
    SUPERVISE,
    Beat,
    LoopBeat,
    Presence,
    presence,
    read_beats,
)
from dicom_node.settings.node import NodeConfig

STARTS_WITHIN_S: Final = 30.0
"""A role that has not begun to beat so long after its supervisor has will not do so."""
FORGOTTEN_AFTER: Final = timedelta(days=7)
"""Another node on the same spool that was killed so long ago is not coming back."""
NEEDED: Final = ("receive", "work")
"""Without one of each, wherever they run, a spool has no node."""


@dataclass(frozen=True, slots=True)
class ProcessHealth:
    """One process of a node.

    is_moving: whether it beats, and each of its loops does what it is for.
    loops: when each last did.
    words: what is to be said of it.
    is_expected: whether it is one that should run: its supervisor was not ended in order.
    stuck_since: since when it does not move, if it does not.
    """

    role: str
    node: str
    pid: int
    is_alive: bool
    is_moving: bool
    started_at: datetime
    beat_at: datetime
    loops: Mapping[str, datetime]
    words: str
    is_expected: bool = True
    version: str = ""
    stuck_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class NodeProcesses:
    """The processes of all nodes on a spool, and what is wrong with them.

    is_running: whether any node's supervisor is alive.
    words: that in a sentence: it never ran, runs, was ended or killed, and since when.
    """

    processes: tuple[ProcessHealth, ...]
    alarms: tuple[Alarm, ...]
    is_running: bool
    words: str


def node_processes(
    config: NodeConfig,
    now: datetime,
    beats: Sequence[Beat] | None = None,
    look: Callable[[Beat], Presence] = presence,
) -> NodeProcesses:
    """What the beats in a node's spool say.

    Args:
        config: says where they are.
        now: the moment.
        beats: those to judge; those in the spool without any.
        look: whether the process of a beat is there.
    """
    found = tuple(read_beats(config.node.spool) if beats is None else beats)
    kept = [each for each in found if not _is_forgotten(each, config, now)]
    judged = [_judged(each, now, config.alarms.stuck_s, look(each)) for each in kept]
    by_key = {(each.node, each.role): each for each in judged if each.role != SUPERVISE}
    supervisors = [
        (beat, each)
        for beat, each in zip(kept, judged, strict=True)
        if beat.role == SUPERVISE and beat.ended_at is None
    ]
    expected = {(beat.node, role) for beat, _ in supervisors for role in beat.serves}
    processes = tuple(
        replace(each, is_expected=_is_expected(each, beat, expected))
        for beat, each in zip(kept, judged, strict=True)
    )
    alarms = [alarm for pair in supervisors for alarm in _alarms(*pair, by_key, now)]
    is_running = any(each.is_alive for _, each in supervisors)
    if is_running:
        alarms += _missing(supervisors, now)
    words = _running_words(found, supervisors, is_running=is_running)
    return NodeProcesses(processes, tuple(alarms), is_running, words)


def node_name(config: NodeConfig) -> str:
    """How a node's beats call it: by its name; with SQLite there is only one."""
    if config.node.database_path is not None:
        return config.node.name or "node"
    return config.node.executor_id


def _is_forgotten(beat: Beat, config: NodeConfig, now: datetime) -> bool:
    return beat.node != node_name(config) and now - beat.beat_at > FORGOTTEN_AFTER


def _is_expected(each: ProcessHealth, beat: Beat, expected: set[tuple[str, str]]) -> bool:
    if beat.role == SUPERVISE:
        return beat.ended_at is None
    return (each.node, each.role) in expected


def _judged(beat: Beat, now: datetime, stuck_s: float, there: Presence) -> ProcessHealth:
    """One process, by its last beat and what the system says of it."""
    age_s = (now - beat.beat_at).total_seconds()
    # A clock that was set back makes beats of the future; the next one is right again.
    is_fresh = -stuck_s <= age_s <= stuck_s
    is_alive = beat.ended_at is None and (
        is_fresh if there is Presence.ELSEWHERE else there is not Presence.GONE
    )
    since, words = None, _end(beat)
    if is_alive:
        since, words = _trouble(beat, now, stuck_s, there, is_fresh=is_fresh)
    return ProcessHealth(
        role=beat.role,
        node=beat.node,
        pid=beat.pid,
        is_alive=is_alive,
        is_moving=is_alive and since is None,
        started_at=beat.started_at,
        beat_at=beat.beat_at,
        loops={name: loop.at for name, loop in beat.loops.items()},
        words=words,
        version=beat.version,
        stuck_since=since,
    )


def _trouble(
    beat: Beat, now: datetime, stuck_s: float, there: Presence, *, is_fresh: bool
) -> tuple[datetime | None, str]:
    """Since when a process that is there does not move, and how; None if it moves."""
    if there is Presence.STOPPED:
        return beat.beat_at, f"frozen by a signal; last sign of life at {_clock(beat.beat_at)}"
    if not is_fresh:
        return beat.beat_at, f"frozen: no sign of life since {_clock(beat.beat_at)}"
    late = [name for name, loop in sorted(beat.loops.items()) if _is_late(loop, now, stuck_s)]
    if late:
        since = min(beat.loops[name].at for name in late)
        return since, f"{', '.join(late)}: not moved since {_clock(since)}"
    return None, "starting" if STARTING in beat.loops else "moves"


def _is_late(loop: LoopBeat, now: datetime, stuck_s: float) -> bool:
    return (now - loop.at).total_seconds() > loop.every_s + stuck_s + BEAT_EVERY_S


def _end(beat: Beat) -> str:
    if beat.ended_at is not None:
        return f"ended in order at {_clock(beat.ended_at)}"
    return f"gone without an orderly end; last sign of life at {_clock(beat.beat_at)}"


def _alarms(
    beat: Beat,
    supervisor: ProcessHealth,
    by_key: Mapping[tuple[str, str], ProcessHealth],
    now: datetime,
) -> Iterator[Alarm]:
    """What is wrong with a node, by the supervisor's beat and its roles'."""
    if not supervisor.is_alive:
        words = f"the node was killed or crashed: {supervisor.words}"
        yield _gone(f"{beat.node} {SUPERVISE}", words, beat.beat_at)
        return
    yield from _stuck(supervisor)
    for role in beat.serves:
        each = by_key.get((beat.node, role))
        if each is not None and each.is_alive:
            yield from _stuck(each)
        elif each is not None and each.beat_at >= beat.started_at:
            yield _gone(f"{beat.node} {role}", each.words, each.beat_at)
        elif (now - beat.started_at).total_seconds() > STARTS_WITHIN_S:
            words = "it has not given a sign of life since the node was started"
            yield _gone(f"{beat.node} {role}", words, beat.started_at)


def _stuck(each: ProcessHealth) -> Iterator[Alarm]:
    if not each.is_moving:
        kind, severity = AlarmKind.PROCESS_STUCK, Severity.CRITICAL
        yield Alarm(kind, severity, f"{each.node} {each.role}", each.words, each.stuck_since)


def _gone(subject: str, words: str, since: datetime) -> Alarm:
    return Alarm(AlarmKind.PROCESS_GONE, Severity.CRITICAL, subject, words, since)


def _missing(
    supervisors: Sequence[tuple[Beat, ProcessHealth]], now: datetime
) -> Iterator[Alarm]:
    """The roles that no node has which is there."""
    alive = [beat for beat, each in supervisors if each.is_alive]
    served = {role for beat in alive for role in beat.serves}
    since = min((beat.started_at for beat in alive), default=now)
    if (now - since).total_seconds() > STARTS_WITHIN_S:
        for role in sorted(set(NEEDED) - served):
            yield _gone(role, f"no node on this spool serves `{role}`", since)


def _running_words(
    beats: Sequence[Beat],
    supervisors: Sequence[tuple[Beat, ProcessHealth]],
    *,
    is_running: bool,
) -> str:
    """Whether the node runs, and since when, as a sentence."""
    if is_running:
        alive = [beat for beat, each in supervisors if each.is_alive]
        since = min(beat.started_at for beat in alive)
        names = ", ".join(sorted({beat.node for beat in alive}))
        return f"the node runs ({names}), since {_clock(since)}"
    if supervisors:
        last = max(beat.beat_at for beat, _ in supervisors)
        return f"the node does not run: killed or crashed at {_clock(last)}"
    ends = [beat.ended_at for beat in beats if beat.role == SUPERVISE and beat.ended_at]
    if ends:
        return f"the node does not run: ended in order at {_clock(max(ends))}"
    return "the node has never run here"


def _clock(moment: datetime) -> str:
    """A moment as the clocks of this machine show it."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
