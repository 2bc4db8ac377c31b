"""Claims about what follows from each answer of an archive: the table of `docs/delivery.md`.

Every row is done to a node by an archive on a port; of a range, its ends. Two attempts are
fast here. The clock is the test's.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    suppress,
)
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from pynetdicom.status import GENERAL_STATUS
from support.installed_node import free_port
from support.raw_wire import IMPLICIT, Line, item, pdu
from support.sent_results import SEG, SR, Site
from support.small_node import result_pacs
from support.web_archive import Reply, WebArchive

from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.settings.loading import parse_config

WAITING, HELD = DeliveryState.WAITING, DeliveryState.HELD
DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "delivery.md"
TABLE: Final = re.compile(r"(?<=<!-- answers -->\n).*?(?=<!-- /answers -->)", re.DOTALL)
FAST: Final = 2
PRESENTATION_CONTEXT: Final = 0x20
TOKEN: Final = {"bearer_token_variable": "MSK_TEST_TOKEN"}
MENDED_BY: Final = (
    "time",
    "its return",
    "time or a person",
    "a person",
    "another form",
    "asking",
)
Peer = AbstractContextManager[dict[str, Any]]


def rows() -> Iterator[tuple[str, str, str]]:
    """Way, answer and what mends it; of a range of statuses, both ends."""
    found = TABLE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found is not None
    for line in found[0].splitlines()[2:]:
        way, answers, mended_by = (cell.strip() for cell in line.strip("|").split("|"))
        for answer in re.sub(r"\([^)]*\)", "", answers).split(","):
            ends = answer.strip().split("-") if answer.strip().startswith("0x") else [answer]
            for end in ends:
                yield way, end.strip(), mended_by


ROWS: Final = tuple(dict.fromkeys(rows()))


@contextmanager
def storing(**options: Any) -> Iterator[dict[str, Any]]:
    """An archive by DICOM that does something to every C-STORE."""
    with result_pacs(**options).running() as pacs:
        yield {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}


@contextmanager
def serving(reply: Reply, **options: Any) -> Iterator[dict[str, Any]]:
    """One by DICOMweb that gives every STOW-RS request the same answer."""
    archive = WebArchive(replies=[reply] * 20, **options)
    with archive.running():
        yield {"url": archive.url}


@contextmanager
def silent_port() -> Iterator[dict[str, Any]]:
    """Takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"ae_title": "PACS", "host": "127.0.0.1", "port": listener.getsockname()[1]}


@contextmanager
def stalled() -> Iterator[dict[str, Any]]:
    pacs = result_pacs()
    pacs.stalled.set()
    with pacs.running():
        yield {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}


@contextmanager
def stalled_service() -> Iterator[dict[str, Any]]:
    archive = WebArchive()
    archive.stalled.set()
    with archive.running():
        yield {"url": archive.url}


@contextmanager
def with_context_result(result: int) -> Iterator[dict[str, Any]]:
    """An archive that refuses every presentation context with this result, byte by byte."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    line = Line(connection)
                    length = int.from_bytes(line.read(6)[2:], "big")
                    connection.sendall(_accepted(line.read(length), result))
                    line.read(1 << 16)  # until the other side closes

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield {"ae_title": "PACS", "host": "127.0.0.1", "port": listener.getsockname()[1]}
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _accepted(request: bytes, result: int) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3) without a context that is accepted."""
    items, place = b"", 68
    while place < len(request):
        kind = request[place]
        end = place + 4 + int.from_bytes(request[place + 2 : place + 4], "big")
        if kind == PRESENTATION_CONTEXT:
            refused = bytes([request[place + 4], 0, result, 0])
            items += item(0x21, refused + item(0x40, IMPLICIT.encode()))
        else:
            items += request[place:end]
        place = end
    return pdu(0x02, request[:68] + items)


def peer(way: str, answer: str) -> Peer:
    """The archive that gives an answer of the table."""
    status = int(answer, 16) if answer.startswith("0x") else 0
    if way == "C-STORE":
        return storing(statuses=[status] * 20)
    if way == "Failure Reason":
        return serving(Reply(409), failures={SEG: status, SR: status})
    if way == "STOW-RS" and answer[:3].isdigit():
        headers = {"Retry-After": "7"} if "Retry-After" in answer else {}
        return serving(
            Reply(int(answer[:3]), {"Location": "http://127.0.0.1:1/", **headers}, b"")
        )
    return SCENES[way, answer]()


def do_next(site: Site, jobs: Sequence[JobRequest], count: int) -> tuple[JobRequest, ...]:
    """Do so many jobs, one after the other at their times; the one that follows."""
    for _ in range(count):
        if not jobs:
            return ()
        site.clock.advance(seconds=jobs[0].delay_s)
        jobs = site.make(jobs[0])
    return tuple(jobs)


def refused_port() -> dict[str, Any]:
    return {"ae_title": "PACS", "host": "127.0.0.1", "port": free_port()}


SCENES: Final[dict[tuple[str, str], Callable[[], Peer]]] = {
    ("DICOM", "no connection"): lambda: nullcontext(refused_port()),
    ("DICOM", "no association in time"): silent_port,
    ("DICOM", "association rejected"): lambda: storing(calling_ae_titles=("OTHER",)),
    ("DICOM", "aborted"): lambda: storing(lost_answers=100),
    ("DICOM", "no answer in time"): stalled,
    **{("DICOM", f"context result {n}"): partial(with_context_result, n) for n in (1, 2, 3, 4)},
    ("STOW-RS", "no connection"): lambda: nullcontext(
        {"url": f"http://127.0.0.1:{free_port()}/dicom-web"}
    ),
    ("STOW-RS", "no answer in time"): stalled_service,
    ("STOW-RS", "connection closed"): lambda: serving(Reply(), drop_after=10),
    ("STOW-RS", "nonsense"): lambda: serving(Reply(body=b"<html>Sign in</html>")),
    ("STOW-RS", "object not named"): lambda: serving(Reply(), silent={SEG}),
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Makes a node's ledger and files, with two fast attempts."""
    monkeypatch.setenv("MSK_TEST_TOKEN", "secret")
    ledgers: list[Ledger] = []

    def site(destination: dict[str, Any]) -> Site:
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "delivery": {"timeout_s": 0.5, "hold_after": FAST, "slow_wait_s": 5400.0},
            "destinations": [{"name": "pacs", **destination}],
        }
        config = parse_config(table, source="test", folder=tmp_path)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    yield site
    for ledger in ledgers:
        ledger.close()


@pytest.mark.parametrize(("way", "answer", "mended_by"), ROWS)
def test_what_follows_from_an_answer_is_what_the_table_says(
    make: Callable[..., Site], way: str, answer: str, mended_by: str
) -> None:
    """After one attempt, after the fast ones, and after four: the segmentation's row."""
    with ExitStack() as stack:
        destination = stack.enter_context(peer(way, answer))
        if "token" in answer:
            destination["credentials"] = TOKEN
        site = make(destination)
        following = do_next(site, site.answer(), 1)
        first = site.row(SEG)
        following = do_next(site, following, FAST - 1)
        last = site.row(SEG)
        do_next(site, following, 4 - FAST)
        fourth = site.row(SEG)

    assert mended_by in MENDED_BY
    if mended_by == "asking":
        assert " lists it" in first.reason or "does not list it" in first.reason
        return
    at_once = mended_by in {"a person", "another form"}
    assert first.state is (HELD if at_once else WAITING)
    assert last.state is fourth.state
    assert last.state is (WAITING if mended_by in {"time", "its return"} else HELD)
    assert last.reason
    if last.state is WAITING:
        assert fourth.next_attempt_at == fourth.changed_at + timedelta(seconds=5400)
        assert fourth.attempts == 4
        assert fourth.resumes is (mended_by == "its return")


def test_the_table_speaks_of_every_status_but_success_and_warnings() -> None:
    """So that nothing that an archive may answer is left to chance."""
    found = TABLE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found is not None
    ranges = [
        (int(low, 16), int(high or low, 16))
        for line in found[0].splitlines()
        if line.startswith("| C-STORE")
        for low, high in re.findall(r"0x([0-9A-F]{4})(?:-0x([0-9A-F]{4}))?", line)
    ]
    named = {status for low, high in ranges for status in range(low, high + 1)}

    assert named >= {*range(0xA700, 0xB000), *range(0xC000, 0xFF00)}
    assert named >= set(GENERAL_STATUS) - {0x0000, 0x0107, 0x0116}
    assert sum(high - low + 1 for low, high in ranges) == len(named), "each is named once"
