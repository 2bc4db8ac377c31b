"""A copy of the audit trail for a syslog server: RFC 5424 by RFC 5425, over TLS.

The trail's own files are what waits while the server is away: nothing is kept twice, and
nothing is lost by a restart. How far it was sent stands beside them (`NAME.sent`). One
process of a host sends, whoever has its lock; the messages go in the trail's order. TCP tells
late that a server is gone, so what was sent in the last seconds before a break goes again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from dicom_node.durable_files import write_durably
from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.audit_file import AuditFile
from dicom_node.network.tls_contexts import client_context
from dicom_node.network.tls_sockets import TlsSocket, in_words
from dicom_node.settings.audit import Audit, Syslog

log = structlog.get_logger()

PRIORITY: Final = 10 * 8 + 5
"""Facility 10 (security), severity 5 (notice), as IHE ITI-20 wants audit messages."""
MESSAGE_ID: Final = "DICOM+RFC3881"
"""PS3.15 A.6; IHE's own messages have another."""
APP_NAME: Final = "msk-node"
BATCH: Final = 100
LOOK_EVERY_S: Final = 1.0
FIRST_WAIT_S: Final = 2.0
MAX_WAIT_S: Final = 60.0
TIMEOUT_S: Final = 10.0
SAME_AGAIN: Final = 20
"""So many messages before a break are sent again: the server may never have read them."""


def frame(message: dict[str, Any], host: str, pid: int) -> bytes:
    """A message as a syslog server reads it from a stream (RFC 5425 4.3: its length first)."""
    at, xml = message["at"], message["xml"]
    name = "".join(each if "!" <= each <= "~" else "_" for each in host)[:255] or "-"
    header = f"<{PRIORITY}>1 {at} {name} {APP_NAME} {pid} {MESSAGE_ID} - "
    body = header.encode() + b"\xef\xbb\xbf" + xml.encode()
    return b"%d %b" % (len(body), body)


@dataclass(slots=True)
class Forwarder:
    """Sends what a trail holds to its server, from where it was left."""

    file: AuditFile
    syslog: Syslog
    host: str = field(default_factory=socket.gethostname)
    _connection: TlsSocket | None = None
    _failing_since: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop; a server that is away is tried again, later and later."""
        wait_s = FIRST_WAIT_S
        while not stop.is_set():
            with _alone(self.file) as is_ours:
                try:
                    if is_ours:
                        self._send_what_is_there(stop)
                        wait_s = FIRST_WAIT_S
                    pause_s = LOOK_EVERY_S
                except (OSError, ConfigurationError) as error:
                    self._failed(error)
                    pause_s, wait_s = wait_s, min(2 * wait_s, MAX_WAIT_S)
                if is_ours:
                    # Held while we wait, so that the connection lasts.
                    stop.wait(pause_s)
            if not is_ours:
                stop.wait(MAX_WAIT_S)
        self._hang_up()

    def _send_what_is_there(self, stop: threading.Event) -> None:
        sent = read_sent(self.file).number
        batch: list[bytes] = []
        number = sent
        for number, part in self._frames(sent):
            batch.append(part)
            if len(batch) >= BATCH:
                self._send(batch, number)
                batch = []
            if stop.is_set():
                return
        if batch:
            self._send(batch, number)

    def _frames(self, sent: int) -> Iterator[tuple[int, bytes]]:
        """What was not sent yet, with its numbers; of a line that is not whole nothing is."""
        for _, line in self.file.lines(after=sent):
            try:
                message = json.loads(line)
                number = int(message["n"])
                part = frame(message, self.host, os.getpid())
            except (ValueError, KeyError, TypeError):
                continue
            if number > sent:
                yield number, part

    def _send(self, batch: list[bytes], number: int) -> None:
        """Send some, and note how far we are.

        Raises:
            OSError: the server is not there, or not who it should be.
            ConfigurationError: a file of TLS cannot be used.
        """
        if self._connection is None:
            self._connection = _connect(self.syslog)
        self._raise_if_closed(self._connection)
        self._connection.sendall(b"".join(batch))
        if self._failing_since is not None:
            log.info("audit.sent_again", host=self.syslog.host)
        self._failing_since = None
        _write_sent(self.file, Sent(number))

    def _raise_if_closed(self, connection: TlsSocket) -> None:
        """Notice that the server has closed the connection: it never says anything else."""
        connection.settimeout(0.0)
        try:
            if connection.recv(64) == b"":
                raise ConnectionError("the server closed the connection")
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        finally:
            connection.settimeout(TIMEOUT_S)

    def _failed(self, error: Exception) -> None:
        """Note that it was not sent, and tell so once."""
        had_connection = self._connection is not None
        self._hang_up()
        sent = read_sent(self.file)
        reason = in_words(error) if isinstance(error, OSError) else str(error)
        if self._failing_since is None:
            self._failing_since = datetime.now(UTC)
            log.error(
                "audit.unsent", host=self.syslog.host, port=self.syslog.port, reason=reason
            )
        number = max(sent.number - SAME_AGAIN, 0) if had_connection else sent.number
        since = self._failing_since.isoformat(timespec="seconds")
        with contextlib.suppress(OSError):
            _write_sent(self.file, Sent(number, since, reason))

    def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None


@dataclass(frozen=True, slots=True)
class Sent:
    """How far a trail was sent.

    number: of the last message that was.
    failing_since: since when the server cannot be reached; empty where it can.
    """

    number: int = 0
    failing_since: str = ""
    reason: str = ""


def read_sent(file: AuditFile) -> Sent:
    """How far a trail was sent; nothing, where that is not known."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        table = json.loads(_sent_path(file).read_text(encoding="utf-8"))
        return Sent(int(table["n"]), str(table["failing_since"]), str(table["reason"]))
    return Sent()


def _write_sent(file: AuditFile, sent: Sent) -> None:
    table = {"n": sent.number, "failing_since": sent.failing_since, "reason": sent.reason}
    write_durably(_sent_path(file), json.dumps(table).encode(), mode=0o640)


def _sent_path(file: AuditFile) -> Path:
    return file.path.with_name(f"{file.path.name}.sent")


@contextlib.contextmanager
def _alone(file: AuditFile) -> Iterator[bool]:
    """Whether we are the one that sends."""
    path = file.path.with_name(f"{file.path.name}.sender")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _connect(syslog: Syslog) -> TlsSocket:
    """A connection to the server, which has proved who it is.

    Raises:
        OSError: it is not there, or another.
        ConfigurationError: a file cannot be used.
    """
    context = client_context(syslog.tls)
    plain = socket.create_connection((syslog.host, syslog.port), timeout=TIMEOUT_S)
    try:
        name = syslog.tls.server_name or syslog.host
        connection = context.wrap_socket(
            plain, server_hostname=name, do_handshake_on_connect=False
        )
    except BaseException:
        plain.close()
        raise
    if not isinstance(connection, TlsSocket):
        raise TypeError("the context makes sockets of another class")
    connection.fingerprints = frozenset(syslog.tls.fingerprints)
    try:
        connection.do_handshake()
    except BaseException:
        connection.close()
        raise
    return connection


def forward(audit: Audit, stop: threading.Event) -> threading.Thread | None:
    """Begin to send a trail to its server, if it has one."""
    if audit.syslog is None:
        return None
    forwarder = Forwarder(AuditFile(audit.file, audit.rotate_mb << 20), audit.syslog)
    thread = threading.Thread(
        target=forwarder.run, args=(stop,), name="audit-syslog", daemon=True
    )
    thread.start()
    return thread
