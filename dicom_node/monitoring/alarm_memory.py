"""What is remembered of alarms, in the spool: since when each lasts, and who was told of it.

Each way of telling has its own record of what it has told, so that one that fails is tried
again and the others say nothing twice; a restart changes nothing of that. An alarm that is gone
is told to have ended only when it has been gone for a while: one that comes and goes is one,
and one that comes back soon after its end has to be gone for twice as long each time.
There is a file for the supervisors of a spool and one for its workers: a worker that is frozen
must not keep a supervisor from telling so.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from dicom_node.durable_files import write_durably
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.moments import moment_of

log = structlog.get_logger()

ALARMS: Final = ".alarms"
ENDS_AFTER: Final = timedelta(seconds=120)
LONGEST_END: Final = timedelta(hours=1)
"""So long an alarm that comes back again and again is gone before its end is told."""
COMES_BACK_WITHIN: Final = timedelta(hours=1)
MOST_RETURNS: Final = 10
"""More make no difference."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one way of telling has not told yet."""

    began: tuple[Alarm, ...] = ()
    ended: tuple[Alarm, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.began or self.ended)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered.

    since: when each alarm that lasts, or has only just gone, was first seen.
    gone: when those that have gone did.
    returns: of those whose end was not long ago, when that was, and how often each had come
        back before.
    told: by the way of telling, what it has told to have begun and not to have ended.
    failing: by the way of telling, since when it fails, and why.
    """

    since: Mapping[str, datetime] = field(default_factory=dict)
    gone: Mapping[str, datetime] = field(default_factory=dict)
    told: Mapping[str, Mapping[str, Alarm]] = field(default_factory=dict)
    failing: Mapping[str, tuple[datetime, str]] = field(default_factory=dict)
    returns: Mapping[str, tuple[datetime, int]] = field(default_factory=dict)

    def seeing(self, alarms: Iterable[Alarm], now: datetime) -> Memory:
        """The memory after a look that saw these alarms."""
        keys = {each.key for each in alarms}
        gone = {key: self.gone.get(key, now) for key in self.since if key not in keys}
        # From before the clock was set back: it would be remembered until that comes again.
        gone = {key: min(at, now) for key, at in gone.items()}
        over = {key for key, at in gone.items() if now - at >= self._ends_after(key)}
        since = {key: at for key, at in self.since.items() if key not in over}
        back = {key for key in keys if key not in since}
        since |= dict.fromkeys(back, now)
        lasting = {key: at for key, at in gone.items() if key not in over}
        returns = self._returns(since, back, over, now)
        return replace(self, since=since, gone=lasting, returns=returns)

    def _ends_after(self, key: str) -> timedelta:
        """How long an alarm has to be gone until it has ended."""
        _, count = self.returns.get(key, (None, 0))
        return min(ENDS_AFTER * (1 << count), LONGEST_END)

    def _returns(
        self, since: Mapping[str, datetime], back: set[str], over: set[str], now: datetime
    ) -> dict[str, tuple[datetime, int]]:
        """How often the alarms that last, or ended not long ago, have come back."""
        found = {
            key: (ended_at, count)
            for key, (ended_at, count) in self.returns.items()
            if (key in since and key not in back) or now - ended_at <= COMES_BACK_WITHIN
        }
        for key in back & set(found):
            ended_at, count = found[key]
            found[key] = (ended_at, min(count + 1, MOST_RETURNS))
        return found | {key: (now, found.get(key, (now, 0))[1]) for key in over}

    def changes(self, channel: str, alarms: Sequence[Alarm], least: Severity) -> Changes:
        """What a way of telling has to tell, once the memory has seen the alarms."""
        told = self.told.get(channel, {})
        wanted = [each for each in alarms if _is_told(each, least)]
        began = tuple(each for each in wanted if _is_news(each, told.get(each.key)))
        ended = tuple(each for key, each in told.items() if key not in self.since)
        return Changes(began, ended)

    def after(self, channel: str, changes: Changes) -> Memory:
        """The memory once these changes were told."""
        told = dict(self.told.get(channel, {}))
        for each in changes.ended:
            told.pop(each.key, None)
        told |= {each.key: each for each in changes.began}
        failing = {name: each for name, each in self.failing.items() if name != channel}
        return replace(self, told={**self.told, channel: told}, failing=failing)

    def after_failure(self, channel: str, reason: str, now: datetime) -> Memory:
        """The memory once a way of telling has failed."""
        since, _ = self.failing.get(channel, (now, ""))
        return replace(self, failing={**self.failing, channel: (since, reason)})

    def only(self, channels: Iterable[str]) -> Memory:
        """The memory without ways of telling that the settings have no more."""
        kept = set(channels)
        return replace(
            self,
            told={name: each for name, each in self.told.items() if name in kept},
            failing={name: each for name, each in self.failing.items() if name in kept},
        )


def _is_told(alarm: Alarm, least: Severity) -> bool:
    return least is Severity.WARNING or alarm.severity is Severity.CRITICAL


def _is_news(alarm: Alarm, told: Alarm | None) -> bool:
    """True for one that was not told yet, and for one that has become worse since."""
    if told is None:
        return True
    return alarm.severity is Severity.CRITICAL and told.severity is Severity.WARNING


@dataclass(slots=True)
class MemoryFile:
    """The memory of those who look after the same alarms.

    name: whose it is: "supervisors" or "workers".
    """

    spool: Path
    name: str
    _unsaved: Memory | None = None

    @property
    def path(self) -> Path:
        """Its file."""
        return self.spool / ALARMS / f"{self.name}.json"

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the memory; False where another process just does, and tells for us."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def load(self) -> Memory:
        """What is remembered; where a disk did not take it, what was to be written."""
        return self._unsaved if self._unsaved is not None else _load(self.path)

    def save(self, memory: Memory) -> None:
        """Remember; a disk that does not take it keeps nobody from telling."""
        if memory == _load(self.path):
            self._unsaved = None
            return
        try:
            write_durably(self.path, json.dumps(_values(memory), indent=1).encode())
        except OSError as error:
            log.warning("alarms.unremembered", error=type(error).__name__)
            self._unsaved = memory
        else:
            self._unsaved = None


def first_seen(spool: Path) -> Mapping[str, datetime]:
    """When each alarm that lasts was first seen, by its key."""
    found: dict[str, datetime] = {}
    for memory in _memories(spool):
        for key, at in memory.since.items():
            found[key] = min(at, found.get(key, at))
    return found


def untold(spool: Path) -> Mapping[str, tuple[datetime, str]]:
    """The ways of telling that fail, since when, and why."""
    found: dict[str, tuple[datetime, str]] = {}
    for memory in _memories(spool):
        found |= memory.failing
    return found


def _memories(spool: Path) -> Iterator[Memory]:
    for path in sorted((spool / ALARMS).glob("*.json")):
        yield _load(path)


def _load(path: Path) -> Memory:
    """The memory in a file; an empty one where there is none that can be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Memory(
            returns={
                key: (moment_of(at), int(count))
                for key, (at, count) in values.get("returns", {}).items()
            },
            since=_moments(values["since"]),
            gone=_moments(values["gone"]),
            told={
                name: {alarm.key: alarm for alarm in map(_alarm, alarms)}
                for name, alarms in values["told"].items()
            },
            failing={
                name: (moment_of(at), str(reason))
                for name, (at, reason) in values["failing"].items()
            },
        )
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("alarms.memory_unreadable", error=type(error).__name__)
        return Memory()


def _moments(values: Mapping[str, str]) -> dict[str, datetime]:
    return {key: moment_of(at) for key, at in values.items()}


def _values(memory: Memory) -> dict[str, Any]:
    return {
        "since": {key: at.isoformat() for key, at in memory.since.items()},
        "gone": {key: at.isoformat() for key, at in memory.gone.items()},
        "told": {
            name: [alarm_values(each) for each in alarms.values()]
            for name, alarms in memory.told.items()
        },
        "failing": {
            name: [at.isoformat(), reason] for name, (at, reason) in memory.failing.items()
        },
        "returns": {
            key: [at.isoformat(), count] for key, (at, count) in memory.returns.items()
        },
    }


def alarm_values(alarm: Alarm) -> dict[str, str | None]:
    """An alarm as JSON has it, without the series it is about."""
    return {
        "kind": alarm.kind.value,
        "severity": alarm.severity.value,
        "subject": alarm.subject,
        "reason": alarm.reason,
        "since": alarm.since.isoformat() if alarm.since is not None else None,
    }


def _alarm(values: Mapping[str, Any]) -> Alarm:
    since = values["since"]
    return Alarm(
        AlarmKind(values["kind"]),
        Severity(values["severity"]),
        str(values["subject"]),
        str(values["reason"]),
        moment_of(since) if since is not None else None,
    )
