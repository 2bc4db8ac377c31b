"""The node as a whole: one supervisor, and a process for each role.

The supervisor holds the node's locks, starts the roles (`roles.py`), starts one again that
ended by itself, and ends them in order when a signal says so (`monitoring/signals.py`). Told
to, it reads its settings again and hands them on (`reloading.py`). It holds one end of a pipe
to each role: when it is killed, they end too, and a restarted node finds port, locks and work
free.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, open_trail
from dicom_node.monitoring.heartbeats import SUPERVISE
from dicom_node.monitoring.logs import configure_logging
from dicom_node.monitoring.signals import ENDS_A_NODE, held_back, signals_taken
from dicom_node.network.tls_contexts import identity_context
from dicom_node.node import tls_checks
from dicom_node.node.alarm_task import ProcessAlarmTask
from dicom_node.node.limits import limit_concerns, raise_limits, system_limits
from dicom_node.node.reloading import Reloading
from dicom_node.node.roles import (
    EXIT_UNUSABLE,
    MAIN,
    ROLE_SETTINGS,
    TAKEN,
    RoleSettings,
    heart_of,
)
from dicom_node.node.service_task import ServiceTask
from dicom_node.persistence.locks import hold_lock
from dicom_node.settings.node import NodeConfig

log = structlog.get_logger()

ANALYSIS_COMMAND: Final = (sys.executable, "-m", "dicom_node.analysis.child")
ROLE_NAMES: Final = ("receive", "work", "web")
"""Together they are a node; each may also be served by itself, on machines of its own."""
MODULES: Final = {
    "receive": "dicom_node.node.roles",
    "work": "dicom_node.node.roles",
    "web": "dicom_node.web.process",
}
"""What each is started as: `python -m MODULE ROLE`."""
DISPENSABLE: Final = frozenset({"web"})
"""A role without which a node that has started goes on: it is tried again, and again."""
FIRST_WAIT_S: Final = 1.0
MAX_WAIT_S: Final = 30.0
STEADY_S: Final = 60.0
"""A role that ran this long is started again at once when it ends."""
PATIENCE_S: Final = 15.0
"""The time that roles may take to end before they are killed."""
PORT_PATIENCE_S: Final = 5.0
"""The time for which a receiver whose supervisor was killed may still hold the port."""


def serve(
    config: NodeConfig,
    analysis_command: Sequence[str] = ANALYSIS_COMMAND,
    roles_here: Sequence[str] = ROLE_NAMES,
    path: Path | None = None,
) -> None:
    """Run a node, or the one role of it that is run here, until a signal ends it.

    Args:
        config: Its settings.
        analysis_command: What analyses a request file.
        roles_here: Which roles are run here.
        path: The file of the settings, to be read again; without it that is refused.

    Raises:
        ConfigurationError: a folder, the port or the bundle cannot be used.
        EngineBusyError: another node works on the same database or spool.
    """
    configure_logging(config.logging)
    structlog.contextvars.bind_contextvars(role="supervise")
    stop = threading.Event()
    roles = _Roles(config, tuple(analysis_command), tuple(roles_here))
    reloading = Reloading(path, config, roles.to_hand, roles.follow)
    with (
        signals_taken(stop.set, ENDS_A_NODE, reloading.ask),
        _locks(config, roles_here),
        _audited(config, stop),
    ):
        if "receive" in roles_here:
            _wait_for_ports(config)
        if "web" in roles_here:
            _see_that_web_can_start(config)
        for concern in tls_checks.warnings(config, datetime.now(UTC)):
            log.warning("tls.concern", reason=concern)
        for concern in limit_concerns(config, system_limits()):
            log.warning("limit.concern", reason=concern)
        raise_limits(config)
        log.info("node.started", host=config.node.host, port=config.node.port, pid=os.getpid())
        names = [role.name for role in roles.running]
        with heart_of(config, SUPERVISE, names) as heart:
            roles.watch = ProcessAlarmTask(config, heart)
            roles.watch.run(stop)
            ServiceTask(config, names).run(stop)
            try:
                while not stop.wait(0.2):
                    heart.note(MAIN)
                    for role in tuple(roles.running):
                        role.supervise(time.monotonic())
                    roles.forget_ended()
                    reloading.step()
            finally:
                _end(roles.running)
                log.info("node.stopped")


@contextmanager
def _audited(config: NodeConfig, stop: threading.Event) -> Iterator[None]:
    """Tell the audit trail of the node's start and end, and send its copy meanwhile."""
    trail = open_trail(config, "supervise")
    trail.record(AuditEvent(AuditKind.APPLICATION_STARTED, words="node"))
    sender = None
    if config.audit is not None and config.audit.syslog is not None:
        from dicom_node.monitoring.audit_syslog import forward  # noqa: PLC0415 - loads TLS

        sender = forward(config.audit, stop)
    try:
        yield
    finally:
        trail.record(AuditEvent(AuditKind.APPLICATION_STOPPED, words="node"))
        trail.close()
        stop.set()
        if sender is not None:
            sender.join(timeout=5.0)


@dataclass(slots=True)
class _Roles:
    """The roles that are run here, by the settings of the moment.

    watch: tells of those that do not run; it goes by the same settings.
    """

    config: NodeConfig
    analysis_command: tuple[str, ...]
    names: tuple[str, ...]
    running: list[_Role] = field(init=False)
    watch: ProcessAlarmTask | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Begin with those that the settings want."""
        self.running = [self._role(name) for name in self.names if self._is_wanted(name)]

    def to_hand(self) -> list[_Role]:
        """Those that take other settings while they run: all but the web, which starts anew."""
        return [role for role in self.running if role.name != "web"]

    def follow(self, config: NodeConfig) -> None:
        """Go by other settings; the web's process starts anew for it, or ends."""
        changed, self.config = config != self.config, config
        if self.watch is not None:
            self.watch.change(config)
        if not changed or "web" not in self.names:
            return
        running = [role for role in self.running if role.name == "web"]
        for role in running:
            role.start_anew(config, for_good=not self._is_wanted("web"))
        if not running and self._is_wanted("web"):
            self.running.append(self._role("web"))
            self.running[-1].is_told = True

    def forget_ended(self) -> None:
        """Forget those that have ended as they were told to."""
        self.running = [
            role for role in self.running if role.process is not None or not role.is_over
        ]

    def _is_wanted(self, name: str) -> bool:
        return name != "web" or self.config.web is not None

    def _role(self, name: str) -> _Role:
        return _Role(name, RoleSettings(self.config, self.analysis_command))


@dataclass(slots=True)
class _Role:
    """One process, started again with growing patience when it ends.

    owes: how many answers to settings that it was handed.
    is_over: whether it is not started again.
    is_told: whether it runs by settings that were not the node's first; should it find that it
        cannot, that does not end the node.
    """

    name: str
    settings: RoleSettings
    process: subprocess.Popen[bytes] | None = None
    due_s: float = 0.0
    started_s: float = 0.0
    wait_s: float = field(default=FIRST_WAIT_S)
    owes: int = 0
    is_over: bool = False
    is_told: bool = False
    _kill_at_s: float | None = None
    _reader: threading.Thread | None = None
    _words: list[str] = field(default_factory=list)
    _taken: dict[str, str] = field(default_factory=dict)

    def hand(self, config: NodeConfig) -> None:
        """Give it other settings; it is started with them from now on."""
        self.settings = replace(self.settings, config=config)
        self._taken.clear()
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(OSError):  # it has ended: it will be started with them
            self.owes += 1
            self._tell(self.process)

    def start_anew(self, config: NodeConfig, *, for_good: bool) -> None:
        """End its process in order, and start one by other settings, or none."""
        self.settings = replace(self.settings, config=config)
        self.is_over, self.is_told = for_good, True
        self._kill_at_s = time.monotonic() + PATIENCE_S
        if self.process is not None:
            self.process.terminate()

    def reply(self, digest: str) -> str | None:
        """Why it did not take settings; empty where it did or starts with them."""
        if self.process is None or self.process.poll() is not None:
            return ""
        return self._taken.get(digest)

    def _tell(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.write(ROLE_SETTINGS.dump_json(self.settings) + b"\n")
            process.stdin.flush()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Read what it says: whether it takes settings, and why it cannot start."""
        for line in process.stdout or ():
            try:
                taken = TAKEN.validate_json(line)
            except ValueError:
                self._words.append(line.decode(errors="replace").strip())
            else:
                self._taken[taken.digest] = taken.problem
                self.owes = max(self.owes - 1, 0)

    def close(self) -> None:
        """Close the pipes of a process that has ended; what it said is read to its end."""
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self._reader is not None:
            self._reader.join(timeout=5.0)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def supervise(self, now_s: float) -> None:
        """Start the process if it is due; look after one that ended."""
        if self.process is None:
            if now_s >= self.due_s and not self.is_over:
                self._start(now_s)
        elif self.process.poll() is not None:
            self._look_after(self.process, now_s)
        elif self._kill_at_s is not None and now_s > self._kill_at_s:
            self.process.kill()

    def _start(self, now_s: float) -> None:
        """Start the process and give it its settings; the pipe stays open as its lifeline."""
        with held_back():
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", MODULES[self.name], self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        self.started_s = now_s
        self._words, self.owes = [], 0
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self._tell(self.process)
        log.info("role.started", key=self.name, pid=self.process.pid)

    def _look_after(self, process: subprocess.Popen[bytes], now_s: float) -> None:
        """Plan the next start of a process that ended by itself, or give up."""
        self.close()
        if self._kill_at_s is not None:
            self.process, self._kill_at_s, self.due_s = None, None, now_s
            return
        reason = "\n".join(self._words).strip()
        is_needed = self.name not in DISPENSABLE and not self.is_told
        if process.returncode == EXIT_UNUSABLE and is_needed:
            raise ConfigurationError(reason)
        if now_s - self.started_s > STEADY_S:
            self.wait_s = FIRST_WAIT_S
        words = f"{self.name} ended by itself, with exit code {process.returncode}"
        lost = AuditEvent(
            AuditKind.APPLICATION_STOPPED, AuditOutcome.MAJOR_FAILURE, words=words
        )
        open_trail(self.settings.config, "supervise").record(lost)
        log.error(
            "role.lost",
            key=self.name,
            exit_code=process.returncode,
            wait_s=self.wait_s,
            reason=reason,
        )
        self.process = None
        self.due_s = now_s + self.wait_s
        self.wait_s = min(2 * self.wait_s, MAX_WAIT_S)


def _end(roles: Sequence[_Role]) -> None:
    """Ask every process to end, and kill those that do not."""
    processes = [(role, role.process) for role in roles if role.process is not None]
    for _, process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE_S
    for role, process in processes:
        try:
            # Its pipe stays open meanwhile: closed, it ends the process out of order.
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        role.close()


@contextmanager
def _locks(config: NodeConfig, roles_here: Sequence[str]) -> Iterator[None]:
    """The folders, made and claimed for the roles that are run here.

    With SQLite a spool has one receiver and one worker; on a server's nodes, one of each
    name, and the leases see to the rest.
    """
    node = config.node
    whose = "" if node.database_path is not None else f".{node.executor_id}"
    claims = [
        (node.spool / f".lock.{role}{whose}", f"the spool {node.spool}") for role in roles_here
    ]
    if node.database_path is not None and "work" in roles_here:
        lock = node.database_path.with_name(f"{node.database_path.name}.lock")
        claims.insert(0, (lock, f"the database {node.database_path}"))
    held = []
    try:
        for folder in (node.spool, node.work, node.results):
            folder.mkdir(parents=True, exist_ok=True)
        for path, what in claims:
            held.append(hold_lock(path, what))
        yield
    except OSError as error:
        words = ": ".join(str(each) for each in (error.filename, error.strerror) if each)
        raise ConfigurationError(words or type(error).__name__) from error
    finally:
        for descriptor in held:
            os.close(descriptor)


def _see_that_web_can_start(config: NodeConfig) -> None:
    """See that the web's port and certificate can be used, if there is to be a web.

    That is asked once, before anything starts: what goes wrong later ends no node.
    """
    if config.web is None:
        return
    if config.web.tls is not None:
        try:
            identity_context(config.web.tls)
        except ConfigurationError as error:
            raise ConfigurationError(f"web.tls: {error}") from None
    _wait_for_port("web.port", config.web.host, config.web.port)


def _wait_for_ports(config: NodeConfig) -> None:
    """See that the ports can be bound; a receiver that is just ending gets a little time."""
    _wait_for_port("node.port", config.node.host, config.node.port)
    listening = config.receive.tls
    if listening is not None and listening.plain_port is not None:
        _wait_for_port("receive.tls.plain_port", config.node.host, listening.plain_port)


def _wait_for_port(key: str, host: str, port: int) -> None:
    """See that one port can be bound."""
    deadline = time.monotonic() + PORT_PATIENCE_S
    while True:
        try:
            with socket.create_server((host, port)):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{key}: cannot listen on {host}:{port}: {error.strerror}"
                ) from None
        time.sleep(0.1)
