"""The page of a summary that says what has changed since the patient's last scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.units import mm
from reportlab.platypus import Spacer, Table, TableStyle

from dicom_node.results.changes import Change, Changes, StructureChange
from dicom_node.results.pdf.page_style import BLACK, DASH, GREY, RULE, TIGHT, WIDTH, style, text

NOTHING_TO_COMPARE: Final = (
    "No earlier scan of this patient was found that the same model had analysed with the same "
    "settings."
)
NO_STRUCTURES: Final = "No structure was accepted in both scans."
OTHER_PROTOCOL: Final = (
    "Scanner, reconstruction kernel, slice thickness or tube voltage differ between the two "
    "scans: volumes and HU differ for that alone."
)
EXPLANATION: Final = (
    "Only structures that were accepted in both scans. Range: the lowest and the highest "
    "difference between any Monte Carlo sample of this scan and any of the earlier one. "
    "Where it contains 0 the two overlap, and the change is grey with a ~: nothing says that "
    "there is one. The range is no confidence interval. It does not cover what posture, "
    "contrast agent, scanner or protocol do to a number."
)

COLUMNS: Final = (
    # words, width, alignment
    ("Structure", 44 * mm, TA_LEFT),
    ("Then, cm\u00b3", 17 * mm, TA_RIGHT),
    ("Now, cm\u00b3", 17 * mm, TA_RIGHT),
    ("Change, cm\u00b3 (range)", 37 * mm, TA_RIGHT),
    ("%", 11 * mm, TA_RIGHT),
    ("Then, HU", 14.5 * mm, TA_RIGHT),
    ("Now, HU", 14.5 * mm, TA_RIGHT),
    ("Change, HU (range)", WIDTH - 155 * mm, TA_RIGHT),
)


def changes_page(changes: Changes) -> Iterator[Any]:
    """What has changed, structure by structure; or that there is nothing to compare with."""
    if changes.then is None:
        yield text("Change since the last scan", style(13, bold=True))
        yield Spacer(0, 2 * mm)
        yield text(NOTHING_TO_COMPARE, style(9))
        return
    yield text(f"Change since the scan of {changes.then.isoformat()}", style(13, bold=True))
    yield Spacer(0, 2 * mm)
    if not changes.is_same_protocol:
        yield text(OTHER_PROTOCOL, style(9, bold=True))
        yield Spacer(0, 2 * mm)
    if not changes.structures:
        yield text(NO_STRUCTURES, style(9))
        return
    yield _table(changes)
    yield Spacer(0, 2 * mm)
    yield text(EXPLANATION, style(7, GREY))


def _table(changes: Changes) -> Table:
    head = [
        text(words, style(6.8, bold=True, alignment=alignment))
        for words, _, alignment in COLUMNS
    ]
    table = Table(
        [head, *map(_row, changes.structures)],
        colWidths=[width for _, width, _ in COLUMNS],
        repeatRows=1,
    )
    rules = [
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, BLACK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.25, RULE),
    ]
    table.setStyle(TableStyle([*TIGHT, *rules]))
    return table


def _row(of: StructureChange) -> list[Any]:
    volume, hu = of.volume_cm3, of.mean_hu
    cells = (
        (of.segment.title, None),
        (_number(volume.then if volume else None), None),
        (_number(volume.now if volume else None), None),
        (_difference(volume), volume),
        (_percent(volume), volume),
        (_number(hu.then if hu else None), None),
        (_number(hu.now if hu else None), None),
        (_difference(hu), hu),
    )
    return [
        text(words, style(6.8, _colour(change), alignment=alignment))
        for (words, change), (_, _, alignment) in zip(cells, COLUMNS, strict=True)
    ]


def _colour(change: Change | None) -> Any:
    return GREY if change is not None and change.is_within_range else BLACK


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _difference(change: Change | None) -> str:
    """`-12.3 (-20.0 to -4.5)`; `~ +0.3 (-0.5 to +1.1)` where there may be none."""
    if change is None:
        return DASH
    words = f"{change.difference:+z.1f}"
    if change.range is None:
        return words
    mark = "~ " if change.is_within_range else ""
    return f"{mark}{words} ({change.range[0]:+z.1f} to {change.range[1]:+z.1f})"


def _percent(change: Change | None) -> str:
    if change is None or change.percent is None:
        return DASH
    return f"{change.percent:+z.0f}"
