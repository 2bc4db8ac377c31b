"""A DICOMweb service that is asked: QIDO-RS and WADO-RS, as badly as wanted."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom.dataset import Dataset

BOUNDARY = "the end of a part"


@dataclass
class WebSource:
    """What the service does, and what it was asked.

    held: the instances that it has.
    page: how many answers it gives at most; it says that there are more (Warning 299) unless
        it is `secretive`.
    knows_offsets, knows_limits: whether it does as those parameters say.
    statuses: answered to successive requests, in place of anything else; 0 answers as usual.
    headers: of those answers.
    stops_after: how many images it gives before it breaks off the connection.
    stalls_after: how many before it says nothing more until the end.
    parts: in place of the files of images.
    body: in place of a list.
    asked: path and parameters of every request.
    accepted: the Accept header of every request.
    """

    held: Sequence[Dataset] = ()
    page: int | None = None
    secretive: bool = False
    knows_offsets: bool = True
    knows_limits: bool = True
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    stops_after: int | None = None
    stalls_after: int | None = None
    parts: Sequence[bytes] | None = None
    body: bytes | None = None
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    @contextmanager
    def running(self) -> Iterator[WebSource]:
        """Serve until the end of the block, which ends every silence."""

        def handler(*request: Any) -> _Handler:
            return _Handler(self, *request)

        server = _Server(("127.0.0.1", self.port), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            self.released.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Stay silent: connections break on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, source: WebSource, *request: Any) -> None:
        self.source = source
        super().__init__(*request)

    def do_GET(self) -> None:
        source = self.source
        parts = urlsplit(self.path)
        source.asked.append((parts.path, parse_qs(parts.query, keep_blank_values=True)))
        source.accepted.append(self.headers.get("Accept", ""))
        status = source.statuses.pop(0) if source.statuses else 0
        if status not in {0, 206}:
            self._answer(status, b"", source.headers)
        elif "multipart" in self.headers.get("Accept", ""):
            self._give(status or 200)
        else:
            self._list()

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _list(self) -> None:
        path, parameters = self.source.asked[-1]
        found = list(self._matches(path, parameters))
        more = {}
        if self.source.knows_offsets:
            found = found[int(parameters["offset"][0]) :]
        most = self.source.page or len(found)
        if self.source.knows_limits:
            most = min(most, int(parameters["limit"][0]))
        if len(found) > most and not self.source.secretive and self.source.page:
            more["Warning"] = f"299 dicom-web: There are {len(found) - most} more"
        if self.source.body is not None:
            self._answer(200, self.source.body, more)
        elif found:
            body = json.dumps([each.to_json_dict() for each in found[:most]]).encode()
            self._answer(200, body, more)
        else:
            self._answer(204, b"", more)

    def _matches(self, path: str, parameters: dict[str, list[str]]) -> Iterator[Dataset]:
        """One answer for each study, series or image."""
        level = path.rsplit("/", 1)[-1]
        unique = {
            "studies": "StudyInstanceUID",
            "series": "SeriesInstanceUID",
            "instances": "SOPInstanceUID",
        }[level]
        wanted = {k: v[0].split(",") for k, v in parameters.items() if k in _UIDS}
        steps = path.split("/")
        for name, keyword in zip(("studies", "series"), _UIDS, strict=False):
            place = steps.index(name) + 1 if name in steps else len(steps)
            if place < len(steps):
                wanted[keyword] = [steps[place]]
        seen = set()
        for each in self.source.held:
            uid = each[unique].value
            if uid in seen or any(each[k].value not in v for k, v in wanted.items()):
                continue
            seen.add(uid)
            answer = Dataset()
            for keyword in (*_UIDS, "PatientName", "StudyDate"):
                if keyword in each:
                    answer.add(each[keyword])
            yield answer

    def _give(self, status: int) -> None:
        """A multipart answer, of which the length is not said (RFC 9112 7.1)."""
        self.send_response(status)
        kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        source = self.source
        for number, file in enumerate(self._files()):
            if number == source.stops_after:
                self._chunk(f"\r\n--{BOUNDARY}\r\n\r\nhalf of".encode())
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            if number == source.stalls_after:
                self.wfile.flush()
                source.released.wait(30)
                self.close_connection = True
                return
            head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n"
            self._chunk(head.encode() + file)
        self._chunk(f"\r\n--{BOUNDARY}--\r\n".encode())
        self._chunk(b"")

    def _files(self) -> Iterator[bytes]:
        if self.source.parts is not None:
            yield from self.source.parts
            return
        steps = self.source.asked[-1][0].split("/")
        for each in self.source.held:
            if each.SeriesInstanceUID in steps and (
                "instances" not in steps or each.SOPInstanceUID in steps
            ):
                file = io.BytesIO()
                each.save_as(file, enforce_file_format=True)
                yield file.getvalue()

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
