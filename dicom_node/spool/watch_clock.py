"""The clock that ages of images are told by, and since when it can be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

JUMP_S: Final = 2.0
"""The clock is being kept right in smaller steps than this."""


class WatchClock:
    """Seconds since the epoch, by a clock that may be set at any time.

    What came before `since_s` came unwatched: its sender gets the time to continue that it
    would have had. So does what came before the clock was set, or the machine slept, which
    `steady` tells: a clock that nobody sets.
    """

    def __init__(
        self, now: Callable[[], float], steady: Callable[[], float] | None, since_s: float
    ) -> None:
        self.now = now
        self.since_s = since_s
        self._steady = steady or now
        self._offset_s = now() - self._steady()
        self._set_s = 0.0

    def jumped(self) -> bool:
        """True if it was set since the last look; then all is watched anew."""
        now_s = self.now()
        offset_s = now_s - self._steady()
        jump_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(jump_s) <= JUMP_S:
            return False
        log.warning("clock.jumped", seconds=round(jump_s))
        self.since_s = self._set_s = now_s
        return True

    def received_s(self, stamp_s: float) -> float:
        """The time at which an image came, by its file's time."""
        received_s = max(stamp_s, self._set_s)  # as if it had come when the clock was set
        if received_s > self.now() + JUMP_S:
            return self.since_s  # it came before the clock was set back
        return received_s
