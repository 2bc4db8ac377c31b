"""A protocol to sign: facts, a table of checks with their outcome, and room for signatures.

What is checked is said by whoever fills it (`node/acceptance/`); here is how it looks. It names
no patient but the test patient, whose name its maker gives it as a fact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import BytesIO
from typing import Any, Final

from reportlab.lib.colors import Color
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    KeepTogether,
    PageTemplate,
    Spacer,
    Table,
    TableStyle,
)

from dicom_node.results.headers import MODEL_NAME
from dicom_node.results.pdf.page_style import (
    BLACK,
    GREY,
    MARGIN,
    RULE,
    SHADE,
    TIGHT,
    WIDTH,
    cell,
    fonts,
    style,
    text,
)


class Outcome(StrEnum):
    """The outcome of a check; what could not be checked is for a person to look at."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a protocol.

    subject: what it is about: the node, a destination, a measurement.
    claim: what should be so.
    found: what was found, in words with figures.
    """

    subject: str
    claim: str
    outcome: Outcome
    found: str


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of the way, by this machine's clock.

    seconds: since the hop before; None of the first.
    """

    what: str
    at: datetime
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
    """All that a protocol says.

    facts: of the installation and the scan: name and value.
    instructions: what is left for a person to do.
    """

    title: str
    made_at: datetime
    facts: Sequence[tuple[str, str]]
    checks: Sequence[Check]
    hops: Sequence[Hop]
    instructions: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """True if no check failed; what was not checked is counted beside it."""
        return self.count(Outcome.FAILED) == 0

    def count(self, outcome: Outcome) -> int:
        """How many checks ended so."""
        return sum(each.outcome is outcome for each in self.checks)

    @property
    def words(self) -> str:
        """The outcome of all in one line."""
        parts = [f"{self.count(each)} {each.value}" for each in Outcome if self.count(each)]
        return f"{'passed' if self.passed else 'failed'}: {', '.join(parts)}"


COLOURS: Final = {
    Outcome.PASSED: Color(0.06, 0.42, 0.2),
    Outcome.FAILED: Color(0.7, 0.08, 0.08),
    Outcome.NOT_CHECKED: Color(0.6, 0.33, 0.0),
}
"""Dark enough for white paper; the word always stands beside its colour."""

SIGNERS: Final = ("For the site", "For the installation")
CHECK_WIDTHS: Final = (30 * mm, 56 * mm, 20 * mm, WIDTH - 106 * mm)
TIME: Final = "%Y-%m-%d %H:%M:%S %Z"


def protocol_pdf(protocol: Protocol) -> bytes:
    """A protocol as a PDF of A4 pages; the same bytes for the same protocol."""
    document = BytesIO()
    bottom = MARGIN + 6 * mm
    frame = Frame(MARGIN, bottom, WIDTH, A4[1] - MARGIN - bottom, 0, 0, 0, 0)
    template = BaseDocTemplate(
        document,
        pagesize=A4,
        pageTemplates=[PageTemplate(frames=[frame], onPage=_foot_of(protocol))],
        title=f"{protocol.title}: {protocol.words}",
        author=MODEL_NAME,
        creator=MODEL_NAME,
        initialFontName=fonts()[0],
        invariant=1,
    )
    template.build(list(_story(protocol)))
    return document.getvalue()


def _foot_of(protocol: Protocol) -> Any:
    """Draws at the bottom of each page what protocol it belongs to."""

    def foot(canvas: Any, template: Any) -> None:
        canvas.setFont(fonts()[0], 7)
        canvas.setFillColor(GREY)
        words = f"{protocol.title}, {protocol.made_at:{TIME}}. {protocol.words}"
        canvas.drawString(MARGIN, 9 * mm, words)
        canvas.drawRightString(A4[0] - MARGIN, 9 * mm, f"page {template.page}")

    return foot


def _story(protocol: Protocol) -> Iterator[Any]:
    """What the pages hold, in order."""
    colour = COLOURS[Outcome.PASSED if protocol.passed else Outcome.FAILED]
    yield text(f"{protocol.made_at:{TIME}}", style(8, GREY, alignment=TA_RIGHT))
    yield text(protocol.title, style(18, bold=True))
    yield Spacer(0, 2 * mm)
    yield text(protocol.words.capitalize(), style(15, colour, bold=True))
    yield Spacer(0, 3 * mm)
    yield _pairs(protocol.facts)
    yield Spacer(0, 4 * mm)
    yield text("Checks", style(11, bold=True))
    yield Spacer(0, 1 * mm)
    yield _checks(protocol.checks)
    yield Spacer(0, 4 * mm)
    yield KeepTogether([text("Times", style(11, bold=True)), Spacer(0, mm), _hops(protocol)])
    yield Spacer(0, 4 * mm)
    if protocol.instructions:
        yield KeepTogether(list(_left_to_do(protocol.instructions)))
        yield Spacer(0, 4 * mm)
    yield KeepTogether([text("Signatures", style(11, bold=True)), _signatures()])


def _left_to_do(lines: Sequence[str]) -> Iterator[Any]:
    """What a person has to do, below its heading."""
    yield text("Left to do", style(11, bold=True))
    for line in lines:
        yield Spacer(0, 1 * mm)
        yield text(line, style(8))


def _pairs(facts: Sequence[tuple[str, str]]) -> Table:
    """Names and values beside each other."""
    name, value = style(8, GREY), style(8)
    rows = [[cell(left, name), cell(right, value)] for left, right in facts]
    table = Table(rows, colWidths=(42 * mm, WIDTH - 42 * mm))
    table.setStyle(TableStyle([*TIGHT, ("LINEABOVE", (0, 0), (-1, 0), 0.5, RULE)]))
    return table


def _checks(checks: Sequence[Check]) -> Table:
    """The table of checks, with a line below each."""
    head = style(7.5, bold=True)
    rows = [[text(each, head) for each in ("What", "Should be so", "Outcome", "Found")]]
    rows += [_check_row(each) for each in checks]
    table = Table(rows, colWidths=CHECK_WIDTHS, repeatRows=1)
    marks = [
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, BLACK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.25, RULE),
        ("BACKGROUND", (0, 0), (-1, 0), SHADE),
    ]
    table.setStyle(TableStyle([*TIGHT, *marks]))
    return table


def _check_row(check: Check) -> list[Any]:
    body = style(7.5)
    return [
        cell(check.subject, body),
        cell(check.claim, body),
        text(check.outcome.value, style(7.5, COLOURS[check.outcome], bold=True)),
        cell(check.found, body),
    ]


def _hops(protocol: Protocol) -> Table:
    """When each step was done, and how long after the one before."""
    body, right = style(8), style(8, alignment=TA_RIGHT)
    rows = [
        [
            cell(each.what, body),
            text(f"{each.at:{TIME}}", body),
            text("" if each.seconds is None else f"+ {each.seconds:.1f} s", right),
        ]
        for each in protocol.hops
    ]
    table = Table(rows or [["", "", ""]], colWidths=(WIDTH - 80 * mm, 55 * mm, 25 * mm))
    table.setStyle(TableStyle([*TIGHT, ("LINEBELOW", (0, 0), (-1, -1), 0.25, RULE)]))
    return table


def _signatures() -> Table:
    """Lines for name, date and signature."""
    body = style(8, GREY)
    rows = [[text(who, style(8)), "", "", ""] for who in SIGNERS]
    rows.append([text(each, body) for each in ("", "Name", "Date", "Signature")])
    heights = [14 * mm] * len(SIGNERS) + [5 * mm]
    table = Table(
        rows, colWidths=(38 * mm, 52 * mm, 30 * mm, WIDTH - 120 * mm), rowHeights=heights
    )
    lines = [("LINEBELOW", (1, 0), (-1, len(SIGNERS) - 1), 0.6, BLACK)]
    bottom = [("VALIGN", (0, 0), (-1, len(SIGNERS) - 1), "BOTTOM")]
    table.setStyle(TableStyle([*TIGHT, *lines, *bottom]))
    return table
