"""A real HTTP server on loopback that alarms are posted to; it keeps what it is given."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.certificates import Certificate


@dataclass(slots=True)
class HookServer:
    """What it was given.

    answers: the statuses it answers with, one after another; 200 when they are used up.
    """

    answers: list[int] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def kinds(self, key: str = "began") -> list[str]:
        """The kinds of the alarms that it was told of."""
        return [each["kind"] for post in self.posts for each in post[key]]


@contextmanager
def hook_server(
    certificate: Certificate | None = None, answers: Sequence[int] = ()
) -> Iterator[HookServer]:
    """Serve until the end of the block; with a certificate by HTTPS."""
    taken = HookServer(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            status = taken.answers.pop(0) if taken.answers else 200
            if status == 200:
                taken.posts.append(body)
            taken.headers.append(dict(self.headers.items()))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            del words

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.path, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        scheme = "https" if certificate is not None else "http"
        taken.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/hooks/pacs"
        try:
            yield taken
        finally:
            server.shutdown()
            thread.join()
