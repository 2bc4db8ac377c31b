"""A page of the cohort's reports: one HTML file without script, network or other files.

Everything that comes from files is text in the page, never markup (jinja2 with autoescape),
and a policy in the page forbids scripts and every connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dicom_node.cohort.charts import Chart
from dicom_node.cohort.cohort import Cohort
from dicom_node.durable_files import write_durably
from inference.evaluation.exhibits import Cell, Table
from inference.evaluation.report import STUDY
from inference.models.bundle_files import shipped_bundles

MOST_LEFT_OUT: Final = 50

BANNER: Final = (
    "Research use only. Not for diagnosis or treatment. Segmented and measured automatically;"
    " not verified by a person."
)
CONFIDENTIAL: Final = (
    "Names of cases stand in this report. They are those of folders or series, and may lead to"
    " patients."
)


PSEUDONYMOUS: Final = (
    "Cases have pseudonyms in this report. Days, ages, heights and figures together may still"
    " fit one person only."
)


@dataclass(frozen=True, slots=True)
class Gallery:
    """QC pages of flagged cases. pictures: (name of the case, words, address of its data)."""

    pictures: tuple[tuple[str, str, str], ...]
    note: str = ""


Block = Chart | Table | Gallery


@dataclass(frozen=True, slots=True)
class Section:
    """One chapter. lead: sentences; alerts: those that nobody may miss."""

    identifier: str
    title: str
    lead: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class About:
    """What a report says of itself.

    left_out: what could not be read, a line each. command: as it was typed.
    pseudonymous: names of cases lead to nobody.
    """

    made_at: datetime
    title: str = "Cohort report"
    command: str = ""
    left_out: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())
    pseudonymous: bool = False


def banners(cohort: Cohort) -> tuple[str, ...]:
    """What the numbers may be used for, and what the weights have learned from."""
    names = {model.name for model, _ in cohort.models}
    shipped = sorted(names & set(shipped_bundles()))
    words = [BANNER]
    if shipped:
        words.append(
            f"Synthetic weights: the bundle {', '.join(shipped)} was trained on synthetic CT"
            " alone and has not been validated on patients."
        )
    if others := sorted(names - set(shipped)):
        words.append(
            f"What the weights of {', '.join(others)} were trained on stands in the model card;"
            " where that is synthetic CT, its numbers say nothing of patients."
        )
    return tuple(words)


def write_page(path: Path, html: str) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, html.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell as the page shows it. words: it is read, not compared down a column."""

    text: str
    words: bool


@dataclass(frozen=True, slots=True)
class _Shown:
    """A block with its number, as the page shows it. svg: with its alternative text."""

    kind: str
    number: int
    block: Block
    rows: tuple[tuple[_Cell, ...], ...] = ()
    svg: str = ""


def page_html(
    about: About, alerts: Sequence[str], banner: Sequence[str], sections: Sequence[Section]
) -> str:
    """The page. alerts and banner stand above all sections."""
    environment = Environment(
        loader=PackageLoader("dicom_node.cohort", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        about=about,
        alerts=alerts,
        banner=banner,
        sections=list(_numbered(sections)),
        left_out=about.left_out[:MOST_LEFT_OUT],
        left_out_more=max(0, len(about.left_out) - MOST_LEFT_OUT),
        study=STUDY,
        confidential=PSEUDONYMOUS if about.pseudonymous else CONFIDENTIAL,
        version=version("msk-node"),
    )


def _numbered(sections: Sequence[Section]) -> Iterator[tuple[Section, list[_Shown]]]:
    """Figures and tables with running numbers."""
    figures_so_far = tables_so_far = 0
    for section in sections:
        shown = []
        for block in section.blocks:
            match block:
                case Chart():
                    figures_so_far += 1
                    shown.append(_Shown("figure", figures_so_far, block, svg=_svg(block)))
                case Table():
                    tables_so_far += 1
                    rows = tuple(_cells(block, row) for row in block.rows)
                    shown.append(_Shown("table", tables_so_far, block, rows))
                case Gallery():
                    shown.append(_Shown("gallery", 0, block))
        yield section, shown


def _cells(table: Table, row: tuple[Cell, ...]) -> tuple[_Cell, ...]:
    texts = zip(table.texts(row), row, strict=True)
    return tuple(_Cell(text, isinstance(cell, str)) for text, cell in texts)


def _svg(chart: Chart) -> Markup:
    """The picture, which matplotlib wrote and escaped, as an image with a name."""
    named = Markup('<svg role="img" aria-label="{}" ').format(chart.alt)
    return Markup(chart.svg.replace("<svg ", named, 1))  # noqa: S704 - of matplotlib's making
