"""An evaluation as files: tables, figures, every score, and one report that holds it all.

```
report.html             self-contained: pictures and tables inside
scores.csv              every arm, case, structure and scope
facts.json              what was evaluated on what, by which commands
tables/table-3.md .csv  ... to table-11; with the bundle's name where a table is of one of two
figures/figure-4.png    ... to figure-7
```
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

from inference.evaluation.exhibits import Picture, Table
from inference.evaluation.figures import all_figures
from inference.evaluation.scored import Evaluation, Quantity
from inference.evaluation.tables import all_tables

REPORT_FILE: Final = "report.html"
SCORES_FILE: Final = "scores.csv"
FACTS_FILE: Final = "facts.json"
TABLES_FOLDER: Final = "tables"
FIGURES_FOLDER: Final = "figures"

COMMAND_FACT: Final = "command"
CASES_FACT: Final = "cases made by"
"""Names of two facts that a model card repeats: the commands behind its figures."""

SCORE_COLUMNS: Final = (
    "arm", "samples", "case", "data_set", "affected_side", "height_m", "structure", "scope",
    "true_voxels", "found_voxels", *(quantity.value for quantity in Quantity),
)  # fmt: skip

STUDY: Final = (
    "Soufi M, Otake Y, Iwasa M, et al. Validation of musculoskeletal segmentation model with"
    " uncertainty estimation for bone and muscle assessment in hip-to-knee clinical CT images."
    " Sci Rep 15, 125 (2025), doi 10.1038/s41598-024-83793-7"
)


def write_report(evaluation: Evaluation, out: Path) -> Path:
    """Write everything into a folder; files of an earlier report in it are replaced.

    Returns:
        The HTML report.
    """
    tables, pictures = all_tables(evaluation), all_figures(evaluation)
    for folder in (TABLES_FOLDER, FIGURES_FOLDER):
        _emptied(out / folder)
    for table in tables:
        stem = out / TABLES_FOLDER / _stem("table", table.number, table.about)
        stem.with_name(f"{stem.name}.md").write_text(table.markdown(), encoding="utf-8")
        if table.rows:
            stem.with_name(f"{stem.name}.csv").write_text(table.csv(), encoding="utf-8")
    for picture in pictures:
        if picture.png:
            stem = out / FIGURES_FOLDER / _stem("figure", picture.number, picture.about)
            stem.with_name(f"{stem.name}.png").write_bytes(picture.png)
    (out / SCORES_FILE).write_text(scores_csv(evaluation), encoding="utf-8")
    facts = json.dumps(dict(evaluation.facts), indent=1, ensure_ascii=False)
    (out / FACTS_FILE).write_text(facts + "\n", encoding="utf-8")
    report = out / REPORT_FILE
    report.write_text(report_html(evaluation, tables, pictures), encoding="utf-8")
    return report


def _emptied(folder: Path) -> None:
    """A folder without the tables or figures of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("table-*", "figure-*"):
        for path in folder.glob(pattern):
            path.unlink()


def _stem(kind: str, number: int, about: str) -> str:
    """`table-3`, or `table-3-compact-2` where there is one for each bundle."""
    words = re.sub(r"[^\w.]+", "-", about).strip("-")
    return f"{kind}-{number}-{words}" if words else f"{kind}-{number}"


def scores_csv(evaluation: Evaluation) -> str:
    """Every score, a line each; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    several = [arm for arm in evaluation.by_samples if arm not in evaluation.arms]
    for arm in (*evaluation.arms, *several):
        for case in arm.cases:
            facts = (
                arm.name,
                arm.samples,
                case.case,
                case.data_set,
                case.affected.value if case.affected else "",
                case.height_m,
            )
            for one in case.structures:
                values = (getattr(one, quantity.value) for quantity in Quantity)
                row = (one.structure, one.scope.value, one.true_voxels, one.found_voxels)
                writer.writerow([*facts, *row, *(_number(value) for value in values)])
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}"


def report_html(
    evaluation: Evaluation, tables: Iterable[Table], pictures: Iterable[Picture]
) -> str:
    """The report as one document that needs no other file."""
    facts = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in evaluation.facts
    )
    return PAGE.format(
        style=STYLE,
        facts=facts,
        left_out=_left_out(evaluation),
        tables="\n".join(f"<section>{table.html()}</section>" for table in tables),
        figures="\n".join(f"<section>{picture.html()}</section>" for picture in pictures),
        study=escape(STUDY),
    )


def _left_out(evaluation: Evaluation) -> str:
    if not evaluation.left_out:
        return ""
    items = "".join(
        f"<li>{escape(one.case)}, {escape(one.arm)}: {escape(one.reason)}</li>"
        for one in evaluation.left_out
    )
    return f"<h2>Cases left out</h2><ul>{items}</ul>"


STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2329; background: #fff;
       max-width: 1280px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .4rem; border-bottom: 2px solid #2f6f9f; }
h3 { font-size: 1rem; margin: 1.8rem 0 .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .6rem; text-align: right; border-bottom: 1px solid #e4e7ea; }
td { white-space: nowrap; }
thead th { border-bottom: 1.5px solid #8a8f94; vertical-align: bottom; }
tbody th, thead th:first-child { text-align: left; font-weight: 600; white-space: nowrap; }
.facts td { text-align: left; white-space: normal; }
tbody tr:hover { background: #f4f7fa; }
.note { color: #59636c; font-size: 13px; margin: .35rem 0; max-width: 90ch; }
.missing { background: #fdf6e3; border-left: 4px solid #b58900; padding: .4rem .8rem; }
img { max-width: 100%; height: auto; }
@media print { section { break-inside: avoid; } }
"""

PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation on labelled cases</title><style>{style}</style></head><body>
<h1>Evaluation on labelled cases</h1>
<p>Research use only. Tables and figures have the shape of the study's: {study}.</p>
<table class="facts"><tbody>{facts}</tbody></table>
{left_out}
<h2>Tables</h2>
{tables}
<h2>Figures</h2>
{figures}
</body></html>
"""
