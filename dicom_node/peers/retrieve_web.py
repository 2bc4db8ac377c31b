"""Retrieving from a DICOMweb service: WADO-RS (PS3.18 10.4), image by image as they come.

The answer is a multipart message (RFC 2046) of whole files, in the transfer syntax in which
the service has them. Of it no more than one image is in memory, and each is kept before the
next one is read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

import requests

from dicom_node.errors import (
    PeerBusyError,
    PeerError,
    PeerRefusedError,
    PeerUnreachableError,
    SeriesError,
)
from dicom_node.peers.archives import KeepInstance, Retrieval, RetrievalEnd, Wanted
from dicom_node.peers.dicomweb import WebService, calling
from dicom_node.series.bounded_files import NotDicomError, split_file
from dicom_node.uids import is_uid

ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
CHUNK_BYTES: Final = 1 << 16
MAX_HEAD_BYTES: Final = 1 << 14
"""No part has more headers, nor is there more before the first."""
MAX_PARTS: Final = 100_000
"""No series has more images."""
PARTIAL_CONTENT: Final = 206
DAMAGED: Final = 0xC000
"""What a sender of an image would be told that cannot be read (PS3.4 Table B.2-1)."""


def retrieve(
    service: WebService, wanted: Collection[Wanted], keep: KeepInstance, max_object_bytes: int
) -> dict[Wanted, Retrieval]:
    """Get series or images one after the other; how each ended.

    Of images that are asked for one by one, those come too that stand behind one that the
    service refuses. A service that cannot be reached, breaks off, or says nothing for its
    `answer_timeout_s`
    is not asked for the rest: each then ends the same way.
    """
    ends: dict[Wanted, Retrieval] = {}
    left = list(dict.fromkeys(wanted))
    while left:
        one = left.pop(0)
        kept = _Kept(keep)
        try:
            for path in _paths(one):
                _get_unless_refused(service, path, kept, max_object_bytes)
        except PeerError as error:
            ends[one] = kept.broken_off(error)
            if ends[one].end in (RetrievalEnd.SILENT, RetrievalEnd.TURNED_AWAY):
                rest = Retrieval(ends[one].end, f"not asked for: {ends[one].words}")
                return ends | dict.fromkeys(left, rest)
        else:
            ends[one] = kept.all_came()
    return ends


def _paths(one: Wanted) -> Iterator[str]:
    """The resources of a series, or of images of it (PS3.18 Table 10.4.1-1)."""
    series = f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
    if not one.sop_instance_uids:
        yield series
    for uid in one.sop_instance_uids:
        yield f"{series}/instances/{uid}"


def _get_unless_refused(
    service: WebService, path: str, kept: _Kept, max_object_bytes: int
) -> None:
    """Get one resource, or note that the service does not give it.

    Raises:
        PeerUnreachableError: it did not answer, broke off, or asks for patience.
    """
    try:
        _get(service, path, kept, max_object_bytes)
    except PeerUnreachableError:
        raise
    except PeerError as error:
        kept.refused(error)


def _get(service: WebService, path: str, kept: _Kept, max_object_bytes: int) -> None:
    """Get one resource, and keep each image as soon as it is whole.

    Raises:
        PeerError: it did not come, or not to its end.
    """
    with calling(service) as conversation:
        response = conversation.session.get(
            service.url + path,
            headers={"Accept": ACCEPT, "Accept-Encoding": "identity"},
            stream=True,
            timeout=(service.connect_timeout_s, service.answer_timeout_s),
        )
        with response:
            kept.is_answered = True
            response.raise_for_status()
            kept.is_partial |= response.status_code == PARTIAL_CONTENT
            # The session leaves of the media type only what its client compares.
            boundary = _boundary(response.raw.headers.get("Content-Type", ""))
            if boundary is None:
                raise PeerRefusedError(f"{service} does not answer in multipart/related")
            chunks = response.iter_content(CHUNK_BYTES)
            try:
                for part in parts_of(chunks, boundary, max_object_bytes):
                    kept.take(part)
            except EOFError:
                raise PeerUnreachableError(f"{service} broke off its answer") from None
            except ValueError as error:
                raise PeerRefusedError(f"{service} answered with {error}") from None


def _boundary(media_type: str) -> bytes | None:
    """The boundary of a multipart message; None where it is none."""
    if not media_type.lower().lstrip().startswith("multipart/"):
        return None
    found = re.search(r'boundary=(?:"([^"]{1,70})"|([^;\s"]{1,70}))', media_type, re.IGNORECASE)
    return (found[1] or found[2]).encode("ascii", "replace") if found else None


def parts_of(chunks: Iterator[bytes], boundary: bytes, max_part_bytes: int) -> Iterator[bytes]:
    """The bodies of the parts of a multipart message (RFC 2046 5.1), each when it is whole.

    Raises:
        EOFError: it ends before its end.
        ValueError: it is too large.
    """
    stream = _Stream(chunks)
    delimiter = b"\r\n--" + boundary
    stream.held = bytearray(b"\r\n")  # the first delimiter need not follow a line
    stream.until(delimiter, MAX_HEAD_BYTES)
    for _ in range(MAX_PARTS):
        if stream.next(2) == b"--":
            return
        # The rest of the delimiter's line, and headers up to an empty one.
        stream.until(b"\r\n\r\n", MAX_HEAD_BYTES)
        yield stream.until(delimiter, max_part_bytes)
    raise ValueError(f"more than {MAX_PARTS} parts")


class _Stream:
    """Bytes that come in pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.held = bytearray()

    def next(self, size: int) -> bytes:
        """So many bytes; they stay where a delimiter may begin with them."""
        while len(self.held) < size:
            self._more()
        return bytes(self.held[:size])

    def until(self, mark: bytes, most: int) -> bytes:
        """What comes before a mark, which is passed over.

        Raises:
            EOFError: it does not come at all.
        ValueError: it does not come within so many bytes.
        """
        start = 0
        while (found := self.held.find(mark, start)) < 0:
            if len(self.held) > most + len(mark):
                raise ValueError(f"a part of more than {most} bytes")
            start = max(len(self.held) - len(mark) + 1, 0)
            self._more()
        before = bytes(memoryview(self.held)[:found])
        del self.held[: found + len(mark)]
        return before

    def _more(self) -> None:
        part = next(self._chunks, b"")
        if not part:
            raise EOFError("the answer ends before its end")
        self.held += part


class _Kept:
    """What came of one series, and what became of it.

    is_answered: whether the service has begun to answer.
    is_partial: whether it says that it gives only a part.
    """

    def __init__(self, keep: KeepInstance) -> None:
        self._keep = keep
        self._statuses: list[int] = []
        self._failed: list[str] = []
        self._refusals: list[PeerError] = []
        self.is_answered = self.is_partial = False

    def refused(self, error: PeerError) -> None:
        """Note that the service does not give something that was asked for."""
        self._refusals.append(error)

    def take(self, file: bytes) -> None:
        """Keep the dataset of one file, encoded as it came."""
        uid, status = "", DAMAGED
        try:
            meta, dataset = split_file(file)
        except (NotDicomError, SeriesError):
            pass
        else:
            sop_class, uid, syntax = (
                str(meta.get(each, ""))
                for each in (
                    "MediaStorageSOPClassUID",
                    "MediaStorageSOPInstanceUID",
                    "TransferSyntaxUID",
                )
            )
            status = self._keep(sop_class, uid, syntax, dataset)
        self._statuses.append(status)
        if status and is_uid(uid):
            self._failed.append(uid)

    def all_came(self) -> Retrieval:
        """The end of an answer that came to its end."""
        if self._refusals:
            return self.broken_off(self._refusals[0])
        end = RetrievalEnd.PARTLY if self._failures or self.is_partial else RetrievalEnd.DONE
        words = f"{self._failures} were not kept" if self._failures else ""
        if not self._statuses:
            words = "nothing was sent"
        elif self.is_partial:
            words = "the service says that this is not all (206)"
        return self._counted(end, words)

    def broken_off(self, error: PeerError) -> Retrieval:
        """The end of an answer that did not come, or not to its end."""
        has_status = isinstance(error.__context__, requests.HTTPError)
        is_away = isinstance(error, PeerUnreachableError)
        if is_away and (has_status or isinstance(error, PeerBusyError)):
            end = RetrievalEnd.BUSY
        elif not is_away:
            end = RetrievalEnd.PARTLY if self._statuses else RetrievalEnd.REFUSED
        elif self.is_answered or isinstance(error.__context__, requests.ReadTimeout):
            end = RetrievalEnd.SILENT
        else:
            end = RetrievalEnd.TURNED_AWAY
        wished_s = error.again_after_s if isinstance(error, PeerBusyError) else 0.0
        return replace(self._counted(end, str(error)), again_after_s=wished_s)

    @property
    def _failures(self) -> int:
        return sum(1 for each in self._statuses if each)

    def _counted(self, end: RetrievalEnd, words: str) -> Retrieval:
        return Retrieval(
            end,
            words,
            completed=len(self._statuses) - self._failures,
            failed=self._failures,
            failed_uids=tuple(self._failed),
        )
