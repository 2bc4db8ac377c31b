"""DICOM over TLS: what is allowed, who is believed, and sockets that suit pynetdicom.

Both ways follow the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile
(PS3.15 B.12), which came after the Non-Downgrading BCP 195 one (B.10): TLS 1.2 and 1.3,
forward secrecy and authenticated encryption, and no agreement on anything less.

Files are named in messages; of a key and its passphrase nothing else is ever said.
"""

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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from dicom_node.config import DestinationTls, Identity, NodeConfig, ReceiveTls
from dicom_node.errors import ConfigurationError

log = structlog.get_logger()

CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""Cipher suites of TLS 1.2 (RFC 9325 4.2); those of TLS 1.3 are all good, and not chosen."""

SECURITY_LEVEL: Final = 2
"""OpenSSL's: at least 112 bits, so RSA from 2048 bits on and no SHA-1 in a chain."""

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""How long a caller may take to agree on a connection."""

LAST_WORDS_S: Final = 2.0
"""How long a caller that was refused is given to read why."""

WARN_BEFORE: Final = timedelta(days=30)
"""A certificate that expires sooner is told of."""

PARTIAL_CHAIN: Final = ssl.VERIFY_X509_PARTIAL_CHAIN
"""A peer's own certificate may stand among those that are believed, without its issuer."""

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
"""What OpenSSL calls it, in words."""


class TlsSocket(ssl.SSLSocket):
    """A socket under TLS that never waits where pynetdicom only looks.

    pynetdicom reads a PDU as soon as `select` says that something came. Under TLS that may
    be a session ticket or half a record: reading would wait, and nothing be sent meanwhile.
    And `select` does not see what has been decrypted already. `has_data` knows both.

    And it is shut down by one thread while another may still send. OpenSSL must not be used
    by two at once; and what Python would then send, it would send in the clear.

    fingerprints: of the certificates that the other side may show; empty: any that verifies.
    shown: fingerprint of the certificate that it has shown; empty where it has none.
    problem: what went wrong on this connection, in words.
    """

    fingerprints: frozenset[str] = frozenset()
    shown: str = ""
    problem: str = ""
    _ahead: bytes = b""
    _using: threading.Lock
    _sslobj: Any

    def has_data(self) -> bool:
        """Whether a read would not wait: there are decrypted bytes, or there will be no more.

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


@dataclass(frozen=True, slots=True)
class Listener:
    """What the receiver gives pynetdicom for an SSL context.

    pynetdicom would do the handshake while it accepts, where one silent caller would keep
    all others out; `greet` does it on the connection's own thread.
    """

    context: ssl.SSLContext

    def wrap_socket(self, accepted: socket.socket, *, server_side: bool) -> ssl.SSLSocket:
        """Put an accepted connection under TLS, the handshake still to be done."""
        return self.context.wrap_socket(
            accepted, server_side=server_side, do_handshake_on_connect=False
        )


@dataclass(slots=True)
class Call:
    """What a sender gives pynetdicom for an SSL context, for one connection.

    Raises:
        ConfigurationError: a file cannot be used.
    """

    tls: DestinationTls
    context: ssl.SSLContext = field(init=False)
    connection: TlsSocket | None = None

    def __post_init__(self) -> None:
        self.context = client_context(self.tls)

    def wrap_socket(
        self, unconnected: socket.socket, *, server_side: bool, server_hostname: str
    ) -> TlsSocket:
        """Put a connection under TLS; the handshake follows when it is connected."""
        connection = self.context.wrap_socket(
            unconnected, server_side=server_side, server_hostname=server_hostname
        )
        if not isinstance(connection, TlsSocket):
            raise TypeError("the context makes sockets of another class")
        connection.fingerprints = frozenset(self.tls.fingerprints)
        self.connection = connection
        return connection

    @property
    def problem(self) -> str:
        """What went wrong, in words; empty when nothing did."""
        return self.connection.problem if self.connection is not None else ""


def greet(connection: TlsSocket, caller: str) -> bool:
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
        _give_last_words(connection)
        return False
    log.debug("tls.agreed", host=caller, version=connection.version())
    return True


def server_context(tls: ReceiveTls) -> ssl.SSLContext:
    """The rules for connections that come in.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    _show(context, tls)
    if tls.client_ca is not None:
        _believe(context, tls.client_ca)
        required = tls.require_client_certificate
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def client_context(tls: DestinationTls) -> ssl.SSLContext:
    """The rules for connections to a destination.

    With a CA the chain and its dates are verified, and the name, unless fingerprints say
    which certificates are meant. With fingerprints alone, `TlsSocket` compares those: the
    handshake proves that the other side has the key.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = not tls.fingerprints
    if tls.ca is not None:
        _believe(context, tls.ca)
    else:
        context.verify_mode = ssl.CERT_NONE
    _show(context, tls)
    return context


def problems(config: NodeConfig, now: datetime) -> Iterator[str]:
    """What of the configured files cannot be used, each with its key and file."""
    for key, tls in _tables(config):
        try:
            if isinstance(tls, ReceiveTls):
                server_context(tls)
            else:
                client_context(tls)
            for path, until in _ends(tls):
                if until < now:
                    yield f"{key}: {path}: expired on {until:%Y-%m-%d}"
        except ConfigurationError as error:
            yield f"{key}: {error}"
    asked = config.receive.tls is not None and config.receive.tls.client_ca is not None
    for index, sender in enumerate(config.senders):
        if sender.fingerprints and not asked:
            yield f"senders[{index}].fingerprints: needs receive.tls.client_ca"


def concerns(config: NodeConfig, now: datetime) -> Iterator[str]:
    """What of the configured files works today and should be looked at."""
    for key, tls in _tables(config):
        with contextlib.suppress(ConfigurationError):
            for path, until in _ends(tls):
                if now <= until < now + WARN_BEFORE:
                    yield f"{key}: {path}: expires in {(until - now).days} days"
        if tls.key is not None and tls.key.exists() and tls.key.stat().st_mode & 0o007:
            yield f"{key}: {tls.key}: every user of this machine can get at this key"


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), in hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def in_words(error: OSError) -> str:
    """What went wrong on a connection, without OpenSSL's places in its own source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return getattr(error, "verify_message", "") or str(error.args[-1])
    if isinstance(error, ssl.SSLError):
        return REASONS.get(error.reason, (error.reason or "TLS failed").lower())
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return error.strerror or "the connection is broken"


def _context(protocol: int) -> ssl.SSLContext:
    """The profile: the same for both directions."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join((*CIPHERS, f"@SECLEVEL={SECURITY_LEVEL}")))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= PARTIAL_CHAIN
    context.sslsocket_class = TlsSocket
    return context


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    """Load our own certificate, if there is one."""
    if identity.certificate is None or identity.key is None:
        return
    _ends_in(identity.certificate)
    _pem(identity.key)
    passphrase = _passphrase(identity)
    try:
        # A function, since OpenSSL would ask at the terminal for a passphrase that is None.
        context.load_cert_chain(identity.certificate, identity.key, lambda: passphrase)
    except ssl.SSLError as error:
        # OpenSSL has no word for a wrong passphrase; what unlocks to nonsense is no key.
        words = REASONS.get(error.reason, "no key, or not one that the passphrase opens")
        raise ConfigurationError(f"{identity.key}: {words}") from None
    except (OSError, ValueError):
        raise ConfigurationError(f"{identity.key}: cannot be loaded") from None


def _believe(context: ssl.SSLContext, path: Path) -> None:
    """Load the certificates that vouch for the other side."""
    _pem(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{path}: {in_words(error)}") from None


def _pem(path: Path) -> str:
    """The text of a PEM file."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def _passphrase(identity: Identity) -> str:
    """The passphrase of a key; empty where none is configured."""
    if identity.key_passphrase_file is not None:
        return _pem(identity.key_passphrase_file).partition("\n")[0].rstrip("\r")
    if identity.key_passphrase_variable is not None:
        found = os.environ.get(identity.key_passphrase_variable)
        if found is None:
            raise ConfigurationError(
                f"the environment variable {identity.key_passphrase_variable} is not set"
            )
        return found
    return ""


def _tables(config: NodeConfig) -> Iterator[tuple[str, ReceiveTls | DestinationTls]]:
    """Every table of TLS settings, with its key."""
    if config.receive.tls is not None:
        yield "receive.tls", config.receive.tls
    for index, destination in enumerate(config.destinations):
        if destination.tls is not None:
            yield f"destinations[{index}].tls", destination.tls


def _ends(tls: ReceiveTls | DestinationTls) -> Iterator[tuple[Path, datetime]]:
    """The files of a table, each with the end of its certificates' time.

    Our own file ends with its first certificate to do so; of those that we believe, one of
    several may have been replaced already: their file ends with the last.
    """
    if tls.certificate is not None:
        yield tls.certificate, min(_ends_in(tls.certificate))
    believed = tls.client_ca if isinstance(tls, ReceiveTls) else tls.ca
    if believed is not None:
        yield believed, max(_ends_in(believed))


def _ends_in(path: Path) -> list[datetime]:
    """The end of the validity of each certificate of a PEM file.

    Raises:
        ConfigurationError: it cannot be read, or holds none.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    blocks = [part.partition(end)[0] for part in _pem(path).split(begin)[1:]]
    if not blocks:
        raise ConfigurationError(f"{path}: holds no certificate")
    try:
        return [
            validity(ssl.PEM_cert_to_DER_cert(f"{begin}{block}{end}"))[1] for block in blocks
        ]
    except (ValueError, IndexError, StopIteration):
        raise ConfigurationError(f"{path}: holds a damaged certificate") from None


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """Beginning and end of a certificate's validity (DER; RFC 5280 4.1.2.5).

    Raises:
        ValueError, IndexError, StopIteration: not a certificate.
    """
    _, whole = next(_elements(certificate))
    _, signed = next(_elements(whole))
    # The version stands first, under a tag of its own, and may be left out.
    parts = [content for tag, content in _elements(signed) if tag != 0xA0]
    begin, end = (_time(tag, content) for tag, content in _elements(parts[3]))
    return begin, end


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of the DER elements that follow each other (X.690 8.1)."""
    place = 0
    while place < len(content):
        tag, length = content[place], content[place + 1]
        place += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(content[place : place + size], "big")
            place += size
        yield tag, content[place : place + length]
        place += length


def _time(tag: int, content: bytes) -> datetime:
    """A UTCTime, of the years 1950 to 2049, or a GeneralizedTime."""
    text = content.decode("ascii")
    if tag == 0x17:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _give_last_words(connection: TlsSocket) -> None:
    """Let a caller that is refused read the alert that says why.

    A socket that is closed with bytes unread resets the connection, and the alert is lost.
    """
    deadline_s = time.monotonic() + LAST_WORDS_S
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        connection.settimeout(LAST_WORDS_S)
        while time.monotonic() < deadline_s and socket.socket.recv(connection, 4096):
            pass
