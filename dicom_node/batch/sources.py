"""Scans in a folder, however deep: DICOM series, or image files where there is no CT in DICOM.

Every header is read once to know which series a file is of. What was found is kept for each
folder (`KnownFolders`), so that a batch that goes on reads only what has changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from dicom_node.batch.cases import Case, case_name, with_unique_names
from dicom_node.case_files.dicom_folders import Series, folders_below, groups_of, has_ct
from dicom_node.case_files.image_files import SUFFIXES, files_of, is_image_file
from dicom_node.case_files.result_names import ALL_FILES, MARKER_FILE, REPORT_FILE
from dicom_node.durable_files import write_durably
from dicom_node.errors import NoImagesError, SeriesError
from dicom_node.series.bounded_files import NOT_DICOM, why_not_dicom
from dicom_node.uids import is_uid

INDEX_FILE: Final = ".sources.jsonl"
"""What was found in every folder, in the batch's folder of results."""

FOLDERS_AT_ONCE: Final = 20
"""So many are written at once; of a search in fewer nothing is kept unless it is told to."""

UNREAD_TOLD: Final = 100
"""Where nothing else is found it is told of so many files why they cannot be read."""

GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})
LOST: Final = "lost+found"
"""What a file system check saves parts of files in: no scans, and readable by root alone."""

OF_RESULTS: Final = frozenset({REPORT_FILE, MARKER_FILE})
RESULTS: Final = frozenset({*ALL_FILES, MARKER_FILE})
"""In a folder with one of `OF_RESULTS`, files of these names are no scans but our results."""

OnFolder = Callable[[int, int], None]
"""Told how many folders and files have been looked at."""


@dataclass(frozen=True, slots=True)
class SeriesInFolder:
    """The files of one series in one folder. ct: whether any is an axial CT image."""

    uid: str
    names: tuple[str, ...]
    ct: bool


@dataclass(frozen=True, slots=True)
class FolderContent:
    """What lies in one folder, without those below it.

    stamp: names, sizes and times of its files, as a digest.
    images: names of image files. unread: names of what may be an image and cannot be read.
    """

    stamp: str
    series: tuple[SeriesInFolder, ...] = ()
    images: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    folder: str
    content: FolderContent


_LINE: Final = TypeAdapter(_Line)


@dataclass(slots=True)
class KnownFolders:
    """What earlier runs found, by folder; lines are added while folders are read."""

    path: Path
    known: dict[str, FolderContent] = field(default_factory=dict)
    unwritten: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> KnownFolders:
        """As far as its lines are whole: the last one of a run that was killed may not be."""
        known: dict[str, FolderContent] = {}
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            lines = []
        for text in lines:
            try:
                line = _LINE.validate_json(text)
            except ValidationError:
                continue
            known[line.folder] = line.content
        return cls(path, known)

    def content(self, folder: Path, names: Sequence[str]) -> FolderContent:
        """What lies in a folder with files of these names."""
        stamp = _stamp(folder, names)
        found = self.known.get(str(folder))
        # What could not be read may be by now, with the same time.
        if found is None or found.stamp != stamp or found.unread:
            found = _content(folder, names, stamp)
            self.known[str(folder)] = found
            self.unwritten.append(str(folder))
            if len(self.unwritten) >= FOLDERS_AT_ONCE:
                self.write()
        return found

    def write(self) -> None:
        """Keep what is new."""
        lines = [_LINE.dump_json(_Line(one, self.known[one])) for one in self.unwritten]
        if lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"\n" + b"\n".join(lines) + b"\n")
        self.unwritten.clear()

    def forget(self) -> None:
        """Keep nothing: what was found is not the beginning of a batch."""
        self.unwritten.clear()
        self.path.unlink(missing_ok=True)

    def keep_only(self, folders: Sequence[Path], unreadable: Sequence[Path] = ()) -> None:
        """Write anew without folders that are no more, where there are any.

        What lies below a folder that cannot be read now is not known to be gone.
        """
        named = {str(folder) for folder in folders}
        gone = self.known.keys() - named
        kept = {one for one in gone if any(Path(one).is_relative_to(up) for up in unreadable)}
        named |= kept
        if gone == kept:
            return
        self.known = {name: one for name, one in self.known.items() if name in named}
        lines = (_LINE.dump_json(_Line(*item)) + b"\n" for item in self.known.items())
        write_durably(self.path, b"".join(lines))


class UnreadableFolderError(NoImagesError):
    """There is no scan as far as can be seen, and `folders` cannot be looked into."""

    code = "unreadable"

    def __init__(self, folders: Mapping[Path, str]) -> None:
        self.folders = folders
        super().__init__("; ".join(f"{path}: {why}" for path, why in folders.items()))


@dataclass(frozen=True, slots=True)
class Found:
    """The scans in a folder.

    folders: all that were looked at.
    passed_over: what is no scan, in words with numbers: series without CT, image files beside
        DICOM, and unreadable files that no series lies beside.
    unreadable: folders that cannot be looked into, and why.
    """

    cases: tuple[Case, ...]
    folders: tuple[Path, ...]
    passed_over: tuple[str, ...]
    unreadable: Mapping[Path, str] = field(default_factory=dict)


def cases_in(
    source: Path,
    known: KnownFolders,
    *,
    besides: Sequence[Path] = (),
    on_folder: OnFolder | None = None,
) -> Found:
    """The scans in a folder and those below it, in the order of their paths.

    A series is one scan wherever its files lie, and is called by its UID. Image files count
    where no series of CT does, and are called by their path.

    Args:
        source: the folder.
        known: what earlier runs found.
        besides: folders that are passed over: those of results.
        on_folder: told how far the search is.

    Raises:
        NoImagesError: there is nothing like a CT.
        UnreadableFolderError: likewise, but folders cannot be looked into.
    """
    contents: dict[Path, FolderContent] = {}
    unreadable: dict[Path, str] = {}
    files = 0
    for folder, names in _folders(source, {path.resolve() for path in besides}, unreadable):
        contents[folder] = known.content(folder, names)
        files += len(names)
        if on_folder is not None:
            on_folder(len(contents), files)
    series = _series(contents)
    with_ct = [one for one, ct in series if ct]
    images = [folder / name for folder, one in contents.items() for name in one.images]
    unread = [
        folder / name
        for folder, one in contents.items()
        if not one.series
        for name in one.unread
    ]
    if not with_ct and images:
        cases = [_image_case(path, source) for path in images]
        left_out = (len(series), 0)
    else:
        taken = with_ct or [one for one, _ in series][: 1 if len(series) == 1 else 0]
        cases = [_dicom_case(one) for one in taken]
        left_out = (len(series) - len(taken), len(images))
    if not cases and unreadable:
        raise UnreadableFolderError(unreadable)
    if not cases:
        raise NoImagesError(_nothing(source, len(series), unread))
    passed_over = _passed_over(*left_out, len(unread))
    return Found(tuple(with_unique_names(cases)), tuple(contents), passed_over, unreadable)


def _passed_over(series: int, images: int, unread: int) -> tuple[str, ...]:
    """What is no scan, in words."""
    counted = {
        "series without CT": series,
        "image file(s) beside DICOM": images,
        "file(s) that may be DICOM and cannot be read": unread,
    }
    return tuple(f"{number} {words}" for words, number in counted.items() if number)


def _nothing(source: Path, series: int, unread: Sequence[Path]) -> str:
    if series:
        return f"{source}: {series} series, none with original axial CT"
    words = ""
    if unread:
        whys = ", ".join(sorted(set(map(_why_unread, unread[:UNREAD_TOLD]))))
        words = f"; {len(unread)} file(s) may be DICOM and cannot be read ({whys})"
    return f"{source}: no DICOM, NIfTI, MetaImage or NRRD there{words}"


def _why_unread(path: Path) -> str:
    try:
        groups_of([path])
        return why_not_dicom(path)
    except SeriesError as error:
        return str(error)
    except OSError as error:
        return error.strerror or "the file cannot be read"


def _folders(
    source: Path, besides: set[Path], unreadable: dict[Path, str]
) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with files, and their names; hidden folders are passed over.

    unreadable: gets the folders that cannot be looked into.
    """

    def told(error: OSError) -> None:
        unreadable[Path(error.filename)] = error.strerror or "unreadable"

    def wanted(path: Path) -> bool:
        hidden = path.name.startswith(".") or path.name == LOST
        return not hidden and path.resolve() not in besides

    for folder, files in folders_below(source, wanted, told):
        try:
            kept = sorted(file for file in files if _is_file(folder / file))
        except OSError as error:  # its names can be listed, and nothing else
            unreadable[folder] = error.strerror or "unreadable"
            continue
        if not OF_RESULTS.isdisjoint(kept):
            kept = [name for name in kept if name not in RESULTS]
        if kept:
            yield folder, kept


def _is_file(path: Path) -> bool:
    """Likewise `Path.is_file`, which from Python 3.14 on takes what cannot be seen for nothing.

    Raises:
        OSError: it cannot be seen.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in GONE:
            return False
        raise


def _stamp(folder: Path, names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(file_facts(folder, names)).encode()).hexdigest()


def file_facts(folder: Path, names: Sequence[str]) -> list[str]:
    """Name, size and time of files, which change when their content does."""
    facts = []
    for name in names:
        try:
            state = (folder / name).stat()
        except OSError:
            facts.append(f"{name!r} is not there")
        else:
            facts.append(f"{name!r} {state.st_size} {state.st_mtime_ns}")
    return facts


def _content(folder: Path, names: Sequence[str], stamp: str) -> FolderContent:
    """Look into the files of one folder."""
    by_suffix = [name for name in names if is_image_file(folder / name)]
    # Of a pair of header and voxels the header is the image.
    images = [name for name in by_suffix if files_of(folder / name)[0] == folder / name]
    paths = [folder / name for name in names if name not in by_suffix]
    groups, unplaced = _groups(paths)
    grouped = {path for group in groups for path in group.paths}
    unread = [path for path in paths if path not in grouped and _may_be_image(path)]
    return FolderContent(
        stamp,
        tuple(
            SeriesInFolder(
                group.series_instance_uid,
                tuple(path.name for path in group.paths),
                has_ct(group.paths),
            )
            for group in groups
        ),
        tuple(images),
        tuple(path.name for path in dict.fromkeys((*unplaced, *unread))),
    )


def _groups(paths: Sequence[Path]) -> tuple[list[Series], list[Path]]:
    """The series among files, and the damaged files that do not say of which they are."""
    try:
        return groups_of(paths), []
    except (SeriesError, OSError):
        pass
    placed, unplaced = [], []
    for path in paths:
        try:
            groups_of([path])
        except (SeriesError, OSError):
            unplaced.append(path)
        else:
            placed.append(path)
    return groups_of(placed), unplaced


def _may_be_image(path: Path) -> bool:
    try:
        return why_not_dicom(path) != NOT_DICOM
    except OSError:
        return True


def _series(contents: dict[Path, FolderContent]) -> list[tuple[Series, bool]]:
    """The series over all folders, and whether each has CT.

    What cannot be read goes with every series beside it, so that its report names it. Files
    that name no series are one only where they lie together.
    """
    paths: dict[str, list[Path]] = defaultdict(list)
    ct: dict[str, bool] = defaultdict(bool)
    for folder, content in contents.items():
        for one in content.series:
            uid = one.uid if is_uid(one.uid) else f"{folder}\n{one.uid}"
            paths[uid] += [folder / name for name in (*one.names, *content.unread)]
            ct[uid] |= one.ct
    return [(Series(uid, tuple(paths[uid])), ct[uid]) for uid in paths]


def _dicom_case(series: Series) -> Case:
    parents = {str(path.parent) for path in series.paths}
    return Case(series.folder_name, Path(os.path.commonpath(parents)), series.paths)


def _image_case(path: Path, source: Path) -> Case:
    relative = path.relative_to(source)
    return image_case(path, "-".join((*relative.parent.parts, stem_of(path))))


def image_case(path: Path, words: str) -> Case:
    """The case of an image file, called by words of its path."""
    files = tuple(dict.fromkeys(files_of(path)))
    return Case(case_name(words), path, files, is_image=True)


def stem_of(path: Path) -> str:
    """The name of an image file without what says how it is written."""
    suffixes = sorted((*SUFFIXES, ".img", ".img.gz"), key=len, reverse=True)
    ending = next((one for one in suffixes if path.name.lower().endswith(one)), "")
    return path.name[: len(path.name) - len(ending)]
