"""A segmentation that this node wrote, slice by slice: for pictures of one slice at a time.

A long scan has ten thousand frames, and to take the functional groups of each apart takes
the library milliseconds. Here they are looked through as bytes, for the place along the
dimensions and the position that `results/seg/frames.py` wrote into each; anything else is
refused. Pixels are those of the source image: turned as it is.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicom_node.case_files.segmentation_reader import segment_table
from dicom_node.errors import PixelDataError
from dicom_node.series.bounded_files import NotDicomError, read_until_pixels
from inference.structures import Segment

ITEM: Final = struct.Struct("<HHI")
DIMENSIONS: Final = b"\x20\x00\x57\x91UL"
"""Dimension Index Values (0020,9157), explicit VR little endian."""
POSITION: Final = b"\x20\x00\x32\x00DS"
"""Image Position (Patient) (0020,0032)."""
KEYWORDS: Final = (
    "SOPClassUID",
    "SegmentationType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SegmentSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, slots=True)
class Plane:
    """The frames of one slice.

    position_mm: (x, y, z) of the source slice's first pixel.
    frames: index of each frame in the file, and the segment's number in the object; None
        where the pixels say it.
    """

    position_mm: tuple[float, float, float]
    frames: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True, slots=True, eq=False)
class KeptSegmentation:
    """Where the frames of a segmentation are.

    numbers: `Segment.number` by the number in the object.
    """

    path: Path
    rows: int
    columns: int
    planes: tuple[Plane, ...]
    numbers: Mapping[int, int]

    def labels(self, plane: Plane) -> NDArray[np.uint8]:
        """The segments of one slice by `Segment.number`, `[row, column]` of the source image.

        Raises:
            PixelDataError: they cannot be read.
        """
        table = np.zeros(256, dtype=np.uint8)
        for of_object, segment in self.numbers.items():
            table[of_object] = segment
        found = np.zeros((self.rows, self.columns), dtype=np.uint8)
        indices = [index for index, _ in plane.frames]
        try:
            pixels = iter_pixels(self.path, indices=indices, raw=True)
            for (_, number), frame in zip(plane.frames, pixels, strict=True):
                values = frame if number is None else (frame > 0) * np.uint8(number)
                mapped = table[values]
                found[mapped > 0] = mapped[mapped > 0]
        except (OSError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            words = f"the segmentation cannot be read ({type(error).__name__})"
            raise PixelDataError(words) from error
        return found


def open_segmentation(path: Path) -> KeptSegmentation:
    """Find the frames of a segmentation of this node's own.

    Raises:
        PixelDataError: it is none, or damaged.
        OSError: there is no such file.
    """
    try:
        header = read_until_pixels(path, KEYWORDS)
        tag = header.get_item("PerFrameFunctionalGroupsSequence")
        groups = getattr(tag, "value", None)
        if not isinstance(groups, bytes):
            raise PixelDataError("the functional groups are not as this node writes them")
        found = list(_frames(groups))
        if len(found) != int(header.NumberOfFrames):
            raise PixelDataError("not as many frames as functional groups")
        return KeptSegmentation(
            path,
            int(header.Rows),
            int(header.Columns),
            _planes(found),
            _numbers(header),
        )
    except (NotDicomError, AttributeError, ValueError, struct.error) as error:
        words = f"not a segmentation of this node ({type(error).__name__})"
        raise PixelDataError(words) from error


Found = tuple[int | None, int, bytes]
"""The segment's number, the rank of the slice, and the whole item."""


def _frames(groups: bytes) -> Iterator[Found]:
    """The place of each frame along the dimensions."""
    at = 0
    while at < len(groups):
        group, element, length = ITEM.unpack_from(groups, at)
        if (group, element) != (0xFFFE, 0xE000):
            raise PixelDataError("the functional groups are not as this node writes them")
        item = groups[at + ITEM.size : at + ITEM.size + length]
        values = _element(item, DIMENSIONS)
        indices = struct.unpack(f"<{len(values) // 4}I", values)
        match indices:
            case (number, rank):
                yield number, rank, item
            case (rank,):
                yield None, rank, item
            case _:
                raise PixelDataError("frames are told apart by something else")
        at += ITEM.size + length


def _planes(found: list[Found]) -> tuple[Plane, ...]:
    """The frames slice by slice, from feet to head."""
    frames: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    items: dict[int, bytes] = {}
    for index, (number, rank, item) in enumerate(found):
        frames[rank].append((index, number))
        items.setdefault(rank, item)
    return tuple(Plane(_position(items[rank]), tuple(frames[rank])) for rank in sorted(frames))


def _position(item: bytes) -> tuple[float, float, float]:
    x, y, z = _element(item, POSITION).decode("ascii").split("\\")
    return float(x), float(y), float(z)


def _element(item: bytes, start: bytes) -> bytes:
    """The value of an element of short length (PS3.5 7.1.2) in an encoded item."""
    at = item.find(start)
    if at < 0:
        raise PixelDataError("a frame does not say where it lies")
    (length,) = struct.unpack_from("<H", item, at + len(start))
    begin = at + len(start) + 2
    return item[begin : begin + length]


def _numbers(header: Dataset) -> dict[int, int]:
    """`Segment.number` by the number in the object, of the segments with a side."""
    meanings = segment_table(header).meanings
    return {
        number: meaning.number
        for number, meaning in meanings.items()
        if isinstance(meaning, Segment)
    }
