"""What the supervisor tells the service manager: that the node is ready, and that it lives.

Ready is a node whose receiver listens and whose other roles have begun; a database that is
away keeps no scanner waiting. Alive is one each of whose processes beats. One that is frozen
for good is thereby started anew by the service manager. A loop that does not come on is not a
reason: that may be a database's or a peer's fault, and is an alarm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from dicom_node.monitoring.service_manager import (
    ALIVE,
    READY,
    STOPPING,
    ServiceManager,
    our_manager,
)
from dicom_node.node.process_health import ProcessHealth, node_name, node_processes
from dicom_node.node.roles import MAIN
from dicom_node.settings.node import NodeConfig

log = structlog.get_logger()

LOOK_EVERY_S: Final = 2.0
LATE_AFTER: Final = timedelta(seconds=30)


@dataclass(slots=True)
class ServiceTask:
    """Tells the service manager, on a thread of its own.

    roles: those that are run here.
    started_at: older beats are of processes that ran before.
    began_s: the same by the steady clock, which tells it where the other was set back since.
    """

    config: NodeConfig
    roles: Sequence[str]
    manager: ServiceManager = field(default_factory=our_manager)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began_s: float = field(default_factory=time.monotonic)
    is_ready: bool = False

    def run(self, stop: threading.Event) -> None:
        """Start to tell, until told to stop; does nothing where there is nobody to tell."""
        if self.manager.address:
            threading.Thread(
                target=self._run, args=(stop,), name="service", daemon=True
            ).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            try:
                self.look(datetime.now(UTC))
            except Exception:
                log.exception("task.failed", kind="service")
        self.manager.tell(STOPPING)

    def look(self, now: datetime) -> None:
        """Look at the heartbeats once, and tell what they say."""
        found = node_processes(self.config, now)
        by_steady = now - timedelta(seconds=time.monotonic() - self.began_s)
        started_at = min(self.started_at, by_steady)
        ours = {
            each.role: each
            for each in found.processes
            if each.node == node_name(self.config) and each.started_at >= started_at
        }
        here = [ours[role] for role in self.roles if role in ours]
        if not self.is_ready and len(here) == len(self.roles) and all(map(_has_begun, here)):
            self.is_ready = True
            self.manager.tell(READY)
        # A beat of the future: the clock was set back, and there was none since.
        late = [each.role for each in here if abs(now - each.beat_at) > LATE_AFTER]
        if late:
            self.manager.tell(f"STATUS=no heartbeat of {', '.join(late)}")
        else:
            self.manager.tell(ALIVE, f"STATUS={found.words}")


def _has_begun(process: ProcessHealth) -> bool:
    """True if a role does what it is for; one that works may have to wait for its database."""
    return process.role != "receive" or MAIN in process.loops
