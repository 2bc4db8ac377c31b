"""Moments in the node's own small files: what a damaged one says is no moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

YEARS: Final = range(1970, 9000)
"""Of a moment that can be counted with, in every zone."""


def moment_of(text: str) -> datetime:
    """A moment in ISO 8601 with its zone.

    Raises:
        ValueError: it has no zone, or lies where none of ours does.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.year not in YEARS:
        raise ValueError("no moment of a node's")
    return moment.astimezone(UTC)
