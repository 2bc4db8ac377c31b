"""Asking and sending over real associations, to peers that behave and peers that do not."""

from __future__ import annotations

import io
import queue
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, Verification
from pynetdicom.transport import AssociationSocket
from support.ct import ct_slice, ct_stack, file_meta, save
from support.pacs import DEFAULT_CONTEXTS, Pacs, dataset_bytes

from dicom_node.errors import PeerRefusedError, PeerUnreachableError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.outcome import Prospect
from dicom_node.peers.store import CONTEXT_RESULTS, _OutgoingFile, _refusal, send

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage (PS3.4 Table B.5-1)."""


def label_map_file(path: Path, labels: NDArray[np.uint8]) -> Path:
    """An RLE Lossless file of the SOP class and pixels of a label map, [frame, row, column]."""
    dataset = ct_slice(shape=labels.shape[1:], SOPClassUID=LABEL_MAP, Modality="SEG")
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.NumberOfFrames = len(labels)
    dataset.PixelData = labels.tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def peer_of(pacs: Pacs, **values: object) -> Peer:
    values = {"connect_timeout_s": 5.0, "answer_timeout_s": 5.0} | values
    return Peer("archive", "PACS", "127.0.0.1", pacs.port, "MSKNODE", **values)  # type: ignore[arg-type]


def test_a_peer_that_is_there_answers_the_echo() -> None:
    with Pacs().running() as pacs:
        echo(peer_of(pacs))

    assert pacs.associations == ["MSKNODE"]


def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        peer = Peer("archive", "PACS", "127.0.0.1", taken.getsockname()[1])

        with pytest.raises(PeerUnreachableError, match=r"no connection to 127\.0\.0\.1"):
            echo(peer)


def test_an_unknown_host_is_unreachable() -> None:
    with pytest.raises(PeerUnreachableError):
        echo(Peer("archive", "PACS", "no-such-host.invalid", 104, connect_timeout_s=2.0))


def test_a_port_that_speaks_no_dicom_is_unreachable_within_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer("x", "PACS", "127.0.0.1", silent.getsockname()[1], connect_timeout_s=0.5)

        with pytest.raises(PeerUnreachableError, match="is it a DICOM port"):
            echo(peer)


def test_a_rejection_says_what_the_peer_minded() -> None:
    with (
        Pacs(calling_ae_titles=("OTHER",)).running() as pacs,
        pytest.raises(PeerUnreachableError, match=r"from MSKNODE: .*(?i:calling)") as refused,
    ):
        echo(peer_of(pacs))

    assert refused.value.retryable


def test_a_peer_without_verification_refuses_the_echo() -> None:
    contexts = [(CTImageStorage, [ImplicitVRLittleEndian])]
    with (
        Pacs(contexts=contexts).running() as pacs,
        pytest.raises(PeerRefusedError, match="does not offer Verification"),
    ):
        echo(peer_of(pacs))


def test_an_echo_answered_with_a_failure_is_refused() -> None:
    with (
        Pacs(echo_status=0x0122).running() as pacs,
        pytest.raises(PeerRefusedError, match="0x0122"),
    ):
        echo(peer_of(pacs))


def test_files_arrive_byte_for_byte_in_one_association(tmp_path: Path) -> None:
    paths = save(ct_stack(shape=(128, 512)), tmp_path)
    seen: list[tuple[int, int]] = []

    with Pacs().running() as pacs:
        outcomes = send(peer_of(pacs), paths, lambda done, total: seen.append((done, total)))

    assert all(outcome.stored and outcome.status == 0 for outcome in outcomes)
    assert [outcome.path for outcome in outcomes] == paths
    assert [data for _, _, data in pacs.received] == [dataset_bytes(path) for path in paths]
    assert pacs.associations == ["MSKNODE"]
    assert seen == [(n, 5) for n in range(1, 6)]


def test_compressed_files_go_out_in_their_own_syntax(tmp_path: Path) -> None:
    datasets = ct_stack([0, 1], shape=(64, 64))
    datasets[0].compress(RLELossless, generate_instance_uid=False)
    datasets[1].compress(JPEGLSLossless, generate_instance_uid=False)
    paths = save(datasets, tmp_path)

    with Pacs(contexts=[(CTImageStorage, [RLELossless, JPEGLSLossless])]).running() as pacs:
        outcomes = send(peer_of(pacs), paths)

    assert all(outcome.stored for outcome in outcomes)
    assert [syntax for _, syntax, _ in pacs.received] == [RLELossless, JPEGLSLossless]
    assert [data for _, _, data in pacs.received] == [dataset_bytes(path) for path in paths]


def test_a_peer_that_knows_only_the_default_syntax_gets_the_same_pixels(tmp_path: Path) -> None:
    (path,) = save([ct_slice()], tmp_path)

    with Pacs(contexts=[(CTImageStorage, [ImplicitVRLittleEndian])]).running() as pacs:
        (outcome,) = send(peer_of(pacs), [path])

    assert outcome.stored
    uid, syntax, data = pacs.received[0]
    assert (uid, syntax) == (outcome.sop_instance_uid, ImplicitVRLittleEndian)
    assert dcmread(path).PixelData in data


def test_a_refused_context_is_a_named_outcome_and_the_others_go_on(tmp_path: Path) -> None:
    plain, packed = ct_stack([0, 1], shape=(64, 64))
    packed.compress(JPEGLSLossless, generate_instance_uid=False)
    paths = save([packed, plain], tmp_path)

    with Pacs().running() as pacs:
        refused, stored = send(peer_of(pacs), paths)

    assert stored.stored
    assert not stored.refused
    assert refused.status is None
    assert not refused.stored
    assert refused.refused
    assert "transfer syntax not supported: CT Image Storage in JPEG-LS" in refused.reason


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([RLELossless, ExplicitVRLittleEndian, ImplicitVRLittleEndian], RLELossless),
        ([ImplicitVRLittleEndian, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([ImplicitVRLittleEndian], ImplicitVRLittleEndian),
    ],
)
def test_an_rle_label_map_goes_out_as_it_is_or_else_decompressed(
    tmp_path: Path, offered: list[str], taken: str
) -> None:
    """3 frames of 8-bit labels; the instance stays the same one, voxel for voxel."""
    labels = np.repeat(np.arange(3 * 16 * 8, dtype=np.uint8) // 16, 4).reshape(3, 32, 16)
    path = label_map_file(tmp_path / "labels.dcm", labels)

    with Pacs(contexts=[(LABEL_MAP, offered)]).running() as pacs:
        (outcome,) = send(peer_of(pacs), [path])

    assert outcome.stored, outcome.reason
    uid, syntax, data = pacs.received[0]
    assert (uid, syntax) == (outcome.sop_instance_uid, taken)
    if taken == RLELossless:
        assert data == dataset_bytes(path)
        return
    implicit = taken == ImplicitVRLittleEndian
    came = read_dataset(io.BytesIO(data), is_implicit_VR=implicit, is_little_endian=True)
    assert came.SOPInstanceUID == uid
    assert came.PixelData == labels.tobytes()


def test_a_peer_without_label_maps_refuses_them_for_good(tmp_path: Path) -> None:
    path = label_map_file(tmp_path / "labels.dcm", np.zeros((1, 8, 8), np.uint8))

    with Pacs().running() as pacs:
        (outcome,) = send(peer_of(pacs), [path])

    assert outcome.refused
    assert "SOP class not supported: Label Map Segmentation Storage" in outcome.reason


def test_a_damaged_label_map_is_a_named_outcome_and_the_others_go_on(tmp_path: Path) -> None:
    damaged = label_map_file(tmp_path / "labels.dcm", np.zeros((2, 8, 8), np.uint8))
    raw = bytearray(damaged.read_bytes())
    header = raw.rindex(b"\x01\0\0\0\x40\0\0\0")
    raw[header : header + 8] = b"\xff" * 8
    damaged.write_bytes(raw)
    (path,) = save([ct_slice()], tmp_path / "ct")
    contexts = [(LABEL_MAP, [ExplicitVRLittleEndian]), DEFAULT_CONTEXTS[1]]

    with Pacs(contexts=contexts).running() as pacs:
        failed, stored = send(peer_of(pacs), [damaged, path])

    assert "cannot be decompressed" in failed.reason
    assert not failed.refused
    assert stored.stored


def test_a_sop_class_refused_by_status_is_refused_for_good(tmp_path: Path) -> None:
    """0x0122 says what the peer is able to do (PS3.7 C.5.6); 0xA700 how it is today."""
    paths = save(ct_stack([0, 1]), tmp_path)

    with Pacs(statuses=[0x0122, 0xA700]).running() as pacs:
        unsupported, full = send(peer_of(pacs), paths)

    assert (unsupported.status, unsupported.stored, unsupported.refused) == (
        0x0122,
        False,
        True,
    )
    assert (full.status, full.stored, full.refused) == (0xA700, False, False)


@pytest.mark.parametrize(
    ("results", "for_good"), [((3, 3), True), ((4, 4), True), ((2, 4), False), ((1, 1), False)]
)
def test_only_a_peer_unable_to_take_an_object_in_any_form_refuses_it_for_good(
    results: tuple[int, int], for_good: bool
) -> None:
    """Results 1 and 2 give no reason (PS3.8 Table 9-18): tomorrow may be different.

    The transfer syntax of a rejection means nothing; as DCMTK does, it is always the default.
    """
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    proposed = [build_context(CTImageStorage, syntax) for syntax in syntaxes]
    rejected = [build_context(CTImageStorage, ImplicitVRLittleEndian) for _ in syntaxes]
    for number, result in enumerate(results):
        proposed[number].context_id = rejected[number].context_id = 2 * number + 1
        rejected[number].result = result
    parcel = _OutgoingFile(Path(), CTImageStorage, "1.2.3", ExplicitVRLittleEndian)

    reason, prospect = _refusal(proposed, rejected, parcel)

    assert prospect is (Prospect.NEVER if for_good else Prospect.PASSES)
    assert CONTEXT_RESULTS[results[0]] in reason


def test_an_object_goes_out_only_after_those_it_requires(tmp_path: Path) -> None:
    """The second of four is refused: the third requires it, the fourth requires the third."""
    first, second, third, fourth = paths = save(ct_stack(range(4)), tmp_path)
    requires = {second: [first], third: [first, second], fourth: [third]}

    with Pacs(statuses=[0, 0xA700]).running() as pacs:
        outcomes = send(peer_of(pacs), paths, requires=requires)

    assert [outcome.status for outcome in outcomes] == [0, 0xA700, None, None]
    assert not any(outcome.refused for outcome in outcomes)
    assert [o.reason for o in outcomes[2:]] == [
        "waits for CT Image Storage that was not taken",
        "waits for CT Image Storage that was not taken",
    ]
    assert [uid for uid, _, _ in pacs.received] == [o.sop_instance_uid for o in outcomes[:2]]


def test_an_object_waits_for_one_that_could_not_even_be_read(tmp_path: Path) -> None:
    (path,) = save([ct_slice()], tmp_path)
    none = tmp_path / "none"

    with Pacs().running() as pacs:
        _, held_back = send(peer_of(pacs), [none, path], requires={path: [none]})

    assert held_back.reason == "waits for an object that was not taken"
    assert pacs.received == []


def test_a_peer_that_takes_no_context_at_all_gives_outcomes_not_an_error(
    tmp_path: Path,
) -> None:
    paths = save(ct_stack([0, 1]), tmp_path)

    with Pacs(contexts=[(Verification, [ImplicitVRLittleEndian])]).running() as pacs:
        outcomes = send(peer_of(pacs), paths)

    assert [outcome.stored for outcome in outcomes] == [False, False]
    assert "SOP class not supported" in outcomes[0].reason


def test_statuses_are_kept_warnings_count_as_stored(tmp_path: Path) -> None:
    full = Dataset()
    full.Status, full.ErrorComment = 0xA700, "disk full"
    paths = save(ct_stack([0, 1, 2]), tmp_path)

    with Pacs(statuses=[0xB000, full]).running() as pacs:
        warned, failed, stored = send(peer_of(pacs), paths)

    assert (warned.status, warned.stored) == (0xB000, True)
    assert "warning" in warned.reason
    assert (failed.status, failed.stored) == (0xA700, False)
    assert failed.reason.startswith("0xA700, failure")
    assert failed.comment == "disk full"
    assert (stored.status, stored.reason) == (0, "")


def test_a_connection_broken_off_leaves_the_rest_unsent_and_says_so(tmp_path: Path) -> None:
    paths = save(ct_stack(range(6), shape=(128, 128)), tmp_path)

    with Pacs(break_off_after=80_000).running() as pacs:
        outcomes = send(peer_of(pacs), paths)

    assert [outcome.stored for outcome in outcomes] == [True, True, False, False, False, False]
    assert "broke off" in outcomes[2].reason
    assert all("ended the association" in outcome.reason for outcome in outcomes[3:])


def test_a_peer_that_stalls_costs_one_timeout(tmp_path: Path) -> None:
    paths = save(ct_stack(range(3)), tmp_path)
    pacs = Pacs()
    pacs.stalled.set()

    with pacs.running():
        outcomes = send(peer_of(pacs, answer_timeout_s=0.5), paths)
        pacs.released.set()

    assert not any(outcome.stored for outcome in outcomes)
    assert "0.5 s" in outcomes[0].reason


def test_what_is_no_dicom_file_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    (path,) = save([ct_slice()], tmp_path)
    text = tmp_path / "README"
    text.write_text("not DICOM")

    with Pacs().running() as pacs:
        first, second, third = send(peer_of(pacs), [text, path, tmp_path / "none"])

    assert "not a DICOM file" in first.reason
    assert second.stored
    assert "cannot be read" in third.reason


def test_nothing_to_send_needs_no_peer() -> None:
    assert send(Peer("none", "PACS", "127.0.0.1", 1), []) == ()


def test_more_kinds_of_object_than_one_association_can_negotiate(tmp_path: Path) -> None:
    """130 SOP classes with one syntax each need two associations."""
    datasets = []
    for number in range(130):
        dataset = ct_slice(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.9999.{number}")
        dataset.file_meta = file_meta(dataset, ImplicitVRLittleEndian)
        datasets.append(dataset)
    paths = save(datasets, tmp_path)

    with Pacs().running() as pacs:
        outcomes = send(peer_of(pacs), [*paths, *save([ct_slice()], tmp_path / "ct")])

    assert len(outcomes) == 131
    assert outcomes[-1].stored
    assert all("SOP class not supported" in outcome.reason for outcome in outcomes[:-1])


def test_sending_leaves_no_threads_behind(tmp_path: Path) -> None:
    paths = save(ct_stack([0, 1]), tmp_path)
    with Pacs().running() as pacs:
        before = threading.active_count()
        send(peer_of(pacs), paths)

        assert threading.active_count() <= before + 2


def test_an_explicit_file_prefers_its_own_syntax(tmp_path: Path) -> None:
    contexts = [(CTImageStorage, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])]
    (path,) = save([ct_slice()], tmp_path)

    with Pacs(contexts=contexts).running() as pacs:
        send(peer_of(pacs), [path])

    assert pacs.received[0][1] == ExplicitVRLittleEndian


HOLD_S = 0.3
"""How long a thread is held for something that need not happen."""


class LateReactor(threading.Event):
    """The checkpoint of an association whose own thread is woken only when an answer is in."""

    def __init__(self, answers: queue.Queue[Any]) -> None:
        super().__init__()
        self.answers = answers
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Let pass what may pass, but not before there is an answer."""
        passed = super().wait(timeout)
        deadline = time.monotonic() + HOLD_S
        while self.answers.empty() and time.monotonic() < deadline:
            time.sleep(0.001)
        return passed


class LateAsker(queue.Queue[Any]):
    """Answers that whoever asked takes only after the association's own thread had a chance."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Let who does not block go first."""
        if block:
            self.taken.wait(HOLD_S)
            return super().get(block, timeout)
        item = super().get(block)
        self.taken.set()
        return item


def test_no_answer_is_lost_to_an_association_thread_that_wakes_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was taken by that thread, which missed that it was to pause, and dropped.

    Both ends then waited for a minute; seen under load (pynetdicom issues 435 and 875).
    """
    paths = save(ct_stack([0, 1, 2]), tmp_path)

    with Pacs().running() as pacs:
        connect = Association.set_socket

        def prepare(association: Association, transport: AssociationSocket) -> None:
            if association.is_requestor:
                association.dimse.msg_queue = LateAsker()
                association._reactor_checkpoint = LateReactor(association.dimse.msg_queue)
            connect(association, transport)

        monkeypatch.setattr(Association, "set_socket", prepare)
        outcomes = send(peer_of(pacs, answer_timeout_s=2.0), paths)

    assert [outcome.status for outcome in outcomes] == [0, 0, 0]


def test_an_answer_to_another_request_is_not_taken_for_success(tmp_path: Path) -> None:
    """The peer answers its first C-STORE twice, and refuses the second."""
    paths = save(ct_stack([0, 1, 2]), tmp_path)

    with Pacs(statuses=[0, 0xA700, 0], answers_twice=1).running() as pacs:
        outcomes = send(peer_of(pacs), paths)

    assert [outcome.stored for outcome in outcomes] == [True, False, False]
    assert "did not answer" in outcomes[1].reason
