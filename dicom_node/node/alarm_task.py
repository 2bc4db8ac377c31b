"""The node's own watch on its alarms: looks, and tells what began and what ended.

A worker looks at everything once a minute. A supervisor, which has no database, looks at the
processes every ten seconds: a worker that is frozen or dead cannot say so itself. What a worker
tells is what a supervisor does not: all but the processes, and the supervisor itself.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final

import structlog

from dicom_node.monitoring.alarm_memory import Changes, Memory, MemoryFile
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.heartbeats import SUPERVISE, Heart
from dicom_node.monitoring.notify import Channel, NotToldError, channels_of
from dicom_node.node.process_health import node_name, node_processes
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.watch_clock import WatchClock

log = structlog.get_logger()

LOG: Final = "log"
OF_PROCESSES: Final = (AlarmKind.PROCESS_GONE, AlarmKind.PROCESS_STUCK)
USUAL_TELLING_S: Final = 60.0
GONE_FOR_S: Final = 20.0
"""A process that ended by itself is started anew within this time; to tell of it is noise."""


@dataclass(slots=True)
class Watch:
    """A look at alarms at a pace, on a thread of its own.

    is_first: whether this process is the one, of all nodes', that tells.
    """

    config: NodeConfig
    heart: Heart
    is_first: Callable[[], bool] = lambda: True
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    channels: Sequence[Channel] | None = None
    _memory: MemoryFile = field(init=False)
    _telling: dict[str, threading.Thread] = field(default_factory=dict, init=False)
    """By the way of telling, the thread that last told by it."""

    name: ClassVar[str]
    every_s: ClassVar[float]

    def __post_init__(self) -> None:
        """Take the memory, and the ways of telling that the settings have."""
        self._memory = MemoryFile(self.config.node.spool, self.name)
        if self.channels is None:
            self.change(self.config)

    def change(self, config: NodeConfig) -> None:
        """Look and tell as other settings say, from the next look on."""
        who = f"{config.node.ae_title} {node_name(config)} {self.heart.host}"
        self.config, self.channels = config, channels_of(config.alarms, who)

    def run(self, stop: threading.Event) -> threading.Thread:
        """Start to look, until told to stop."""
        thread = threading.Thread(target=self._run, args=(stop,), name="alarms", daemon=True)
        thread.start()
        return thread

    def look(self) -> None:
        """Look once, and tell what is new."""
        if not self._is_ours():
            return
        with self._memory.held() as is_held:
            if is_held:
                self._tell(tuple(self.found(self.clock())))

    @abstractmethod
    def found(self, now: datetime) -> Sequence[Alarm]:
        """The alarms that this process tells of."""

    def _run(self, stop: threading.Event) -> None:
        patience_s = self.every_s + self._longest_telling_s()
        set_clock = WatchClock(time.time, time.monotonic, 0.0)
        while not stop.wait(self.every_s):
            self.heart.note("alarms", patience_s)
            if set_clock.jumped():
                continue  # every beat seems to be of another time, until the next one
            try:
                self.look()
            except Exception:
                log.exception("task.failed", kind="alarms")

    def _is_ours(self) -> bool:
        """True if this process is to tell; a database that is away cannot say who is."""
        try:
            return self.is_first()
        except Exception:  # noqa: BLE001 - the alarm about it is to be told all the same
            return True

    def _tell(self, alarms: Sequence[Alarm]) -> None:
        channels = self.channels or ()
        memory = self._memory.load().seeing(alarms, self.clock())
        memory = memory.only((LOG, *(each.name for each in channels)))
        memory = _logged(memory, alarms)
        self._memory.save(memory)
        least = Severity(self.config.alarms.severity)
        for channel in channels:
            # Saved after each: one that is slow must not have another tell twice.
            memory = self._by(channel, memory, alarms, least)
            self._memory.save(memory)

    def _by(
        self, channel: Channel, memory: Memory, alarms: Sequence[Alarm], least: Severity
    ) -> Memory:
        """Tell by one way, if there is something to tell; the memory after that."""
        told = tuple(each for each in alarms if each.kind is not AlarmKind.ALARM_UNTOLD)
        changes = memory.changes(channel.name, told, least)
        if not changes:
            return memory
        try:
            self._tell_in_time(channel, changes)
        except NotToldError as error:
            log.warning("alarm.untold", kind=channel.name, reason=str(error))
            return memory.after_failure(channel.name, str(error), self.clock())
        began, ended = len(changes.began), len(changes.ended)
        log.info("alarm.told", kind=channel.name, count=began + ended)
        return memory.after(channel.name, changes)

    def _tell_in_time(self, channel: Channel, changes: Changes) -> None:
        """Tell by one way, on a thread of its own: a server that answers by drops has no end.

        Raises:
            NotToldError: nobody took it, or it has no end, now or since an earlier look.
        """
        last = self._telling.get(channel.name)
        if last is not None and last.is_alive():
            raise NotToldError("its server neither takes nor refuses what was told before")
        failed: list[Exception] = []

        def tell() -> None:
            try:
                channel.tell(changes)
            except Exception as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        thread = threading.Thread(target=tell, name=channel.name, daemon=True)
        self._telling[channel.name] = thread
        thread.start()
        within_s = self._longest_by_s().get(channel.name, USUAL_TELLING_S)
        thread.join(within_s)
        if thread.is_alive():
            raise NotToldError(f"its server has come to no end within {within_s:g} s")
        if failed:
            raise failed[0]

    def _longest_telling_s(self) -> float:
        return sum(self._longest_by_s().values())

    def _longest_by_s(self) -> dict[str, float]:
        """How long each way of telling may take."""
        mail, hook = self.config.alarms.mail, self.config.alarms.webhook
        longest = {}
        if mail is not None:
            longest["mail"] = 6 * mail.timeout_s
        if hook is not None:
            longest["webhook"] = hook.attempts * (hook.timeout_s + 10.0)
        return longest


@dataclass(slots=True)
class AlarmTask(Watch):
    """A worker's watch, on all but what supervisors tell of."""

    name: ClassVar[str] = "workers"
    every_s: ClassVar[float] = 60.0

    def found(self, now: datetime) -> Sequence[Alarm]:
        """All alarms that no supervisor tells of."""
        # What asks a database is loaded where there is one.
        from dicom_node.node.alarms import current_alarms  # noqa: PLC0415

        return [
            each
            for each in current_alarms(self.config, now)
            if each.kind not in OF_PROCESSES or each.subject.endswith(f" {SUPERVISE}")
        ]


@dataclass(slots=True)
class ProcessAlarmTask(Watch):
    """A supervisor's watch, on the processes of all nodes on its spool."""

    name: ClassVar[str] = "supervisors"
    every_s: ClassVar[float] = 10.0

    def found(self, now: datetime) -> Sequence[Alarm]:
        """Processes that are stuck, or gone for good."""
        mine = f"{node_name(self.config)} {SUPERVISE}"
        return [
            each
            for each in node_processes(self.config, now).alarms
            if each.subject != mine
            and (each.kind is AlarmKind.PROCESS_STUCK or _is_lasting(each, now))
        ]


def _is_lasting(alarm: Alarm, now: datetime) -> bool:
    """True if it has lasted, or nobody can say: the clock was set back since it began."""
    if alarm.since is None:
        return True
    return not 0 <= (now - alarm.since).total_seconds() <= GONE_FOR_S


def _logged(memory: Memory, alarms: Sequence[Alarm]) -> Memory:
    """Write into the log what began and ended; the memory after that."""
    changes = memory.changes(LOG, alarms, Severity.WARNING)
    for each in changes.began:
        say = log.error if each.severity is Severity.CRITICAL else log.warning
        say("alarm.began", kind=each.kind.value, key=each.subject, reason=each.reason)
    for each in changes.ended:
        log.info("alarm.ended", kind=each.kind.value, key=each.subject)
    return memory.after(LOG, changes)
