"""The receiver over real associations: what it keeps when it answers success."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from support.ct import SERIES_UID, ct_slice, ct_stack, enhanced_ct, file_meta, save
from support.delivering import deliver, kept, peer_of
from support.pacs import dataset_bytes

from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.series.reading import read_series
from dicom_node.series.slice_headers import read_header


@pytest.fixture
def settings(tmp_path: Path) -> ReceiverSettings:
    return ReceiverSettings(
        ae_title="MSKNODE", spool=tmp_path / "spool", port=0, free_reserve_bytes=0
    )


@pytest.fixture
def receiver(settings: ReceiverSettings) -> Iterator[Receiver]:
    with Receiver(settings) as running:
        yield running


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
