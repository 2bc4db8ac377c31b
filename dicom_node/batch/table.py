"""`cases.csv`: one line for every case of a batch, also of those that were done before."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicom_node.batch.cases import TABLE_FILE, Case
from dicom_node.batch.markers import Marker
from dicom_node.durable_files import write_durably

COLUMNS: Final = ("case", "source", "outcome", "verdict", "words", "seconds")
NOT_DONE: Final = "not done"


@dataclass(frozen=True, slots=True)
class Row:
    """What is told of a case.

    outcome: analysed, refused, failed, or "not done".
    words: what a person needs to know. seconds: of work.
    """

    case: str
    source: Path
    outcome: str = NOT_DONE
    verdict: str = ""
    words: str = ""
    seconds: float | None = None


def row_of(case: Case, marker: Marker | None) -> Row:
    """The row of a case by its marker; None where it is not done."""
    if marker is None:
        return Row(case.name, case.source)
    words = " ".join(" ".join(marker.words).split())
    return Row(case.name, case.source, marker.outcome, marker.verdict, words, marker.seconds)


def write_table(out: Path, rows: Sequence[Row]) -> None:
    """Write the table anew."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        source = str(row.source)
        writer.writerow((row.case, source, row.outcome, row.verdict, row.words, seconds))
    write_durably(out / TABLE_FILE, text.getvalue().encode(errors="surrogateescape"))


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many cases ended how, commonest first."""
    return dict(Counter(row.outcome for row in rows).most_common())
