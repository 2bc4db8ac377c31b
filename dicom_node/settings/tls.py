"""The tables of TLS: who shows which certificate, and who is believed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.settings.values import Port, Section


def _fingerprint(text: str) -> str:
    """SHA-256 of a certificate as `openssl x509 -fingerprint -sha256` prints it."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    return digits


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]


class Identity(Section):
    """Our own certificate, and the key that proves that it is ours."""

    certificate: Path | None = None
    """Our certificate, followed by those that lead to its issuer (PEM)."""
    key: Path | None = None
    """Its private key (PEM)."""
    key_passphrase_file: Path | None = None
    """The file whose first line is the key's passphrase."""
    key_passphrase_variable: str | None = Field(default=None, min_length=1)
    """The environment variable that holds the key's passphrase."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """A certificate is no use without its key; two passphrases leave open which counts."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if self.key_passphrase_file and self.key_passphrase_variable:
            raise ValueError("give key_passphrase_file or key_passphrase_variable, not both")
        return self


class ReceiveTls(Identity):
    """TLS on `node.port`: how the node shows who it is, and whom it believes."""

    client_ca: Path | None = None
    """Certificates of those who vouch for senders, or of the senders themselves (PEM)."""
    require_client_certificate: bool = True
    """Whether a sender must show a certificate."""
    plain_port: Port | None = None
    """A second port, without TLS; without this key there is none."""

    @model_validator(mode="after")
    def _is_verified(self) -> Self:
        """A listener shows a certificate, and believes only what somebody vouches for."""
        if self.certificate is None:
            raise ValueError("certificate and key must be given")
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError("client_ca must be given, or require_client_certificate = false")
        return self


class DestinationTls(Identity):
    """TLS to a destination: how it proves who it is, and with which certificate we do."""

    ca: Path | None = None
    """Certificates of those who vouch for it, or its own (PEM)."""
    server_name: str | None = Field(default=None, min_length=1)
    """The name or address in its certificate; without it, `host`."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """SHA-256 of the certificates it may show, whatever name they bear."""

    @model_validator(mode="after")
    def _is_verified(self) -> Self:
        """Encryption to whoever answers would protect nobody."""
        if self.ca is None and not self.fingerprints:
            raise ValueError("give ca or fingerprints: nobody is believed without either")
        return self
