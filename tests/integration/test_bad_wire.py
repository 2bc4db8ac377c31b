"""Bad input on the wire: the receiver answers or hangs up, with a reason, and lives on."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.corpus import (
    ENDLESS,
    GIGABYTE,
    PATIENT,
    encoded,
    in_order,
    raw_element,
    sound,
    zipped,
)
from support.raw_wire import (
    CT,
    DEFLATED,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    NO_DATASET,
    Line,
    association_request,
    command,
    data,
    item,
    pdu,
    store,
    store_request,
)
from support.waiting import wait_until

IDLE_S = 1.5
OBJECT_BYTES = 4 << 20
MEGABYTES = 96
"""What one connection may cost the process, at any moment."""

SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.settings.node import Logging
from dicom_node.monitoring.logs import configure_logging
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
configure_logging(Logging(format="json"))
settings = ReceiverSettings(
    "MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0,
    idle_timeout_s=float(sys.argv[2]), acse_timeout_s=float(sys.argv[2]),
    max_object_bytes=int(sys.argv[3]),
)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


@dataclass
class Node:
    """A receiver in a process of its own."""

    pid: int
    port: int
    spool: Path
    log: Path

    def line(self, patience_s: float = 8.0) -> Line:
        """A new connection."""
        return Line(socket.create_connection(("127.0.0.1", self.port), timeout=patience_s))

    def answers_an_echo(self) -> bool:
        """Whether an association, a C-ECHO and a release work."""
        line = self.line()
        with line.connection:
            if line.associate() != "accepted":
                return False
            request = {
                0x0002: ECHO.encode() + b"\0",
                0x0100: struct.pack("<H", 0x0030),
                0x0110: struct.pack("<H", 1),
                0x0800: struct.pack("<H", NO_DATASET),
            }
            line.say(data(3, 0x03, command(request)))
            said = line.hear()
            line.say(pdu(0x05, b"\0" * 4))
            return said == "status 0x0000" and line.hear() == "released"

    def status_of(self, name: str) -> int:
        """A number of /proc/PID/status."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))

    def forget_peak(self) -> None:
        """Let VmHWM start anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def files(self) -> list[str]:
        """What lies in the spool, without what the node writes for itself."""
        kept = [path for path in self.spool.rglob("*") if path.is_file()]
        return sorted(path.name for path in kept if not path.name.startswith("."))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    arguments = [folder / "spool", str(IDLE_S), str(OBJECT_BYTES)]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Node(process.pid, port, folder / "spool", folder / "log")
        assert process.poll() is None
        process.kill()


@pytest.fixture(autouse=True)
def _unharmed(node: Node) -> Iterator[None]:
    """After every case: alive, no thread or file left, little memory used, no patient told."""
    told = len(node.log.read_text(encoding="utf-8"))
    held = node.status_of("VmRSS")
    files = node.files()
    node.forget_peak()
    yield
    assert node.answers_an_echo()
    wait_until(lambda: node.status_of("Threads") <= 16, 15.0, "threads end")
    assert node.status_of("VmHWM") - held < MEGABYTES * 1024
    assert list((node.spool / ".incoming").iterdir()) == []
    assert node.files() == files
    log = node.log.read_text(encoding="utf-8")[told:]
    assert PATIENT not in log
    assert "Traceback" not in log


def dataset_bytes() -> bytes:
    return in_order(encoded(sound()[0]))


def hears(node: Node, *said: bytes) -> str:
    """Associate, say this, and tell what came back."""
    line = node.line()
    with line.connection:
        assert line.associate() == "accepted"
        line.say(*said)
        return line.hear()


# --- before there is an association


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
    ],
    ids=[
        "data first", "release first", "an acceptance", "an unknown PDU", "an empty request",
        "a request of garbage", "a request of 4 GB", "a request of 2 MB", "TLS", "HTTP",
        "protocol version 2", "another application", "no context", "no user information",
        "a maximum length of 2 bytes", "a title that is no text",
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


def test_an_object_that_trickles_within_a_pdu_is_cut_off(node: Node) -> None:
    line = node.line()
    assert line.associate() == "accepted"
    trickles(line, data(1, 0x03, command(store_request())))


def trickles(line: Line, said: bytes) -> None:
    started = time.monotonic()
    with line.connection:
        line.connection.settimeout(0.3)
        for byte in said:
            line.say(bytes([byte]))
            if (heard := line.hear()) != "silent":
                break

        assert heard in {"closed", "aborted"}
        assert time.monotonic() - started < 4 * IDLE_S


def test_many_silent_connections_hold_the_port_for_a_moment_only(node: Node) -> None:
    lines = [node.line() for _ in range(80)]

    wait_until(node.answers_an_echo, 6 * IDLE_S, "an association is accepted again")
    for line in lines:
        line.connection.close()


# --- on an association


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
        "a message that is none",
        "not a readable dataset",
        "not what the command says",
    ):
        assert reason in log, reason


def test_no_thread_is_left_of_all_that(node: Node) -> None:
    """A receiver at rest has its main thread and those that listen and watch the disk."""
    wait_until(lambda: node.status_of("Threads") <= 3, 10.0, "every association's threads end")
