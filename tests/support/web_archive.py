"""A DICOMweb service on a free port of loopback that can refuse, stall and break off."""

from __future__ import annotations

import io
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread


@dataclass(frozen=True)
class Reply:
    """One answer: a status, and what goes with it.

    body: as it is; None: the Store Instances Response to what was sent.
    cut: breaks off the connection in the middle of the body.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: bool = False


@dataclass
class WebArchive:
    """What the service does, and what it got.

    replies: to successive STOW-RS requests; 200 when they run out.
    failures: Failure Reasons by SOP Instance UID, for which nothing is stored.
    refused_syntaxes: transfer syntaxes of which nothing is stored (Failure Reason C122H).
    warnings: Warning Reasons by SOP Instance UID.
    silent: SOP Instance UIDs that the response leaves out, though they are stored.
    duplicates: HTTP status and Failure Reason for requests of nothing but objects that it
        has; without a reason, the answer has no body.
    unlisted: SOP Instance UIDs that QIDO-RS does not list.
    query_reply: instead of the list.
    drop_after: closes the connection after this many bytes of a request's body.
    stalled: while set, no STOW-RS request is answered.
    stored: the bytes of each object, in the order in which they came.
    requests: the SOP Instance UIDs of each STOW-RS request.
    headers: of every request.
    queries: path and parameters of every QIDO-RS request.
    """

    replies: list[Reply] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    refused_syntaxes: frozenset[str] = frozenset()
    warnings: dict[str, int] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    duplicates: tuple[int, int | None] | None = None
    unlisted: set[str] = field(default_factory=set)
    query_reply: Reply | None = None
    drop_after: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    stored: list[bytes] = field(default_factory=list)
    requests: list[list[str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    queries: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The base address."""
        return f"{self.scheme}://127.0.0.1:{self.port}/dicom-web"

    @contextmanager
    def running(self, context: ssl.SSLContext | None = None) -> Iterator[WebArchive]:
        """Serve until the end of the block, under TLS with a context."""

        def handler(*request: Any) -> _Handler:
            return _Handler(self, *request)

        server = _Server(("127.0.0.1", self.port), handler)
        if context is not None:
            self.scheme = "https"
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            self._released.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def wait(self) -> None:
        """Keep a request waiting while stalled, until the end at the latest."""
        if self.stalled.is_set():
            self._released.wait(30)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Stay silent: connections break on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, archive: WebArchive, *request: Any) -> None:
        self.archive = archive
        super().__init__(*request)

    def do_POST(self) -> None:
        """STOW-RS (PS3.18 10.5)."""
        archive = self.archive
        archive.headers.append(dict(self.headers))
        body = b"".join(self._body())
        if archive.drop_after is not None and len(body) >= archive.drop_after:
            self._reset()
            return
        archive.wait()
        boundary = self.headers["Content-Type"].split('boundary="')[1].split('"')[0]
        pieces = body.split(b"\r\n--" + boundary.encode())[1:-1]
        parts = [piece.split(b"\r\n\r\n", 1)[1] for piece in pieces]
        reply = archive.replies.pop(0) if archive.replies else Reply()
        uids = [_uid(part) for part in parts]
        archive.requests.append(uids)
        for part, uid in zip(parts, uids, strict=True):
            if _syntax(part) in archive.refused_syntaxes:
                archive.failures[uid] = 0xC122
        reply = self._refused_as_there(uids) or reply
        if reply.status in {200, 202}:
            taken = [part for part in parts if _uid(part) not in archive.failures]
            archive.stored += taken
        content = self._response(uids) if reply.body is None else reply.body
        self._answer(reply, content)

    def _refused_as_there(self, uids: list[str]) -> Reply | None:
        """The answer to what is there already, if that is refused."""
        archive = self.archive
        there = {_uid(each) for each in archive.stored}
        if archive.duplicates is None or not set(uids) <= there:
            return None
        status, reason = archive.duplicates
        if reason is None:
            return Reply(status, body=b"")
        archive.failures |= dict.fromkeys(uids, reason)
        return Reply(status)

    def do_GET(self) -> None:
        """QIDO-RS (PS3.18 10.6)."""
        archive = self.archive
        archive.headers.append(dict(self.headers))
        parts = urlsplit(self.path)
        archive.queries.append((parts.path, parse_qs(parts.query)))
        if archive.query_reply is not None:
            self._answer(archive.query_reply, archive.query_reply.body or b"")
            return
        series = parts.path.split("/series/")[-1].split("/")[0]
        found = {
            str(dataset.SOPInstanceUID)
            for dataset in (dcmread(io.BytesIO(each)) for each in archive.stored)
            if "/series/" not in parts.path or dataset.SeriesInstanceUID == series
        }
        listed = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in sorted(found)]
        listed = [one for one in listed if one["00080018"]["Value"][0] not in archive.unlisted]
        self._answer(Reply(), json.dumps(listed).encode())

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _body(self) -> Iterator[bytes]:
        """The request's body; no more than what is wanted where it is to be dropped."""
        limit, got = self.archive.drop_after, 0
        for piece in self._pieces():
            got += len(piece)
            yield piece
            if limit is not None and got >= limit:
                return

    def _pieces(self) -> Iterator[bytes]:
        """The body in pieces, with a length or chunked (RFC 9112 7.1)."""
        if "Content-Length" in self.headers:
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _response(self, uids: list[str]) -> bytes:
        """The Store Instances Response (PS3.18 Annex I)."""
        named = [uid for uid in uids if uid not in self.archive.silent]
        failed = [uid for uid in named if uid in self.archive.failures]
        taken = [uid for uid in named if uid not in self.archive.failures]
        response: dict[str, Any] = {}
        if taken:
            items = [_item(uid, "00081196", self.archive.warnings.get(uid)) for uid in taken]
            response["00081199"] = {"vr": "SQ", "Value": items}
        if failed:
            items = [_item(uid, "00081197", self.archive.failures[uid]) for uid in failed]
            response["00081198"] = {"vr": "SQ", "Value": items}
        return json.dumps(response).encode()

    def _answer(self, reply: Reply, content: bytes) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": "application/dicom+json; charset=utf-8", **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if reply.cut:
            self.wfile.write(content[: len(content) // 2])
            self._reset()
            return
        self.wfile.write(content)

    def _reset(self) -> None:
        """Break off the connection at once."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _item(uid: str, tag: str, reason: int | None) -> dict[str, Any]:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if reason is not None:
        item[tag] = {"vr": "US", "Value": [reason]}
    return item


def _syntax(part: bytes) -> str:
    return str(dcmread(io.BytesIO(part)).file_meta.TransferSyntaxUID)


def _uid(part: bytes) -> str:
    return str(dcmread(io.BytesIO(part)).SOPInstanceUID)
