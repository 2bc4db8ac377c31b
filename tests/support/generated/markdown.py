"""Markdown: tables whose cells are words and nothing else, and lines of a bearable length."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, an empty line after it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def cell(words: str) -> str:
    """Words that stay in their cell."""
    return " ".join(words.split()).replace("|", "\\|")


def code(words: str) -> str:
    """A value as it is typed; nothing stays nothing."""
    return f"`{words}`" if words else ""


def wrapped(words: str) -> str:
    """A paragraph, an empty line after it."""
    return textwrap.fill(words, 110, break_on_hyphens=False) + "\n"
