"""`--list FILE`: the scans of a batch as a table, or one path a line.

```
path,name,height_m                     CSV with a header; name and height_m may be missing
/archive/17,patient17,1.72
scans/18.nii.gz,,                      relative to the list's own folder
```
A text without a header is one path a line; empty lines and those that begin with # are passed
over.
"""

from __future__ import annotations

import csv
import stat
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dicom_node.batch.cases import (
    LONGEST_GIVEN_BYTES,
    TABLE_FILE,
    Case,
    case_name,
    is_usable_name,
    shortened,
    with_unique_names,
)
from dicom_node.batch.sources import (
    GONE,
    Found,
    KnownFolders,
    OnFolder,
    UnreadableFolderError,
    cases_in,
    image_case,
    stem_of,
)
from dicom_node.case_files.dicom_folders import series_of
from dicom_node.case_files.image_files import is_image_file
from dicom_node.errors import ConfigurationError, NoImagesError, SeriesError

COLUMNS: Final = ("path", "name", "height_m")
SEPARATORS: Final = (",", ";", "\t")
"""Of columns: spreadsheets write a semicolon where 1,7 is a number."""

HEIGHTS_M: Final = (0.5, 2.5)


@dataclass(frozen=True, slots=True)
class ListedScan:
    """A line of a list. name: empty where the list gives none."""

    path: Path
    name: str = ""
    height_m: float | None = None


def read_list(path: Path) -> list[ListedScan]:
    """The scans that a file lists.

    Raises:
        ConfigurationError: it cannot be read, or a line makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: no text in UTF-8") from error
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise ConfigurationError(f"{path}: lists nothing")
    separator = _separator(lines[0][1])
    if separator:
        listed = _of_table(path, separator, lines)
    else:
        listed = [ListedScan(path.parent / line.strip()) for _, line in lines]
    twice = [name for name, count in Counter(one.name for one in listed).items() if count > 1]
    named_twice = [name for name in twice if name]
    if named_twice:
        raise ConfigurationError(f"{path}: more than one scan is called {named_twice[0]!r}")
    return listed


def _separator(line: str) -> str:
    """What stands between the columns of a table, by its header; empty where it is none."""
    for separator in SEPARATORS:
        try:
            if "path" in _header(line, separator):
                return separator
        except ValueError:
            pass
    return ""


def _header(line: str, separator: str) -> list[str]:
    return [word.casefold() for word in _values(line, separator)]


def _values(line: str, separator: str) -> list[str]:
    """The values of a line, without the empty ones at its end, which spreadsheets add.

    Raises:
        ValueError: it is no line of a CSV file.
    """
    try:
        values = [
            each.strip() for each in next(csv.reader([line], delimiter=separator, strict=True))
        ]
    except csv.Error as error:
        raise ValueError(f"no line of a CSV file: {error}") from error
    while values and not values[-1]:
        values.pop()
    return values


def _of_table(path: Path, separator: str, lines: Sequence[tuple[int, str]]) -> list[ListedScan]:
    header = _header(lines[0][1], separator)
    known = ", ".join(COLUMNS)
    for word, count in Counter(header).items():
        if word not in COLUMNS:
            raise ConfigurationError(f"{path}: column {word!r} is not among {known}")
        if count > 1:
            raise ConfigurationError(f"{path}: column {word!r} is there more than once")
    listed = []
    for number, line in lines[1:]:
        try:
            values = _values(line, separator)
            if values:
                listed.append(_listed(path.parent, _row(header, values, separator)))
        except ValueError as error:
            raise ConfigurationError(f"{path}, line {number}: {error}") from error
    if not listed:
        raise ConfigurationError(f"{path}: lists nothing")
    return listed


def _row(header: Sequence[str], values: Sequence[str], separator: str) -> dict[str, str]:
    """The values of a line by their columns.

    Raises:
        ValueError: there are more than columns.
    """
    if len(values) > len(header):
        raise ValueError("more values than columns")
    row = dict(zip(header, values, strict=False))
    if separator != "," and "height_m" in row:  # where 1,7 is a number
        row["height_m"] = row["height_m"].replace(",", ".")
    return row


def _listed(folder: Path, row: dict[str, str]) -> ListedScan:
    if not row.get("path"):
        raise ValueError("no path")
    name = row.get("name", "")
    if name and not is_usable_name(name):
        raise ValueError(
            f"{name!r} cannot be the name of a folder (at most {LONGEST_GIVEN_BYTES} bytes,"
            f" not hidden, without a slash, and not {TABLE_FILE})"
        )
    height_m = float(row["height_m"]) if row.get("height_m") else None
    if height_m is not None and not HEIGHTS_M[0] <= height_m <= HEIGHTS_M[1]:
        raise ValueError(f"a height of {height_m:g} m is none")
    return ListedScan(folder / row["path"], name, height_m)


def cases_listed(
    listed: Sequence[ListedScan],
    known: KnownFolders,
    *,
    besides: Sequence[Path] = (),
    on_folder: OnFolder | None = None,
) -> Found:
    """The cases of a list in its order, and the folders that were looked at.

    A name that the list gives goes to the one scan at its path; where there are several, each
    adds its own. A path with nothing like a scan stays a case, whose report says so. One that
    cannot be read is a case that fails.

    Raises:
        ConfigurationError: two lines lead to one file.
    """
    cases: list[Case] = []
    lines: list[ListedScan] = []
    folders: list[Path] = []
    unreadable: dict[Path, str] = {}
    for one in listed:
        found = _cases_at(one, known, besides, on_folder)
        folders += found.folders
        unreadable |= found.unreadable
        alone = len(found.cases) == 1
        for case in found.cases:
            name = _name(one, case, alone=alone)
            cases.append(replace(case, name=name, height_m=one.height_m))
            lines.append(one)
    _check_once(lines, cases)
    return Found(tuple(with_unique_names(cases)), tuple(folders), (), unreadable)


def _name(one: ListedScan, case: Case, *, alone: bool) -> str:
    if not one.name or alone:
        return one.name or case.name
    both = f"{one.name}-{case.name}"
    return shortened(both, both)


def _check_once(lines: Sequence[ListedScan], cases: Sequence[Case]) -> None:
    """See that no scan is listed twice, by its path or with a folder that it lies in.

    Its results would be written twice, by one name or two, and counted twice. Files are
    compared only in folders that several lines lead to.

    Raises:
        ConfigurationError: one is.
    """
    resolved: dict[Path, Path] = {}
    lines_at: dict[Path, set[int]] = defaultdict(set)
    for line, case in zip(lines, cases, strict=True):
        for folder in {path.parent for path in _files_of(case)}:
            real = resolved.setdefault(folder, folder.resolve())
            lines_at[real].add(id(line))
    shared = {folder for folder, ids in lines_at.items() if len(ids) > 1}
    seen: dict[Path, ListedScan] = {}
    for line, case in zip(lines, cases, strict=True):
        for path in _files_of(case):
            real = resolved[path.parent]
            other = seen.setdefault(real / path.name, line) if real in shared else line
            if other is not line:
                words = f"{path} is listed twice: by {other.path} and by {line.path}"
                raise ConfigurationError(words)


def _files_of(case: Case) -> Sequence[Path]:
    """The files of a case; where nothing is there, the path that was listed."""
    return case.files or (case.source,)


def _cases_at(
    one: ListedScan, known: KnownFolders, besides: Sequence[Path], on_folder: OnFolder | None
) -> Found:
    """What lies at a path of a list; what is no scan, or cannot be read, is a case too."""
    nothing = Case(case_name(one.path.name), one.path, ())
    try:
        if stat.S_ISDIR(one.path.stat().st_mode):
            return cases_in(one.path, known, besides=besides, on_folder=on_folder)
        cases = _cases_in_file(one.path)
    except UnreadableFolderError as error:
        cases = (replace(nothing, unreadable=str(error)),)
        return Found(cases, (), (), error.folders)
    except NoImagesError:
        cases = (nothing,)
    except SeriesError:
        cases = (replace(nothing, files=(one.path,)),)
    except OSError as error:
        words = f"{error.filename or one.path}: {error.strerror}"
        cases = (replace(nothing, unreadable="" if error.errno in GONE else words),)
    return Found(cases, (), ())


def _cases_in_file(path: Path) -> tuple[Case, ...]:
    """The cases in a file.

    Raises:
        SeriesError: there are none, or it is damaged.
    """
    if is_image_file(path):
        return (image_case(path, f"{path.parent.name}-{stem_of(path)}"),)
    if not path.is_file():
        raise NoImagesError(f"{path}: no file")
    return tuple(Case(one.folder_name, path, one.paths) for one in series_of(path))
