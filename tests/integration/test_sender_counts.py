"""Asking a sender for its count, over real associations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from dicom_node.archive.expected_counts import SenderCounts
from dicom_node.node.roles import counting_peer
from dicom_node.peers.association import Peer
from dicom_node.peers.transports import DicomTransport
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.senders import Sender
from dicom_node.spool.completeness import Expectation


@contextmanager
def archive(instances: int, status: int = 0x0000, *, queries: bool = True) -> Iterator[int]:
    """An archive that lists so many instances of any series; its port."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(instances):
            match = Dataset()
            match.QueryRetrieveLevel = "IMAGE"
            match.SeriesInstanceUID = event.identifier.SeriesInstanceUID
            match.SOPInstanceUID = f"1.2.{number}"
            yield 0xFF00, match
        yield status, None

    entity = AE("PACS")
    entity.add_supported_context(
        StudyRootQueryRetrieveInformationModelFind if queries else Verification
    )
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)]
    )
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


def counts(port: int, now_s: list[float] | None = None) -> SenderCounts:
    way = DicomTransport(Peer("pacs", "PACS", "127.0.0.1", port, "MSKNODE", 1.0, 1.0))
    return SenderCounts(lambda _title: way, clock=lambda: (now_s or [0.0])[0])


def test_an_archive_says_how_many_images_a_series_has() -> None:
    """More matches than requests may wait in one association."""
    with archive(150) as port:
        assert counts(port)("PACS", "1.2", "1.2.3") == Expectation(150, "pacs")


@pytest.mark.parametrize(
    ("instances", "status", "queries"), [(0, 0x0000, True), (2, 0xA700, True), (1, 0, False)]
)
def test_no_answer_is_no_count(instances: int, status: int, queries: bool) -> None:
    """The series is not known there, the query fails half-way, or there is none."""
    with archive(instances, status, queries=queries) as port:
        assert counts(port)("PACS", "1.2", "1.2.3") is None


def test_a_series_without_its_study_is_not_asked_for() -> None:
    """An empty study in a C-FIND matches every one."""
    with archive(3) as port:
        assert counts(port)("PACS", "", "1.2.3") is None


def test_a_sender_that_is_not_there_is_left_alone_for_a_minute() -> None:
    now_s = [0.0]
    with archive(3) as port:
        pass
    ask = counts(port, now_s)
    started = time.monotonic()

    assert ask("PACS", "1.2", "1.2.3") is None
    assert time.monotonic() - started < 5.0
    with archive(3) as again:
        ask = counts(again, now_s)
        ask._silent_until_s["pacs"] = 60.0
        assert ask("PACS", "1.2", "1.2.3") is None
        now_s[0] = 60.0
        assert ask("PACS", "1.2", "1.2.3") == Expectation(3, "pacs")


PACS = {
    "name": "pacs",
    "ae_title": "PACS",
    "host": "10.0.0.9",
    "port": 104,
    "confirm": "commitment",
}


def test_the_settings_say_whom_to_ask_and_for_how_long_to_wait() -> None:
    config = NodeConfig.model_validate(
        {
            "senders": [{"ae_title": "PACS", "count_at": "pacs"}],
            "completion": {"count_timeout_s": 2.0},
            "destinations": [PACS],
        }
    )

    way = counting_peer(config, "PACS")

    assert counting_peer(config, "CT1") is None
    assert isinstance(way, DicomTransport)
    peer = way.peer
    assert (peer.name, peer.connect_timeout_s, peer.answer_timeout_s) == ("pacs", 2.0, 2.0)


def test_a_destination_that_reports_on_commitments_is_let_in_where_not_everyone_is() -> None:
    """A sender where anyone may send would turn everyone else away."""
    anyone = NodeConfig.model_validate({"destinations": [PACS]})
    some = NodeConfig.model_validate({"destinations": [PACS], "senders": [{"ae_title": "CT1"}]})

    assert anyone.allowed_senders() == ()
    assert some.allowed_senders() == (
        Sender(ae_title="CT1"),
        Sender(ae_title="PACS", hosts=("10.0.0.9",)),
    )
