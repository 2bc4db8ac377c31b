"""The bytes of an image file, read as far as its header says and no farther.

What is compressed is inflated piece by piece: memory grows with what is really there, never
with what a damaged or hostile header claims.
"""

from __future__ import annotations

import bz2
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import PixelDataError

HEADER_BYTES: Final = 1 << 20
"""No header in words is longer."""

CHUNK_BYTES: Final = 1 << 20
PACKED_BYTES: Final = 1 << 14
GZIP_MAGIC: Final = b"\x1f\x8b"
EMPTY_MEMBERS: Final = 1000
"""More gzip members without a byte in a row are no file that anybody wrote."""

BEHIND_CHUNKS: Final = 4
"""So far is read behind the last voxel, to where a checksum stands."""


class Encoding(Enum):
    """How voxels are packed."""

    RAW = "raw"
    ZLIB = "gzip or zlib"
    BZIP2 = "bzip2"


@dataclass(frozen=True, slots=True)
class VoxelPlace:
    """Where the voxels of an image file lie, and how they are stored.

    start_bytes: what stands before them in the file; None: they are the end of the file.
    skipped_bytes: what stands before them where it has been unpacked.
    """

    path: Path
    dtype: np.dtype[Any]
    encoding: Encoding = Encoding.RAW
    start_bytes: int | None = 0
    skipped_bytes: int = 0


def read_voxels(place: VoxelPlace, shape: tuple[int, int, int]) -> NDArray[Any]:
    """The voxels `[k, j, i]`, in this machine's byte order.

    Raises:
        PixelDataError: they cannot be read, are damaged, or are not all there.
    """
    size = math.prod(shape) * place.dtype.itemsize
    found = _unpacked(place, size)
    if len(found) < size:
        raise PixelDataError(f"the voxels break off: {len(found)} of {size} bytes are there")
    voxels = np.frombuffer(found, dtype=place.dtype).reshape(shape)
    return voxels.astype(place.dtype.newbyteorder("="), copy=False)


def first_bytes(path: Path, size: int, encoding: Encoding = Encoding.RAW) -> bytes:
    """The first bytes of a file, unpacked; fewer where it has fewer.

    Raises:
        PixelDataError: it cannot be read.
    """
    place = VoxelPlace(path, np.dtype(np.uint8), encoding)
    return bytes(_unpacked(place, size, to_the_end=False))


def packed_as(path: Path) -> Encoding:
    """Gzip, or nothing, by the first bytes, whatever the name says.

    Raises:
        PixelDataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return Encoding.ZLIB if file.read(2) == GZIP_MAGIC else Encoding.RAW
    except OSError as error:
        raise _unreadable(error) from error


def _unpacked(place: VoxelPlace, size: int, *, to_the_end: bool = True) -> bytearray:
    """At most `size` bytes from where the voxels begin.

    to_the_end: read on a little behind them, where a checksum tells of damage.
    """
    if not place.path.is_file():  # a pipe or a device might never end
        raise PixelDataError("the file of the voxels is not there")
    found = bytearray()
    skipped = place.skipped_bytes
    try:
        with place.path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            start = length - size if place.start_bytes is None else place.start_bytes
            if not 0 <= start <= length:
                return found
            file.seek(start)
            pieces = _pieces(file, place.encoding)
            for piece in pieces:
                used = piece[skipped:]
                skipped -= len(piece) - len(used)
                found += used[: size - len(found)]
                if len(found) == size:
                    break
            if to_the_end and place.encoding is not Encoding.RAW:
                for _ in islice(pieces, BEHIND_CHUNKS):
                    pass
    except (zlib.error, EOFError) as error:
        raise PixelDataError("the packed voxels are damaged") from error
    except OSError as error:
        raise _unreadable(error) from error
    return found


def _pieces(file: BinaryIO, encoding: Encoding) -> Iterator[bytes]:
    """A file from here on, unpacked, in pieces of at most `CHUNK_BYTES`."""
    if encoding is Encoding.RAW:
        while piece := file.read(CHUNK_BYTES):
            yield piece
    elif encoding is Encoding.ZLIB:
        yield from _inflated(file)
    else:
        unpacking = bz2.BZ2Decompressor()
        while not unpacking.eof:
            read = file.read(CHUNK_BYTES) if unpacking.needs_input else b""
            piece = unpacking.decompress(read, CHUNK_BYTES)
            if not read and not piece and unpacking.needs_input:
                return
            yield piece


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """A zlib stream, or gzip members one behind the other.

    What lies behind a member is copied, so it is read in small pieces: a file may be nothing
    but empty members.
    """
    inflating = zlib.decompressobj(zlib.MAX_WBITS | 32)
    waiting, empty = b"", 0
    while empty <= EMPTY_MEMBERS:
        packed = waiting or file.read(PACKED_BYTES)
        piece = inflating.decompress(packed, CHUNK_BYTES)
        waiting = inflating.unconsumed_tail
        if piece:
            empty = 0
            yield piece
        if inflating.eof:
            waiting = inflating.unused_data or file.read(PACKED_BYTES)
            if not waiting.startswith(GZIP_MAGIC):
                return
            inflating, empty = zlib.decompressobj(zlib.MAX_WBITS | 32), empty + 1
        elif not packed and not piece:
            return


def _unreadable(error: OSError) -> PixelDataError:
    return PixelDataError(f"the file cannot be read ({error.strerror or 'damaged'})")


def beside(header: Path, name: str) -> Path:
    """The data file that a header names: in the header's own folder, or below it.

    Raises:
        PixelDataError: it lies elsewhere.
    """
    folder = os.path.abspath(header.parent)  # noqa: PTH100 - links may lead out, names not
    path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118
    if "\0" in name or not path.startswith(os.path.join(folder, "")):  # noqa: PTH118
        raise PixelDataError("the header names a data file outside its own folder")
    return Path(path)


def header_numbers(words: str, count: int, what: str) -> tuple[float, ...]:
    """Numbers separated by spaces.

    Raises:
        PixelDataError: there are not `count` of them.
    """
    try:
        numbers = tuple(float(word) for word in words.split())
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise PixelDataError(f"the header's {what} is not {count} number(s)")
    return numbers


def header_sizes(words: str, count: int, what: str) -> tuple[int, ...]:
    """Whole numbers separated by spaces.

    Raises:
        PixelDataError: there are not `count` of them.
    """
    numbers = header_numbers(words, count, what)
    if not all(number.is_integer() for number in numbers):
        raise PixelDataError(f"the header's {what} is no whole number")
    return tuple(int(number) for number in numbers)


def scaled(voxels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Stored values times slope plus intercept; whole numbers stay whole where they can."""
    if (slope, intercept) == (1, 0):
        return voxels
    small = voxels.dtype.kind in "iu" and voxels.dtype.itemsize <= 2
    if small and slope == 1 and intercept.is_integer() and abs(intercept) < 1 << 30:
        return voxels.astype(np.int32) + np.int32(intercept)
    values = np.empty(voxels.shape, dtype=np.float32)
    for number, plane in enumerate(voxels):  # one by one: they are computed in 64 bits
        values[number] = plane * np.float64(slope) + np.float64(intercept)
    return values
