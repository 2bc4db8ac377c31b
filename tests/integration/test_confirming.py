"""Claims about what is confirmed, by which answer of a destination, over real associations.

The clock is the test's: waits of minutes and days take no time.
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
from structlog.testing import capture_logs
from support.installed_node import free_port
from support.pacs import Pacs
from support.sent_results import SEG, SR, Site
from support.small_node import result_pacs
from support.waiting import wait_until

from dicom_node.delivery.confirmation_queries import ConfirmationQueries
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.commitment_reports import REPORTS

Make = Callable[..., Site]
WAITING, SENT, HELD = DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.HELD
CONFIRMED = DeliveryState.CONFIRMED


def config_for(folder: Path, port: int, confirm: str, **sections: Any) -> NodeConfig:
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    table = {
        "node": {"spool": "spool", "results": "results", "database": "db"},
        "delivery": {"timeout_s": 5.0},
        "destinations": [{**peer, "confirm": confirm}],
        **sections,
    }
    return parse_config(table, source="test", folder=folder)


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def make(tmp_path: Path, pacs: Pacs) -> Iterator[Make]:
    """Makes the node's ledger and files; `confirm` says how the archive is asked."""
    ledgers: list[Ledger] = []

    def site(confirm: str, *, port: int = 0, **sections: Any) -> Site:
        config = config_for(tmp_path, port or pacs.port, confirm, **sections)
        config.node.spool.mkdir(exist_ok=True)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    yield site
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def receiver(tmp_path: Path, pacs: Pacs) -> Iterator[Receiver]:
    """The node's own SCP, to which the archive reports."""
    settings = ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    with Receiver(settings) as receiver:
        pacs.report_port = receiver.port
        yield receiver


def reports(site: Site) -> list[Path]:
    return sorted((site.config.node.spool / REPORTS).glob("*.json"))


def states(site: Site) -> dict[str, DeliveryState]:
    return {uid: site.row(uid).state for uid in (SEG, SR)}


def test_without_confirmation_sent_is_the_end(make: Make, pacs: Pacs) -> None:
    site = make("no")

    assert site.do_jobs(site.answer()) == ["deliver:1.2.3:1:pacs:1"]
    assert states(site) == {SEG: SENT, SR: SENT}
    assert (pacs.asked, pacs.queries) == ([], 0)


def test_a_report_on_an_association_of_the_archive_s_own_confirms(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    """With the role selection that Orthanc asks for, too; see `tests/harness`."""
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    assert states(site) == {SEG: SENT, SR: SENT}

    assert pacs.report(pacs.asked[0]) == 0x0000
    site.delivery_jobs.take_reports()

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert reports(site) == []
    assert site.delivery_jobs.due() == ()


def test_a_report_on_the_association_of_the_request_confirms(make: Make, pacs: Pacs) -> None:
    pacs.reports = "same"
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    site.delivery_jobs.take_reports()

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert len(pacs.associations) == 2, "one to send, one to ask"


def test_an_object_that_is_not_committed_to_is_sent_again_and_asked_for_again(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    """0112H, no such object instance: the archive lost it."""
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    pacs.failures = {SEG: 0x0112}
    pacs.report(pacs.asked[0])
    site.delivery_jobs.take_reports()
    lost = site.row(SEG)

    assert states(site) == {SEG: WAITING, SR: CONFIRMED}
    assert lost.reason == "not committed to: 0112H, no such object instance"

    site.clock.advance(minutes=1)
    site.do_jobs(site.delivery_jobs.due(), most=2)
    pacs.failures = {}
    pacs.report(pacs.asked[-1])
    site.delivery_jobs.take_reports()

    assert [uid for uid, _, _ in pacs.received] == [SEG, SR, SEG]
    assert [str(each.ReferencedSOPInstanceUID) for each in pacs.asked[1].ReferencedSOPSequence
            ] == [SEG]  # fmt: skip
    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}


def test_an_archive_that_keeps_losing_an_object_has_it_held_with_the_reason(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    """Sent once and twice again, as the settings say."""
    pacs.failures = {SEG: 0x0112}
    site = make("commitment", confirmation={"resend": 2})
    puts = site.answer()
    for _ in range(3):
        site.do_jobs(puts, most=2)
        pacs.report(pacs.asked[-1])
        site.delivery_jobs.take_reports()
        site.clock.advance(minutes=5)
        puts = site.delivery_jobs.due()

    assert puts == ()
    assert states(site) == {SEG: HELD, SR: CONFIRMED}
    assert site.row(SEG).reason == "not committed to: 0112H, no such object instance"
    assert [uid for uid, _, _ in pacs.received].count(SEG) == 3


def test_an_object_whose_class_is_never_committed_to_is_held_at_once(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    pacs.failures = {SEG: 0x0122}
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    pacs.report(pacs.asked[0])
    site.delivery_jobs.take_reports()

    assert site.row(SEG).state is HELD
    assert "0122H, referenced SOP class not supported" in site.row(SEG).reason


def test_without_a_report_it_is_asked_again_and_a_late_one_still_counts(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    """Each request under a transaction of its own; the archive answers the first one."""
    site = make("commitment")
    site.do_jobs(site.answer(), most=4)

    assert len({str(each.TransactionUID) for each in pacs.asked}) == 3
    assert site.clock.now.hour == 18, "asked at once, and after one hour and two"
    pacs.report(pacs.asked[0])
    site.delivery_jobs.take_reports()
    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}


def without(*services: Any) -> Pacs:
    """An archive that does not know some of the services that it is asked with."""
    return Pacs(contexts=[each for each in result_pacs().contexts if each[0] not in services])


def test_an_archive_without_commitment_is_asked_by_c_find_and_the_ledger_says_so(
    make: Make,
) -> None:
    with without(StorageCommitmentPushModel).running() as plain:
        site = make("commitment", port=plain.port)
        site.do_jobs(site.answer(), most=2)

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert site.row(SEG).reason.endswith("does not offer Storage Commitment")


def test_no_delivery_is_called_unanswered_whose_report_came_while_it_was_asked_for(
    make: Make, pacs: Pacs
) -> None:
    """The second request, an hour after the first; its report is entered before its end."""
    site = make("commitment")
    jobs, ask = site.delivery_jobs, ConfirmationQueries.ask

    def ask_and_take_the_report(*args: Any) -> Any:
        after = ask(*args)
        jobs.take_reports()
        return after

    with capture_logs() as events, pytest.MonkeyPatch.context() as patch:
        site.do_jobs(site.answer(), most=2)
        pacs.reports = "same"
        patch.setattr(ConfirmationQueries, "ask", ask_and_take_the_report)
        site.clock.advance(hours=1)
        site.do_jobs(site.delivery_jobs.due(), most=1)

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    told = [each["event"] for each in events if each["event"].startswith("delivery.")]
    assert told == ["delivery.sent", "delivery.confirmed"]


def test_a_request_that_nobody_answered_is_told_when_it_is_made_again(
    make: Make, pacs: Pacs
) -> None:
    site = make("commitment")
    with capture_logs() as events:
        site.do_jobs(site.answer(), most=2)
        assert "delivery.unanswered" not in [each["event"] for each in events]
        site.do_jobs(site.delivery_jobs.pending_jobs(), most=1)
        site.clock.advance(hours=1)
        site.do_jobs(site.delivery_jobs.due(), most=1)

    (told,) = [each for each in events if each["event"] == "delivery.unanswered"]
    assert (told["reason"], told["count"]) == ("no commitment report yet", 2)


def test_what_an_archive_without_commitment_does_not_list_is_sent_again(make: Make) -> None:
    with without(StorageCommitmentPushModel).running() as plain:
        plain.unlisted = {SEG}
        site = make("commitment", port=plain.port, confirmation={"resend": 1})
        site.do_jobs(site.answer())

    assert states(site) == {SEG: HELD, SR: CONFIRMED}
    assert [uid for uid, _, _ in plain.received].count(SEG) == 2
    assert "does not offer Storage Commitment; C-FIND does not list it" in site.row(SEG).reason


def test_an_archive_that_can_be_asked_in_no_way_leaves_the_objects_sent_and_says_why(
    make: Make,
) -> None:
    services = (StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind)
    with without(*services).running() as plain:
        site = make("commitment", port=plain.port)
        site.do_jobs(site.answer(), most=2)

    assert states(site) == {SEG: SENT, SR: SENT}
    assert "does not offer Storage Commitment" in site.row(SEG).reason
    assert "does not offer C-FIND" in site.row(SEG).reason


def test_a_request_that_is_refused_is_no_confirmation(make: Make, pacs: Pacs) -> None:
    pacs.action_status = 0x0110
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)

    assert site.row(SEG).reason.endswith("answered the N-ACTION with 0x0110")
    assert site.row(SEG).is_unconfirmed


def test_a_report_of_a_transaction_that_nobody_asked_for_changes_nothing(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    stranger = pacs.asked[0]
    stranger.TransactionUID = "1.2.3.4"
    pacs.report(stranger)
    site.delivery_jobs.take_reports()

    assert states(site) == {SEG: SENT, SR: SENT}
    assert reports(site) == []


def test_a_report_that_is_read_twice_is_entered_once(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    """Killed after the ledger was written and before the file was deleted."""
    pacs.failures = {SEG: 0x0112}
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    pacs.report(pacs.asked[0])
    (path,) = reports(site)
    content = path.read_bytes()
    site.delivery_jobs.take_reports()
    path.write_bytes(content)
    before = site.ledger.deliveries()
    site.delivery_jobs.take_reports()

    assert site.ledger.deliveries() == before


def test_a_report_file_that_a_disk_has_spoiled_does_not_keep_others_waiting(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    pacs.report(pacs.asked[0])
    spoiled = site.config.node.spool / REPORTS / "1.2.json"
    spoiled.write_text('{"transaction_uid": "1.2", "comm')
    site.delivery_jobs.take_reports()

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert reports(site) == []
    assert spoiled.with_suffix(".unreadable").exists(), "for a person to look at"


def test_a_listing_confirms(make: Make, pacs: Pacs) -> None:
    site = make("query")
    done = site.do_jobs(site.answer())

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert len(done) == 2


def test_an_archive_may_take_minutes_to_list_what_it_took(make: Make, pacs: Pacs) -> None:
    pacs.unlisted = {SEG}
    site = make("query")
    site.do_jobs(site.answer(), most=4)
    assert states(site) == {SEG: SENT, SR: CONFIRMED}
    assert site.row(SEG).reason == "C-FIND does not list it yet"

    pacs.unlisted = set()
    site.clock.advance(minutes=10)
    site.do_jobs(site.delivery_jobs.due())
    assert site.row(SEG).state is CONFIRMED
    assert len(pacs.received) == 2


def test_what_is_never_listed_is_sent_again_and_then_held(make: Make, pacs: Pacs) -> None:
    """Five queries for each of two times that it was sent."""
    pacs.unlisted = {SEG}
    site = make("query", confirmation={"resend": 1})
    site.do_jobs(site.answer())

    assert states(site) == {SEG: HELD, SR: CONFIRMED}
    assert site.row(SEG).reason == "C-FIND does not list it, asked 5 times"
    assert [uid for uid, _, _ in pacs.received] == [SEG, SR, SEG]


@pytest.mark.parametrize(
    ("status", "words"), [(0xC000, "with 0xC000"), (None, "did not answer the C-FIND")]
)
def test_a_query_that_fails_loses_nothing_and_sends_nothing_again(
    make: Make, pacs: Pacs, status: int | None, words: str
) -> None:
    """Also not after many: the archive never said that it lacks the object."""
    pacs.find_status = status
    site = make("query")
    site.do_jobs(site.answer(), most=8)

    assert states(site) == {SEG: SENT, SR: SENT}
    assert words in site.row(SEG).reason
    assert len(pacs.received) == 2


def test_a_visit_that_runs_again_sends_and_asks_nothing_again(make: Make, pacs: Pacs) -> None:
    """Killed after its effect and before its record, each of the two."""
    site = make("query")
    (first,) = site.answer()
    (second,) = site.make(first)

    assert site.make(first) == (second,)
    assert site.make(second) == site.make(second) == ()
    assert (len(pacs.received), pacs.queries) == (2, 2), "a query for each series, once"


def test_switching_confirmation_on_asks_for_what_was_sent_before(
    make: Make, pacs: Pacs
) -> None:
    before = make("no")
    before.do_jobs(before.answer())
    after = make("query")
    after.do_jobs(after.delivery_jobs.pending_jobs())

    assert states(after) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert len(pacs.received) == 2


def test_a_report_that_cannot_be_kept_is_not_answered_with_success(
    make: Make, pacs: Pacs, receiver: Receiver
) -> None:
    """A file stands where the folder would be; the archive will report again."""
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    folder = site.config.node.spool / REPORTS
    folder.write_text("in the way")

    assert pacs.report(pacs.asked[0]) == 0x0110
    folder.unlink()
    assert pacs.report(pacs.asked[0]) == 0x0000
    wait_until(lambda: len(reports(site)) == 1, 5, "the report is kept")


@pytest.mark.parametrize("confirm", ["no", "commitment"])
def test_a_clock_that_is_set_back_puts_no_visit_off_for_days(
    make: Make, pacs: Pacs, confirm: str
) -> None:
    """The next one was due when the clock stood two days ahead."""
    port = pacs.port if confirm == "commitment" else free_port()
    site = make(confirm, port=port, confirmation={"ask_again_s": 60.0})
    site.do_jobs(site.answer(), most=2 if confirm == "commitment" else 1)
    before = site.row(SEG)
    site.clock.advance(days=-2)
    site.do_jobs(site.delivery_jobs.due(), most=1)

    assert before.next_attempt_at is not None
    assert (before.attempts, site.row(SEG).attempts) == (1, 2)
    assert site.delivery_jobs.due() == ()
