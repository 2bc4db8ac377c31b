"""The case as a document of two pages, for people who read documents.

First page: verdict, reasons and the QC picture; second page: every structure with its
numbers. It names no patient: whose it is stands in the header of the object that carries
it. The same case gives the same bytes: nothing in it tells when it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from io import BytesIO
from typing import Any, Final

from PIL import Image
from reportlab.lib.colors import Color
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    PageBreak,
    PageTemplate,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus import Image as PlacedImage

from dicom_node.results.changes import Changes
from dicom_node.results.headers import MODEL_NAME
from dicom_node.results.pdf.changes_page import changes_page
from dicom_node.results.pdf.page_style import (
    BLACK,
    DASH,
    GREY,
    MARGIN,
    RULE,
    SHADE,
    TIGHT,
    WIDTH,
    fonts,
    style,
    text,
)
from inference.pictures.canvas import Picture
from inference.pictures.captions import case_uncertainty, in_figures, sentence
from inference.pictures.quality_page import qc_picture
from inference.results import CaseResult, Measurement, StructureResult, Verdict
from inference.structures import Group
from inference.volume import Volume
from sr_templates.terms import FINDING_TERMS, MEASURED_TERMS, VERDICT_TERMS, QuantityTerm
from sr_templates.words import case_words, grade_words, verdict_words, weak_flag_words

HEADLINE: Final = "Bones and muscles from hip to knee"
USE: Final = "Research use only. Not for diagnosis or treatment."

VERDICT_COLOURS: Final = {
    Verdict.ACCEPTED: Color(0.06, 0.42, 0.2),
    Verdict.INACCURATE: Color(0.6, 0.33, 0.0),
    Verdict.FAILED: Color(0.7, 0.08, 0.08),
    Verdict.TRUNCATED: Color(0.1, 0.3, 0.65),
    Verdict.SPOILED: Color(0.48, 0.15, 0.58),
    Verdict.ABSENT: GREY,
    Verdict.NOT_JUDGED: BLACK,
    Verdict.NOT_PROVIDED: GREY,
}
"""Dark enough for white paper; the word always stands beside its colour."""

GROUP_WORDS: Final = {
    Group.BONE: "Bones",
    Group.HIP_MUSCLE: "Hip muscles",
    Group.THIGH_MUSCLE: "Thigh muscles",
}


def _columns() -> dict[str, list[QuantityTerm]]:
    """The quantities of each column, by its heading, in the order of the table of terms."""
    found: dict[str, list[QuantityTerm]] = {}
    for term in MEASURED_TERMS:
        if term.column is not None:
            found.setdefault(term.column.heading, []).append(term)
    return found


NUMBERS: Final = _columns()
NUMBER_WIDTHS: Final = [
    terms[0].column.width_mm * mm for terms in NUMBERS.values() if terms[0].column
]
STRUCTURE_WIDTH: Final = 38 * mm
COLUMNS: Final = (
    # words, width, alignment
    ("Structure", STRUCTURE_WIDTH, TA_LEFT),
    *(
        (heading, width, TA_RIGHT)
        for heading, width in zip(NUMBERS, NUMBER_WIDTHS, strict=True)
    ),
    ("Verdict and reason", WIDTH - STRUCTURE_WIDTH - sum(NUMBER_WIDTHS), TA_LEFT),
)

EXPLANATION: Final = (
    "The views from front and side are digitally reconstructed radiographs (DRR) of the CT. "
    "Range: lowest and highest value over the samples. cm\u00b3/m\u00b2: volume "
    "over height squared, where the height is known. Lean: above 30 HU; mixed: -30 to 30 HU; "
    "fat: below -30 HU. Uncertainty: variance of the prediction over the samples, or "
    "the entropy of a single answer where the bundle says so, mean over "
    "the structure. Dice: overlap of the samples, 1 where they all agree. Truncated "
    "structures are cut by the border of the scan, or end with a femur that has no knee; "
    "they, and those that metal spoils, have no volume. Absent: not found in the scan."
)


def summary_pdf(
    volume: Volume,
    case: CaseResult,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    changes: Changes | None = None,
) -> bytes:
    """The summary of a case as a PDF of two A4 pages; the same bytes for the same input.

    A third one says what has changed since the patient's last scan, where that is wanted.

    Args:
        volume: the CT that was analysed.
        case: its result.
        title: small words at the upper right; must not name the patient.
        notes: what a reader must know of the images before all else.
        changes: since the patient's last scan; None where nobody asked.
    """
    document = BytesIO()
    template = BaseDocTemplate(
        document,
        pagesize=A4,
        pageTemplates=[PageTemplate(frames=[_frame()], onPage=partial(_foot, case=case))],
        title=f"{HEADLINE}: {case.verdict.value}",
        author=MODEL_NAME,
        creator=MODEL_NAME,
        initialFontName=fonts()[0],
        invariant=1,
    )
    pages = [*_first_page(volume, case, title, notes), PageBreak(), *_second_page(case)]
    if changes is not None:
        pages += [PageBreak(), *changes_page(changes)]
    template.build(pages)
    return document.getvalue()


def _frame() -> Frame:
    """The frame for the text of a page: above the foot line, without padding of its own."""
    bottom = MARGIN + 4 * mm
    return Frame(MARGIN, bottom, WIDTH, A4[1] - MARGIN - bottom, 0, 0, 0, 0)


def _foot(canvas: Any, template: Any, case: CaseResult) -> None:
    """Equipment, use and page number at the bottom of each page."""
    made_by = f"{MODEL_NAME}, model {case.model.name} {case.model.version}. {USE}"
    canvas.setFont(fonts()[0], 7)
    canvas.setFillColor(GREY)
    canvas.drawString(MARGIN, 9 * mm, made_by)
    canvas.drawRightString(A4[0] - MARGIN, 9 * mm, f"page {template.page}")


def _first_page(
    volume: Volume, case: CaseResult, title: str, notes: Sequence[str]
) -> list[Any]:
    """The first page: what it is, the verdict, the reasons, the picture, and what made it."""
    body = style(9)
    verdict = style(15, VERDICT_COLOURS[case.verdict], bold=True)
    return [
        text(title, style(8, GREY, alignment=TA_RIGHT)),
        text(HEADLINE, style(18, bold=True)),
        Spacer(0, 2 * mm),
        text(f"Case: {verdict_words(case.verdict, case.findings)}", verdict),
        Spacer(0, 2 * mm),
        text(" ".join([*map(sentence, notes), case_words(case)]), body),
        *_grades(case),
        Spacer(0, 4 * mm),
        _placed(qc_picture(volume, case, notes=notes)),
        Spacer(0, 4 * mm),
        _algorithm(case),
    ]


def _grades(case: CaseResult) -> list[Any]:
    """The disease grades of the hips, where a grader was asked."""
    words = grade_words(case)
    return [Spacer(0, 1.5 * mm), text(words, style(9))] if words else []


def _placed(picture: Picture) -> PlacedImage:
    png = BytesIO()
    Image.fromarray(picture).save(png, format="PNG")
    png.seek(0)
    rows, columns = picture.shape[:2]
    return PlacedImage(png, width=WIDTH, height=WIDTH * rows / columns)


def _algorithm(case: CaseResult) -> Table:
    """The table on what made the numbers; enough to repeat it."""
    model = case.model
    facts = (
        ("Model", f"{model.name} {model.version}"),
        ("Weights, SHA-256", model.weights_sha256),
        ("Uncertainty from", model.doubt_words),
        ("Seed", f"{model.seed}"),
        *([("Origin", model.origin)] if model.origin else []),
        ("Case", case_uncertainty(case)),
        ("Use", USE),
    )
    name, value = style(8, GREY), style(8)
    rows = [[text(left, name), text(right, value)] for left, right in facts]
    table = Table(rows, colWidths=(42 * mm, WIDTH - 42 * mm))
    table.setStyle(TableStyle([*TIGHT, ("LINEABOVE", (0, 0), (-1, 0), 0.5, RULE)]))
    return table


def _second_page(case: CaseResult) -> Iterable[Any]:
    """All structures with their numbers, and what the columns mean."""
    note = style(7, GREY)
    yield _structures(case.structures)
    yield Spacer(0, 2 * mm)
    yield text(f"{EXPLANATION} {weak_flag_words()}", note)


def _structures(results: Iterable[StructureResult]) -> Table:
    """The table, a shaded row before each group."""
    head = style(6.8, bold=True)
    rows: list[list[Any]] = [_heading()]
    marks: list[tuple[Any, ...]] = [("LINEBELOW", (0, 0), (-1, 0), 0.8, BLACK)]
    group = None
    for result in results:
        if result.segment.structure.group is not group:
            group = result.segment.structure.group
            marks.append(("BACKGROUND", (0, len(rows)), (-1, len(rows)), SHADE))
            rows.append([text(GROUP_WORDS[group], head), *[""] * (len(COLUMNS) - 1)])
        marks.append(("LINEBELOW", (0, len(rows)), (-1, len(rows)), 0.25, RULE))
        rows.append(_row(result))
    table = Table(rows, colWidths=[width for _, width, _ in COLUMNS], repeatRows=1)
    table.setStyle(TableStyle([*TIGHT, *marks]))
    return table


def _heading() -> list[Any]:
    return [
        text(words, style(6.8, bold=True, alignment=alignment))
        for words, _, alignment in COLUMNS
    ]


def _row(result: StructureResult) -> list[Any]:
    cells = (
        result.segment.title,
        *(_cell(terms, result.measured) for terms in NUMBERS.values()),
        _verdict(result),
    )
    colours = (*[BLACK] * (len(cells) - 1), VERDICT_COLOURS[result.verdict])
    return [
        text(words, style(6.8, colour, alignment=alignment))
        for words, colour, (_, _, alignment) in zip(cells, colours, COLUMNS, strict=True)
    ]


def _cell(terms: Iterable[QuantityTerm], measured: Measurement) -> str:
    """`812.3 (800.1 to 820.0)`, or `75 / 20 / 5` where quantities share a column."""
    return " / ".join(filter(None, (_number(term, measured) for term in terms))) or DASH


def _number(term: QuantityTerm, measured: Measurement) -> str:
    value, spread = term.of(measured), term.range_of(measured)
    if value is None or term.column is None:
        return ""
    form = term.column.format
    if spread is None:
        return f"{value:{form}}"
    return f"{value:{form}} ({spread.low:{form}} to {spread.high:{form}})"


def _verdict(result: StructureResult) -> str:
    """The verdict; and for numbers that are doubted why, in figures where there are any."""
    words = VERDICT_TERMS[result.verdict].code.meaning.lower()
    if result.verdict not in (Verdict.INACCURATE, Verdict.FAILED):
        return words
    reasons = in_figures(result) or "; ".join(
        FINDING_TERMS[finding].words for finding in result.findings
    )
    return f"{words}: {reasons}" if reasons else words
