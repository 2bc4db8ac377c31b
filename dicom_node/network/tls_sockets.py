"""TLS sockets that suit pynetdicom, and the settings of sockets under associations."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import structlog

log = structlog.get_logger()

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""The time that a caller may take to agree on a connection."""

LAST_WORDS_S: Final = 2.0
"""The time that a caller that was refused is given to read why."""

REASONS: Final = {
    "HTTP_REQUEST": "it does not speak TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "UNEXPECTED_EOF_WHILE_READING": "it broke off",
    "UNSUPPORTED_PROTOCOL": "it speaks nothing newer than TLS 1.1",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is allowed",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who vouches for our certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks nothing newer than TLS 1.1",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses, perhaps for want of a certificate of ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it finds our certificate expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses our certificate",
    "KEY_VALUES_MISMATCH": "does not belong to the certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "holds no certificate",
    "NO_START_LINE": "is not a PEM file of the right kind",
    "EE_KEY_TOO_SMALL": "has too short a key",
    "CA_MD_TOO_WEAK": "is signed with too weak a digest",
}
"""OpenSSL's names of problems, as text."""


class TlsSocket(ssl.SSLSocket):
    """A socket under TLS that never waits where pynetdicom only looks.

    pynetdicom reads a PDU as soon as `select` says that something came. Under TLS that may
    be a session ticket or half a record: reading would wait, and nothing be sent meanwhile.
    And `select` does not see what has been decrypted already. `has_data` knows both.

    And it is shut down by one thread while another may still send. OpenSSL must not be used
    by two at once; and what Python would then send, it would send in the clear.

    fingerprints: of the certificates that the other side may show; empty: any that verifies.
    shown: fingerprint of the certificate that it has shown; empty where it has none.
    problem: what went wrong on this connection, as text.
    """

    fingerprints: frozenset[str] = frozenset()
    shown: str = ""
    problem: str = ""
    _ahead: bytes = b""
    _using: threading.Lock
    _sslobj: Any

    def has_data(self) -> bool:
        """True if a read would not wait: there are decrypted bytes, or there will be no more.

        Raises:
            OSError: the connection is broken.
        """
        if self.pending():
            return True
        # Not `select`, which fails from the thousandth open file on.
        poll = select.poll()
        poll.register(self, select.POLLIN)
        if not poll.poll(0):
            return False
        patience_s = self.gettimeout()
        self.settimeout(0)
        try:
            self._ahead = self.read(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            self.settimeout(patience_s)
        return True

    def pending(self) -> int:
        """Bytes that can be read without the network."""
        return len(self._ahead) + super().pending()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - as inherited
        """Read bytes, or into a buffer; both `recv` and `recv_into` end here."""
        if self._ahead and len > 0:
            ahead, self._ahead = self._ahead, b""
            if buffer is None:
                return ahead
            memoryview(buffer).cast("B")[:1] = ahead
            return 1
        with self._alone():
            return super().read(len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send bytes under TLS, never otherwise; `sendall` ends here too."""
        with self._alone():
            if self._sslobj is None or flags:
                raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
            return int(self._sslobj.write(data))

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """Agree on keys, and make sure that it is the right one.

        Raises:
            OSError: it is not, or there was no agreement in time.
        """
        self._using = threading.Lock()
        with self._alone():
            super().do_handshake(block)
            certificate = self.getpeercert(binary_form=True)
            self.shown = fingerprint(certificate) if certificate else ""
            if self.fingerprints and self.shown not in self.fingerprints:
                raise ssl.SSLCertVerificationError("it shows another certificate than expected")

    def shutdown(self, how: int) -> None:
        """Say goodbye under TLS, unless it is in use, and end the connection below it."""
        using = vars(self).get("_using")
        if using is not None and using.acquire(blocking=False):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                self.settimeout(0)
                self._sslobj.shutdown()
            using.release()
        socket.socket.shutdown(self, how)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Use OpenSSL as the only thread that does; note what goes wrong."""
        try:
            with self._using:
                yield
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            self.problem = in_words(error)
            raise


def handshake(connection: TlsSocket, caller: str) -> bool:
    """Do the handshake of an accepted connection; answers whether it came about.

    Args:
        connection: fresh from `Listener`.
        caller: its address, for the log.
    """
    connection.settimeout(HANDSHAKE_TIMEOUT_S)
    try:
        connection.do_handshake()
    except (OSError, ValueError):
        log.warning("tls.refused", host=caller, reason=connection.problem)
        _send_alert(connection)
        return False
    log.debug("tls.agreed", host=caller, version=connection.version())
    return True


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), in hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def in_words(error: OSError) -> str:
    """The problem of a connection, without OpenSSL's places in its own source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return getattr(error, "verify_message", "") or str(error.args[-1])
    if isinstance(error, ssl.SSLError):
        return REASONS.get(error.reason, (error.reason or "TLS failed").lower())
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return error.strerror or "the connection is broken"


def _send_alert(connection: TlsSocket) -> None:
    """Let a caller that is refused read the alert that says why.

    A socket that is closed with bytes unread resets the connection, and the alert is lost.
    """
    deadline_s = time.monotonic() + LAST_WORDS_S
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        connection.settimeout(LAST_WORDS_S)
        while time.monotonic() < deadline_s and socket.socket.recv(connection, 4096):
            pass


def tune(connection: socket.socket, stall_s: float | None) -> None:
    """Send small packets at once, and never wait longer than this for a stalled peer.

    Without TCP_NODELAY every small object waits for a delayed acknowledgement (40 ms).
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(stall_s)


def socket_of(association: Any) -> socket.socket | None:
    """The TCP socket under a pynetdicom association, while there is one."""
    transport = association.dul.socket
    found = transport.socket if transport is not None else None
    return found if isinstance(found, socket.socket) else None
