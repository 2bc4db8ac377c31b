"""A series' files to the candidate that selection rules judge: its headers, and its stack.

Whether it can be analysed is asked of the very code that reads it for an analysis
(`reading.py`), as far as that looks at headers; what only pixels tell comes out later.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dicom_node.errors import NoImagesError, NotAxialError, SeriesError
from dicom_node.series.bounded_files import NotDicomError, read_until_pixels
from dicom_node.series.candidates import Candidate, StackFacts
from dicom_node.series.reading import (
    SeriesHeaders,
    offsets_mm,
    ordered_slices,
    orientation_of,
    read_headers,
    stack_of,
)
from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_headers import read_header, stated_values, value_of
from dicom_node.series.slice_spacing import SAME_POSITION_MM
from dicom_node.uids import is_uid


def candidate_of(paths: Iterable[Path]) -> Candidate:
    """The candidate that the files of one series are.

    Its values are those of one image that counts, its stack is known.

    Raises:
        NoImagesError: not one of the files is a DICOM file that says of which series it is.
        OSError: a file cannot be read.
    """
    paths = tuple(sorted(paths))
    headers: SeriesHeaders | None = None
    try:
        headers = read_headers(paths)
        stack = _facts(stack_of(headers).slices)
    except SeriesError as error:
        found = () if headers is None else headers.found
        stack = _facts(found, error)
    values = _values(headers.found[0] if headers else None, paths)
    images = len(headers.stated.instances) if headers else _count(paths)
    return Candidate(
        study_instance_uid=values.get("StudyInstanceUID", ""),
        series_instance_uid=values["SeriesInstanceUID"],
        values=values,
        images=images,
        stack=stack,
    )


def series_below(paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Files by Series Instance UID; what is no DICOM file, or says of none, is passed over."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        uid = _series_of(path)
        if uid:
            groups[uid].append(path)
    return {uid: tuple(members) for uid, members in groups.items()}


def _series_of(path: Path) -> str:
    """The Series Instance UID of a file; empty where it tells of none."""
    with contextlib.suppress(SeriesError, NotDicomError):
        header = read_until_pixels(path, ["SeriesInstanceUID"])
        uid = str(value_of(header, "SeriesInstanceUID") or "").strip()
        return uid if is_uid(uid) else ""
    return ""


def _facts(found: Sequence[SliceHeader], error: SeriesError | None = None) -> StackFacts:
    """What can be said of slices, also where they are no stack."""
    code, words = ("", "") if error is None else (error.code, str(error))
    if not found:
        return StackFacts(0, refusal=code, refusal_words=words)
    offsets = offsets_mm(ordered_slices(found))
    steps = np.diff(offsets)
    steps = steps[steps > SAME_POSITION_MM]
    thickness = [each.thickness_mm for each in found if each.thickness_mm is not None]
    return StackFacts(
        slices=len(found),
        slice_spacing_mm=float(np.median(steps)) if steps.size else None,
        slice_thickness_mm=float(np.median(thickness)) if thickness else None,
        length_mm=float(offsets[-1] - offsets[0]),
        is_axial=_is_axial(found),
        refusal=code,
        refusal_words=words,
    )


def _is_axial(found: Sequence[SliceHeader]) -> bool:
    try:
        orientation_of(found)
    except NotAxialError:
        return False
    return True


def _values(first: SliceHeader | None, paths: Sequence[Path]) -> dict[str, str]:
    """The attributes of one image by keyword; of one that counts, where any does.

    Raises:
        NoImagesError: no file says of which series it is.
    """
    if first is not None:
        return stated_values(read_until_pixels(first.path), first.frame_number)
    for values in _readable(paths):
        if is_uid(values.get("SeriesInstanceUID", "")):
            return values
    raise NoImagesError("not one of the files is DICOM and says of which series it is")


def _readable(paths: Sequence[Path]) -> Iterator[dict[str, str]]:
    """The attributes of each file whose header can be read."""
    for path in paths:
        with contextlib.suppress(SeriesError, NotDicomError):
            yield stated_values(read_until_pixels(path), None)


def _count(paths: Sequence[Path]) -> int:
    """The number of instances among files of which some cannot be read."""
    uids = set()
    for path in paths:
        with contextlib.suppress(SeriesError):
            if (header := read_header(path)) is not None:
                uids.add(str(value_of(header, "SOPInstanceUID")))
    return len(uids)
