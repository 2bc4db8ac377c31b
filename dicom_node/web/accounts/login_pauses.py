"""What slows down guessing of passwords, and keeps nobody out for what others do.

For one user from one site, pauses grow after a few wrong passwords; for one site with any
names likewise, a little later. In a pause nothing is looked at. Guesses at one user from many
sites cannot be told from that user, somewhere else: those are only answered slowly.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

FREE_FOR_USER: Final = 3
"""Wrong passwords of one user from one site before the first pause."""
FREE_FOR_SITE: Final = 10
"""Wrong passwords of one site, whatever the names."""
FREE_FROM_ANYWHERE: Final = 20
"""Wrong passwords of one user from anywhere, before answers become slow."""
FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 300.0
SLOW_S: Final = 2.0
FORGOTTEN_S: Final = 3600.0
"""Wrong passwords count for so long after the last."""
MOST: Final = 20_000
"""As many keys are remembered; the oldest are forgotten first."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Wrong:
    """How often in a row, and when last."""

    count: int
    last_s: float

    def pause_s(self, free: int) -> float:
        """How long after the last one nothing is looked at."""
        if self.count < free:
            return 0.0
        return float(min(FIRST_PAUSE_S * 2 ** min(self.count - free, 20), LONGEST_PAUSE_S))


class LoginPauses:
    """Remembers wrong passwords; in memory alone."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[Key, _Wrong] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, name: str, site: str, now_s: float) -> float:
        """How long this user has to wait here; 0 lets the try be made, and counts it.

        It counts as wrong until it has succeeded: a thousand tries at once are a thousand.
        """
        with self._lock:
            left_s = max(
                self._left_s((name, site), FREE_FOR_USER, now_s),
                self._left_s(("", site), FREE_FOR_SITE, now_s),
            )
            if left_s <= 0:
                for key in ((name, site), ("", site), (name, "")):
                    self._count(key, now_s)
        return max(left_s, 0.0)

    def slow_s(self, name: str, now_s: float) -> float:
        """How long the answer to this user takes, wherever they are."""
        with self._lock:
            found = self._found((name, ""), now_s)
        return SLOW_S if found is not None and found.count > FREE_FROM_ANYWHERE else 0.0

    def succeeded(self, name: str, site: str) -> None:
        """The password was right: what was wrong here is forgotten."""
        with self._lock:
            self._wrong.pop((name, site), None)
            self._wrong.pop((name, ""), None)
            found = self._wrong.get(("", site))
            if found is not None:
                self._wrong["", site] = _Wrong(max(found.count - 1, 0), found.last_s)

    def _left_s(self, key: Key, free: int, now_s: float) -> float:
        found = self._found(key, now_s)
        return found.last_s + found.pause_s(free) - now_s if found is not None else 0.0

    def _found(self, key: Key, now_s: float) -> _Wrong | None:
        """What is remembered of a key, unless it is long ago."""
        found = self._wrong.get(key)
        return found if found is not None and now_s - found.last_s < FORGOTTEN_S else None

    def _count(self, key: Key, now_s: float) -> None:
        found = self._found(key, now_s)
        self._wrong[key] = _Wrong(found.count + 1 if found is not None else 1, now_s)
        self._wrong.move_to_end(key)
        while len(self._wrong) > MOST:
            self._wrong.popitem(last=False)
