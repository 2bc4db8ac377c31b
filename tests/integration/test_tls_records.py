"""TLS below pynetdicom: records, silence, and ends of connections."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.tls_calls import (
    Pki,
    accepted,
    association_request,
    calling,
    calling_by_hand,
    listening,
    make_pki,
    peer_of,
    receiving,
    refusals,
)
from support.waiting import wait_until

from dicom_node.network import tls_contexts as tls_module
from dicom_node.network import tls_sockets
from dicom_node.network.tls_contexts import Listener, server_context
from dicom_node.peers.echo import echo
from dicom_node.receiving.receiver import Receiver


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, listening(pki)) as running:
        yield running


def test_a_silent_caller_keeps_nobody_out_and_is_no_association(
    receiver: Receiver, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_sockets, "HANDSHAKE_TIMEOUT_S", 3.0)
    with capture_logs() as logs, socket.create_connection(("127.0.0.1", receiver.port)) as mute:
        echo(peer_of(receiver, calling(pki, pki.scanner)))
        assert select.select([mute], [], [], 0)[0] == []  # still waited for meanwhile
        wait_until(lambda: not accepted(receiver), words="the echo's association has ended")
        mute.settimeout(30)
        assert mute.recv(1) == b""

    assert refusals(logs) == ["it did not answer in time"]


def test_records_that_end_anywhere_stall_nothing(receiver: Receiver, pki: Pki) -> None:
    """A request cut into records of one and more bytes, several records in one packet.

    What is decrypted but not read is invisible to `select`; and half a record makes a socket
    readable that has nothing to read.
    """
    request = association_request()
    cuts = [0, 1, 2, 5, 6, 7, 70, len(request)]
    pieces = [request[begin:end] for begin, end in pairwise(cuts)]

    with calling_by_hand(receiver, pki) as caller:
        for piece in pieces:
            caller.plain.write(piece)
        records = caller.encrypted()
        half = len(records) // 2
        caller.raw.sendall(records[:half])
        time.sleep(0.05)
        caller.raw.sendall(records[half:])

        assert caller.read(1) == b"\x02"  # A-ASSOCIATE-AC


def test_half_a_record_does_not_keep_the_node_from_answering(
    receiver: Receiver, pki: Pki
) -> None:
    """An abort can be sent, and the connection closed, while a record is still on its way."""
    with calling_by_hand(receiver, pki) as caller:
        caller.plain.write(association_request())
        caller.raw.sendall(caller.encrypted())
        assert caller.read(1) == b"\x02"
        caller.plain.write(b"\x04\x00")
        caller.raw.sendall(caller.encrypted()[:7])
        wait_until(lambda: accepted(receiver), words="there is an association")
        (association,) = accepted(receiver)
        wait_until(lambda: association.is_established, words="it is established")
        started = time.monotonic()
        association.abort()

        assert caller.read_until_closed()[-10] == 0x07  # A-ABORT
        assert time.monotonic() - started < 3


def test_what_is_sent_after_the_end_is_not_sent_in_the_clear(pki: Pki) -> None:
    """Python's own socket would: its `shutdown` takes TLS off before it ends the connection."""
    ours, theirs = socket.socketpair()
    serving = Listener(server_context(listening(pki))).wrap_socket(ours, server_side=True)
    caller = tls_module.Call(calling(pki, pki.scanner)).context.wrap_socket(
        theirs, server_hostname="127.0.0.1", do_handshake_on_connect=False
    )
    answering = threading.Thread(target=caller.do_handshake)
    answering.start()
    serving.do_handshake()
    answering.join()
    with serving, caller:
        serving.shutdown(socket.SHUT_RD)  # what can be sent on the socket, still can

        with pytest.raises(ssl.SSLError, match="PROTOCOL_IS_SHUTDOWN"):
            serving.send(b"name of a patient")

        serving.shutdown(socket.SHUT_WR)
        caller.settimeout(5)
        assert b"patient" not in socket.socket.recv(caller, 65536)


def test_session_tickets_are_no_data(pki: Pki) -> None:
    """Servers of TLS 1.3 send them unasked; ours does not, so this one is told to."""
    context = server_context(listening(pki, require_client_certificate=False, client_ca=None))
    context.num_tickets = 2

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as secured:
            go.wait(5)
            secured.sendall(b"data")
            done.wait(5)

    go, done = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        call = tls_module.Call(calling(pki))
        ours = call.wrap_socket(socket.socket(), server_side=False, server_hostname="127.0.0.1")
        with ours:
            ours.settimeout(5)
            ours.connect(listener.getsockname())
            time.sleep(0.1)
            assert ours.has_data() is False
            go.set()
            wait_until(ours.has_data, within_s=5, words="there is data")
            assert ours.gettimeout() == 5
            assert ours.recv(2) + ours.recv(2) + ours.recv(2) == b"data"
            done.set()
            wait_until(ours.has_data, within_s=5, words="the end can be read")
            assert ours.recv(1) == b""
        server.join()


def test_the_receiver_issues_no_session_tickets(pki: Pki) -> None:
    """What is revoked or replaced cannot be resumed; and others' clients stall over them."""
    context = Listener(server_context(listening(pki))).context

    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET
