"""The receiver over real associations: what it promises when it answers success."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification
from support.ct import SERIES_UID, ct_slice, ct_stack, enhanced_ct, file_meta, save
from support.pacs import dataset_bytes
from support.waiting import wait_until

from dicom_node.network.implementation import MAX_PDU_BYTES
from dicom_node.network.tls_sockets import socket_of
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.outcome import SendOutcome
from dicom_node.peers.store import send
from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.series.bounded_files import uids_at_start
from dicom_node.series.reading import read_series
from dicom_node.series.slice_headers import read_header
from dicom_node.spool.open_associations import Sending, sending


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


@pytest.fixture
def receiver(settings: ReceiverSettings) -> Iterator[Receiver]:
    with Receiver(settings) as running:
        yield running


def peer_of(receiver: Receiver, calling: str = "SCANNER", called: str = "MSKNODE") -> Peer:
    return Peer("node", called, "127.0.0.1", receiver.port, calling, 5.0, 5.0)


def deliver(receiver: Receiver, paths: list[Path], **names: str) -> tuple[SendOutcome, ...]:
    return send(peer_of(receiver, **names), paths)


def kept(receiver: Receiver, series: str = SERIES_UID) -> list[Path]:
    return [entry.path for entry in receiver.spool.entries(series)]


# --- keeping


def test_a_series_whose_folder_was_purged_is_taken_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    """Retention removes the folder while the receiver runs; it must not rely on it."""
    (path,) = save([ct_slice()], tmp_path)
    deliver(receiver, [path])
    shutil.rmtree(receiver.spool.folder / SERIES_UID)

    (outcome,) = deliver(receiver, [path])

    assert outcome.stored, outcome
    assert len(kept(receiver)) == 1


def test_the_receiver_answers_an_echo(receiver: Receiver) -> None:
    echo(peer_of(receiver))


def test_what_was_answered_with_success_is_on_disk_byte_for_byte(
    receiver: Receiver, tmp_path: Path
) -> None:
    paths = save(ct_stack(shape=(128, 256)), tmp_path / "sent")

    outcomes = deliver(receiver, paths)

    assert all(outcome.status == 0 for outcome in outcomes)
    assert sorted(map(dataset_bytes, kept(receiver))) == sorted(map(dataset_bytes, paths))
    assert len(read_series(kept(receiver)).slices) == 5
    header = read_header(kept(receiver)[0])
    assert header is not None
    assert header.file_meta.SendingApplicationEntityTitle == "SCANNER"
    assert header.file_meta.ReceivingApplicationEntityTitle == "MSKNODE"


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_every_syntax_is_kept_as_it_came(
    syntax: Any, receiver: Receiver, tmp_path: Path
) -> None:
    datasets = ct_stack(shape=(64, 64))
    for dataset in datasets:
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta = file_meta(dataset, syntax)
    paths = save(datasets, tmp_path / "sent")

    outcomes = deliver(receiver, paths)

    assert all(outcome.stored for outcome in outcomes)
    assert sorted(map(dataset_bytes, kept(receiver))) == sorted(map(dataset_bytes, paths))
    assert read_series(kept(receiver)).volume.hu.shape == (5, 64, 64)


def test_an_enhanced_image_larger_than_many_pdus_is_kept(
    receiver: Receiver, tmp_path: Path
) -> None:
    (path,) = save([enhanced_ct(ct_stack(range(40), shape=(256, 256)))], tmp_path / "sent")

    (outcome,) = deliver(receiver, [path])

    assert outcome.stored
    assert dataset_bytes(kept(receiver)[0]) == dataset_bytes(path)


def test_an_instance_sent_twice_is_kept_once(receiver: Receiver, tmp_path: Path) -> None:
    paths = save([ct_slice()], tmp_path / "sent")

    outcomes = [*deliver(receiver, paths), *deliver(receiver, paths, calling="ARCHIVE")]

    assert all(outcome.status == 0 for outcome in outcomes)
    assert len(kept(receiver)) == 1


def test_several_associations_at_once_lose_nothing(receiver: Receiver, tmp_path: Path) -> None:
    stacks = [ct_stack(SeriesInstanceUID=f"1.2.{number}") for number in range(6)]
    senders = [
        threading.Thread(target=deliver, args=(receiver, save(stack, tmp_path / str(number))))
        for number, stack in enumerate(stacks)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert [len(kept(receiver, f"1.2.{number}")) for number in range(6)] == [5] * 6


# --- refusing


def test_only_ct_storage_and_verification_are_offered(receiver: Receiver) -> None:
    entity = AE("SCANNER")
    association = entity.associate(
        "127.0.0.1",
        receiver.port,
        contexts=[
            build_context(CTImageStorage, [ImplicitVRLittleEndian, RLELossless]),
            build_context(CTImageStorage, [JPEGLSLossless]),
            build_context(CTImageStorage, ["1.2.840.10008.1.2.4.100"]),
            build_context(MRImageStorage),
            build_context(Verification),
        ],
    )
    accepted = [
        (context.abstract_syntax, context.transfer_syntax[0])
        for context in association.accepted_contexts
    ]
    refused = [context.result for context in association.rejected_contexts]
    association.release()

    assert accepted == [
        (CTImageStorage, ImplicitVRLittleEndian),
        (CTImageStorage, JPEGLSLossless),
        (Verification, ImplicitVRLittleEndian),
    ]
    assert refused == [4, 3]
    assert association.acceptor.maximum_length == MAX_PDU_BYTES


def test_a_disk_that_fills_while_a_sender_sends_is_answered_a700_and_nothing_is_left(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room when the association is requested, and none when the image comes."""
    room = iter([1 << 40])
    monkeypatch.setattr(receiver.spool, "free_bytes", lambda: next(room, 0))

    (outcome,) = deliver(receiver, save([ct_slice()], tmp_path / "sent"))

    assert outcome.status == 0xA700
    assert kept(receiver) == []
    assert list((receiver.spool.folder / ".incoming").iterdir()) == []


def test_a_failing_disk_is_answered_a700_and_the_association_goes_on(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True])
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if next(failures, False):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("dicom_node.spool.spool.os.fsync", fsync)

    outcomes = deliver(receiver, save(ct_stack([0, 1]), tmp_path / "sent"))

    assert [outcome.status for outcome in outcomes] == [0xA700, 0]
    assert len(kept(receiver)) == 1
    assert list((receiver.spool.folder / ".incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"SeriesInstanceUID": ""}, 0xC000),
        ({"SeriesInstanceUID": "../../1.2"}, 0xC000),
        ({"SOPInstanceUID": "1.2.3.4"}, 0xA900),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_dataset_that_is_not_what_the_command_says_is_refused(
    change: dict[str, Any], status: int, receiver: Receiver, tmp_path: Path
) -> None:
    """The command is made from the file meta information, which is left as it was."""
    dataset = ct_slice()
    meta = file_meta_bytes(
        dataset.SOPClassUID, dataset.SOPInstanceUID, ExplicitVRLittleEndian, "A", "B"
    )
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    (written,) = save([dataset], tmp_path)
    path = tmp_path / "bad.dcm"
    path.write_bytes(meta + dataset_bytes(written))

    (outcome,) = deliver(receiver, [path])

    assert outcome.status == status
    assert receiver.spool.series() == ()
    assert not (tmp_path / "1.2").exists()


def test_bytes_that_are_no_dataset_are_refused(receiver: Receiver, tmp_path: Path) -> None:
    (path,) = save([ct_slice()], tmp_path)
    raw = path.read_bytes()
    start = len(raw) - len(dataset_bytes(path))
    path.write_bytes(raw[:start] + os.urandom(400))

    (outcome,) = deliver(receiver, [path])

    assert outcome.status == 0xC000


# --- peers that misbehave


def test_an_association_cut_off_inside_an_object_leaves_nothing(
    receiver: Receiver, tmp_path: Path
) -> None:
    entity = AE("SCANNER")
    sent = [0]

    def cut(event: evt.Event) -> None:
        sent[0] += len(event.data)
        if sent[0] > 300_000:
            connection = socket_of(event.assoc)
            if connection is not None:
                connection.close()

    association = entity.associate(
        "127.0.0.1",
        receiver.port,
        contexts=[build_context(CTImageStorage, [ExplicitVRLittleEndian])],
        evt_handlers=[(evt.EVT_DATA_SENT, cut)],
    )
    small, large = ct_slice(), ct_slice(shape=(1024, 1024))
    small_status = association.send_c_store(small).Status
    cut_status = association.send_c_store(large)
    association.abort()

    assert small_status == 0
    assert cut_status == Dataset()
    assert [path.stem for path in kept(receiver)] == [small.SOPInstanceUID]
    assert list((receiver.spool.folder / ".incoming").iterdir()) == []


def test_a_sender_that_stalls_inside_a_pdu_is_cut_off(settings: ReceiverSettings) -> None:
    """A PDU header that promises 1000 bytes, and then silence."""
    with (
        Receiver(replace(settings, idle_timeout_s=0.5)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as connection,
    ):
        connection.sendall(b"\x01\x00\x00\x00\x03\xe8")
        connection.settimeout(10.0)
        started = time.monotonic()

        assert connection.recv(1024) == b""
        assert time.monotonic() - started < 5.0


def test_a_silent_association_is_ended(settings: ReceiverSettings) -> None:
    with Receiver(replace(settings, idle_timeout_s=0.5)) as receiver:
        association = AE("SCANNER").associate(
            "127.0.0.1", receiver.port, contexts=[build_context(Verification)]
        )
        wait_until(lambda: association.is_aborted, 10.0, "the idle association ends")


def test_rubbish_on_the_port_harms_nobody(receiver: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)

    echo(peer_of(receiver))


# --- the seams into pynetdicom


def test_accepted_sockets_do_not_wait_for_acknowledgements(
    receiver: Receiver, tmp_path: Path
) -> None:
    seen: list[tuple[int, float | None]] = []

    def look(event: evt.Event) -> int:
        connection = socket_of(event.assoc)
        assert connection is not None
        nodelay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        seen.append((nodelay, connection.gettimeout()))
        return 0

    receiver._server.bind(evt.EVT_C_ECHO, look)
    echo(peer_of(receiver))

    assert seen == [(1, 60.0)]


def test_only_proposed_contexts_are_filled_in(receiver: Receiver) -> None:
    """Filling in all of them costs 50-100 ms an association."""
    seen: list[int] = []
    receiver._server.bind(
        evt.EVT_ACCEPTED,
        lambda event: seen.append(len(event.assoc.acceptor.supported_contexts)),
    )

    echo(peer_of(receiver))

    assert seen == [1]


def test_the_uids_are_found_without_reading_the_pixels(tmp_path: Path) -> None:
    (path,) = save([ct_slice(shape=(512, 512))], tmp_path)
    data = memoryview(dataset_bytes(path))

    found = uids_at_start(data[:4096], ExplicitVRLittleEndian, 1 << 16)

    assert found[0x0020000E] == SERIES_UID


# --- kill -9

SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
settings = ReceiverSettings("MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


def test_everything_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """The process dies amid a series: what it acknowledged is there, whole; nothing is torn."""
    paths = save(ct_stack(range(60), shape=(256, 256)), tmp_path / "sent")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "spool")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline().strip()).isdigit():
            pass
        port = int(line)

        def kill_in_the_middle(done: int, _total: int) -> None:
            if done == 20:
                os.kill(process.pid, signal.SIGKILL)

        peer = Peer("node", "MSKNODE", "127.0.0.1", port, "SCANNER", 5.0, 5.0)
        outcomes = send(peer, paths, kill_in_the_middle)

    acknowledged = {outcome.sop_instance_uid for outcome in outcomes if outcome.stored}
    with Receiver(
        ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    ) as again:
        assert sending(again.spool.folder / SERIES_UID).interrupted
        there = {path.stem: dataset_bytes(path) for path in kept(again)}
        whole = {o.sop_instance_uid: dataset_bytes(o.path) for o in outcomes}
        assert 20 <= len(acknowledged) < 60
        assert acknowledged <= there.keys()
        assert all(whole[uid] == data for uid, data in there.items())
        assert list((again.spool.folder / ".incoming").iterdir()) == []

        assert all(outcome.stored for outcome in deliver(again, paths))
        assert len(kept(again)) == 60
        ended = partial(sending, again.spool.folder / SERIES_UID)
        wait_until(lambda: ended() == Sending(), 5.0, "it is no longer interrupted")
