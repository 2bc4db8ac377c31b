"""The short form of `make kills`: a few random kills, and nothing is lost or doubled."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from thousand_kills import kill_at_random

KILLS = 5
SEED = 5


def test_random_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Which moments they hit depends on the machine; the seed only orders the victims."""
    tally = kill_at_random(tmp_path, KILLS, SEED)

    assert tally.kills.total() == KILLS
    assert tally.sent > 0
    assert tally.wrong == [], tally.words()
