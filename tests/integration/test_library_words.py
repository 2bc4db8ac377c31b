"""Claims about the log of a node that calls archives: what is said of them is in our words.

Each scene is an ordinary refusal or a broken line, which comes out as an outcome or an error.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from support.ct import ct_stack, save
from support.installed_node import free_port
from support.pacs import Pacs
from support.small_node import result_pacs

from dicom_node.errors import PeerError
from dicom_node.monitoring.logs import configure_logging
from dicom_node.peers.association import Peer
from dicom_node.peers.commitment import ask_to_commit
from dicom_node.peers.echo import echo
from dicom_node.peers.query import listed_instances
from dicom_node.peers.store import send
from dicom_node.settings.node import Logging


@pytest.fixture
def events() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What is logged, as the node logs it."""
    stream = io.StringIO()
    configure_logging(Logging(format="json", level="debug"), stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.getLogger().handlers = []
    logging.captureWarnings(capture=False)


def peer_at(port: int) -> Peer:
    return Peer("pacs", "PACS", "127.0.0.1", port, connect_timeout_s=2.0, answer_timeout_s=0.5)


def commit(peer: Peer, _paths: list[Path]) -> None:
    ask_to_commit(peer, "1.2.3", [("1.2.840.10008.5.1.4.1.1.2", "1.2")], lambda _: (0, None))


def find(peer: Peer, _paths: list[Path]) -> None:
    listed_instances(peer, "1.2", ["1.2.3"])


def store(peer: Peer, paths: list[Path]) -> None:
    send(peer, paths)


def ask(peer: Peer, _paths: list[Path]) -> None:
    echo(peer)


def without(*services: Any) -> Pacs:
    return Pacs(contexts=[each for each in result_pacs().contexts if each[0] not in services])


def stalled() -> Pacs:
    pacs = Pacs()
    pacs.stalled.set()
    return pacs


SCENES: dict[str, tuple[Callable[[], Pacs | None], Callable[[Peer, list[Path]], None]]] = {
    "no storage commitment": (lambda: without(StorageCommitmentPushModel), commit),
    "no C-FIND": (lambda: without(StudyRootQueryRetrieveInformationModelFind), find),
    "no verification": (lambda: without(Verification), ask),
    "no such SOP class": (lambda: without(Verification), store),
    "calling AE title not recognised": (lambda: Pacs(calling_ae_titles=("OTHER",)), ask),
    "nobody listens": (lambda: None, ask),
    "aborted in a store": (lambda: Pacs(lost_answers=10), store),
    "closed in a store": (lambda: Pacs(break_off_after=600), store),
    "no answer to a store": (stalled, store),
    "aborted in a C-FIND": (lambda: result_pacs(find_status=None), find),
    "C-FIND fails": (lambda: result_pacs(find_status=0xC000), find),
    "N-ACTION fails": (lambda: result_pacs(action_status=0x0110), commit),
    "out of resources": (lambda: Pacs(statuses=[0xA700] * 4), store),
    "duplicate": (lambda: Pacs(statuses=[0x0111] * 4), store),
    "a status that nobody knows": (lambda: Pacs(statuses=[0x1234] * 4), store),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_refusal_or_a_broken_line_is_told_by_us_and_not_by_the_library_too(
    scene: str, events: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    """What the library says of it is kept for whoever asks for level debug."""
    paths = save(ct_stack([0, 1]), tmp_path)
    make, call = SCENES[scene]
    pacs = make()
    with pacs.running() if pacs else nullcontext(), suppress(PeerError):
        call(peer_at(pacs.port if pacs else free_port()), paths)

    told = [each for each in events() if each["event"] == "library.logged"]
    assert [each for each in told if each["level"] != "debug"] == []
    assert all("error" not in each for each in told)
