"""Tables and figures as values, and as Markdown, CSV and HTML."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from inference.evaluation.statistics import MeanSd

Cell = str | int | float | MeanSd | None

NOTHING: Final = "–"  # noqa: RUF001 - the dash of tables
SMALLEST_P: Final = 0.001

FIGURE_TITLES: Final = {
    4: "Accuracy of every structure",
    5: "Uncertainty against Dice",
    6: "ROC of the uncertainty",
    7: "Muscles of the affected and the unaffected side",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how its numbers are written.

    form: of a number, as in `f"{value:{form}}"`; `p` for p-values.
    spread: cells are mean and standard deviation, two columns of the CSV.
    """

    heading: str
    form: str = ""
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the report.

    number: of the study's table whose shape it has, or in a report of its own.
    about: which bundle, where a table is of one.
    missing: why there are no rows; then there are none.
    notes: sentences below the table.
    """

    number: int
    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    about: str = ""
    missing: str = ""
    notes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Number, title and bundle in one line."""
        about = f" ({self.about})" if self.about else ""
        return f"Table {self.number}. {self.title}{about}"

    def markdown(self) -> str:
        """A heading, the table (or why there is none) and its notes."""
        lines = [f"## {self.heading}", ""]
        if self.missing:
            lines += [f"Not given: {self.missing}", ""]
        else:
            lines += _markdown_row([column.heading for column in self.columns])
            lines += _markdown_row(["---", *["---:"] * (len(self.columns) - 1)])
            for row in self.rows:
                lines += _markdown_row(self.texts(row))
            lines.append("")
        return "\n".join([*lines, *(f"{note}\n" for note in self.notes)])

    def csv(self) -> str:
        """Full precision; empty where there is no number, mean and SD apart."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        headings: list[str] = []
        for column in self.columns:
            names = [f"{column.heading}, mean", f"{column.heading}, SD"]
            headings += names if column.spread else [column.heading]
        writer.writerow(headings)
        for row in self.rows:
            writer.writerow(self._plain(row))
        return text.getvalue()

    def html(self) -> str:
        """A section with a table that scrolls by itself where it is too wide."""
        parts = [f"<h3>{escape(self.heading)}</h3>"]
        if self.missing:
            parts.append(f'<p class="missing">Not given: {escape(self.missing)}</p>')
        else:
            head = "".join(f"<th>{escape(column.heading)}</th>" for column in self.columns)
            rows = "\n".join(_html_row(self.texts(row)) for row in self.rows)
            parts.append(
                f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
                f"<tbody>{rows}</tbody></table></div>"
            )
        parts += [f'<p class="note">{escape(note)}</p>' for note in self.notes]
        return "\n".join(parts)

    def texts(self, row: Sequence[Cell]) -> list[str]:
        """The cells of a row as people read them."""
        return [_text(cell, col.form) for cell, col in zip(row, self.columns, strict=True)]

    def _plain(self, row: Sequence[Cell]) -> list[str]:
        cells: list[str] = []
        for cell, column in zip(row, self.columns, strict=True):
            if isinstance(cell, MeanSd):
                cells += [f"{cell.mean:.8g}", "" if cell.sd is None else f"{cell.sd:.8g}"]
            elif column.spread:
                cells += ["", ""]
            else:
                cells.append(_plain_text(cell))
        return cells


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure. `png` is empty where `missing` says why there is none.

    number: of the study's figure whose shape it has.
    about: which bundle, where a figure is of one.
    """

    number: int
    title: str
    png: bytes = b""
    missing: str = ""
    about: str = ""

    @property
    def heading(self) -> str:
        """Number, title and bundle in one line."""
        about = f" ({self.about})" if self.about else ""
        return f"Figure {self.number}. {self.title}{about}"

    def html(self) -> str:
        """A section with the picture inside."""
        head = f"<h3>{escape(self.heading)}</h3>"
        if self.missing:
            return f'{head}\n<p class="missing">Not given: {escape(self.missing)}</p>'
        data = base64.b64encode(self.png).decode()
        words = escape(self.heading)
        return f'{head}\n<img alt="{words}" src="data:image/png;base64,{data}">'


def _plain_text(cell: str | float | None) -> str:
    if isinstance(cell, float):
        return f"{cell:.8g}"
    return "" if cell is None else str(cell)


def _text(cell: Cell, form: str) -> str:
    if cell is None:
        return NOTHING
    if isinstance(cell, MeanSd):
        spread = "" if cell.sd is None else f" ± {cell.sd:{form}}"
        return f"{cell.mean:{form}}{spread}"
    if isinstance(cell, str) or not form:
        return str(cell)
    if form == "p":
        return f"< {SMALLEST_P}" if cell < SMALLEST_P else f"{cell:.3f}"
    return f"{cell:{form}}"


def _markdown_row(cells: Sequence[str]) -> list[str]:
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return [f"| {' | '.join(escaped)} |"]


def _html_row(cells: Sequence[str]) -> str:
    first, *others = (escape(cell) for cell in cells)
    return f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>"
