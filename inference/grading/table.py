"""Grades that people gave, in a CSV file.

```
series_instance_uid,patient_id,case,side,grade,grader,scale
1.2.826.0.1.3680043.8.498.7,,,R,2,reader A,Kellgren-Lawrence grade
,MSK0001,,left,3,reader A,Kellgren-Lawrence grade
```
`side` and `grade` have to be there, and at least one of the first three columns; a row is
about a case that has all the names that the row gives. UTF-8, with or without a byte order
mark. Nothing of a row is put into a message but its line, for a table may name patients.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.errors import BundleError
from inference.grading.subject import Subject
from inference.models.bundle_files import read_file
from inference.results import CaseResult, GraderIdentity, SideGrade
from inference.structures import Side
from inference.volume import Volume

NAMES: Final = ("series_instance_uid", "patient_id", "case")
COLUMNS: Final = (*NAMES, "side", "grade", "grader", "scale")
SIDES: Final = {"r": Side.RIGHT, "right": Side.RIGHT, "l": Side.LEFT, "left": Side.LEFT}
LONGEST: Final = 64
"""Characters of a grade, a grader or a scale: what a code's meaning may have (PS3.5 6.2)."""

NO_ROW: Final = "the table of grades has no row for this side"
SEVERAL: Final = "the table of grades has different grades for this side"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    about: the names that a case must have, as the fields of `Subject`.
    """

    about: Subject
    side: Side
    grade: str
    grader: str = ""
    scale: str = ""

    def fits(self, subject: Subject) -> bool:
        """True if a case has all the names that the row gives."""
        return all(getattr(self.about, name) in ("", getattr(subject, name)) for name in NAMES)


@dataclass(frozen=True, slots=True)
class TableGrader:
    """A table as a grader.

    name: of the file, without its suffix.
    """

    name: str
    sha256: str
    rows: tuple[Row, ...]

    @property
    def identity(self) -> GraderIdentity:
        """The table, where no row says who graded."""
        return GraderIdentity("table", self.name, "", self.sha256)

    def grade(
        self,
        volume: Volume,  # noqa: ARG002 - whoever graded has seen the case elsewhere
        case: CaseResult,  # noqa: ARG002
        subject: Subject,
    ) -> tuple[SideGrade, ...]:
        """Both sides as the rows say that fit the case."""
        fitting = [row for row in self.rows if row.fits(subject)]
        return tuple(self._grade(fitting, side) for side in Side)

    def _grade(self, fitting: list[Row], side: Side) -> SideGrade:
        said = {(row.grade, row.scale): row for row in fitting if row.side is side}
        if len(said) != 1:
            return SideGrade(side, self.identity, reason=SEVERAL if said else NO_ROW)
        (row,) = said.values()
        identity = GraderIdentity("table", row.grader or self.name, "", self.sha256)
        return SideGrade(side, identity, grade=row.grade, scale=row.scale)


def read_table_of_grades(path: Path) -> TableGrader:
    """Read and check a table of grades.

    Raises:
        BundleError: the file cannot be read, or a line does not fit; the message says which.
    """
    data = read_file(path)
    try:
        lines = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        _check_columns(path, tuple(lines.fieldnames or ()))
        rows = tuple(_rows(path, lines))
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not UTF-8") from error
    except csv.Error as error:
        raise BundleError(f"{path}: not a CSV file: {error}") from error
    return TableGrader(path.stem, hashlib.sha256(data).hexdigest(), rows)


def _check_columns(path: Path, found: tuple[str, ...]) -> None:
    unknown = sorted(set(found) - set(COLUMNS))
    missing = [name for name in ("side", "grade") if name not in found]
    if unknown:
        raise BundleError(f"{path}: no column is called {unknown[0]!r} ({', '.join(COLUMNS)})")
    if missing or not set(found) & set(NAMES):
        wanted = missing[0] if missing else " or ".join(NAMES)
        raise BundleError(f"{path}: there is no column {wanted}")
    if len(set(found)) != len(found):
        raise BundleError(f"{path}: two columns have one name")


def _rows(path: Path, lines: csv.DictReader[str]) -> Iterator[Row]:
    for line in lines:
        where = f"{path}, line {lines.line_num}"
        if None in line or None in line.values():
            raise BundleError(f"{where}: not as many values as there are columns")
        yield _row(where, {name: value.strip() for name, value in line.items()})


def _row(where: str, line: Mapping[str, str]) -> Row:
    about = Subject(**{name: line.get(name, "") for name in NAMES})
    side = SIDES.get(line["side"].lower())
    if about == Subject():
        raise BundleError(f"{where}: names no case")
    if side is None:
        raise BundleError(f"{where}: side is none of R, L, right, left")
    if not line["grade"]:
        raise BundleError(f"{where}: has no grade")
    said = {name: line.get(name, "") for name in ("grade", "grader", "scale")}
    for name, value in said.items():
        if len(value) > LONGEST:
            raise BundleError(f"{where}: {name} has more than {LONGEST} characters")
    return Row(about, side, **said)
