"""Bad input on an association: the receiver answers or aborts with a reason, and lives on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.attacked_receiver import (
    OBJECT_BYTES,
    Node,
    running_node,
    trickles,
    unharmed,
)
from support.corpus.compression import GIGABYTE, zipped
from support.corpus.sound import ENDLESS, PATIENT, encoded, in_order, raw_element, sound
from support.raw_wire import (
    CT,
    DEFLATED,
    EXPLICIT,
    NO_DATASET,
    association_request,
    command,
    data,
    pdu,
    store,
    store_request,
)
from support.waiting import wait_until


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(autouse=True)
def _unharmed(node: Node) -> Iterator[None]:
    with unharmed(node):
        yield


def dataset_bytes() -> bytes:
    return in_order(encoded(sound()[0]))


def hears(node: Node, *said: bytes) -> str:
    """Associate, say this, and tell what came back."""
    line = node.line()
    with line.connection:
        assert line.associate() == "accepted"
        line.say(*said)
        return line.hear()


def test_an_object_that_trickles_within_a_pdu_is_cut_off(node: Node) -> None:
    line = node.line()
    assert line.associate() == "accepted"
    trickles(line, data(1, 0x03, command(store_request())))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (association_request(), "aborted"),
        (pdu(0x02, b"\0" * 80), "aborted"),
        (pdu(0x06, b"\0" * 4), "aborted"),
        (pdu(0x42, b""), "aborted"),
        (pdu(0x04, b"", length=0xFFFFFFFF), "aborted"),
        (pdu(0x04, b""), "aborted"),
        (data(1, 0x03, b"", length=0), "aborted"),
        (data(1, 0x03, b"", length=1), "aborted"),
        (data(1, 0x03, b"abc", length=0xFFFFFFFF), "aborted"),
        (data(1, 0x03, b"abc", length=4000), "aborted"),
        (data(1, 0x03, b""), "aborted"),
        (data(1, 0x03, b"\xff" * 300), "aborted"),
        (data(1, 0x03, command({})), "aborted"),
        (data(1, 0x03, command(store_request() | {0x0100: b"\x77\x77"})), "aborted"),
        (data(1, 0x03, command(store_request() | {0x0100: b"\x01"})), "aborted"),
        (data(1, 0x03, command({0x0100: b"\x01\0", 0x0110: b"\1\0"})), "aborted"),
        (data(1, 0x02, b"a dataset first"), "aborted"),
        (data(1, 0x01, b"\0" * 60000) * 2, "aborted"),
        (data(99, 0x03, command(store_request(dataset_type=NO_DATASET))), "aborted"),
    ],
    ids=[
        "a second request", "an acceptance", "an answer to no release", "an unknown PDU",
        "a PDU of 4 GB", "data without a value", "a value of 0 bytes", "a value of 1 byte",
        "a value of 4 GB", "a value beyond its PDU", "an empty command", "a command of garbage",
        "a command of nothing", "an unknown command", "a command field of 1 byte",
        "a command without a dataset type", "a dataset before its command",
        "a command without end", "a context that was not agreed",
    ],
)  # fmt: skip
def test_what_makes_no_message_ends_the_association(
    said: bytes, answer: str, node: Node
) -> None:
    assert hears(node, said) == answer


@pytest.mark.parametrize(
    ("request_", "dataset", "answer"),
    [
        (store_request(dataset_type=NO_DATASET), None, "status 0xC000"),
        (store_request(), b"", "status 0xC000"),
        (store_request(), b"\xff" * 999, "status 0xC000"),
        (store_request("1.2.3.4.5"), dataset_bytes(), "status 0xA900"),
        (store_request("../../etc"), dataset_bytes(), "status 0xC000"),
        (store_request("/"), dataset_bytes(), "status 0xC000"),
        (store_request(f"{PATIENT}^Mary"), dataset_bytes(), "status 0xC000"),
        (store_request("1" * 5000), dataset_bytes(), "aborted"),
        (store_request(""), dataset_bytes(), "aborted"),
        (store_request(sop_class_uid="1.2.3"), dataset_bytes(), "aborted"),
    ],
    ids=[
        "no dataset", "an empty dataset", "a dataset of garbage", "another instance",
        "a path for a UID", "a slash", "a name for a UID", "a UID of 5,000 digits",
        "an empty UID", "another class",
    ],
)  # fmt: skip
def test_a_store_that_does_not_fit_is_refused(
    request_: dict[int, bytes], dataset: bytes | None, answer: str, node: Node
) -> None:
    said = store(request_, dataset) if dataset is not None else data(1, 3, command(request_))

    assert hears(node, said) == answer


def nested() -> bytes:
    opening = raw_element(0x00081140, b"SQ", b"", ENDLESS) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return opening * 5000


def bomb() -> bytes:
    return zipped(raw_element(0x00080008, b"UT", b"", GIGABYTE), GIGABYTE)


@pytest.mark.parametrize(
    ("syntax", "make"), [(EXPLICIT, nested), (DEFLATED, bomb)], ids=["nested", "deflated"]
)
def test_a_dataset_made_to_hurt_is_refused(
    syntax: str, make: Callable[[], bytes], node: Node
) -> None:
    dataset = make()
    line = node.line()
    with line.connection:
        line.associate(association_request([(1, CT, [syntax])]))
        line.say(store(store_request(), dataset))

        assert line.hear() == "status 0xC000"


def test_an_object_larger_than_allowed_ends_the_association(node: Node) -> None:
    assert hears(node, store(store_request(), b"\0" * (OBJECT_BYTES + 1))) == "aborted"


def test_a_command_whose_dataset_never_comes_ends_with_the_silence(node: Node) -> None:
    assert hears(node, data(1, 0x03, command(store_request()))) in {"aborted", "closed"}


def test_requests_that_do_not_wait_for_answers_are_answered_one_by_one(node: Node) -> None:
    """27 MB of them at once: what is not served yet waits in the connection, not in memory."""
    line = node.line()
    with line.connection:
        line.associate()
        line.say(*[store(store_request(), b"\xff" * 9000) for _ in range(3000)])
        heard = [line.hear() for _ in range(3000)]

    assert heard == ["status 0xC000"] * 3000


def test_the_reasons_stand_in_the_log(node: Node) -> None:
    """Of what the cases above did: each limit is named where somebody looks for it."""
    log = node.log.read_text(encoding="utf-8")
    for reason in (
        "a PDU of 4294967295 bytes",
        "a PDU that took longer than 1.5 s",
        "a command set of more than 65536 bytes",
        f"an object of more than {OBJECT_BYTES} bytes",
        "malformed message",
        "not a readable dataset",
        "not what the command says",
    ):
        assert reason in log, reason


def test_no_thread_is_left_of_all_that(node: Node) -> None:
    """A receiver at rest has its main thread and those that listen and watch the disk."""
    wait_until(lambda: node.status_of("Threads") <= 3, 10.0, "every association's threads end")
