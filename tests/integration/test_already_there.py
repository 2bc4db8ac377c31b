"""Claims about objects that an archive has and refuses, because its answer was lost before.

By C-STORE and by STOW-RS, over real connections; the clock is the test's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)
from rich.console import Console
from support.pacs import Pacs
from support.sent_results import SEG, SR, Site
from support.small_node import result_pacs
from support.web_archive import Reply, WebArchive
from typer.testing import CliRunner

from dicom_node.commands import cli
from dicom_node.commands.status_tables import render
from dicom_node.node.status import node_status
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.loading import parse_config

Make = Callable[..., Site]
WAITING, SENT, HELD = DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.HELD
CONFIRMED = DeliveryState.CONFIRMED
FIND = StudyRootQueryRetrieveInformationModelFind
BUSY = Reply(503, body=b"")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes the node's ledger and files; it delivers to one archive."""
    ledgers: list[Ledger] = []

    def site(destination: dict[str, Any], confirm: str = "no", **sections: Any) -> Site:
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "delivery": {"timeout_s": 5.0},
            "destinations": [{"name": "pacs", **destination, "confirm": confirm}],
            **sections,
        }
        config = parse_config(table, source="test", folder=tmp_path)
        config.node.spool.mkdir(exist_ok=True)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    yield site
    for ledger in ledgers:
        ledger.close()


def by_dicom(pacs: Pacs) -> dict[str, Any]:
    return {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}


def archive_without(*services: Any) -> Pacs:
    """One that loses its first answer, takes nothing twice, and lacks some services."""
    contexts = [each for each in result_pacs().contexts if each[0] not in services]
    return Pacs(contexts=contexts, lost_answers=1, duplicates=0x0111)


def states(site: Site) -> dict[str, DeliveryState]:
    return {uid: site.row(uid).state for uid in (SEG, SR)}


def shown(site: Site) -> str:
    console = Console(width=240)
    with console.capture() as captured:
        console.print(render(node_status(site.config)))
    return captured.get()


@pytest.mark.parametrize(
    ("confirm", "state"), [("no", SENT), ("query", CONFIRMED), ("commitment", SENT)]
)
def test_an_object_whose_answer_was_lost_is_sent_with_a_warning_and_so_is_its_report(
    make: Make, confirm: str, state: DeliveryState
) -> None:
    """Also where the archive is not to be asked: it says itself that there is something to ask.

    With commitment, its report is still to come.
    """
    with archive_without().running() as pacs:
        site = make(by_dicom(pacs), confirm)
        site.do_jobs(site.answer(), most=5)

    assert states(site) == {SEG: state, SR: state}
    assert [uid for uid, _, _ in pacs.received] == [SEG, SR]
    assert pacs.refused == [SEG]
    assert (site.row(SEG).status, site.row(SR).status) == (0x0111, 0)
    assert "status 0x0111: it had the object already" in shown(site)


def test_what_it_has_is_confirmed_by_its_report(make: Make, tmp_path: Path) -> None:
    settings = ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    with archive_without().running() as pacs, Receiver(settings) as receiver:
        pacs.report_port = receiver.port
        site = make(by_dicom(pacs), "commitment")
        site.do_jobs(site.answer(), most=4)
        due = site.row(SR).next_attempt_at
        pacs.report(pacs.asked[0])
        site.delivery_jobs.take_reports()
        assert states(site) == {SEG: CONFIRMED, SR: SENT}
        assert site.row(SR).next_attempt_at == due, "that request was not about it"
        site.do_jobs(site.delivery_jobs.due(), most=1)
        pacs.report(pacs.asked[1])
        site.delivery_jobs.take_reports()

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert (site.row(SEG).status, site.row(SR).reason) == (0x0111, "")


def test_where_nobody_can_be_asked_the_archive_s_word_is_taken(make: Make) -> None:
    with archive_without(FIND, StorageCommitmentPushModel).running() as pacs:
        site = make(by_dicom(pacs))
        site.do_jobs(site.answer())

    assert states(site) == {SEG: SENT, SR: SENT}
    assert "does not offer C-FIND" in site.row(SEG).reason
    assert not site.row(SEG).is_unconfirmed


@pytest.mark.parametrize("says", ["it has it", "it has it not"])
def test_an_archive_that_knows_commitment_alone_is_asked_for_that_and_its_report_counts(
    make: Make, tmp_path: Path, says: str
) -> None:
    """Though `confirm` is off, and whenever the report comes."""
    settings = ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    with archive_without(FIND).running() as pacs, Receiver(settings) as receiver:
        pacs.report_port = receiver.port
        site = make(by_dicom(pacs), confirmation={"resend": 0})
        site.do_jobs(site.answer())
        assert states(site) == {SEG: SENT, SR: SENT}
        (asked,) = pacs.asked[0].ReferencedSOPSequence
        assert asked.ReferencedSOPInstanceUID == SEG
        pacs.failures = {} if says == "it has it" else {SEG: 0x0112}
        pacs.report(pacs.asked[0])
        site.delivery_jobs.take_reports()

    if says == "it has it":
        assert states(site) == {SEG: CONFIRMED, SR: SENT}
    else:
        assert states(site) == {SEG: HELD, SR: SENT}
        assert site.row(SEG).reason == "not committed to: 0112H, no such object instance"


def test_an_archive_that_lists_nothing_of_what_it_says_it_has_has_it_held_with_both_words(
    make: Make,
) -> None:
    with archive_without().running() as pacs:
        pacs.unlisted = {SEG}
        site = make(by_dicom(pacs))
        site.do_jobs(site.answer())

    assert states(site) == {SEG: HELD, SR: HELD}
    assert site.row(SEG).reason.startswith("0x0111, ")
    assert site.row(SEG).reason.endswith("C-FIND does not list it, asked 5 times")
    assert pacs.refused == [SEG] * 5, "sent each time: it may be taken after all"


def test_an_archive_that_lists_it_only_later_is_given_the_time(make: Make) -> None:
    with archive_without().running() as pacs:
        pacs.unlisted = {SEG}
        site = make(by_dicom(pacs))
        following = site.make(site.answer()[0])
        for _ in range(3):
            following = site.make(following[0]) if following else ()
            site.clock.advance(hours=1)
        assert states(site) == {SEG: WAITING, SR: WAITING}
        assert site.row(SEG).reason.endswith("C-FIND does not list it yet")
        pacs.unlisted = set()
        site.do_jobs(site.delivery_jobs.due())

    assert states(site) == {SEG: SENT, SR: SENT}


def test_a_report_that_is_there_already_is_no_failure_either(make: Make) -> None:
    with result_pacs(duplicates=0x0111).running() as pacs:
        before = make(by_dicom(pacs))
        before.do_jobs(before.answer())
        for uid in (SEG, SR):
            waiting = {"state": WAITING, "next_attempt_at": before.clock()}
            before.ledger.save(*(_with(before.row(uid), waiting),))
        before.do_jobs(before.delivery_jobs.due())

    assert pacs.refused == [SEG, SR]
    assert states(before) == {SEG: SENT, SR: SENT}


def _with(row: Any, values: dict[str, Any]) -> Any:
    return type(row)(**{**{name: getattr(row, name) for name in row.__slots__}, **values})


@pytest.mark.parametrize(
    "duplicates",
    [(409, 0x0111), (200, 0x0111), (202, 0x0111), (409, 45070), (409, 0x0110), (409, None)],
)
@pytest.mark.parametrize(("confirm", "state"), [("no", SENT), ("query", CONFIRMED)])
def test_each_way_of_a_web_service_to_say_so_is_understood(
    make: Make, duplicates: tuple[int, int | None], confirm: str, state: DeliveryState
) -> None:
    """45070 (B00EH) is Azure's; others say no more than 409."""
    lost = Reply(cut=True)
    with WebArchive(replies=[lost], duplicates=duplicates).running() as archive:
        site = make({"url": archive.url}, confirm)
        site.do_jobs(site.answer(), most=6)

    assert states(site) == {SEG: state, SR: state}
    assert [request for request in archive.requests if request == [SR]] == [[SR]]
    assert archive.queries
    assert site.row(SEG).status == (0xB00E if duplicates[1] == 45070 else 0x0111)


@pytest.mark.parametrize(
    ("duplicates", "words"),
    [
        (
            (409, 0x0111),
            "0x0111, duplicate SOP instance; QIDO-RS does not list it, asked 5 times",
        ),
        ((409, None), "answered with 409 Conflict; QIDO-RS does not list it"),
    ],
)
def test_what_a_web_service_says_it_has_and_does_not_list_is_held(
    make: Make, duplicates: tuple[int, int | None], words: str
) -> None:
    lost = Reply(cut=True)
    with WebArchive(replies=[lost], duplicates=duplicates, unlisted={SEG}).running() as archive:
        site = make({"url": archive.url})
        site.do_jobs(site.answer())

    assert states(site) == {SEG: HELD, SR: HELD}
    assert site.row(SEG).reason.endswith(words)


@pytest.mark.parametrize(
    ("reply", "believed_after"),
    [(Reply(404, body=b""), 2), (Reply(501, body=b""), 2), (BUSY, 5), (Reply(body=b"<p>"), 5)],
)
def test_a_web_service_that_cannot_be_asked_is_believed_at_once_or_after_five_attempts(
    make: Make, reply: Reply, believed_after: int
) -> None:
    """The first attempt of these is the one whose answer was lost."""
    lost = Reply(cut=True)
    with WebArchive(replies=[lost], duplicates=(409, 0x0111)).running() as archive:
        archive.query_reply = reply
        site = make({"url": archive.url})
        site.do_jobs(site.answer())

    assert states(site) == {SEG: SENT, SR: SENT}
    assert archive.requests.count([SEG]) == believed_after


def test_a_web_service_that_refuses_as_there_what_is_being_stored_is_tried_again(
    make: Make,
) -> None:
    """45071 (B00FH), Azure's: another process is creating the instance."""
    with WebArchive(replies=[Reply(409)], failures={SEG: 45071}).running() as archive:
        site = make({"url": archive.url})
        site.make(site.answer()[0])
        assert site.row(SEG).state is WAITING
        archive.failures = {}
        site.clock.advance(minutes=1)
        site.do_jobs(site.delivery_jobs.due())

    assert states(site) == {SEG: SENT, SR: SENT}


def test_the_command_sends_again_what_is_there_and_says_so(make: Make, tmp_path: Path) -> None:
    """What a person sends may differ from what is there: it is told, file by file."""
    site = make({"ae_title": "PACS", "host": "127.0.0.1", "port": 1})
    site.answer()
    paths = [each.path for each in site.ledger.results("1.2.3", 1)]
    with result_pacs(duplicates=0x0111).running() as pacs:
        peer = f"PACS@127.0.0.1:{pacs.port}"
        first = CliRunner().invoke(cli.app, ["send", peer, paths[0]])
        both = CliRunner().invoke(cli.app, ["send", peer, *paths])

    assert (first.exit_code, both.exit_code) == (0, 0)
    assert "1 of 2 stored, 1 there already" in both.output
    assert "0x0111" in both.output
