"""Jobs as values: what is to be done, and by what rules.

The queue that does them is `job_queue.py`, which a process that only looks need not load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Payload: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job to do.

    kind: which job.
    key: names this piece of work for ever; the same key again is the same work.
    payload: JSON values.
    delay_s: how long to wait before it may begin.
    """

    kind: str
    key: str
    payload: Payload
    delay_s: float = 0.0


Job: TypeAlias = Callable[[Payload], tuple[JobRequest, ...]]


@dataclass(frozen=True, slots=True)
class JobKind:
    """The rules for jobs of one kind.

    run: does one.
    queue: where they wait.
    fallback: done instead when `run` has raised at every try.
    """

    run: Job
    queue: str
    fallback: Job | None = None
