"""The table of the fault matrix in `docs/reliability.md`, and how each cell ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from support.fault_scenes import MOMENTS
from support.faults import FAULTS, Fault

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
TABLE: Final = re.compile(r"(?<=<!-- faults -->\n).*?(?=<!-- /faults -->)", re.DOTALL)
NEVER: Final = "—"
"""Marks a cell that cannot occur, or that tells nothing."""


def ending(fault: Fault, moment: str) -> str:
    """How a cell of the matrix has to end."""
    if moment in fault.instead:
        return NEVER
    if fault.for_ever:
        return "alarm"
    return "told, then once" if moment in fault.told else "once"


def table() -> str:
    """The table of a run of all cells, with the reasons for those that cannot occur."""
    lines = [f"| fault | {' | '.join(MOMENTS)} |", f"| --- |{' --- |' * len(MOMENTS)}"]
    for fault in FAULTS:
        cells = [ending(fault, moment) for moment in MOMENTS]
        lines.append(f"| {fault.name} | {' | '.join(cells)} |")
    whys: dict[str, list[str]] = {}
    for fault in FAULTS:
        for why in dict.fromkeys(fault.instead.values()):
            whys.setdefault(why, []).append(fault.name)
    lines += ["", *(f"{NEVER}: {', '.join(names)}: {why}." for why, names in whys.items()), ""]
    return "\n".join(lines)


def written_table() -> str:
    """What the document has."""
    found = TABLE.search(DOCUMENT.read_text(encoding="utf-8"))
    return found[0] if found else ""


def write_table() -> None:
    """Put the table of a run into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(TABLE.sub(lambda _: table(), text), encoding="utf-8")
