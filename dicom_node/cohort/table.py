"""The table of results: every structure of every case, and beside it every case.

Two files of one form: `NAME.csv` with a row a structure (43 of an analysed case, none of one
that was refused), and `NAME-cases.csv` with a row a case. Both appear when they are whole.
Cases come by patient key and Study Date, under pseudonyms by those (`reordering.py`). Changes
since the last scan are found among all cases of a patient, also those that are not selected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicom_node.cohort.changes import changes_since_last
from dicom_node.cohort.columns import CASE, STRUCTURE, Row
from dicom_node.cohort.pseudonyms import Pseudonyms, ToldApart
from dicom_node.cohort.reading import by_patient
from dicom_node.cohort.records import CaseRecord
from dicom_node.cohort.reordering import by_pseudonym
from dicom_node.cohort.selection import Selection
from dicom_node.cohort.table_files import Format, TableFile, table_file
from dicom_node.durable_files import whole_file

CASES_ENDING: Final = "-cases"
EVERYTHING: Final = Selection()


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the two files, and the numbers of their rows."""

    structures_file: Path
    cases_file: Path
    structures: int
    cases: int


def cases_beside(path: Path) -> Path:
    """The file of the cases, beside that of the structures."""
    return path.with_name(f"{path.stem}{CASES_ENDING}{path.suffix}")


def write_tables(
    records: Iterable[CaseRecord],
    path: Path,
    form: Format,
    *,
    selection: Selection = EVERYTHING,
    pseudonyms: Pseudonyms | None = None,
) -> Written:
    """Write both tables.

    Args:
        records: all cases, those of one patient together (`cohort/reading.py`).
        path: of the table of structures; that of the cases lies beside it.
        form: of both files.
        selection: the cases that are wanted.
        pseudonyms: for what leads to a person or a place; None to leave all as it is.

    Raises:
        OSError: the disk is full or fails.
    """
    beside = cases_beside(path)
    structures = cases = 0
    rows = _rows(records, selection, pseudonyms)
    if pseudonyms is not None:
        rows = by_pseudonym(rows, path.parent)
    with ExitStack() as files:
        parts = [files.enter_context(whole_file(each)) for each in (path, beside)]
        # Closed before they get their names.
        of_structures, of_cases = (
            files.enter_context(table_file(part, columns, form))
            for part, columns in zip(parts, (STRUCTURE, CASE), strict=True)
        )
        for row in rows:
            of_cases.add([column.value(row) for column in CASE])
            structures += _add_structures(of_structures, row)
            cases += 1
    return Written(path, beside, structures, cases)


def _rows(
    records: Iterable[CaseRecord], selection: Selection, pseudonyms: Pseudonyms | None
) -> Iterator[Row]:
    told_apart = ToldApart()
    for patient in by_patient(records):
        for case in filter(selection.takes, patient):
            changes = changes_since_last(case, patient)
            if pseudonyms is None:
                yield Row(case, changes)
            else:
                hidden = told_apart.one(pseudonyms.of_case(case))
                yield Row(hidden, pseudonyms.of_changes(changes, case.source))


def _add_structures(table: TableFile, of_case: Row) -> int:
    changed = {one.segment.key: one for one in of_case.changes.structures}
    for structure in of_case.case.structures:
        change = changed.get(structure.segment.key)
        row = Row(of_case.case, of_case.changes, structure, change)
        table.add([column.value(row) for column in STRUCTURE])
    return len(of_case.case.structures)
