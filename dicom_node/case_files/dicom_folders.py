"""The DICOM series in a folder, and which of them are CT."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.errors import NoImagesError, SeriesError
from dicom_node.series.bounded_files import NOT_DICOM, why_not_dicom
from dicom_node.series.reading import group_by_series
from dicom_node.series.selection import exclusion_of
from dicom_node.series.slice_headers import kinds, lacks_sop_class, read_header
from dicom_node.uids import is_uid


@dataclass(frozen=True, slots=True)
class Series:
    """The files of one series; the UID is what stands where it must."""

    series_instance_uid: str
    paths: tuple[Path, ...]

    @property
    def folder_name(self) -> str:
        """Where its results go; what stands where a UID must may be a path, or a name."""
        uid = self.series_instance_uid
        if is_uid(uid):
            return uid
        return f"unidentified-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def series_of(source: Path) -> list[Series]:
    """The CT series among the files; the only series there is, whatever it is.

    A file that may be an image but cannot be read as one goes with every series, so that
    each report names it.
    """
    found = (folder / name for folder, names in folders_below(source) for name in names)
    paths = [source] if source.is_file() else sorted(path for path in found if path.is_file())
    groups = groups_of(paths)
    grouped = {path for group in groups for path in group.paths}
    others = {path: why_not_dicom(path) for path in paths if path not in grouped}
    unread = tuple(path for path, why in others.items() if why != NOT_DICOM)
    if not groups:
        named = "".join(f"; {why}" for why in sorted(set(others.values()) - {NOT_DICOM}))
        raise NoImagesError(f"{source}: no DICOM, NIfTI or MetaImage there{named}")
    with_ct = [group for group in groups if has_ct(group.paths)]
    if not with_ct and len(groups) > 1:
        raise NoImagesError(f"{source}: {len(groups)} series, none with original axial CT")
    return [replace(group, paths=group.paths + unread) for group in with_ct or groups]


def folders_below(
    source: Path,
    wanted: Callable[[Path], bool] | None = None,
    on_error: Callable[[OSError], None] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it, once each, with the names of their files.

    Links to folders are followed when everything else has been seen, so that a folder is
    found by its own path where it has one here. One that leads to the source, or to a folder
    that the source lies in, would lead round in a circle, and is not.

    Args:
        source: the folder.
        wanted: says which of those below are looked into; all without it.
        on_error: told of a folder that cannot be.
    """
    home = source.resolve()
    seen: set[tuple[int, int]] = set()
    waiting = deque([source])
    while waiting:
        for name, below, files in os.walk(waiting.popleft(), onerror=on_error):
            folder = Path(name)
            state = folder.stat()
            if (state.st_dev, state.st_ino) in seen:
                below.clear()
                continue
            seen.add((state.st_dev, state.st_ino))
            kept = [folder / one for one in sorted(below)]
            kept = [path for path in kept if wanted is None or wanted(path)]
            links = [path for path in kept if path.is_symlink()]
            waiting += (path for path in links if not home.is_relative_to(path.resolve()))
            below[:] = [path.name for path in kept if path not in links]
            yield folder, files


def groups_of(paths: Sequence[Path]) -> list[Series]:
    """The series among the files; one that is alone has the CT images that name none too."""
    groups = [Series(*group) for group in sorted(group_by_series(paths).items())]
    named = [group for group in groups if is_uid(group.series_instance_uid)]
    nameless = [group for group in groups if group not in named and has_ct(group.paths)]
    if len(named) != 1 or not nameless:
        return groups
    strays = tuple(path for group in nameless for path in group.paths if has_ct([path]))
    others = [group for group in groups if group not in (*named, *nameless)]
    return [replace(named[0], paths=named[0].paths + strays), *others]


def has_ct(paths: Sequence[Path]) -> bool:
    """True if an image is an axial CT image, lacks only its SOP class, or is damaged."""
    return any(_has_ct(path) for path in paths)


def _has_ct(path: Path) -> bool:
    try:
        header = read_header(path)
        return header is not None and any(
            exclusion_of(kind) is None or lacks_sop_class(kind) for kind in kinds(header)
        )
    except SeriesError:
        return True  # its own report says what is wrong
