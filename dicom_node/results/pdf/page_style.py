"""The look of a summary's pages: paper, fonts, colours, and tight tables."""

from __future__ import annotations

from functools import cache
from typing import Final
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

MARGIN: Final = 12 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
DASH: Final = "\u2013"

BLACK: Final = Color(0.08, 0.09, 0.11)
GREY: Final = Color(0.36, 0.38, 0.42)
RULE: Final = Color(0.8, 0.81, 0.84)
SHADE: Final = Color(0.95, 0.955, 0.965)

MOST_IN_A_CELL: Final = 600
"""Characters: a row of a table does not go on on the next page."""

TIGHT: Final = (
    ("FONT", (0, 0), (-1, -1), "Vera"),  # also of empty cells: else a font is not embedded
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ("TOPPADDING", (0, 0), (-1, -1), 1),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 1.2),
    ("LEFTPADDING", (0, 0), (-1, -1), 2),
    ("RIGHTPADDING", (0, 0), (-1, -1), 2),
)


@cache
def fonts() -> tuple[str, str]:
    """Regular and bold, embedded: they come with the library, so no machine lacks them."""
    for name in ("Vera", "VeraBd"):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="VeraBd")
    return "Vera", "VeraBd"


def style(
    size: float, colour: Color = BLACK, *, bold: bool = False, alignment: int = TA_LEFT
) -> ParagraphStyle:
    """The style of a paragraph of a size in points."""
    regular, heavy = fonts()
    return ParagraphStyle(
        "",
        fontName=heavy if bold else regular,
        fontSize=size,
        leading=size * 1.3,
        textColor=colour,
        alignment=alignment,
    )


def text(words: str, of_style: ParagraphStyle) -> Paragraph:
    """Words as a paragraph; what means markup in them stays words."""
    return Paragraph(escape(words), of_style)


def cell(words: str, of_style: ParagraphStyle) -> Paragraph:
    """Words of any length in a table: what makes no row of a page is cut, and says so."""
    if len(words) > MOST_IN_A_CELL:
        words = f"{words[:MOST_IN_A_CELL]} (and {len(words) - MOST_IN_A_CELL} more characters)"
    return text(words, of_style)
