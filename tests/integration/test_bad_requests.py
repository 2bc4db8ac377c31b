"""Bad input before there is an association: the receiver hangs up, says why, and lives on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.attacked_receiver import (
    IDLE_S,
    Node,
    running_node,
    trickles,
    unharmed,
)
from support.raw_wire import (
    CT,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    association_request,
    command,
    data,
    item,
    pdu,
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


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (data(1, 0x03, command(store_request())), "aborted"),
        (pdu(0x05, b"\0" * 4), "aborted"),
        (pdu(0x02, b"\0" * 80), "aborted"),
        (pdu(0x42, b"\0" * 4), "aborted"),
        (pdu(0x01, b""), "aborted"),
        (pdu(0x01, b"\xff" * 200), "aborted"),
        (pdu(0x01, b"", length=0xFFFFFFFF), "aborted"),
        (pdu(0x01, b"\0" * 100, length=1 << 21), "aborted"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 512, "aborted"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "aborted"),
        (association_request(version=2), "rejected"),
        (association_request(application="1.2.3"), "accepted"),
        (association_request(()), "accepted"),
        (association_request(user=b""), "accepted"),
        (association_request(user=item(0x51, b"\0\0")), "aborted"),
        (association_request(calling=b"\xff" * 16), "aborted"),
        (association_request(calling=b"CT1".ljust(16, b"\0")), "accepted"),
        (association_request(calling=b"\0" * 16), "aborted"),
        (association_request(calling=b"C\0T1"), "aborted"),
    ],
    ids=[
        "data first", "release first", "an acceptance", "an unknown PDU", "an empty request",
        "a request of garbage", "a request of 4 GB", "a request of 2 MB", "TLS", "HTTP",
        "protocol version 2", "another application", "no context", "no user information",
        "a maximum length of 2 bytes", "a title that is no text",
        "a title padded with NUL", "no title", "NUL amid a title",
    ],
)  # fmt: skip
def test_what_is_no_request_is_turned_away(said: bytes, answer: str, node: Node) -> None:
    line = node.line()
    with line.connection:
        line.say(said)

        assert line.hear() == answer


@pytest.mark.parametrize(
    ("contexts", "answer"),
    [
        ([(number, CT, [EXPLICIT]) for number in range(1, 201)], "aborted"),
        ([(2 * number + 1, CT, [EXPLICIT, IMPLICIT]) for number in range(128)], "accepted"),
        ([(1, CT, [EXPLICIT]), (1, ECHO, [IMPLICIT])], "accepted"),
        ([(2, CT, [EXPLICIT])], "aborted"),
        ([(1, "../../etc", ["/"])], "accepted"),
        ([(1, CT, [])], "aborted"),
    ],
    ids=["200", "128", "one number twice", "an even number", "paths for UIDs", "no syntax"],
)
def test_any_list_of_contexts_is_answered(
    contexts: list[tuple[int, str, list[str]]], answer: str, node: Node
) -> None:
    line = node.line()
    with line.connection:
        assert line.associate(association_request(contexts)) == answer


def test_a_silent_connection_is_closed(node: Node) -> None:
    line = node.line()
    with line.connection:
        started = time.monotonic()

        assert line.hear() in {"closed", "aborted"}
        assert time.monotonic() - started < 3 * IDLE_S


def test_a_request_that_trickles_is_cut_off(node: Node) -> None:
    """A byte now and then is never silent, and would never end."""
    trickles(node.line(), association_request())


def test_many_silent_connections_hold_the_port_for_a_moment_only(node: Node) -> None:
    lines = [node.line() for _ in range(80)]

    wait_until(node.answers_an_echo, 6 * IDLE_S, "an association is accepted again")
    for line in lines:
        line.connection.close()
