"""The settings of a role that runs: it is handed others between two pieces of its work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dicom_node.persistence.jobs import JobKind, JobRequest
from dicom_node.settings.node import NodeConfig

Take = Callable[[NodeConfig], None]


@dataclass(slots=True)
class LiveSettings:
    """What a role is told of new settings; those that come while it starts, when it has."""

    _take: Take | None = None
    _pending: NodeConfig | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def taken_by(self, take: Take) -> None:
        """Have new settings given to a function; at once those that came meanwhile."""
        with self._lock:
            self._take = take
            if self._pending is not None:
                take(self._pending)
                self._pending = None

    def give(self, config: NodeConfig) -> None:
        """Give new settings to the role, in whose thread it is called.

        Raises:
            Exception: it cannot take them.
        """
        with self._lock:
            if self._take is None:
                self._pending = config
            else:
                self._take(config)


def live_kinds(now: Callable[[], Mapping[str, JobKind]]) -> Mapping[str, JobKind]:
    """Kinds of jobs for the engine, each done as the settings of its beginning say.

    A job that is under way ends as it began; the next one of the same series is by the new
    settings.
    """

    def run(name: str, payload: Mapping[str, Any]) -> tuple[JobRequest, ...]:
        return tuple(now()[name].run(payload))

    def fall_back(name: str, payload: Mapping[str, Any]) -> tuple[JobRequest, ...]:
        job = now()[name].fallback
        return tuple(job(payload)) if job is not None else ()

    return {
        name: JobKind(
            partial(run, name),
            kind.queue,
            fallback=partial(fall_back, name) if kind.fallback is not None else None,
        )
        for name, kind in now().items()
    }
