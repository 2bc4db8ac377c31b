"""Affected sides and disease grades as people keep them: a CSV with a line for each case.

```
case,affected_side,grade_R,grade_L
case0001,R,3,1                       the case by name, Series Instance UID or pseudonym
2.25.77,both,,                       both, none, or empty: nothing to compare
P-0003,,4,2                          no side, two grades: the greater one tells it
```
`case` is required, and one of the others. `case` is looked for among the names of the cases
(folders, with or without those above them), Series Instance UIDs, Patient IDs (real ones or
pseudonyms) and patient keys, in that order; a Patient ID stands for all scans of the patient.
Two lines may mean one case, as long as they do not contradict each other.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dicom_node.cohort.records import CaseRecord, Grade, Source
from dicom_node.errors import ConfigurationError
from inference.structures import Side

CASE, AFFECTED, GRADE_RIGHT, GRADE_LEFT = COLUMNS = (
    "case",
    "affected_side",
    "grade_R",
    "grade_L",
)
BY_PEOPLE: Final = "table of sides"
"""The grader of grades that a file says."""
BY_TABLES: Final = "people, in tables of grades"
"""The grader of grades that cases bring along, where it was people."""

SIDES: Final[Mapping[str, frozenset[Side]]] = {
    "": frozenset(),
    "none": frozenset(),
    "r": frozenset({Side.RIGHT}),
    "right": frozenset({Side.RIGHT}),
    "l": frozenset({Side.LEFT}),
    "left": frozenset({Side.LEFT}),
    "both": frozenset(Side),
}


NOBODY: Final[Mapping[str, Source]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SideLine:
    """One line of the file, by its number. affected: None where it does not say."""

    case: str
    affected: frozenset[Side] | None
    grades: Mapping[Side, str]
    number: int = 0

    @property
    def said(self) -> Iterator[tuple[Side | None, frozenset[Side] | str]]:
        """What it says: the grade of a side, or of no single one the affected sides."""
        yield from self.grades.items()
        if self.affected is not None:
            yield None, self.affected


@dataclass(frozen=True, slots=True)
class KnownSides:
    """What is known of the sides of the cases, by the case's name.

    affected: the affected side, where it is one alone.
    grades: of the right and the left side.
    by_grade: how many affected sides were told by the greater grade.
    unmatched: cases of the file that are not among the records.
    grader: whose grades they are; empty without any.
    by_others: how many cases have grades by others alone, which are not mixed with these.
    """

    affected: Mapping[str, Side]
    grades: Mapping[str, Mapping[Side, str]]
    by_grade: int = 0
    unmatched: tuple[str, ...] = ()
    grader: str = ""
    by_others: int = 0


def read_sides(path: Path) -> tuple[SideLine, ...]:
    """Read the file.

    Raises:
        ConfigurationError: it cannot be read; the message names line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        dialect = csv.Sniffer().sniff(text.splitlines()[0] if text else "", ",;\t")
    except csv.Error:
        dialect = csv.excel
    reader = csv.DictReader(io.StringIO(text), dialect=dialect)
    names = reader.fieldnames or []
    unknown = [name for name in names if name not in COLUMNS]
    if CASE not in names or unknown or len(names) < 2:
        words = f"columns {', '.join(map(repr, names)) or 'missing'}"
        raise ConfigurationError(f"{path}: {words}; expected are {', '.join(COLUMNS)}")
    return tuple(_line(path, reader.line_num, row) for row in reader)


def _line(path: Path, number: int, row: Mapping[str, str | None]) -> SideLine:
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not cells[CASE] or None in row:
        what = "more cells than columns" if None in row else "no case"
        raise ConfigurationError(f"{path}, line {number}: {what}")
    side = cells[AFFECTED].lower()
    if side not in SIDES:
        words = f"{AFFECTED} {cells[AFFECTED]!r}"
        raise ConfigurationError(f"{path}, line {number}: {words} is not R, L, both or none")
    graded = {Side.RIGHT: cells[GRADE_RIGHT], Side.LEFT: cells[GRADE_LEFT]}
    grades = {one: grade for one, grade in graded.items() if grade}
    return SideLine(cells[CASE], SIDES[side] if side else None, grades, number)


def known_sides(
    cases: Sequence[CaseRecord],
    lines: Iterable[SideLine] | None = None,
    behind: Mapping[str, Source] = NOBODY,
) -> KnownSides:
    """What a file, or else the cases' own grades, say of the sides of cases.

    Args:
        cases: those in question.
        lines: of the file; None without one.
        behind: where the cases have pseudonyms, by their names what they stand for: the
            file may name either.

    Raises:
        ConfigurationError: two lines of the file contradict each other.
    """
    if lines is None:
        grader = _grader(cases)
        grades = {case.source.name: _own_grades(case.grades, grader) for case in cases}
        others = sum(bool(case.grades) and not grades[case.source.name] for case in cases)
        return replace(_told(grades, {}, grader), by_others=others)
    names = _names(cases, behind)
    unmatched = []
    of_case: dict[str, list[SideLine]] = {}
    for line in lines:
        found = names.get(line.case, ())
        if not found:
            unmatched.append(line.case)
        for name in found:
            of_case.setdefault(name, []).append(line)
    for some in of_case.values():
        _refuse_contradiction(some)
    said = {
        name: line.affected
        for name, some in of_case.items()
        for line in some
        if line.affected is not None
    }
    graded = {
        name: {side: grade for line in some for side, grade in line.grades.items()}
        for name, some in of_case.items()
    }
    grader = BY_PEOPLE if any(graded.values()) else ""
    return replace(_told(graded, said, grader), unmatched=tuple(unmatched))


def _refuse_contradiction(lines: Sequence[SideLine]) -> None:
    """Refuse lines that say different things of one case."""
    told: dict[Side | None, tuple[int, frozenset[Side] | str]] = {}
    for line in lines:
        for side, word in line.said:
            number, before = told.setdefault(side, (line.number, word))
            if before != word:
                what = AFFECTED if side is None else f"grade_{side.value}"
                words = f"lines {number} and {line.number} say different things of one case"
                raise ConfigurationError(f"table of sides: {words}: {what}")


def _told(
    grades: Mapping[str, Mapping[Side, str]],
    said: Mapping[str, frozenset[Side]],
    grader: str,
) -> KnownSides:
    by_grade = {
        name: worse
        for name, graded in grades.items()
        if name not in said and (worse := worse_side(graded)) is not None
    }
    single = {name: next(iter(sides)) for name, sides in said.items() if len(sides) == 1}
    with_grades = {name: graded for name, graded in grades.items() if graded}
    return KnownSides({**by_grade, **single}, with_grades, len(by_grade), grader=grader)


def worse_side(grades: Mapping[Side, str]) -> Side | None:
    """The side whose grade is the greater number; None where that cannot be told."""
    try:
        right, left = (float(grades[side]) for side in (Side.RIGHT, Side.LEFT))
    except (KeyError, ValueError):
        return None
    # A grade of `nan` or `inf` is no number that is greater than another.
    if right == left or not (math.isfinite(right) and math.isfinite(left)):
        return None
    return Side.RIGHT if right > left else Side.LEFT


def _names(
    cases: Sequence[CaseRecord], behind: Mapping[str, Source]
) -> dict[str, tuple[str, ...]]:
    """The cases that a word of the file stands for."""
    names: dict[str, tuple[str, ...]] = {}
    sources = [(case.source.name, case.source) for case in cases]
    sources += [(name, behind[name]) for name, _ in sources if name in behind]
    for kind in _KINDS:
        found: dict[str, list[str]] = {}
        for name, source in sources:
            found.setdefault(kind(source), []).append(name)
        found.pop("", None)
        if kind is _folder:
            found = {key: value for key, value in found.items() if len(value) == 1}
        names = {**{key: tuple(value) for key, value in found.items()}, **names}
    return names


def _folder(source: Source) -> str:
    """The case's own folder; two cases of one such name are told apart by the whole name."""
    return source.name.rpartition("/")[2]


_KINDS: Final[tuple[Callable[[Source], str], ...]] = (
    lambda source: source.name,
    _folder,
    lambda source: source.series_instance_uid,
    lambda source: source.patient_id,
    lambda source: source.patient_key,
)
"""What a case may be called by, from the surest on."""


def _grader(cases: Sequence[CaseRecord]) -> str:
    """The grader that graded most sides; of two the first by name."""
    counts = Counter(_name_of_grader(grade) for case in cases for grade in case.grades)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


def _own_grades(grades: Sequence[Grade], grader: str) -> dict[Side, str]:
    return {Side(one.side): one.grade for one in grades if _name_of_grader(one) == grader}


def _name_of_grader(grade: Grade) -> str:
    """The readers who share the cases of a site's tables are one grader, and not named."""
    return BY_TABLES if grade.by_people else grade.grader
