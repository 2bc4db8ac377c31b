"""Archives that send do not keep scanners out, however many associations they want."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage
from support.archives import Archive
from support.ct import ct_slice, save
from support.waiting import wait_until

from dicom_node.peers.archives import RetrievalEnd, Wanted
from dicom_node.peers.association import Peer
from dicom_node.peers.retrieve import Receiving, move
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.receiving.rejections import Reason, read_rejections

ALL, KEPT, WANTED = 24, 4, 40
LEFT = ALL - KEPT


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        "MSKNODE",
        tmp_path / "spool",
        port=0,
        free_reserve_bytes=0,
        archive_ae_titles=("ARCHIVE",),
        max_associations=ALL,
        reserved_for_senders=KEPT,
    )


class Caller:
    """Whoever opens associations under one title."""

    def __init__(self, title: str, port: int, held: contextlib.ExitStack) -> None:
        self._entity = AE(ae_title=title)
        self._entity.add_requested_context(CTImageStorage)
        self._port, self._held = port, held

    def calls(self) -> bool:
        """Whether one more association is accepted; it stays open."""
        association = self._entity.associate("127.0.0.1", self._port, ae_title="MSKNODE")
        if association.is_established:
            self._held.callback(association.release)
        return bool(association.is_established)


def test_40_associations_of_archives_leave_those_of_the_scanners_free(
    settings: ReceiverSettings, tmp_path: Path
) -> None:
    """Of 24, archives get 20; 20 of their 40 are rejected, and a scanner stores its series."""
    with Receiver(settings) as receiver, contextlib.ExitStack() as held:
        archive = Caller("ARCHIVE", receiver.port, held)
        scanner = Caller("CT1", receiver.port, held)
        got_in = [archive.calls() for _ in range(WANTED)]
        files = save([ct_slice((0.0, 0.0, 1.0 * place)) for place in range(3)], tmp_path / "in")
        ct = Peer("node", "MSKNODE", "127.0.0.1", receiver.port, "CT1")
        outcomes = send(ct, files)
        others = [scanner.calls() for _ in range(KEPT)]
        held.close()
        wait_until(archive.calls, 5.0, "an archive gets in again")
        held.close()
    _, counts = read_rejections(settings.spool)

    assert got_in == [True] * LEFT + [False] * (WANTED - LEFT)
    assert [each.status for each in outcomes] == [0, 0, 0]
    assert others == [True] * KEPT
    found = {(each.reason, each.calling_ae_title) for each in counts}
    assert found == {(Reason.KEPT_FREE.value, "ARCHIVE")}


def test_what_our_own_port_turned_away_is_asked_for_again_later(
    settings: ReceiverSettings,
) -> None:
    """Without a place the archive reports a failure of its own; with one it sends."""
    image = ct_slice()
    wanted = Wanted(image.StudyInstanceUID, image.SeriesInstanceUID)
    with Receiver(settings) as receiver, contextlib.ExitStack() as held:
        busy = Caller("ARCHIVE", receiver.port, held)
        while busy.calls():
            pass
        destinations = {"MSKNODE": receiver.port}
        with Archive(held=[image], destinations=destinations).running() as archive:
            peer = Peer("main", "ARCHIVE", "127.0.0.1", archive.port, "MSKNODE")
            receiving = Receiving("MSKNODE", settings.spool)
            before = move(peer, [wanted], receiving, 5.0)
            held.close()
            wait_until(
                lambda: move(peer, [wanted], receiving, 5.0)[wanted].end is RetrievalEnd.DONE,
                10.0,
                "it is sent once there is a place",
            )
        kept = list(settings.spool.rglob("*.dcm"))

    assert before[wanted].end is RetrievalEnd.TURNED_AWAY
    assert len(kept) == 1
