"""The node as a whole: one supervisor, and a process for each role.

The supervisor holds the node's locks, starts the roles (`roles.py`), starts one again that
ended by itself, and ends them in order when a signal says so (`monitoring/signals.py`). It
holds one end of a pipe to each: when it is killed, they end too, and a restarted node finds
port, locks and work free.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.heartbeats import SUPERVISE
from dicom_node.monitoring.logs import configure_logging
from dicom_node.monitoring.signals import ENDS_A_NODE, held_back, signals_taken
from dicom_node.network.tls_contexts import identity_context
from dicom_node.node import tls_checks
from dicom_node.node.alarm_task import ProcessAlarmTask
from dicom_node.node.limits import limit_concerns, raise_limits, system_limits
from dicom_node.node.roles import (
    EXIT_UNUSABLE,
    MAIN,
    ROLE_SETTINGS,
    RoleSettings,
    heart_of,
)
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
) -> None:
    """Run a node, or the one role of it that is run here, until a signal ends it.

    Raises:
        ConfigurationError: a folder, the port or the bundle cannot be used.
        EngineBusyError: another node works on the same database or spool.
    """
    configure_logging(config.logging)
    structlog.contextvars.bind_contextvars(role="supervise")
    stop = threading.Event()
    with signals_taken(stop.set, ENDS_A_NODE), _locks(config, roles_here):
        if "receive" in roles_here:
            _wait_for_ports(config)
        if "web" in roles_here:
            _see_that_web_can_start(config)
        for concern in tls_checks.warnings(config, datetime.now(UTC)):
            log.warning("tls.concern", reason=concern)
        for concern in limit_concerns(config, system_limits()):
            log.warning("limit.concern", reason=concern)
        raise_limits(config)
        settings = (
            ROLE_SETTINGS.dump_json(RoleSettings(config, tuple(analysis_command))) + b"\n"
        )
        roles = [_Role(name, settings) for name in roles_here if name != "web" or config.web]
        log.info("node.started", host=config.node.host, port=config.node.port, pid=os.getpid())
        with heart_of(config, SUPERVISE, [role.name for role in roles]) as heart:
            ProcessAlarmTask(config, heart).run(stop)
            try:
                while not stop.wait(0.2):
                    heart.note(MAIN)
                    for role in roles:
                        role.supervise(time.monotonic())
            finally:
                _end(roles)
                log.info("node.stopped")


@dataclass(slots=True)
class _Role:
    """One process, started again with growing patience when it ends."""

    name: str
    settings: bytes
    process: subprocess.Popen[bytes] | None = None
    due_s: float = 0.0
    started_s: float = 0.0
    wait_s: float = field(default=FIRST_WAIT_S)

    def supervise(self, now_s: float) -> None:
        """Start the process if it is due; look after one that ended."""
        if self.process is None:
            if now_s >= self.due_s:
                self._start(now_s)
        elif self.process.poll() is not None:
            self._look_after(self.process, now_s)

    def _start(self, now_s: float) -> None:
        """Start the process and give it its settings; the pipe stays open as its lifeline."""
        with held_back():
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", MODULES[self.name], self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        self.started_s = now_s
        if self.process.stdin is not None:
            self.process.stdin.write(self.settings)
            self.process.stdin.flush()
        log.info("role.started", key=self.name, pid=self.process.pid)

    def _look_after(self, process: subprocess.Popen[bytes], now_s: float) -> None:
        """Plan the next start of a process that ended by itself, or give up."""
        words, _ = process.communicate()
        reason = words.decode(errors="replace").strip()
        if process.returncode == EXIT_UNUSABLE and self.name not in DISPENSABLE:
            raise ConfigurationError(reason)
        if now_s - self.started_s > STEADY_S:
            self.wait_s = FIRST_WAIT_S
        log.error(
            "role.lost",
            key=self.name,
            exit_code=process.returncode,
            wait_s=self.wait_s,
            **({"reason": reason} if process.returncode == EXIT_UNUSABLE else {}),
        )
        self.process = None
        self.due_s = now_s + self.wait_s
        self.wait_s = min(2 * self.wait_s, MAX_WAIT_S)


def _end(roles: Sequence[_Role]) -> None:
    """Ask every process to end, and kill those that do not."""
    processes = [role.process for role in roles if role.process is not None]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE_S
    for process in processes:
        try:
            # Not `communicate`: it closes the pipe, which ends the process out of order.
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


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
