"""DICOM TLS between our sender and our receiver, and with those who should not get through."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association
from structlog.testing import capture_logs
from support.certificates import RSA, Authority, Certificate, make_authority
from support.ct import SERIES_UID, ct_slice, ct_stack, save
from support.pacs import dataset_bytes
from support.waiting import wait_until
from typer.testing import CliRunner

from dicom_node.commands import cli
from dicom_node.errors import PeerUnreachableError
from dicom_node.network import tls_contexts as tls_module
from dicom_node.network import tls_sockets
from dicom_node.network.tls_contexts import Listener, server_context
from dicom_node.network.tls_sockets import TlsSocket
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import DestinationTls, ReceiveTls


@dataclass(frozen=True)
class Pki:
    """Everybody's certificates: an authority of ours, and one that we do not know."""

    ours: Authority
    node: Certificate
    scanner: Certificate
    old: Certificate
    foreign: Authority
    stranger: Certificate


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    ours = make_authority(folder / "ours")
    foreign = make_authority(folder / "foreign", "Foreign CA")
    return Pki(
        ours=ours,
        node=ours.issue("node", algorithm=RSA),
        scanner=ours.issue("scanner"),
        old=ours.issue("old", days=(-20, -10)),
        foreign=foreign,
        stranger=foreign.issue("stranger"),
    )


def listening(pki: Pki, shown: Certificate | None = None, **values: Any) -> ReceiveTls:
    shown = shown or pki.node
    known = {"certificate": shown.path, "key": shown.key, "client_ca": pki.ours.path}
    return ReceiveTls.model_validate(known | values)


def calling(pki: Pki, shown: Certificate | None = None, **values: Any) -> DestinationTls:
    own = {"certificate": shown.path, "key": shown.key} if shown else {}
    return DestinationTls.model_validate({"ca": pki.ours.path} | own | values)


@contextmanager
def receiving(
    folder: Path, tls: ReceiveTls | None, senders: tuple[Sender, ...] = ()
) -> Iterator[Receiver]:
    settings = ReceiverSettings(
        ae_title="MSKNODE",
        spool=folder / "spool",
        port=0,
        free_reserve_bytes=0,
        senders=senders,
        tls=tls,
    )
    with Receiver(settings) as running:
        yield running


@pytest.fixture
def receiver(pki: Pki, tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path, listening(pki)) as running:
        yield running


def peer_of(receiver: Receiver, tls: DestinationTls | None) -> Peer:
    return Peer("node", "MSKNODE", "127.0.0.1", receiver.port, "SCANNER", 5.0, 5.0, tls)


def kept(receiver: Receiver) -> list[bytes]:
    return sorted(dataset_bytes(entry.path) for entry in receiver.spool.entries(SERIES_UID))


def accepted(receiver: Receiver) -> list[Association]:
    """Connections that have become associations, or may."""
    return list(receiver._server.active_associations)


# --- those who get through


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_series_arrives_byte_for_byte(
    version: ssl.TLSVersion,
    pki: Pki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Objects of a quarter of a megabyte: many PDUs, and records that end anywhere."""
    agreed: list[str | None] = []
    shake_hands = TlsSocket.do_handshake

    def noted(connection: TlsSocket, block: bool = False) -> None:
        shake_hands(connection, block)
        agreed.append(connection.version())

    monkeypatch.setattr(TlsSocket, "do_handshake", noted)
    monkeypatch.setattr(tls_module, "client_context", _at_most(version))
    paths = save(ct_stack(shape=(256, 512)), tmp_path / "sent")

    with receiving(tmp_path, listening(pki)) as receiver:
        outcomes = send(peer_of(receiver, calling(pki, pki.scanner)), paths)
        found = kept(receiver)

    assert all(outcome.status == 0 for outcome in outcomes)
    assert found == sorted(map(dataset_bytes, paths))
    assert set(agreed) == {version.name.replace("_", ".")}


def _at_most(version: ssl.TLSVersion) -> Any:
    make = tls_module.client_context

    def limited(tls: DestinationTls) -> ssl.SSLContext:
        context = make(tls)
        context.maximum_version = version
        return context

    return limited


def test_many_senders_at_once_lose_nothing(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    stacks = [ct_stack(shape=(64, 64), SeriesInstanceUID=f"1.2.{n}") for n in range(6)]
    peer = peer_of(receiver, calling(pki, pki.scanner))
    senders = [
        threading.Thread(target=send, args=(peer, save(stack, tmp_path / str(n))))
        for n, stack in enumerate(stacks)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert [len(list(receiver.spool.entries(f"1.2.{n}"))) for n in range(6)] == [5] * 6


def test_a_destination_is_known_by_its_fingerprint_whatever_its_name(
    pki: Pki, tmp_path: Path
) -> None:
    """With the fingerprint alone, nobody has to vouch for the certificate either."""
    nameless = pki.foreign.issue("nameless", names="DNS:elsewhere.example")
    rule = DestinationTls(fingerprints=(pki.node.fingerprint, nameless.fingerprint))

    with receiving(tmp_path, listening(pki, nameless, require_client_certificate=False)) as it:
        echo(peer_of(it, rule))


def test_a_fingerprint_does_not_replace_a_ca_that_is_given(pki: Pki, tmp_path: Path) -> None:
    rule = calling(pki, fingerprints=(pki.old.fingerprint,))

    with (
        receiving(tmp_path, listening(pki, pki.old, require_client_certificate=False)) as it,
        pytest.raises(PeerUnreachableError, match="by TLS: certificate has expired"),
    ):
        echo(peer_of(it, rule))


def test_a_certificate_of_its_own_may_be_what_is_believed(pki: Pki, tmp_path: Path) -> None:
    rule = DestinationTls(ca=pki.node.path)

    with receiving(tmp_path, listening(pki, require_client_certificate=False)) as it:
        echo(peer_of(it, rule))


def test_the_name_in_the_certificate_may_be_given(pki: Pki, tmp_path: Path) -> None:
    named = pki.ours.issue("named", names="DNS:pacs.hospital.example")

    with receiving(tmp_path, listening(pki, named, require_client_certificate=False)) as it:
        echo(peer_of(it, calling(pki, server_name="pacs.hospital.example")))
        with pytest.raises(PeerUnreachableError, match=r"not valid for '127\.0\.0\.1'"):
            echo(peer_of(it, calling(pki)))


def test_a_plain_port_stands_beside_the_tls_one_only_where_it_is_configured(
    pki: Pki, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        plain = free.getsockname()[1]

    with receiving(tmp_path, listening(pki, plain_port=plain)) as it:
        echo(replace(peer_of(it, None), port=plain))
        echo(peer_of(it, calling(pki, pki.scanner)))


# --- those who do not, and are told why


@contextmanager
def refused(reason: str, told: str = "by TLS: it") -> Iterator[None]:
    """Both sides know why: the node's log, and the sender's error."""
    with capture_logs() as logs:
        with pytest.raises(PeerUnreachableError, match=told):
            yield
        wait_until(lambda: refusals(logs), words="the refusal is logged")

    assert refusals(logs) == [reason]


def test_without_a_certificate_nothing_is_received(receiver: Receiver, pki: Pki) -> None:
    with refused("it shows no certificate"):
        echo(peer_of(receiver, calling(pki)))


def test_a_sender_of_a_foreign_authority_is_refused(receiver: Receiver, pki: Pki) -> None:
    with refused("unable to get local issuer certificate"):
        echo(peer_of(receiver, calling(pki, pki.stranger)))


def test_a_sender_whose_certificate_has_expired_is_refused(
    receiver: Receiver, pki: Pki
) -> None:
    with refused("certificate has expired", "it finds our certificate expired"):
        echo(peer_of(receiver, calling(pki, pki.old)))


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (lambda pki: {"ca": pki.foreign.path}, "self-signed certificate in certificate chain"),
        (
            lambda pki: {"ca": None, "fingerprints": (pki.old.fingerprint,)},
            "it shows another certificate than expected",
        ),
    ],
    ids=["authority", "fingerprint"],
)
def test_a_destination_that_is_another_than_expected_gets_nothing(
    rule: Any, reason: str, receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    peer = peer_of(receiver, calling(pki, pki.scanner, **rule(pki)))

    with pytest.raises(PeerUnreachableError, match=f"by TLS: {reason}"):
        send(peer, save([ct_slice()], tmp_path / "sent"))

    assert kept(receiver) == []


def test_a_plain_sender_gets_nothing_from_a_tls_port(receiver: Receiver, pki: Pki) -> None:
    with refused("it does not speak TLS", "is it a DICOM port without TLS"):
        echo(peer_of(receiver, None))

    echo(peer_of(receiver, calling(pki, pki.scanner)))


def test_a_plain_port_called_by_tls_is_named(pki: Pki, tmp_path: Path) -> None:
    with (
        receiving(tmp_path, None) as it,
        pytest.raises(PeerUnreachableError, match="by TLS: it does not speak TLS"),
    ):
        echo(peer_of(it, calling(pki)))


def test_a_file_that_is_gone_is_named_when_it_is_needed(receiver: Receiver, pki: Pki) -> None:
    rule = DestinationTls(ca=Path("/nowhere/ca.pem"))

    with pytest.raises(PeerUnreachableError, match=r"/nowhere/ca\.pem: cannot be read"):
        echo(peer_of(receiver, rule))


@pytest.mark.parametrize("plain", [False, True])
def test_an_ae_title_may_be_bound_to_a_certificate(
    plain: bool, pki: Pki, tmp_path: Path
) -> None:
    """Whoever has some accepted certificate, or calls in the clear, is not yet the scanner."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scanner = Sender(ae_title="SCANNER", fingerprints=(pki.scanner.fingerprint,))
    listens = listening(pki, plain_port=port)

    with receiving(tmp_path, listens, (scanner,)) as it:
        echo(peer_of(it, calling(pki, pki.scanner)))
        pretender = peer_of(it, calling(pki, pki.node))
        if plain:
            pretender = replace(peer_of(it, None), port=port)
        with pytest.raises(PeerUnreachableError, match="rejected the association"):
            echo(pretender)


# --- no agreement on less


def weak_caller(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """A caller that would believe anyone, and takes anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize(
    ("version", "ciphers", "reason"),
    [
        (ssl.TLSVersion.TLSv1, "ALL", "it speaks nothing newer than TLS 1.1"),
        (ssl.TLSVersion.TLSv1_1, "ALL", "it speaks nothing newer than TLS 1.1"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256", "no cipher suite that is allowed"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA256", "no cipher suite that is allowed"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-NULL-SHA", "no cipher suite that is allowed"),
    ],
)
def test_a_caller_that_offers_less_is_refused(
    version: ssl.TLSVersion,
    ciphers: str,
    reason: str,
    receiver: Receiver,
) -> None:
    """TLS 1.0 and 1.1 (RFC 8996), no forward secrecy, no authenticated encryption, none."""
    context = weak_caller(version, ciphers)

    with capture_logs() as logs, socket.create_connection(("127.0.0.1", receiver.port)) as raw:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(raw)
        wait_until(lambda: refusals(logs), words="the refusal is logged")

    assert reason in refusals(logs)[0]


def test_a_destination_that_offers_less_gets_nothing(pki: Pki) -> None:
    """The same the other way round: a server of TLS 1.1 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(pki.node.path, pki.node.key)

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        peer = Peer("old", "OLD", "127.0.0.1", listener.getsockname()[1], tls=calling(pki))
        with pytest.raises(PeerUnreachableError, match=r"speaks nothing newer than TLS 1\.1"):
            echo(peer)
        server.join()


# --- pynetdicom and records


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


# --- the command line


def toml_of(folder: Path, receiver: Receiver, pki: Pki, shown: Certificate) -> str:
    """A node.toml with one destination, the receiver."""
    path = folder / "node.toml"
    path.write_text(
        "[[destinations]]\n"
        f'name = "archive"\nae_title = "MSKNODE"\nhost = "127.0.0.1"\nport = {receiver.port}\n'
        "[destinations.tls]\n"
        f'ca = "{pki.ours.path}"\ncertificate = "{shown.path}"\nkey = "{shown.key}"\n'
    )
    return str(path)


def test_a_destination_is_tried_by_its_name_with_its_tls(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    config = toml_of(tmp_path, receiver, pki, pki.scanner)
    paths = save([ct_slice()], tmp_path / "sent")

    asked = CliRunner().invoke(cli.app, ["echo", "archive", "--config", config])
    sent = CliRunner().invoke(cli.app, ["send", "archive", str(paths[0]), "-c", config])

    assert asked.exit_code == 0
    assert asked.output == "archive answers\n"
    assert "1 of 1 stored" in sent.output
    assert kept(receiver) == [dataset_bytes(paths[0])]


def test_a_name_that_no_destination_has_is_wrong_usage(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    config = toml_of(tmp_path, receiver, pki, pki.scanner)

    result = CliRunner().invoke(cli.app, ["echo", "archvie", "--config", config])

    assert result.exit_code == 2


def test_the_check_warns_of_a_certificate_that_expires_soon(
    receiver: Receiver, pki: Pki, tmp_path: Path
) -> None:
    soon = pki.ours.issue("soon", days=(-20, 5.5))
    config = toml_of(tmp_path, receiver, pki, soon)

    result = CliRunner().invoke(cli.app, ["check", "--config", config])

    assert result.exit_code == 0
    assert "destination archive is reached by TLS" in result.output
    assert "expires in 5 days" in " ".join(result.output.split())


# --- helpers


def refusals(logs: list[Any]) -> list[str]:
    return [each["reason"] for each in logs if each["event"] == "tls.refused"]


def association_request() -> bytes:
    """The bytes with which our own sender asks for an association."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Peer("x", "MSKNODE", "127.0.0.1", listener.getsockname()[1], "SCANNER", 5.0, 5.0)

        def ask() -> None:
            with contextlib.suppress(PeerUnreachableError):
                echo(peer)

        asking = threading.Thread(target=ask)
        asking.start()
        with listener.accept()[0] as connection:
            request = connection.recv(65536)
        asking.join()
    return request


@dataclass
class ByHand:
    """A caller whose every record and packet is under control."""

    raw: socket.socket
    plain: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def encrypted(self) -> bytes:
        """The records that were written since last asked."""
        return self.outgoing.read()

    def read(self, count: int) -> bytes:
        """So many decrypted bytes."""
        while True:
            try:
                return self.plain.read(count)
            except ssl.SSLWantReadError:
                received = self.raw.recv(65536)
                self.incoming.write(received) if received else self.incoming.write_eof()

    def read_until_closed(self) -> bytes:
        """Everything decrypted until the other side ends."""
        found = b""
        while True:
            try:
                part = self.read(4096)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return found
            if not part:
                return found
            found += part


@contextmanager
def calling_by_hand(receiver: Receiver, pki: Pki) -> Iterator[ByHand]:
    context = ssl.create_default_context(cafile=pki.ours.path)
    context.load_cert_chain(pki.scanner.path, pki.scanner.key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    plain = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as raw:
        caller = ByHand(raw, plain, incoming, outgoing)
        while True:
            try:
                plain.do_handshake()
            except ssl.SSLWantReadError:
                raw.sendall(caller.encrypted())
                incoming.write(raw.recv(65536))
                continue
            raw.sendall(caller.encrypted())
            break
        yield caller
