"""Pictures of the slices of a series with what was found in it, made when they are asked for.

They are made of what the node keeps: the images in the spool and the segmentation among the
results. The places of slices and frames of the latest series that were looked at, and the
latest pictures, stay in memory, within bounds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_node.case_files.kept_segmentation import (
    KeptSegmentation,
    Plane,
    open_segmentation,
)
from dicom_node.errors import SeriesError
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import ResultRow
from dicom_node.results.kinds import Form, ResultKind
from dicom_node.series.pixels import hounsfield, stored_values
from dicom_node.series.reading import Stack, read_headers, stack_of
from dicom_node.spool.revisions import read_marker
from inference.pictures.panels import overlay_slice
from inference.structures import SEGMENTS, Segment
from inference.volume import Volume

WIDTH_PX: Final = 640
SERIES_KEPT: Final = 8
PICTURES_BYTES: Final = 64 << 20
SAME_PLANE_MM: Final = 0.05
"""A frame lies on a slice from which it is no farther away than rounding in headers."""

FORMS: Final = (Form.LABELMAP, Form.BINARY, Form.GROUPS)
"""The forms of a segmentation, those that are read fastest first."""


class NoPicturesError(Exception):
    """There is nothing to make pictures of; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class PicturedSeries:
    """A series whose slices can be shown.

    planes: for each slice the frames that lie on it, by the segmentation they are of.
    without: why there is no overlay; empty where there is one.
    """

    stack: Stack
    segmentations: tuple[KeptSegmentation, ...]
    planes: tuple[tuple[Plane | None, ...], ...]
    without: str = ""

    @property
    def slices(self) -> int:
        """How many there are."""
        return len(self.stack.slices)

    @property
    def middle(self) -> int:
        """The slice to begin with, from 1: half way along what was found."""
        found = [at for at, planes in enumerate(self.planes, start=1) if any(planes)]
        return found[len(found) // 2] if found else (self.slices + 1) // 2

    @property
    def height_px(self) -> int:
        """Height of every picture, for its width."""
        grid = self.stack.geometry
        rows_mm, columns_mm = (
            count * spacing
            for count, spacing in zip(grid.shape[1:], grid.spacing_mm, strict=True)
        )
        return max(1, round(WIDTH_PX * rows_mm / columns_mm))

    @property
    def shown(self) -> tuple[Segment, ...]:
        """The segments that there are."""
        numbers = {n for one in self.segmentations for n in one.numbers.values()}
        return tuple(SEGMENTS[n - 1] for n in sorted(numbers))

    def png(self, number: int, *, overlay: bool) -> bytes:
        """The picture of a slice, counted from 1 at the feet.

        Raises:
            SeriesError: its pixels cannot be read.
        """
        header = self.stack.slices[number - 1]
        _, stored = next(iter(stored_values(header.path, [header])))
        turned = self.stack.orientation
        hu = turned.to_patient(hounsfield(stored, header)[0].astype(np.float32))
        labels = np.zeros(hu.shape, np.uint8)
        if overlay:
            labels = turned.to_patient(self._labels(number - 1))
        grid = self.stack.geometry
        one = slice(number - 1, number)
        alone = replace(
            grid,
            positions_mm=grid.positions_mm[one].copy(),
            extents_mm=grid.extents_mm[one].copy(),
        )
        picture = overlay_slice(
            Volume(hu[np.newaxis].copy(), alone), labels[np.newaxis], 0, width_px=WIDTH_PX
        )
        encoded = BytesIO()
        Image.fromarray(picture).save(encoded, format="PNG", compress_level=4)
        return encoded.getvalue()

    def _labels(self, index: int) -> NDArray[np.uint8]:
        """The segments of a slice, in its source's own rows and columns."""
        header = self.stack.slices[index]
        found = np.zeros((header.rows, header.columns), dtype=np.uint8)
        for kept, plane in zip(self.segmentations, self.planes[index], strict=True):
            if plane is not None:
                labels = kept.labels(plane)
                found = np.where(labels > 0, labels, found)
        return found


Key = TypeVar("Key")
Kept = TypeVar("Kept")


@dataclass(slots=True)
class _Latest(Generic[Key, Kept]):
    """The values that were asked for last, no more than `most` by what each counts for."""

    most: int
    size_of: Callable[[Kept], int]
    _kept: OrderedDict[Key, Kept] = field(default_factory=OrderedDict, init=False)
    _size: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def get(self, key: Key, make: Callable[[], Kept]) -> Kept:
        """The value of a key; made where it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._size += self.size_of(made)
            while self._size > self.most and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._size -= self.size_of(dropped)
        return made


@dataclass(slots=True)
class SlicePictures:
    """The pictures of one node.

    spool: where its images are.
    """

    spool: Path
    _series: _Latest[tuple[object, ...], PicturedSeries] = field(init=False)
    _pictures: _Latest[tuple[object, ...], bytes] = field(init=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Remember nothing yet."""
        self._series = _Latest(SERIES_KEPT, lambda _one: 1)
        self._pictures = _Latest(PICTURES_BYTES, len)

    def series(self, ledger: Ledger, series_instance_uid: str, revision: int) -> PicturedSeries:
        """A series whose slices can be shown.

        Raises:
            NoPicturesError: its images are not here, or are no stack of slices.
        """
        paths = images_of(self.spool, series_instance_uid, revision)
        results = ledger.results(series_instance_uid, revision)
        key = (series_instance_uid, revision, paths, tuple(each.path for each in results))
        # One at a time: headers of a long scan are read once, however many ask for them.
        with self._reading:
            return self._series.get(key, lambda: _pictured(paths, results))

    def png(self, series: PicturedSeries, number: int, *, overlay: bool) -> bytes:
        """The picture of one of its slices, counted from 1.

        Raises:
            NoPicturesError: there is no such slice, or its pixels cannot be read.
        """
        if not 1 <= number <= series.slices:
            raise NoPicturesError(f"there are slices 1 to {series.slices}")
        header = series.stack.slices[number - 1]
        key = (header.path, header.frame_number, overlay, series.segmentations)
        try:
            return self._pictures.get(key, lambda: series.png(number, overlay=overlay))
        except (SeriesError, OSError) as error:
            raise NoPicturesError(f"slice {number}: {_words(error)}") from error


def images_of(spool: Path, series_instance_uid: str, revision: int) -> tuple[Path, ...]:
    """The images of one revision of a series.

    Raises:
        NoPicturesError: they are not here, or not all.
    """
    folder = spool / series_instance_uid
    try:
        revisions = read_marker(folder)
    except (OSError, ValueError) as error:
        raise NoPicturesError("the record of its images cannot be read") from error
    found = next((each for each in revisions if each.revision == revision), None)
    if found is None and revisions:
        # Analysed again: a revision of the ledger's, of the same images.
        found = revisions[-1]
    paths = tuple(folder / name for name in found.files) if found else ()
    missing = sum(not path.is_file() for path in paths)
    if not paths or missing == len(paths):
        raise NoPicturesError("its images are not kept any more: they were purged, as set")
    if missing:
        raise NoPicturesError(f"{missing} of its {len(paths)} images are not kept any more")
    return paths


def _pictured(paths: Sequence[Path], results: Sequence[ResultRow]) -> PicturedSeries:
    try:
        stack = stack_of(read_headers(paths))
    except (SeriesError, OSError) as error:
        raise NoPicturesError(f"its images are no stack of slices: {_words(error)}") from error
    kept, without = _segmentations(results)
    fitting = tuple(one for one in kept if _same_size(one, stack))
    if len(fitting) < len(kept):
        without = "the segmentation is not on the grid of its images"
    return PicturedSeries(stack, fitting, _by_slice(stack, fitting), without)


def _segmentations(results: Sequence[ResultRow]) -> tuple[tuple[KeptSegmentation, ...], str]:
    """The segmentations in one form, or why there is none."""
    by_kind = {ResultKind(each.kind): Path(each.path) for each in results}
    forms = [[by_kind[k] for k in form.segmentations if k in by_kind] for form in FORMS]
    paths = next(filter(None, forms), [])
    if not paths:
        return (), "there is no segmentation of it"
    try:
        return tuple(open_segmentation(path) for path in paths), ""
    except FileNotFoundError:
        return (), "its segmentation is not kept any more: it was purged, as set"
    except (SeriesError, OSError) as error:
        return (), f"its segmentation cannot be shown: {_words(error)}"


def _same_size(kept: KeptSegmentation, stack: Stack) -> bool:
    first = stack.slices[0]
    return (kept.rows, kept.columns) == (first.rows, first.columns)


def _by_slice(
    stack: Stack, kept: Sequence[KeptSegmentation]
) -> tuple[tuple[Plane | None, ...], ...]:
    """For each slice the plane of each segmentation that lies on it."""
    positions = np.array([header.position_mm for header in stack.slices])
    found: list[list[Plane | None]] = [[None] * len(kept) for _ in stack.slices]
    for number, one in enumerate(kept):
        for plane in one.planes:
            away = np.abs(positions - np.array(plane.position_mm)).max(axis=1)
            index = int(away.argmin())
            if away[index] <= SAME_PLANE_MM:
                found[index][number] = plane
    return tuple(map(tuple, found))


def _words(error: Exception) -> str:
    """An error without what a file says of its patient: our own words, or its kind."""
    return str(error) if isinstance(error, SeriesError) else type(error).__name__
