"""Claims about callers that keep the web waiting, on a real socket."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.certificates import make_authority
from support.web_client import web_config
from support.web_served import served

from dicom_node.settings.node import NodeConfig
from dicom_node.web import connections

SHORT_S = 0.5
pytestmark = pytest.mark.filterwarnings(
    # What was hung up on is closed by the loop, which a test may end before.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return web_config(tmp_path)


@pytest.fixture
def port(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "WHOLE_WITHIN_S", SHORT_S)
    monkeypatch.setattr(connections, "MOST_OF_ONE", 5)
    with served(config) as found:
        yield found


def closed_after_s(caller: socket.socket, drip: bytes = b"") -> float:
    """How long a connection lives that is silent, or sends a byte now and then."""
    began_s = time.monotonic()
    caller.settimeout(0.1)
    while time.monotonic() - began_s < 10:
        try:
            if drip:
                caller.sendall(drip)
            if caller.recv(1000) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
        (b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n", b"a"),
    ],
    ids=["silent", "headers a byte at a time", "a body a byte at a time"],
)
def test_a_caller_who_does_not_come_to_an_end_is_hung_up_on(
    begin: bytes, drip: bytes, port: int
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(begin)

        assert closed_after_s(caller, drip) < 5 * SHORT_S + 2


def test_the_second_request_of_a_connection_has_its_time_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"GET /login HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200 OK" in caller.recv(65536)
        caller.sendall(b"GET /")

        assert closed_after_s(caller, b"a") < 5 * SHORT_S + 2


def test_one_address_gets_so_many_connections_and_the_others_are_answered(port: int) -> None:
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    time.sleep(0.2)
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
        assert other.get(f"http://127.0.0.1:{port}/login").status_code == 200
    for caller in callers:
        caller.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1, 2\r\n\r\na",
        b"GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    ],
    ids=["long headers", "TLS", "two hosts", "two lengths", "a proxy's request"],
)
def test_what_is_no_request_is_refused(request_bytes: bytes, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(request_bytes)
        caller.settimeout(10)
        answer = caller.recv(65536)

    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 3"))


def test_the_port_speaks_tls_where_it_has_a_certificate(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    issued = authority.issue("localhost")
    tls = {"certificate": str(issued.path), "key": str(issued.key)}
    config = web_config(tmp_path, {"web": {"tls": tls}})
    trust = ssl.create_default_context(cafile=authority.path)
    with served(config) as port, httpx.Client(verify=trust) as client:
        answer = client.get(f"https://localhost:{port}/login")
        with pytest.raises(httpx.HTTPError):
            client.get(f"http://localhost:{port}/login")

    assert answer.status_code == 200
    assert answer.headers["set-cookie"].startswith("__Host-msk-login=")
    assert "strict-transport-security" in answer.headers
