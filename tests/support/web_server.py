"""Web server before viewer and archive, as in a hospital: one for both, on loopback.

Files of the viewer come from its folder, DICOMweb is passed on to Orthanc. A single page's
own addresses (`/viewer?...`) are answered with the page.
"""

from __future__ import annotations

import http.client
import mimetypes
import posixpath
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PASSED_ON = ("/dicom-web", "/wado")
NOT_PASSED_ON = frozenset({"connection", "accept-encoding"})
NOT_PASSED_BACK = frozenset({"transfer-encoding", "connection", "content-length"})
ISOLATED = {
    # Without these a browser gives a page no shared memory, which volumes are loaded into.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


@contextmanager
def serving(viewer: Path, configuration: Path, archive_port: int) -> Iterator[str]:
    """Serve until the end of the block, in the caller's network namespace; the address.

    Args:
        viewer: the folder that holds `index.html`.
        configuration: what `/app-config.js` is answered with.
        archive_port: of Orthanc, on 127.0.0.1.
    """
    handler = partial(_Handler, viewer.resolve(), configuration, archive_port)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(
        self, viewer: Path, configuration: Path, archive_port: int, *request: object
    ) -> None:
        self.viewer, self.configuration = viewer, configuration
        self.archive_port = archive_port
        super().__init__(*request)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith(PASSED_ON):
            self._pass_on()
        else:
            self._file(path)

    def do_POST(self) -> None:
        self._pass_on()

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _file(self, path: str) -> None:
        file = self.viewer / posixpath.normpath(path).lstrip("/")
        if path == "/app-config.js":
            file = self.configuration
        elif not (file.is_file() and file.resolve().is_relative_to(self.viewer)):
            if "." in posixpath.basename(path):
                self._answer(404, {}, b"")
                return
            file = self.viewer / "index.html"
        kind = TYPES.get(file.suffix) or mimetypes.guess_type(file)[0]
        headers = {"Content-Type": kind or "application/octet-stream", **ISOLATED}
        self._answer(200, headers, file.read_bytes())

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in NOT_PASSED_ON}
        archive = http.client.HTTPConnection("127.0.0.1", self.archive_port, timeout=120)
        try:
            archive.request(self.command, self.path, self.rfile.read(length) or None, kept)
            answer = archive.getresponse()
            body = answer.read()
        finally:
            archive.close()
        back = {k: v for k, v in answer.getheaders() if k.lower() not in NOT_PASSED_BACK}
        self._answer(answer.status, back, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the page has gone on to something else
