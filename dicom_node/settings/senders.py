"""The tables of senders: who may send."""

from __future__ import annotations

from dicom_node.settings.tls import Fingerprint
from dicom_node.settings.values import AeTitle, Host, Section


class Sender(Section):
    """Someone who may send. With any of these, whoever fits none is rejected."""

    ae_title: AeTitle | None = None
    """Its calling AE title; without it, any."""
    hosts: tuple[Host, ...] = ()
    """Addresses, networks and host names it may call from; empty: any."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """SHA-256 of the certificates it may show under TLS; empty: any that is accepted."""
    count_at: str | None = None
    """The destination to ask how many images a series of this sender has (C-FIND)."""
