"""What the receiver refuses, over real associations, and with which status."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification
from support.ct import ct_slice, ct_stack, save
from support.delivering import deliver, kept
from support.pacs import dataset_bytes

from dicom_node.network.implementation import MAX_PDU_BYTES
from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.receiving.receiver import Receiver, ReceiverSettings


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


@pytest.fixture
def receiver(settings: ReceiverSettings) -> Iterator[Receiver]:
    with Receiver(settings) as running:
        yield running


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
