"""Sending files to a receiver that runs in the test, and what it keeps."""

from __future__ import annotations

from pathlib import Path

from dicom_node.peers.association import Peer
from dicom_node.peers.outcome import SendOutcome
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver
from support.ct import SERIES_UID


def peer_of(receiver: Receiver, calling: str = "SCANNER", called: str = "MSKNODE") -> Peer:
    return Peer("node", called, "127.0.0.1", receiver.port, calling, 5.0, 5.0)


def deliver(receiver: Receiver, paths: list[Path], **names: str) -> tuple[SendOutcome, ...]:
    return send(peer_of(receiver, **names), paths)


def kept(receiver: Receiver, series: str = SERIES_UID) -> list[Path]:
    return [entry.path for entry in receiver.spool.entries(series)]
