"""Asking and sending over real associations, to peers that behave and peers that do not."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.sop_class import CTImageStorage, Verification
from support.ct import ct_slice, ct_stack, file_meta, save
from support.pacs import Pacs, dataset_bytes

from dicom_node.errors import PeerRefusedError, PeerUnreachableError
from dicom_node.peers import Peer, echo, send


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
    packed.compress(RLELossless, generate_instance_uid=False)
    paths = save([packed, plain], tmp_path)

    with Pacs().running() as pacs:
        refused, stored = send(peer_of(pacs), paths)

    assert stored.stored
    assert refused.status is None
    assert not refused.stored
    assert "transfer syntax not supported: CT Image Storage in RLE" in refused.reason


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
    assert "ended the association" in outcomes[5].reason


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
