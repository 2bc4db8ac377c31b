"""What an association leaves behind: the mark of a series that was not sent to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage
from support.ct import SERIES_UID, ct_slice, ct_stack
from support.scanner_association import association
from support.waiting import wait_until

from dicom_node.network.tls_sockets import socket_of
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.spool.open_associations import sending


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


def test_a_released_association_leaves_no_mark(
    settings: ReceiverSettings, tmp_path: Path
) -> None:
    with Receiver(settings) as receiver:
        folder = receiver.spool.folder / SERIES_UID
        with association(receiver) as found:
            found.send_c_store(ct_slice())
            assert sending(folder).open
        wait_until(lambda: not sending(folder).open, 5.0, "the association has ended")

        assert not sending(folder).interrupted
        assert not list(folder.glob(".*"))


@pytest.mark.parametrize("how", ["abort", "connection lost"])
def test_an_association_that_breaks_off_marks_its_series_until_it_is_sent_again(
    how: str, settings: ReceiverSettings
) -> None:
    stack = ct_stack()
    with Receiver(settings) as receiver:
        folder = receiver.spool.folder / SERIES_UID
        with association(receiver) as found:
            found.send_c_store(stack[0])
            if how == "abort":
                found.abort()
            else:
                connection = socket_of(found)
                assert connection is not None
                connection.close()
        wait_until(lambda: not sending(folder).open, 5.0, "the association has ended")
        assert sending(folder).interrupted

        with association(receiver) as found:
            for each in stack:
                found.send_c_store(each)
        wait_until(lambda: not sending(folder).open, 5.0, "the association has ended")
        assert not sending(folder).interrupted


def test_an_image_that_was_refused_marks_its_series(
    settings: ReceiverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender released in order, but will come again with what was refused."""
    with Receiver(settings) as receiver:
        folder = receiver.spool.folder / SERIES_UID
        with association(receiver) as found:
            assert found.send_c_store(ct_slice()).Status == 0
            monkeypatch.setattr(receiver.spool, "free_bytes", lambda: -1)
            assert found.send_c_store(ct_slice()).Status == 0xA700
        wait_until(lambda: not sending(folder).open, 5.0, "the association has ended")

        assert sending(folder).interrupted


def test_a_receiver_that_stops_marks_what_was_being_sent(settings: ReceiverSettings) -> None:
    with Receiver(settings) as receiver:
        folder = receiver.spool.folder / SERIES_UID
        found = AE("CT1").associate(
            "127.0.0.1", receiver.port, contexts=[build_context(CTImageStorage)]
        )
        found.send_c_store(ct_slice())

    assert sending(folder).interrupted
    found.abort()


def test_an_echo_leaves_nothing(settings: ReceiverSettings) -> None:
    with Receiver(settings) as receiver:
        echo(Peer("node", "MSKNODE", "127.0.0.1", receiver.port, "CT1", 5.0, 5.0))

        assert receiver.spool.series() == ()
