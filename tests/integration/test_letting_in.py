"""Who is let in, over real associations: rejected with the right reason, and counted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom.acse import ACSE
from support.ct import SERIES_UID, ct_slice, save
from support.pacs import dataset_bytes
from support.scanner_association import association
from support.spooled import purge
from support.waiting import wait_until

from dicom_node.node.status import node_status
from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.receiving.rejections import Reason, read_rejections
from dicom_node.settings.loading import parse_config
from dicom_node.settings.senders import Sender

CALLING_NOT_RECOGNISED = (1, 1, 3)
CALLED_NOT_RECOGNISED = (1, 1, 7)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


def rejection(receiver: Receiver, **names: str) -> tuple[int, int, int] | None:
    """Result, source and reason of the A-ASSOCIATE-RJ, or None for an association."""
    with association(receiver, **names) as found:
        if not found.is_rejected:
            return None
        answer = found.acceptor.primitive
        return answer.result, answer.result_source, answer.diagnostic


def counted(settings: ReceiverSettings) -> dict[str, int]:
    """How often somebody was turned away, by reason."""
    found: dict[str, int] = {}
    for each in read_rejections(settings.spool)[1]:
        found[each.reason] = found.get(each.reason, 0) + each.count
    return found


def test_a_caller_who_asks_for_someone_else_is_turned_away(settings: ReceiverSettings) -> None:
    with Receiver(replace(settings, called_ae_titles=("MSKNODE", "MSK2"))) as receiver:
        assert rejection(receiver, called="MSK2") is None
        assert rejection(receiver, called="ARCHIVE") == CALLED_NOT_RECOGNISED

    assert counted(settings) == {Reason.CALLED_TITLE: 1}


@pytest.mark.parametrize(
    "hosts", [("127.0.0.1",), ("10.0.0.1", "127.0.0.0/8"), ("localhost",), ()]
)
def test_a_title_is_let_in_from_where_it_belongs(
    hosts: tuple[str, ...], settings: ReceiverSettings
) -> None:
    with Receiver(
        replace(settings, senders=(Sender(ae_title="CT1", hosts=hosts),))
    ) as receiver:
        assert rejection(receiver) is None
        assert rejection(receiver, calling="CT2") == CALLING_NOT_RECOGNISED


def test_a_rejection_is_known_however_late_the_caller_looks(
    settings: ReceiverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that requested is woken when the connection has come and gone already."""
    real_request = ACSE.send_request

    def request(acse: ACSE) -> None:
        real_request(acse)
        wait_until(lambda: acse.assoc.dul.socket.socket is None, 5.0, "all is closed again")

    monkeypatch.setattr(ACSE, "send_request", request)
    with Receiver(replace(settings, called_ae_titles=("MSK2",))) as receiver:
        assert rejection(receiver) == CALLED_NOT_RECOGNISED


def test_a_title_is_let_in_from_nowhere_else(settings: ReceiverSettings) -> None:
    """Another sender's address does not help either: titles and addresses come in pairs."""
    senders = (
        Sender(ae_title="CT1", hosts=("10.0.0.1",)),
        Sender(ae_title="CT2", hosts=("127.0.0.1",)),
    )
    with Receiver(replace(settings, senders=senders)) as receiver:
        assert rejection(receiver, calling="CT1") == CALLING_NOT_RECOGNISED
        assert rejection(receiver, calling="CT2") is None

    assert counted(settings) == {Reason.HOST: 1}


def test_more_associations_than_allowed_are_turned_away(settings: ReceiverSettings) -> None:
    with (
        Receiver(replace(settings, max_associations=1)) as receiver,
        association(receiver) as held,
    ):
        assert held.is_established
        assert rejection(receiver) == LOCAL_LIMIT_EXCEEDED

    assert counted(settings) == {Reason.TOO_MANY: 1}


def test_below_the_reserve_nobody_is_let_in_and_later_again(
    settings: ReceiverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = shutil.disk_usage(settings.spool.parent).total
    with Receiver(replace(settings, free_reserve_bytes=total)) as receiver:
        assert rejection(receiver) == LOCAL_LIMIT_EXCEEDED

        monkeypatch.setattr(receiver.spool, "free_bytes", lambda: total)
        assert rejection(receiver) is None


def test_a_spool_at_its_limit_takes_no_image_and_then_no_association(
    settings: ReceiverSettings, tmp_path: Path
) -> None:
    """One image fits; the second is answered 0xA700 on the association that is open."""
    first, second = save([ct_slice(shape=(64, 64)), ct_slice()], tmp_path / "sent")
    limited = replace(settings, max_spool_bytes=len(dataset_bytes(first)) + 100)
    with Receiver(limited) as receiver:
        peer = Peer("node", "MSKNODE", "127.0.0.1", receiver.port, "CT1", 5.0, 5.0)
        outcomes = send(peer, [first, second])
        # Whatever the headers of the file take is noticed when the spool is measured.
        receiver.capacity.measure()
        assert rejection(receiver) == LOCAL_LIMIT_EXCEEDED

        purge(receiver.spool, SERIES_UID)
        receiver.capacity.measure()
        assert rejection(receiver) is None

    assert [outcome.status for outcome in outcomes] == [0, 0xA700]


def test_an_object_that_is_too_large_is_stopped_while_it_arrives(
    settings: ReceiverSettings,
) -> None:
    with (
        Receiver(replace(settings, max_object_bytes=1 << 20)) as receiver,
        association(receiver) as found,
    ):
        small = ct_slice(shape=(64, 64))
        assert found.send_c_store(small).Status == 0

        assert "Status" not in found.send_c_store(ct_slice(shape=(2048, 2048)))
        wait_until(lambda: found.is_aborted, 5.0, "the association is aborted")
        assert [each.sop_instance_uid for each in receiver.spool.entries(SERIES_UID)] == [
            small.SOPInstanceUID
        ]
        assert list((receiver.spool.folder / ".incoming").iterdir()) == []


def test_status_tells_who_was_turned_away_also_after_a_restart(tmp_path: Path) -> None:
    config = parse_config({"node": {"spool": "spool"}}, source="", folder=tmp_path)
    settings = ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    strict = replace(settings, senders=(Sender(ae_title="CT1"),))
    for _ in range(2):
        with Receiver(strict) as receiver:
            assert rejection(receiver, calling="STRANGER") == CALLING_NOT_RECOGNISED

    (row,) = node_status(config).turned_away

    assert (row.calling_ae_title, row.host, row.count) == ("STRANGER", "127.0.0.1", 2)
