"""The phantom of a test patient, and the node as an allowed sender calls it.

Every phantom is a study of its own, so that the node has never seen it, and says in its header
that its subject is one of quality control (PS3.3 C.7.1.1). What results take over from it says
so too, and the table of results leaves such cases out.
"""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from dicom_node.case_files.phantom_series import PhantomHeader, phantom_datasets
from dicom_node.errors import ConfigurationError
from dicom_node.network.certificates import read_pem
from dicom_node.peers.association import Peer
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import DestinationTls, ReceiveTls
from inference.phantom.spec import PhantomSpec

DEFAULT_SENDER: Final = "MSKACCEPT"
"""Who sends where anybody may."""

EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
"""Addresses to listen on that are none to call."""


@dataclass(frozen=True, slots=True)
class SentPhantom:
    """The phantom as it was written to be sent."""

    paths: tuple[Path, ...]
    header: PhantomHeader
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    sop_class_uid: str


def acceptance_header(config: NodeConfig, now: datetime) -> PhantomHeader:
    """The header of the test patient's scan of this moment, which no other scan has."""
    settings = config.acceptance
    return PhantomHeader(
        patient_name=settings.patient_name,
        patient_id=settings.patient_id,
        scanned=now.replace(tzinfo=None),
        accession_number=f"ACC{now:%y%m%d%H%M%S}",
        study_id=f"{now:%y%m%d%H%M%S}",
        study_description=settings.study_description,
        series_description=settings.series_description,
        institution="Acceptance test",
    )


def write_phantom(folder: Path, spec: PhantomSpec, header: PhantomHeader) -> SentPhantom:
    """Write the phantom as a CT series of the test patient."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, uids = [], []
    datasets = sorted(phantom_datasets(spec, header), key=lambda d: int(d.InstanceNumber))
    for dataset in datasets:
        dataset.QualityControlSubject = "YES"
        path = folder / f"IM{int(dataset.InstanceNumber):04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
        uids.append(str(dataset.SOPInstanceUID))
    first = datasets[0]
    return SentPhantom(
        tuple(paths),
        header,
        str(first.StudyInstanceUID),
        str(first.SeriesInstanceUID),
        tuple(uids),
        str(first.SOPClassUID),
    )


def own_peer(config: NodeConfig, from_peer: str | None = None) -> Peer:
    """The node itself, as an allowed sender calls it from this machine.

    Args:
        config: of the node.
        from_peer: the sender's AE title; without it, the first that may send.

    Raises:
        ConfigurationError: nobody can say which port it listens on.
    """
    node, settings = config.node, config.acceptance
    if not node.port:
        raise ConfigurationError(
            "node.port is 0: give the port, so that the node can be called"
        )
    called = settings.called_ae_title or next(iter(node.called_ae_titles), node.ae_title)
    return Peer(
        name="node",
        ae_title=called,
        host="127.0.0.1" if node.host in EVERYWHERE else node.host,
        port=node.port,
        calling_ae_title=from_peer or sender_title(config),
        answer_timeout_s=config.delivery.timeout_s,
        tls=own_tls(config),
    )


def sender_title(config: NodeConfig) -> str:
    """The AE title of the first sender that may call from this machine, by the settings."""
    settings, node = config.acceptance, config.node
    if settings.calling_ae_title:
        return settings.calling_ae_title
    if node.calling_ae_titles:
        return node.calling_ae_titles[0]
    named = [each for each in config.senders if each.ae_title]
    here = [each for each in named if _may_call_from_here(each, node.host)]
    return next((str(each.ae_title) for each in (*here, *named)), DEFAULT_SENDER)


def _may_call_from_here(sender: Sender, host: str) -> bool:
    """True if a sender's hosts hold this machine's own address, as far as they say it."""
    if not sender.hosts:
        return True
    own = "127.0.0.1" if host in EVERYWHERE else host
    return any(_holds(each, own) for each in sender.hosts)


def _holds(network: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network)
    except ValueError:
        return network == host


def own_tls(config: NodeConfig) -> DestinationTls | None:
    """How TLS to the node's own port is spoken; None where that port is a plain one.

    Without `acceptance.tls` the node is known by the fingerprint of its own certificate, and
    shows that as a sender too, where a sender has to show one.
    """
    listening = config.receive.tls
    if listening is None or config.acceptance.tls is not None:
        return config.acceptance.tls if listening is not None else None
    return DestinationTls(
        fingerprints=tuple(_fingerprints(listening)),
        certificate=listening.certificate,
        key=listening.key,
        key_passphrase_file=listening.key_passphrase_file,
        key_passphrase_variable=listening.key_passphrase_variable,
    )


def _fingerprints(tls: ReceiveTls) -> Iterable[str]:
    """SHA-256 of the node's own certificate, the first of its file."""
    if tls.certificate is None:
        return ()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    block = read_pem(tls.certificate).partition(begin)[2].partition(end)[0]
    try:
        content = ssl.PEM_cert_to_DER_cert(f"{begin}{block}{end}")
    except ValueError:
        raise ConfigurationError(f"{tls.certificate}: holds a damaged certificate") from None
    return (hashlib.sha256(content).hexdigest(),)
