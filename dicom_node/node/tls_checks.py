"""Certificates and keys of the configuration: unusable, expired, or soon to expire."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from dicom_node.errors import ConfigurationError
from dicom_node.network.certificates import expiry_times
from dicom_node.network.tls_contexts import client_context, identity_context, server_context
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from dicom_node.settings.web import WebTls

AnyTls: TypeAlias = ReceiveTls | WebTls | DestinationTls

WARN_BEFORE: Final = timedelta(days=30)
"""A certificate that expires sooner is told of."""


def problems(config: NodeConfig, now: datetime) -> Iterator[str]:
    """The problems of configured files that cannot be used, each with its key and file."""
    for key, tls in _tables(config):
        yield from _problems_of(key, tls, now)
    asked = config.receive.tls is not None and config.receive.tls.client_ca is not None
    for index, sender in enumerate(config.senders):
        if sender.fingerprints and not asked:
            yield f"senders[{index}].fingerprints: needs receive.tls.client_ca"


def _problems_of(key: str, tls: AnyTls, now: datetime) -> Iterator[str]:
    """The problems of the files of one table."""
    try:
        _load(tls)
        for path, until in _ends(tls):
            if until < now:
                yield f"{key}: {path}: expired on {until:%Y-%m-%d}"
    except ConfigurationError as error:
        yield f"{key}: {error}"


def _load(tls: AnyTls) -> None:
    """Load the files as a connection would."""
    match tls:
        case ReceiveTls():
            server_context(tls)
        case WebTls():
            identity_context(tls)
        case DestinationTls():
            client_context(tls)


def warnings(config: NodeConfig, now: datetime) -> Iterator[str]:
    """The warnings about configured files that work today and should be looked at."""
    for key, tls in _tables(config):
        with contextlib.suppress(ConfigurationError):
            for path, until in _ends(tls):
                if now <= until < now + WARN_BEFORE:
                    yield f"{key}: {path}: expires in {(until - now).days} days"
        if tls.key is not None and tls.key.exists() and tls.key.stat().st_mode & 0o007:
            yield f"{key}: {tls.key}: every user of this machine can get at this key"


def expiries(config: NodeConfig) -> Iterator[tuple[str, Path, datetime]]:
    """The certificates that can be read, with the key that names each, and its end."""
    for key, tls in _tables(config):
        with contextlib.suppress(ConfigurationError):
            for path, until in _ends(tls):
                yield key, path, until


def _tables(config: NodeConfig) -> Iterator[tuple[str, AnyTls]]:
    """Every table of TLS settings, with its key."""
    if config.receive.tls is not None:
        yield "receive.tls", config.receive.tls
    if config.web is not None and config.web.tls is not None:
        yield "web.tls", config.web.tls
    for index, destination in enumerate(config.destinations):
        if destination.tls is not None:
            yield f"destinations[{index}].tls", destination.tls
    for index, archive in enumerate(config.archives):
        if archive.tls is not None:
            yield f"archives[{index}].tls", archive.tls
    if config.audit is not None and config.audit.syslog is not None:
        yield "audit.syslog.tls", config.audit.syslog.tls


def _ends(tls: AnyTls) -> Iterator[tuple[Path, datetime]]:
    """The files of a table, each with the end of its certificates' time.

    Our own file ends with its first certificate to do so; of those that we believe, one of
    several may have been replaced already: their file ends with the last.
    """
    if tls.certificate is not None:
        yield tls.certificate, min(expiry_times(tls.certificate))
    match tls:
        case ReceiveTls():
            believed = tls.client_ca
        case DestinationTls():
            believed = tls.ca
        case WebTls():
            believed = None
    if believed is not None:
        yield believed, max(expiry_times(believed))
