"""Files of strangers, read so that nothing they state makes us hold more than they are.

A length in a header costs its writer four bytes. Here every length must lie inside the file,
a deflated file is inflated only as far as it is needed, and whatever a parser of hostile
bytes raises becomes one error with a name.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_node.errors import PixelDataError, SeriesError

PREAMBLE_BYTES: Final = 132
"""Preamble and prefix (PS3.10 7.1)."""

HEADER_BYTES: Final = 1 << 26
"""What comes before the pixels is shorter: ten thousand frames say less."""

INFLATED_BYTES: Final = 1 << 31
"""A deflated file is held in memory whole; one that is larger inflated is damaged."""


class BrokenOffError(ValueError):
    """An element that reaches beyond the end of its file."""


class _Within(io.BufferedReader):
    """A binary file in which reading and skipping beyond the end is an error.

    Asked for four gigabytes, a plain file first makes room for them and then looks.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw, 1 << 16)
        self._end = super().seek(0, io.SEEK_END)
        super().seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, or raise where the file is shorter; its very end reads as nothing."""
        if size is not None and size > 0:
            left = self._end - self.tell()
            if size > left > 0:
                raise BrokenOffError("an element reaches beyond the end of the file")
            size = min(size, left)
        return super().read(size)

    def seek(self, target: int, whence: int = io.SEEK_SET, /) -> int:
        """Move, or raise where that is outside the file."""
        if whence == io.SEEK_SET and target > self._end:
            raise BrokenOffError("an element reaches beyond the end of the file")
        return super().seek(target, whence)


@contextmanager
def opened(path: Path, *, pixel_bytes: int = 0) -> Iterator[tuple[BinaryIO, FileMetaDataset]]:
    """A DICOM file as a stream that reads from its start, and its file meta information.

    A deflated file comes inflated, as Explicit VR Little Endian, cut off where its header
    and so many bytes of pixels must be over.

    Raises:
        NotDicomError: it has no DICOM prefix.
        PixelDataError: it breaks off or is damaged.
        OSError: it cannot be opened.
    """
    with warnings.catch_warnings(), _Within(io.FileIO(path)) as stream:
        warnings.simplefilter("ignore")
        if not _is_dicom(stream):
            raise NotDicomError
        with named_damage("a file breaks off or is damaged in its header"):
            meta = _meta(stream)
            syntax = str(meta.get("TransferSyntaxUID", ""))
            if syntax == DeflatedExplicitVRLittleEndian:
                limit = min(HEADER_BYTES + pixel_bytes, INFLATED_BYTES)
                inflated = _Within(cast(io.RawIOBase, _inflated(stream.read(), limit)))
                yield cast(BinaryIO, inflated), meta
            else:
                stream.seek(0)
                yield cast(BinaryIO, stream), meta


class NotDicomError(ValueError):
    """A file without the DICOM prefix."""


@contextmanager
def named_damage(words: str) -> Iterator[None]:
    """Turn whatever a parser raises over hostile bytes into one error with words."""
    try:
        yield
    except SeriesError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; those without a number are pydicom's own
        # pydicom lets out a dozen kinds, from struct.error to RecursionError, and means the
        # same by all of them. Their messages may quote values, so only the kind is told.
        raise PixelDataError(f"{words} ({type(error).__name__})") from error


def read_until_pixels(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """The dataset of a file up to its pixels: these elements, or all.

    Raises:
        NotDicomError: it has no DICOM prefix.
        PixelDataError: it breaks off or is damaged.
    """
    with opened(path) as (stream, meta):
        specific: Any = list(keywords) if keywords is not None else None
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=specific)
        header.file_meta = meta
        return header


def _is_dicom(stream: _Within) -> bool:
    head = io.BufferedReader.read(stream, PREAMBLE_BYTES)
    return len(head) == PREAMBLE_BYTES and head.endswith(b"DICM")


def _meta(stream: _Within) -> FileMetaDataset:
    """Group 2, read to where it really ends, whatever its group length says."""
    found = read_dataset(
        cast(BinaryIO, stream),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=_is_past_meta,
    )
    return FileMetaDataset({tag: found.get_item(tag) for tag in found.keys()})  # noqa: SIM118


def _is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2


class _Inflated(io.BytesIO):
    """Bytes with the name that pydicom expects of a buffered file."""

    name = ""


def _inflated(deflated: bytes, limit_bytes: int) -> _Inflated:
    """A deflated dataset as a file in Explicit VR Little Endian, at most so long."""
    syntax = ExplicitVRLittleEndian.encode().ljust(20, b"\0")
    element = b"\x02\x00\x10\x00UI" + len(syntax).to_bytes(2, "little") + syntax
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
    dataset = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, limit_bytes)
    return _Inflated(b"\0" * 128 + b"DICM" + length + element + dataset)
