"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object],
    within_s: float = 30.0,
    words: str = "the condition holds",
    every_s: float = 0.02,
) -> None:
    """Return as soon as the condition holds; fail in words when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {words}")
        time.sleep(every_s)
