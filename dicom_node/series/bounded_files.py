"""Untrusted files, read so that nothing they state makes us hold more than they are.

A length in a header costs its writer four bytes. Here every length must lie inside the file,
no header is longer than `HEADER_BYTES`, a deflated file is inflated only as far as it is
needed, and whatever a parser of hostile bytes raises becomes one error with a name. Nobody
else calls pydicom's readers: `tests/unit/series/test_bounded_files.py` holds that.

A dataset without preamble and file meta information, as old archives and some tools write
it, is read where its first elements prove what it is (`_proven_syntax`).

    read_meta           the file meta information
    split_file          the same of a file in memory, and its dataset as it is encoded
    read_until_pixels   the header, or an error where it is damaged
    read_intact         the header as far as it is intact
    read_whole          a file with its pixels, of our own or sent by hand
    uids_at_start       the UIDs of a dataset of which only the first bytes are here
    opened              a file as a stream, for decoding its pixels
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import STANDARD_VR

from dicom_node.errors import PixelDataError, SeriesError
from dicom_node.uids import is_uid

PREAMBLE_BYTES: Final = 132
"""Preamble and prefix (PS3.10 7.1)."""

PREFIX: Final = b"\0" * 128 + b"DICM"

META_GROUP: Final = b"\x02\0"
FIRST_GROUP: Final = b"\x08\0"
"""The first bytes of file meta information, and of a dataset, in little endian."""

PROOF_BYTES: Final = 1 << 16
"""Of a dataset without file meta information so much is looked at to tell what it is."""

STORAGE_CLASSES: Final = "1.2.840.10008.5.1.4."
"""The beginning of the UID of every standard SOP class of a stored object (PS3.6 A)."""

NOT_DICOM: Final = "a file that is not DICOM"
BARE_DATASET: Final = (
    "a file without file meta information, of which its first elements do not tell how it is"
    " written"
)
BIG_ENDIAN_DATASET: Final = "a file without file meta information in big endian"
"""What files are that are not read."""

HEADER_BYTES: Final = 1 << 26
"""A limit for the part before the pixels, which is shorter: ten thousand frames say less."""

CHUNK_BYTES: Final = 1 << 20

PIXEL_GROUP: Final = 0x7FE0

SERIES_INSTANCE_UID: Final = 0x0020000E
STUDY_INSTANCE_UID: Final = 0x0020000D
PATIENT_ID: Final = 0x00100020
UIDS_AT_START: Final = (0x00080016, 0x00080018, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)

INFLATED_BYTES: Final = 1 << 31
"""A deflated file is held in memory whole; one that is larger inflated is damaged."""


class BrokenOffError(ValueError):
    """An element that reaches beyond the end of its file."""


class HeaderTooLongError(ValueError):
    """A header that continues for longer than any does."""


class _Within(io.BufferedReader):
    """A binary file in which reading and skipping beyond the end is an error.

    Asked for four gigabytes, a plain file first makes room for them and then looks.

    allowance_bytes: how much may still be read; what is skipped does not count.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw, 1 << 16)
        self._end = super().seek(0, io.SEEK_END)
        super().seek(0)
        self.allowance_bytes: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, or raise where the file is shorter; its very end reads as nothing."""
        if size is not None and size > 0:
            left = self._end - self.tell()
            if size > left > 0:
                raise BrokenOffError("an element reaches beyond the end of the file")
            size = min(size, left)
            if self.allowance_bytes is not None:
                self.allowance_bytes -= size
                if self.allowance_bytes < 0:
                    raise HeaderTooLongError(f"a header of more than {HEADER_BYTES} bytes")
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
        NotDicomError: it has no DICOM prefix, and does not begin like a dataset either.
        PixelDataError: it breaks off or is damaged.
        OSError: it cannot be opened.
    """
    with warnings.catch_warnings(), _Within(_with_file_meta(path)) as stream:
        warnings.simplefilter("ignore")
        meta = _checked_meta(stream)
        with named_damage("a file breaks off or is damaged in its header"):
            syntax = str(meta.get("TransferSyntaxUID", ""))
            if syntax == DeflatedExplicitVRLittleEndian:
                limit = min(HEADER_BYTES + pixel_bytes, INFLATED_BYTES)
                inflated = _Within(cast(io.RawIOBase, _inflated(stream, limit)))
                yield cast(BinaryIO, inflated), meta
            elif not syntax:
                named = _with_syntax(stream)
                meta = _checked_meta(named)
                named.seek(0)
                yield cast(BinaryIO, named), meta
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
        _allow_a_header(stream)
        specific: Any = list(keywords) if keywords is not None else None
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=specific)
        header.file_meta = meta
        return header


def read_intact(path: Path, keywords: Sequence[str]) -> Dataset:
    """These elements of a header, up to where it is damaged; all where it is not.

    For answers that give a reason: of a damaged image they say whose it is, if that can be
    read.

    Raises:
        NotDicomError: it has no DICOM prefix.
        PixelDataError: it is damaged in its file meta information.
        OSError: it cannot be opened.
    """
    tags: Any = [Tag(keyword) for keyword in keywords]
    reached = 0

    def ends_at(stop: int) -> Callable[[BaseTag, str | None, int], bool]:
        def is_past(tag: BaseTag, _vr: str | None, _length: int) -> bool:
            nonlocal reached
            reached = int(tag)
            return reached >= stop

        return is_past

    with opened(path) as (stream, _):
        _allow_a_header(stream)
        try:
            return read_partial(stream, ends_at(PIXEL_GROUP << 16), specific_tags=tags)
        except Exception:  # noqa: BLE001 - a dozen kinds; what came before is what is wanted
            if not reached:
                return Dataset()
        stream.seek(0)
        _allow_a_header(stream)
        return read_partial(stream, ends_at(reached), specific_tags=tags)


def read_meta(path: Path) -> FileMetaDataset:
    """The file meta information of a file (PS3.10 7.1).

    Raises:
        NotDicomError: it has no DICOM prefix.
        PixelDataError: it breaks off or is damaged there.
        OSError: it cannot be opened.
    """
    with warnings.catch_warnings(), _Within(io.FileIO(path)) as stream:
        warnings.simplefilter("ignore")
        return _checked_meta(stream)


def split_file(content: bytes) -> tuple[FileMetaDataset, bytes]:
    """The file meta information of a DICOM file in memory, and its dataset as it is encoded.

    Raises:
        NotDicomError: it has no DICOM prefix.
        PixelDataError: it breaks off or is damaged there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = _Within(cast(io.RawIOBase, io.BytesIO(content)))
        meta = _checked_meta(stream)
        return meta, content[stream.tell() :]


def read_whole(path: Path) -> Dataset:
    """A file with its pixels, as large as it is: one of our own, or one that is sent by hand.

    Raises:
        NotDicomError: it has no DICOM prefix.
        PixelDataError: it breaks off or is damaged.
        OSError: it cannot be opened.
    """
    with opened(path, pixel_bytes=INFLATED_BYTES) as (stream, meta):
        with named_damage("a file breaks off or is damaged"):
            dataset = pydicom.dcmread(stream)
        if meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
            dataset.file_meta = meta
        return dataset


def uids_at_start(
    head: bytes | bytearray | memoryview,
    transfer_syntax_uid: str,
    most_bytes: int,
    also: Sequence[int] = (),
) -> dict[int, str]:
    """SOP Class, SOP Instance, Study and Series Instance UID at the start of a dataset.

    Args:
        head: its first bytes.
        transfer_syntax_uid: how it is encoded.
        most_bytes: how much of a deflated one is inflated.
        also: more elements that are looked for, before the series.

    Raises:
        Exception: whatever the library raises over bytes that are no dataset.
    """
    syntax = UID(transfer_syntax_uid)
    if syntax == DeflatedExplicitVRLittleEndian:
        head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, most_bytes)
    found = read_dataset(
        io.BytesIO(head),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
        stop_when=_is_past_series,
        specific_tags=[*UIDS_AT_START, *also],
    )
    return {int(element.tag): str(element.value) for element in found}


def _is_past_series(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > SERIES_INSTANCE_UID


def _allow_a_header(stream: BinaryIO) -> None:
    """No more than a header is read of a stream from here on."""
    cast(_Within, stream).allowance_bytes = HEADER_BYTES


def _is_dicom(stream: _Within) -> bool:
    head = io.BufferedReader.read(stream, PREAMBLE_BYTES)
    return len(head) == PREAMBLE_BYTES and head.endswith(b"DICM")


def _checked_meta(stream: _Within) -> FileMetaDataset:
    """Group 2 of a file at its start, which must be a DICOM one."""
    if not _is_dicom(stream):
        raise NotDicomError
    with named_damage("a file breaks off or is damaged in its header"):
        stream.allowance_bytes = HEADER_BYTES
        meta = _meta(stream)
        stream.allowance_bytes = None
        return meta


def _meta(stream: _Within) -> FileMetaDataset:
    """Group 2, read to where it really ends, whatever its group length says."""
    found = read_dataset(
        cast(BinaryIO, stream),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=_is_past_meta,
    )
    # A Dataset iterates over its elements, each decoded for it.
    tags = found.keys()
    return FileMetaDataset({tag: found.get_item(tag) for tag in tags})


def _is_past_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2


class _Preceded(io.RawIOBase):
    """The file that a part of another one would be with these bytes before it."""

    name = ""

    def __init__(self, head: bytes, file: io.RawIOBase, start: int) -> None:
        super().__init__()
        self._head, self._file, self._start = head, file, start
        self._size = len(head) + file.seek(0, io.SEEK_END) - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, target: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + target
        return self._at

    def readinto(self, buffer: Any, /) -> int | None:
        view = memoryview(buffer).cast("B")
        if self._at < len(self._head):
            part = self._head[self._at : self._at + len(view)]
            view[: len(part)] = part
            count: int | None = len(part)
        else:
            self._file.seek(self._at - len(self._head) + self._start)
            count = self._file.readinto(view)
        self._at += count or 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _with_file_meta(path: Path) -> io.RawIOBase:
    """A file, which begins with preamble and file meta information, or is made to."""
    file = io.FileIO(path)
    head = file.read(PREAMBLE_BYTES + 2) or b""
    start = PREAMBLE_BYTES if head[:PREAMBLE_BYTES].endswith(b"DICM") else 0
    start = 4 if head.startswith(b"DICM") else start
    if head[start : start + 2] == META_GROUP:
        file.seek(0)
        return file if start == PREAMBLE_BYTES else _Preceded(PREFIX, file, start)
    file.seek(start)
    meta = _proven_meta(file.read(PROOF_BYTES) or b"")
    file.seek(0)
    return _Preceded(PREFIX + meta, file, start) if meta else file


def _with_syntax(stream: _Within) -> _Within:
    """A file whose meta information, just read, names no transfer syntax, with one that does.

    Raises:
        PixelDataError: the dataset does not prove in which syntax it is.
    """
    start = stream.tell()
    meta = _proven_meta(io.BufferedReader.read(stream, PROOF_BYTES))
    if not meta:
        raise PixelDataError("the file meta information names no transfer syntax")
    return _Within(_Preceded(PREFIX + meta, cast(io.RawIOBase, stream.raw), start))


def _proven_meta(start: bytes) -> bytes:
    """The file meta information that the start of a dataset proves; empty where none.

    It must begin in group 8 and say its SOP Class and Instance UID there, in Explicit or
    Implicit VR Little Endian. Which of the two the first element tells: an implicit one would
    have to be over 16 KB long to look like an explicit one.
    """
    if start[:2] != FIRST_GROUP:
        return b""
    explicit = start[4:6].decode("latin-1") in STANDARD_VR
    try:
        found = read_dataset(
            io.BytesIO(start),
            is_implicit_VR=not explicit,
            is_little_endian=True,
            stop_when=_is_past_instance,
            specific_tags=[Tag(tag) for tag in UIDS_AT_START[:2]],
        )
        uids = [str(found[tag].value) for tag in UIDS_AT_START[:2]]
    except Exception:  # noqa: BLE001 - a dozen kinds, all of which mean that it proves nothing
        return b""
    if not all(map(is_uid, uids)) or not uids[0].startswith(STORAGE_CLASSES):
        return b""
    syntax = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    return _meta_bytes(uids[0], uids[1], syntax)


def _is_past_instance(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > UIDS_AT_START[1]


def _meta_bytes(sop_class_uid: str, sop_instance_uid: str, syntax: str) -> bytes:
    """The least file meta information (PS3.10 7.1) that says these; empty ones are left out."""
    uids = {0x02: sop_class_uid, 0x03: sop_instance_uid, 0x10: syntax}
    elements = b"".join(
        META_GROUP
        + struct.pack("<H2sH", element, b"UI", len(uid) + len(uid) % 2)
        + uid.encode()
        + b"\0" * (len(uid) % 2)
        for element, uid in uids.items()
        if uid
    )
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(elements))
    return length + elements


def why_not_dicom(path: Path) -> str:
    """What a file is that has no DICOM prefix and was not read, as far as its start tells."""
    with io.FileIO(path) as file:
        start = file.read(PREAMBLE_BYTES) or b""
    if start[:2] == FIRST_GROUP and start[3:4] == b"\0":
        return BARE_DATASET
    if start[:3] == b"\0\x08\0":
        return BIG_ENDIAN_DATASET
    return NOT_DICOM


class _Inflated(io.BytesIO):
    """Bytes with the name that pydicom expects of a buffered file."""

    name = ""


def _inflated(deflated: _Within, limit_bytes: int) -> _Inflated:
    """A deflated dataset as a file in Explicit VR Little Endian, at most so long."""
    inflated = _Inflated()
    inflated.write(PREFIX + _meta_bytes("", "", ExplicitVRLittleEndian))
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    while limit_bytes > 0 and not inflating.eof:
        part = inflating.unconsumed_tail or io.BufferedReader.read(deflated, CHUNK_BYTES)
        dataset = inflating.decompress(part, min(limit_bytes, CHUNK_BYTES))
        if not part and not dataset:  # zlib may hold some still when all is read
            break
        limit_bytes -= inflated.write(dataset)
    inflated.seek(0)
    return inflated
