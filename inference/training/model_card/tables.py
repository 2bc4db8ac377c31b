"""A model card's tables of accuracy, from the reports that `msk-node evaluate` wrote.

Each section of the card stands between marks of its own and is replaced as a whole: trained
on one body and tested on the other, phantoms, real slices. Under each table stand the
commands that made it, as the report recorded them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from inference.errors import TrainingError
from inference.evaluation.report import CASES_FACT, COMMAND_FACT, FACTS_FILE, SCORES_FILE
from inference.evaluation.scored import Quantity
from inference.evaluation.scores import Scope
from inference.registration import QUALITY_FILE
from inference.structures import STRUCTURES

QUANTITIES: Final = (
    (Quantity.DICE, "Dice", 3),
    (Quantity.ASD, "ASD mm", 2),
    (Quantity.AVE, "AVE %", 1),
    (Quantity.AIE, "AIE HU", 1),
)
"""What the tables show of a structure: quantity, heading, digits."""

BONE_NAMES: Final = {
    **{s.label: s.abbreviation for s in STRUCTURES},
    101: "patella",
    102: "tibia",
    103: "fibula",
    104: "coccyx",
}

MOST_WRONG: Final = 5
"""So many structures are named of those that were found where they are not."""


@dataclass(frozen=True, slots=True)
class Row:
    """A structure of a case, both sides together; None where there is nothing to say."""

    case: str
    structure: str
    annotated: bool
    volume_cm3: float
    values: dict[Quantity, float | None]


@dataclass(frozen=True, slots=True)
class Report:
    """Findings of an evaluation of one bundle.

    name: of the bundle, with its version.
    commands: that made the cases and the report, as they were typed.
    """

    name: str
    rows: tuple[Row, ...]
    commands: tuple[str, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases, in order."""
        return tuple(dict.fromkeys(row.case for row in self.rows))


def read_report(folder: Path) -> Report:
    """Read the scores and the facts of a report.

    Raises:
        TrainingError: it is no report of one bundle with one number of samples.
    """
    try:
        with (folder / SCORES_FILE).open(encoding="utf-8", newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["scope"] == Scope.BOTH]
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        rows = tuple(_row(line) for line in lines)
        arms = {(line["arm"], line["samples"]) for line in lines}
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{folder} is no report of `msk-node evaluate`: {error}") from error
    if len(arms) != 1:
        raise TrainingError(
            f"{folder} holds {len(arms)} bundles or numbers of samples, not one"
        )
    ((name, _),) = arms
    commands = (facts.get(key, "") for key in (CASES_FACT, COMMAND_FACT))
    return Report(name, rows, tuple(command for command in commands if command))


def _row(line: dict[str, str]) -> Row:
    return Row(
        case=line["case"],
        structure=line["structure"],
        annotated=int(line["true_voxels"]) > 0,
        volume_cm3=float(line[Quantity.VOLUME] or 0),
        values={
            quantity: float(line[quantity]) if line[quantity] else None
            for quantity, _, _ in QUANTITIES
        },
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the card between marks."""

    name: str
    title: str

    @property
    def marks(self) -> tuple[str, str]:
        """Marks of its beginning and its end."""
        return (
            f"<!-- {self.name}, by inference.training.model_card.card -->",
            f"<!-- end of {self.name} -->",
        )

    def put(self, card: str, words: str) -> str:
        """The card with this section replaced, or added at its end."""
        first, last = self.marks
        section = f"{first}\n\n### {self.title}\n\n{words}\n\n{last}"
        before, found, rest = card.partition(first)
        if not found:
            return f"{card.rstrip()}\n\n{section}\n"
        _, closed, after = rest.partition(last)
        if not closed:
            raise TrainingError(f"the card has {first}, but lacks {last}")
        return f"{before}{section}{after}"


CROSS: Final = Section("cross-body", "Trained on one body, tested on the other")
PHANTOMS: Final = Section("phantoms", "On analytic phantoms")
REAL: Final = Section("real slices", "On real slices")


def cross_words(reports: Sequence[Report]) -> str:
    """Tables side by side, one of each direction, and the commands."""
    words = "; ".join(f"{r.name}: {len(r.cases)} cases ({', '.join(r.cases)})" for r in reports)
    return f"{words}. {MEANS_WORDS}\n\n{structure_table(reports)}\n\n{_commands(reports)}"


def phantom_words(report: Report) -> str:
    """The table of the phantoms, and the commands."""
    words = f"{report.name} on {len(report.cases)} phantoms. {MEANS_WORDS}"
    return f"{words}\n\n{structure_table([report])}\n\n{_commands([report])}"


MEANS_WORDS: Final = (
    "Mean over the cases, with its standard deviation where there are several; both sides"
    " together. ASD and AIE leave out cases in which a structure was not found, Dice counts"
    " them as 0."
)


def structure_table(reports: Sequence[Report]) -> str:
    """A row for every structure, four columns for every report, and their means."""
    headings = [
        f"{report.name}: {heading}" if len(reports) > 1 else heading
        for report in reports
        for _, heading, _ in QUANTITIES
    ]
    lines = [_line(["structure", *headings]), _line(["---"] * (len(headings) + 1))]
    columns: list[list[list[float]]] = []
    for structure in STRUCTURES:
        cells = [
            _values(report.rows, structure.abbreviation, quantity)
            for report in reports
            for quantity, _, _ in QUANTITIES
        ]
        if any(cells):
            columns.append(cells)
            digits = [d for _ in reports for _, _, d in QUANTITIES]
            shown = [_mean(cell, d) for cell, d in zip(cells, digits, strict=True)]
            lines.append(_line([structure.abbreviation, *shown]))
    means = [
        _mean([float(np.mean(row[k])) for row in columns if row[k]], digits, spread=False)
        for k, digits in enumerate([d for _ in reports for _, _, d in QUANTITIES])
    ]
    lines.append(_line(["**mean of the structures**", *means]))
    return "\n".join(lines)


def _values(rows: Iterable[Row], structure: str, quantity: Quantity) -> list[float]:
    found = (row.values[quantity] for row in rows if row.structure == structure)
    return [value for value in found if value is not None]


def _mean(values: Sequence[float], digits: int, *, spread: bool = True) -> str:
    if not values:
        return "-"
    mean = f"{np.mean(values):.{digits}f}"
    return (
        f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if spread and len(values) > 1 else mean
    )


def real_words(report: Report, registered: Path) -> str:
    """A table of every structure of every real scan; how far the reference can be trusted.

    Args:
        report: of the registered cases.
        registered: the folder of the cases, as `python -m inference.registration` wrote it.
    """
    quality = {name: _quality(registered / name) for name in report.cases}
    headings = ["scan", "structure", *(heading for _, heading, _ in QUANTITIES)]
    lines = [_line(headings), _line(["---"] * len(headings))]
    for row in report.rows:
        if row.annotated:
            values = [
                _mean([v] if (v := row.values[quantity]) is not None else [], digits)
                for quantity, _, digits in QUANTITIES
            ]
            lines.append(_line([row.case, row.structure, *values]))
    parts = [
        f"{report.name}, against a label map of the same body laid on its CT. {TRUST_WORDS}",
        "\n".join(lines),
        "\n".join(f"- {scan_words(name, quality[name], report.rows)}" for name in report.cases),
        _commands([report]),
    ]
    return "\n\n".join(parts)


TRUST_WORDS: Final = (
    "A network that was trained on this label map has seen the body's shape, if not its CT."
    " The reference is no ground truth: bones are what the CT shows as bone where the label"
    " map's lies (threshold 150 HU), borders of muscles are the label map's, laid rigidly by"
    " the bones and then along the CT's edges of muscle and fat. No ASD of a muscle"
    " below the residual distances given here means anything. In a slab of few"
    " slices the first and the last count as surface as a whole, which makes ASD smaller"
    " than it is in the plane."
)


def _quality(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / QUALITY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} has no {QUALITY_FILE} that can be read") from error
    if not isinstance(found, dict):
        raise TrainingError(f"{folder / QUALITY_FILE} is no table")
    return found


def scan_words(name: str, quality: dict[str, Any], rows: Iterable[Row]) -> str:
    """Text on one scan: fit of the label map, what was left out, what was found amiss."""
    bones = "; ".join(
        f"{_bone_names(one['bones'])}{' ' + one['side'] if one['side'] else ''}"
        f" {one['mean_mm']:.1f} mm (90 % within {one['p90_mm']:.1f} mm)"
        for one in quality["bones"]
    )
    words = f"{name} ({quality['words']}): bone surface to registered bone, mean: {bones}."
    muscles = [
        f"{one['structure']} {one['edge_mm'][1]:.1f} mm"
        for one in quality["structures"]
        if one["edge_mm"] and one["structure"] not in quality["left_out"]
    ]
    if muscles:
        words += (
            f" Outline to the CT's edge of muscle, where it faces fat: {', '.join(muscles)}."
        )
    left_out = "; ".join(f"{key}: {why}" for key, why in quality["left_out"].items())
    if left_out:
        words += f" Left out: {left_out}."
    return f"{words} {_wrong_words(name, set(quality['left_out']), rows)}"


def _wrong_words(name: str, left_out: set[str], rows: Iterable[Row]) -> str:
    """Sentence on what was found of structures that this scan does not show."""
    wrong = [
        (row.volume_cm3, row.structure)
        for row in rows
        if row.case == name
        and not row.annotated
        and row.volume_cm3
        and row.structure not in left_out
    ]
    if not wrong:
        return "Nothing was found of structures that are not there."
    largest = sorted(wrong, reverse=True)[:MOST_WRONG]
    named = ", ".join(f"{structure} {volume:.1f}" for volume, structure in largest)
    total = sum(volume for volume, _ in wrong)
    return f"Found of structures that are not there: {total:.1f} cm3 ({named})."


def _bone_names(labels: Iterable[int]) -> str:
    return " and ".join(BONE_NAMES[label] for label in labels)


def _commands(reports: Iterable[Report]) -> str:
    lines = dict.fromkeys(command for report in reports for command in report.commands)
    return "\n".join(["```", *lines, "```"])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
