"""DICOM over TLS: what is allowed, who is believed, and sockets that suit pynetdicom.

Both ways follow the BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile
(PS3.15 B.12), which came after the Non-Downgrading BCP 195 one (B.10): TLS 1.2 and 1.3,
forward secrecy and authenticated encryption, and no agreement on anything less.

Files are named in messages; of a key and its passphrase nothing else is ever said.
"""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.network.certificates import expiry_times, read_pem
from dicom_node.network.tls_sockets import REASONS, TlsSocket, in_words
from dicom_node.settings.tls import DestinationTls, Identity, ReceiveTls

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

PARTIAL_CHAIN: Final = ssl.VERIFY_X509_PARTIAL_CHAIN
"""A peer's own certificate may stand among those that are believed, without its issuer."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The object that the receiver gives pynetdicom for an SSL context.

    pynetdicom would do the handshake while it accepts, where one silent caller would keep
    all others out; `handshake` does it on the connection's own thread.
    """

    context: ssl.SSLContext

    def wrap_socket(self, accepted: socket.socket, *, server_side: bool) -> ssl.SSLSocket:
        """Put an accepted connection under TLS, the handshake still to be done."""
        return self.context.wrap_socket(
            accepted, server_side=server_side, do_handshake_on_connect=False
        )


@dataclass(slots=True)
class Call:
    """The object that a sender gives pynetdicom for an SSL context, for one connection.

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
        """The problem of the connection, as text; empty where there was none."""
        return self.connection.problem if self.connection is not None else ""


def server_context(tls: ReceiveTls) -> ssl.SSLContext:
    """The rules for connections that come in.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = identity_context(tls)
    if tls.client_ca is not None:
        _load_trust_anchors(context, tls.client_ca)
        required = tls.require_client_certificate
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def identity_context(identity: Identity) -> ssl.SSLContext:
    """The rules for connections that come in from whoever, which are shown a certificate.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    load_certificate(context, identity)
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
        _load_trust_anchors(context, tls.ca)
    else:
        context.verify_mode = ssl.CERT_NONE
    load_certificate(context, tls)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    """The profile: the same for both directions."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join((*CIPHERS, f"@SECLEVEL={SECURITY_LEVEL}")))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= PARTIAL_CHAIN
    context.sslsocket_class = TlsSocket
    return context


def load_certificate(context: ssl.SSLContext, identity: Identity) -> None:
    """Load our own certificate, if there is one.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    if identity.certificate is None or identity.key is None:
        return
    expiry_times(identity.certificate)
    read_pem(identity.key)
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


def _load_trust_anchors(context: ssl.SSLContext, path: Path) -> None:
    """Load the certificates that vouch for the other side."""
    read_pem(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{path}: {in_words(error)}") from None


def _passphrase(identity: Identity) -> str:
    """The passphrase of a key; empty where none is configured."""
    if identity.key_passphrase_file is not None:
        return read_pem(identity.key_passphrase_file).partition("\n")[0].rstrip("\r")
    if identity.key_passphrase_variable is not None:
        found = os.environ.get(identity.key_passphrase_variable)
        if found is None:
            raise ConfigurationError(
                f"the environment variable {identity.key_passphrase_variable} is not set"
            )
        return found
    return ""
