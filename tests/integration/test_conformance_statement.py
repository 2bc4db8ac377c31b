"""Claims of docs/dicom-conformance-statement.md, brought about by real associations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import MRImageStorage, SegmentationStorage, StorageCommitmentPushModel
from support.cases import CONTEXT, small_case, small_series

from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results

PAGE = Path(__file__).parents[2] / "docs" / "dicom-conformance-statement.md"
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


def rows_of(section: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    text = PAGE.read_text(encoding="utf-8").partition(f"# {section} ")[2]
    table = re.search(r"\n\| --- .*?\n((?:\|.*\n)+)", text)
    assert table is not None
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[1].splitlines()]


def stated(item: str) -> str:
    """The value of an item of the association policies."""
    return next(value for name, value in rows_of("4.2") if name == item)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("receiver")
    settings = ReceiverSettings(
        "MSKNODE", folder / "spool", port=0, called_ae_titles=("MSKNODE",), free_reserve_bytes=0
    )
    with Receiver(settings) as running:
        yield running


def test_every_image_class_is_accepted_in_every_stated_syntax(receiver: Receiver) -> None:
    syntaxes = [uid for _, uid in rows_of("8.6")]
    classes = [uid for name, uid, what, _ in rows_of("4.3.1") if "8.6" in what]
    contexts = [build_context(each, one) for each in classes for one in syntaxes]

    association = AE("CT").associate("127.0.0.1", receiver.port, contexts, ae_title="MSKNODE")
    accepted = {
        (c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts
    }
    association.release()

    assert len(classes) == 3
    assert accepted == {(each, one) for each in classes for one in syntaxes}


def test_the_first_proposed_syntax_that_is_stated_is_accepted(receiver: Receiver) -> None:
    (first, second, *_) = [uid for _, uid in rows_of("8.6")]
    (ct, *_) = [uid for _, uid, what, _ in rows_of("4.3.1") if "8.6" in what]

    association = AE("CT").associate(
        "127.0.0.1",
        receiver.port,
        [build_context(ct, [second, first])],
        ae_title="MSKNODE",
    )
    (context,) = association.accepted_contexts
    association.release()

    assert context.transfer_syntax == [second]


def test_what_is_not_stated_is_refused(receiver: Receiver) -> None:
    (ct, *_) = [uid for _, uid, what, _ in rows_of("4.3.1") if "8.6" in what]
    unknown = "1.2.840.10008.1.2.4.100"  # MPEG2

    association = AE("CT").associate(
        "127.0.0.1",
        receiver.port,
        [
            build_context(MRImageStorage),
            build_context(SegmentationStorage),
            build_context(ct, unknown),
        ],
        ae_title="MSKNODE",
    )
    results = {each.abstract_syntax: each.result for each in association.rejected_contexts}
    if association.is_established:
        association.release()

    assert results[MRImageStorage] == ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert results[SegmentationStorage] == ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert results[ct] in {ABSTRACT_SYNTAX_NOT_SUPPORTED, TRANSFER_SYNTAXES_NOT_SUPPORTED}


def test_the_policies_are_those_of_a_real_association(receiver: Receiver) -> None:
    association = AE("CT").associate(
        "127.0.0.1",
        receiver.port,
        [build_context(StorageCommitmentPushModel)],
        ae_title="MSKNODE",
        ext_neg=[build_role(StorageCommitmentPushModel, scp_role=True)],
    )
    acceptor = association.acceptor
    (context,) = association.accepted_contexts
    association.release()

    assert f"{acceptor.maximum_length} bytes" == stated("Maximum PDU offered, both ways")
    assert acceptor.implementation_class_uid == stated("Implementation Class UID")
    assert str(acceptor.implementation_version_name).startswith("MSKNODE_")
    assert context.as_scp, "the caller is the SCP of the reports"


def test_an_unknown_called_title_is_rejected_as_stated(receiver: Receiver) -> None:
    expected = next(row[1:4] for row in rows_of("4.3.2") if row[0].startswith("called AE"))

    association = AE("CT").associate(
        "127.0.0.1", receiver.port, [build_context("1.2.840.10008.1.1")], ae_title="OTHER"
    )
    answer = association.acceptor.primitive

    assert association.is_rejected
    assert [answer.result, answer.result_source, answer.diagnostic] == [
        int(each) for each in expected
    ]


def test_results_are_proposed_as_stated(tmp_path: Path) -> None:
    wanted = {each for each in ResultKind if not each.value.startswith("SC-DENSITY-SLICES")}
    series = small_series(tmp_path / "series")
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, wanted)
    paths = write_results(objects, tmp_path / "objects")
    proposed: set[tuple[str, str]] = set()

    def note(event: evt.Event) -> None:
        for each in event.assoc.requestor.requested_contexts:
            proposed.update(
                (str(each.abstract_syntax), str(one)) for one in each.transfer_syntax
            )

    entity = AE("PACS")
    for uid in {one.sop_class_uid for one in objects}:
        entity.add_supported_context(uid, ImplicitVRLittleEndian)
    pacs = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_ACCEPTED, note), (evt.EVT_C_STORE, lambda _: 0)],
    )
    try:
        outcomes = send(Peer("pacs", "PACS", "127.0.0.1", pacs.server_address[1]), paths)
    finally:
        pacs.shutdown()

    names = dict(map(tuple, rows_of("8.6")))
    stated_pairs = {
        (uid, names[one.strip()])
        for _, uid, syntaxes, _ in rows_of("4.4.1")
        for one in syntaxes.split(",")
        if one.strip() in names
    }
    assert all(each.stored for each in outcomes), "one that takes Implicit VR alone gets all"
    assert proposed <= stated_pairs
    assert {uid for uid, _ in proposed} == {one.sop_class_uid for one in objects}
