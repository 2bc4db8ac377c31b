"""A FHIR server on a free port of loopback: conditional updates in transactions, and faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass
class FhirServer:
    """What the server does, and what it has.

    version: of FHIR that it says it speaks.
    statuses: of successive transactions; 200 when they run out.
    entry_status: of each entry of a transaction.
    body: instead of the answer's.
    resources: by the condition under which each was put.
    headers: of every transaction.
    """

    version: str = "5.0.0"
    statuses: list[int] = field(default_factory=list)
    entry_status: str = "201 Created"
    body: bytes | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.port}/fhir"

    def take(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """Put every resource of a transaction under its condition."""
        for each in bundle["entry"]:
            self.resources[unquote(each["request"]["url"])] = each["resource"]
        answers = [{"response": {"status": self.entry_status}} for _ in bundle["entry"]]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}


@contextmanager
def fhir_server(**options: Any) -> Iterator[FhirServer]:
    """The server, until the end of the block."""
    server = FhirServer(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = {"resourceType": "CapabilityStatement", "fhirVersion": server.version}
            self.answer(200, told)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            bundle = json.loads(self.rfile.read(length))
            server.headers.append(dict(self.headers.items()))
            status = server.statuses.pop(0) if server.statuses else 200
            self.answer(status, server.take(bundle) if status == 200 else {})

        def answer(self, status: int, told: dict[str, Any]) -> None:
            body = json.dumps(told).encode() if server.body is None else server.body
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
