"""Commands for selection rules: `rules test`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from dicom_node.commands.console import EXIT_REFUSED, ConfigOption, FillingTable, stderr, stdout

if TYPE_CHECKING:
    from dicom_node.node.rules_trial import TriedSeries, TriedStudy

app = typer.Typer(no_args_is_help=True, help="Try the rules that select series.")


@app.callback()
def _rules() -> None:
    """Try the rules that select series."""


@app.command("test")
def try_them(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|STUDY",
            help="DICOM files of any number of studies, or the UID of a study in the spool.",
        ),
    ],
    config: ConfigOption = None,
    rules: Annotated[
        str | None,
        typer.Option(
            help="Which rules; those of analysis.rules, or the only ones, without it."
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what rules would take, what not, and every reason. Nothing is changed."""
    from dicom_node.node.rules_trial import (
        named_rules,
        series_of_folder,
        series_of_study,
        try_rules,
    )
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    chosen = named_rules(settings, rules)
    folder = Path(source)
    series = series_of_folder(folder) if folder.is_dir() else series_of_study(settings, source)
    studies = try_rules(chosen, series)
    if as_json:
        typer.echo(json.dumps(_as_json(chosen.name, studies), indent=1, ensure_ascii=False))
    else:
        for study in studies:
            stdout.print(_table(study))
        taken = sum(each.judgement.is_taken is True for one in studies for each in one.series)
        count = sum(len(study.series) for study in studies)
        words = f"rules {chosen.name}: {taken} of {count} series in {len(studies)} studies"
        stdout.print(f"{words} would be taken", highlight=False)
    if not studies:
        stderr.print(f"{source}: no DICOM file of a series in it", highlight=False)
        raise typer.Exit(EXIT_REFUSED)


def _as_json(name: str, studies: Sequence[TriedStudy]) -> dict[str, object]:
    return {
        "rules": name,
        "studies": [
            {
                "study_instance_uid": study.study_instance_uid,
                "series": [each.as_json() for each in study.series],
            }
            for study in studies
        ],
    }


def _table(study: TriedStudy) -> Table:
    """The series of a study, and what becomes of them."""
    table = FillingTable(
        Column("Series", overflow="fold", ratio=3),
        Column("Kernel", overflow="fold"),
        Column("Slices", justify="right"),
        Column("Taken"),
        Column("Reasons", overflow="fold", ratio=4),
        title=f"Study {study.study_instance_uid}",
        show_lines=True,
    )
    words = {True: "yes", False: "no", None: "open"}
    for each in study.series:
        values = each.candidate.values
        table.add_row(
            f"{values.get('SeriesNumber', '')} {values.get('SeriesDescription', '')}\n"
            f"{each.candidate.series_instance_uid}",
            f"{values.get('ConvolutionKernel') or '-'}\n{each.kernel}",
            _slices(each),
            words[each.judgement.is_taken],
            "\n".join(each.judgement.reasons),
        )
    return table


def _slices(each: TriedSeries) -> str:
    """Number, thickness and spacing, and length of its slices."""
    stack = each.candidate.stack
    if stack is None or not stack.slices:
        return f"{each.candidate.images or 0} images"
    lines = [str(stack.slices)]
    if stack.slice_thickness_mm is not None or stack.slice_spacing_mm is not None:
        lines.append(
            f"{_number(stack.slice_thickness_mm)}/{_number(stack.slice_spacing_mm)} mm"
        )
    if stack.length_mm is not None:
        lines.append(f"{stack.length_mm:.0f} mm")
    return "\n".join(lines)


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:g}"
