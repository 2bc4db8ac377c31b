"""Claims about orders, events and finding, job by job, with real child processes and peers.

The jobs are driven as the engine drives them, at once and in memory; `Orders.carry_out` is what
the worker calls every two seconds. The last ones run a whole node and kill it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
import sqlalchemy as sa
from support.cases import source_datasets
from support.ct import SERIES_UID, STUDY_UID
from support.fast_analysis import COMMAND
from support.pacs import Pacs
from support.small_node import result_pacs, small_config
from support.spooled import keep

from dicom_node.errors import UnknownNameError
from dicom_node.monitoring.audit import open_trail
from dicom_node.node import orders
from dicom_node.node.audit_log import read_audit
from dicom_node.node.find import Found, find
from dicom_node.node.history import NO_EVENTS, series_history
from dicom_node.node.orders import ORDER_LIFE, Orders, place, plan
from dicom_node.node.work_lists import WorkFilter
from dicom_node.node.workflow import Workflow
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import (
    DeliveryState,
    OrderKind,
    OrderRow,
    SeriesEvent,
    SeriesRow,
    SeriesState,
)
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.spool import Spool
from dicom_node.spool.watcher import Watcher
from inference.models.bundle import load_bundle

LATER_S = 1000.0
ONE = [(SERIES_UID, 1)]


class Node:
    """A node whose jobs are done when the test says so."""

    def __init__(self, folder: Path, port: int, *options: str, **sections: Any) -> None:
        self.config = small_config(folder, port, **sections)
        self.ledger = Ledger(self.config.node.database_url)
        self.workflow = Workflow(
            config=self.config,
            ledger=self.ledger,
            bundle_sha256=load_bundle(self.config.analysis.bundle).sha256,
            command=[*COMMAND, *options],
        )
        self.orders = Orders(self.config, self.ledger, self.workflow.fingerprint)
        self.waiting: list[JobRequest] = []

    def receive(self, **options: Any) -> None:
        """A series comes and is handed over, and its jobs are put."""
        keep(Spool(self.config.node.spool), source_datasets(**options))
        self.look(LATER_S)

    def look(self, later_s: float = 0.0) -> None:
        """One look at the spool."""

        def hand_over(arrival: SeriesArrival) -> None:
            self.waiting += self.workflow.admit(arrival)

        def clock() -> float:
            return datetime.now(UTC).timestamp() + later_s

        spool = Spool(self.config.node.spool)
        Watcher(spool, self.config.completion, hand_over, clock=clock).poll()

    def maintain(self) -> None:
        """What a worker does every two seconds, and the jobs that follow."""
        self.waiting += self.orders.carry_out()
        self.waiting += self.workflow.released_jobs()
        self.waiting += self.workflow.delivery_jobs.due()

    def finish(self, most: int = 30) -> None:
        """Do jobs and what follows them until nothing is left."""
        kinds = self.workflow.kinds()
        while self.waiting and most:
            job, most = self.waiting.pop(0), most - 1
            self.waiting += kinds[job.kind].run(job.payload)

    def order(self, kind: OrderKind, destination: str = "", revision: int = 1) -> OrderRow:
        """Order something, have it carried out; the order then."""
        one = [(SERIES_UID, revision)]
        assert place(self.config, kind, one, by="jane", destination=destination) == 1
        self.maintain()
        self.finish()
        return self.last_order()

    def last_order(self) -> OrderRow:
        """The latest order."""
        return OperationLedger(self.ledger).orders(SERIES_UID)[-1]

    def state(self, revision: int = 1) -> SeriesState:
        """How far a revision has come."""
        row = self.ledger.series(SERIES_UID, revision)
        assert row is not None
        return row.state

    def deliveries(self) -> set[DeliveryState]:
        """The states of all deliveries."""
        return {row.state for row in self.ledger.deliveries()}

    def events(self, revision: int = 1) -> list[SeriesEvent]:
        """What happened to a revision, in order."""
        found = series_history(self.ledger, SERIES_UID, revision)
        return [each.row.kind for each in found.revisions[0].events]

    def find(self, text: str) -> tuple[Found, ...]:
        """What is found of a text."""
        return find(self.config, text)


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


Make = Callable[..., Node]


@pytest.fixture
def make(tmp_path: Path, pacs: Pacs) -> Iterator[Make]:
    nodes = []

    def node(*options: str, **sections: Any) -> Node:
        nodes.append(Node(tmp_path, pacs.port, *options, **sections))
        return nodes[-1]

    yield node
    for each in nodes:
        each.ledger.close()


def test_every_step_of_a_series_is_an_event_and_every_hop_has_its_time(make: Make) -> None:
    node = make()
    node.receive()
    node.finish()
    (history,) = series_history(node.config, SERIES_UID).revisions

    assert [each.row.kind for each in history.events] == [
        SeriesEvent.FIRST_IMAGE,
        SeriesEvent.LAST_IMAGE,
        SeriesEvent.COMPLETE,
        SeriesEvent.ACCEPTED,
        SeriesEvent.ANALYSIS_STARTED,
        SeriesEvent.ANALYSIS_ENDED,
        SeriesEvent.ANSWERED,
        SeriesEvent.SENT,
    ]
    assert [(hop.begin, hop.end) for hop in history.hops][-2:] == [
        (SeriesEvent.ANALYSIS_ENDED, SeriesEvent.ANSWERED),
        (SeriesEvent.ANSWERED, SeriesEvent.SENT),
    ]
    assert all(hop.seconds >= 0 for hop in history.hops)
    complete = history.events[2].row
    assert complete.code == "gap-free"
    assert "leave no gap" in complete.reason
    assert not history.words


def test_a_series_of_before_there_were_events_is_told_of_without_them(make: Make) -> None:
    node = make()
    node.receive()
    with node.ledger._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM series_events")

    (history,) = series_history(node.ledger, SERIES_UID).revisions
    assert (history.events, history.words) == ((), NO_EVENTS)


def test_a_series_is_found_before_its_analysis_after_it_and_when_its_images_are_gone(
    make: Make,
) -> None:
    node = make()
    datasets = source_datasets(PatientID="P 1", AccessionNumber="A7")
    keep(Spool(node.config.node.spool), datasets, at_s=datetime.now(UTC).timestamp())
    node.look()
    assert [(each.state, each.matched) for each in node.find("A7")] == [
        ("arriving", "accession number")
    ]
    node.look(LATER_S)
    first = next(node.config.node.spool.glob("*/*.dcm"))
    texts = ("A7", "P 1", STUDY_UID, SERIES_UID, pydicom.dcmread(first).SOPInstanceUID)
    assert [node.find(text)[0].state for text in texts] == ["received"] * 5
    node.finish()
    for path in node.config.node.spool.glob("*/*.dcm"):
        path.unlink()
    result = node.ledger.results(SERIES_UID, 1)[0]
    texts += (result.sop_instance_uid, result.own_series_instance_uid)

    for text in texts:
        (found,) = node.find(text)
        assert (found.state, found.revision) == ("reported", 1), text
        assert found.destinations == ("pacs: 2 sent",)
        assert found.calling_ae_title == "SCANNER"


@pytest.mark.parametrize("text", ["A", "A77", "P", "p 1", "1.2.3.4.5", "", "%", "' OR 1=1"])
def test_what_does_not_match_exactly_is_not_found(make: Make, text: str) -> None:
    node = make()
    node.receive(PatientID="P 1", AccessionNumber="A7")

    assert node.find(text) == ()


def test_the_database_alone_tells_no_patient_and_no_accession_number(make: Make) -> None:
    node = make()
    node.receive(PatientID="PAT-4711", AccessionNumber="ACC-0815")
    node.finish()
    files = Path(node.config.node.database_path or "").parent.glob("db*")
    stored = b"".join(path.read_bytes() for path in files if path.is_file())

    assert node.find("PAT-4711")
    assert b"4711" not in stored
    assert b"0815" not in stored


def test_a_series_without_its_keys_is_found_by_the_patient_of_its_case(make: Make) -> None:
    """As one that a version before has answered."""
    node = make()
    node.receive(PatientID="P1", IssuerOfPatientID="HOSPITAL")
    node.finish()
    with node.ledger._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM series_keys")

    assert node.find("P1") == ()
    assert [each.matched for each in node.find("P1^^^HOSPITAL")] == ["patient id"]


def test_a_series_of_which_nothing_was_kept_is_found_with_the_reason(make: Make) -> None:
    node = make()
    folder = node.config.node.spool / ".refused"
    folder.mkdir(parents=True)
    (folder / ".1.2.99").write_text("\nroom 1.2.99.1\nroom 1.2.99.2\n")

    for text in ("1.2.99", "1.2.99.1"):
        (found,) = node.find(text)
        assert found.words == "2 images of this series were refused for lack of room"


def test_a_cancelled_series_is_answered_to_nobody(make: Make, pacs: Pacs) -> None:
    node = make()
    node.receive()
    order = node.order(OrderKind.CANCEL)

    row = node.ledger.series(SERIES_UID, 1)
    assert row is not None
    assert (row.state, row.reason) == (SeriesState.CANCELLED, "cancelled by jane")
    assert order.outcome == "it is cancelled"
    assert node.ledger.count_series() == {SeriesState.CANCELLED: 1, SeriesState.REFUSED: 0}
    assert not pacs.received
    assert not node.ledger.results(SERIES_UID, 1)
    assert not list(node.config.node.work.glob("*/*"))


def test_a_running_analysis_that_is_cancelled_ends_at_once(make: Make, pacs: Pacs) -> None:
    node = make("--slow", "600")
    node.receive()
    working = threading.Thread(target=node.finish)
    working.start()
    while SeriesEvent.ANALYSIS_STARTED not in node.events():
        assert working.is_alive()
        working.join(0.1)
    place(node.config, OrderKind.CANCEL, ONE, by="jane")
    node.orders.carry_out()
    working.join(120.0)

    assert not working.is_alive()
    assert node.state() is SeriesState.CANCELLED
    assert node.events()[-1] is SeriesEvent.CANCELLED
    assert not pacs.received


def test_a_series_that_is_cancelled_while_its_results_are_built_leaves_none(
    make: Make, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make()
    node.receive()
    build = Workflow._publish

    def cancelled_meanwhile(self: Workflow, *arguments: Any) -> None:
        reach = Ledger.reach

        def late(ledger: Ledger, *rows: Any, **more: Any) -> bool:
            monkeypatch.setattr(Ledger, "reach", reach)
            place(node.config, OrderKind.CANCEL, ONE, by="jane")
            node.orders.carry_out()
            return reach(ledger, *rows, **more)

        monkeypatch.setattr(Ledger, "reach", late)
        build(self, *arguments)

    monkeypatch.setattr(Workflow, "_publish", cancelled_meanwhile)
    node.finish()

    assert node.state() is SeriesState.CANCELLED
    assert not node.ledger.results(SERIES_UID, 1)
    assert not node.ledger.deliveries()
    assert not list(node.config.node.results.glob("*/*/*"))
    assert not pacs.received


def test_a_cancelled_series_that_is_retried_is_answered_as_the_next_revision(
    make: Make, pacs: Pacs
) -> None:
    node = make()
    node.receive()
    node.order(OrderKind.CANCEL)
    order = node.order(OrderKind.RETRY)

    assert order.outcome == "it is analysed again, as revision 2"
    assert (node.state(1), node.state(2)) == (SeriesState.CANCELLED, SeriesState.REPORTED)
    assert len(pacs.received) == 2


def test_a_series_that_is_analysed_again_has_a_second_revision_that_names_the_first(
    make: Make, pacs: Pacs
) -> None:
    node = make()
    node.receive()
    node.finish()
    again = make(analysis={"samples": 3})
    order = again.order(OrderKind.REANALYSE)

    assert order.outcome == "it is analysed again, as revision 2"
    first, second = (again.ledger.results(SERIES_UID, number) for number in (1, 2))
    assert {row.kind for row in second} == {row.kind for row in first}
    assert not {row.sop_instance_uid for row in first} & {
        row.sop_instance_uid for row in second
    }
    report = next(row for row in second if row.kind == "SR")
    assert pydicom.dcmread(report.path).PredecessorDocumentsSequence
    assert SeriesEvent.ORDERED in again.events(1)
    # The same images sent again then are known under today's settings.
    again.receive()
    assert again.waiting == []


def test_images_that_are_gone_are_a_reason_by_name(make: Make) -> None:
    node = make()
    node.receive()
    node.finish()
    for path in node.config.node.spool.glob("*/*.dcm"):
        path.unlink()

    (planned,) = plan(node.config, node.ledger, OrderKind.REANALYSE, ONE)
    assert planned.objection == (
        "its images are here no more, and there is no archive to fetch them from: send it again"
    )
    assert place(node.config, OrderKind.REANALYSE, ONE, by="jane") == 0


def test_images_that_are_gone_are_fetched_from_an_archive_first(
    make: Make, tmp_path: Path
) -> None:
    node = make()
    node.receive()
    node.finish()
    kept = {path: path.read_bytes() for path in node.config.node.spool.glob("*/*.dcm")}
    for path in kept:
        path.unlink()
    archive = {"name": "old", "ae_title": "OLD", "host": "127.0.0.1", "port": 104}
    node = make(archives=[{**archive, "retrieve": "get"}])
    asked = []

    def fetch(order: OrderRow, _row: object) -> JobRequest:
        asked.append(order.order_uid)
        return JobRequest("deliver", "x", {})

    node.orders = replace(node.orders, fetch=fetch)
    place(node.config, OrderKind.REANALYSE, ONE, by="jane")
    assert len(node.orders.carry_out()) == 1
    assert node.orders.carry_out() == ()
    assert node.last_order().outcome == "its images are fetched from old first"
    for path, data in kept.items():
        path.write_bytes(data)
    node.maintain()
    node.finish()

    assert len(asked) == 1
    assert node.state(2) is SeriesState.REPORTED


def test_an_order_whose_images_never_come_ends_after_a_day(make: Make) -> None:
    archive = {"name": "old", "ae_title": "OLD", "host": "127.0.0.1", "port": 104}
    node = make(archives=[{**archive, "retrieve": "get"}])
    node.receive()
    node.finish()
    for path in node.config.node.spool.glob("*/*.dcm"):
        path.unlink()
    place(node.config, OrderKind.REANALYSE, ONE, by="jane")
    node.orders.carry_out()
    later = datetime.now(UTC) + ORDER_LIFE + timedelta(minutes=1)
    replace(node.orders, clock=lambda: later).carry_out()

    words = "not done: its images did not come; given up after a day"
    assert node.last_order().outcome == words
    assert node.last_order().done_at == later


def test_what_is_held_before_it_is_answered_is_sent_when_it_is_released(
    make: Make, pacs: Pacs
) -> None:
    node = make()
    node.receive()
    node.order(OrderKind.HOLD)
    assert node.state() is SeriesState.REPORTED
    assert node.deliveries() == {DeliveryState.HELD}
    # A node that starts lets go on what it held itself, and nothing else.
    node.waiting += node.workflow.pending_jobs()
    node.finish()
    assert not pacs.received
    order = node.order(OrderKind.RELEASE)

    assert order.outcome == "2 objects are released"
    assert node.deliveries() == {DeliveryState.SENT}
    assert len(pacs.received) == 2
    assert SeriesEvent.HELD in node.events()
    assert SeriesEvent.RELEASED in node.events()


@pytest.mark.parametrize("is_carried_out", [True, False])
def test_what_is_held_at_the_moment_of_its_answer_is_not_sent(
    make: Make, pacs: Pacs, monkeypatch: pytest.MonkeyPatch, *, is_carried_out: bool
) -> None:
    """Ordered, and carried out or not, when the deliveries are made up and do not count."""
    node, reach = make(), Ledger.reach

    def late(ledger: Ledger, row: SeriesRow, *rows: Any, **more: Any) -> bool:
        if row.state is SeriesState.REPORTED:
            monkeypatch.setattr(Ledger, "reach", reach)
            place(node.config, OrderKind.HOLD, ONE, by="jane")
            if is_carried_out:
                node.orders.carry_out()
        return reach(ledger, row, *rows, **more)

    monkeypatch.setattr(Ledger, "reach", late)
    node.receive()
    node.finish()
    node.maintain()
    node.finish()

    assert not pacs.received
    assert node.deliveries() == {DeliveryState.HELD}


@pytest.mark.parametrize("kind", [OrderKind.HOLD, OrderKind.RELEASE])
def test_an_order_that_its_answer_overtakes_is_about_the_answer(
    make: Make, monkeypatch: pytest.MonkeyPatch, kind: OrderKind
) -> None:
    """The worker reads that there is no answer, and there is one before it concludes that."""
    node = make()
    node.receive()
    if kind is OrderKind.RELEASE:
        place(node.config, OrderKind.HOLD, ONE, by="jane")
        node.orders.carry_out()
    place(node.config, kind, ONE, by="jane")
    conclude = OperationLedger.conclude

    def late(self: OperationLedger, *arguments: Any) -> bool:
        monkeypatch.setattr(OperationLedger, "conclude", conclude)
        while node.waiting and node.waiting[0].kind != "deliver":
            job = node.waiting.pop(0)
            node.waiting += node.workflow.kinds()[job.kind].run(job.payload)
        return conclude(self, *arguments)

    monkeypatch.setattr(OperationLedger, "conclude", late)
    node.orders.carry_out()
    node.orders.carry_out()

    assert node.last_order().done_at is not None
    is_held = kind is OrderKind.HOLD
    assert node.deliveries() == {DeliveryState.HELD if is_held else DeliveryState.WAITING}


@pytest.mark.parametrize("kind", [*OrderKind])
def test_what_becomes_of_many_orders_is_asked_for_all_of_them_at_once(
    make: Make, kind: OrderKind
) -> None:
    """As many queries for three hundred series as for three."""
    node, queries = make(), []
    node.receive()
    node.finish()
    row = node.ledger.series(SERIES_UID, 1)
    assert row is not None
    many = [replace(row, series_instance_uid=f"1.2.3.{number}") for number in range(300)]
    node.ledger.save(*many)
    sa.event.listen(node.ledger._engine, "before_cursor_execute", lambda *_: queries.append(1))
    asked = []
    for most in (3, 300):
        queries.clear()
        uids = tuple(each.series_instance_uid for each in many[:most])
        planned = plan(
            node.config, node.ledger, kind, WorkFilter(series=uids), destination="pacs"
        )
        assert len(planned) == most
        asked.append(len(queries))

    assert asked[0] == asked[1]


@pytest.mark.parametrize("is_broken", [False, True])
def test_orders_that_wait_keep_no_other_from_being_carried_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, *, is_broken: bool
) -> None:
    """More than a look takes: for images that do not come, or as they fail at every try."""
    archive = {"name": "old", "ae_title": "OLD", "host": "127.0.0.1", "port": 104}
    monkeypatch.setattr(orders, "AT_A_TIME", 3)
    node = make(archives=[{**archive, "retrieve": "get"}])
    node.receive()
    row = node.ledger.series(SERIES_UID, 1)
    assert row is not None
    state = SeriesState.RECEIVED if is_broken else SeriesState.REPORTED
    gone = [
        replace(row, series_instance_uid=f"1.2.3.{number}", state=state) for number in range(5)
    ]
    node.ledger.save(*gone)
    chosen = [(each.series_instance_uid, 1) for each in gone]
    place(node.config, OrderKind.HOLD if is_broken else OrderKind.REANALYSE, chosen, by="jane")
    if is_broken:
        monkeypatch.setattr(Orders, "_held", _fail)
    node.orders.carry_out()
    node.orders.carry_out()
    place(node.config, OrderKind.CANCEL, ONE, by="jane")
    node.orders.carry_out()

    assert node.state() is SeriesState.CANCELLED
    # Each of those that wait has its turn, too.
    last = OperationLedger(node.ledger).orders(chosen[-1][0])[0]
    looked_at: list[str] = []

    def note(_self: Orders, order: OrderRow) -> tuple[JobRequest, ...]:
        looked_at.append(order.order_uid)
        return ()

    monkeypatch.setattr(Orders, "_try", note)
    for _ in range(3):
        node.orders.carry_out()
    assert last.order_uid in looked_at


def _fail(*_: Any) -> None:
    raise RuntimeError("as a disk that is broken for one series")


def test_an_attempt_that_fails_while_somebody_holds_it_stays_held(make: Make) -> None:
    node = make(
        destinations=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 9}]
    )
    node.receive()
    kinds = node.workflow.kinds()
    while node.waiting and node.waiting[0].kind != "deliver":
        job = node.waiting.pop(0)
        node.waiting += kinds[job.kind].run(job.payload)
    rows = node.ledger.deliveries()
    place(node.config, OrderKind.HOLD, ONE, by="jane")
    node.orders.carry_out()
    # The job had read its rows before that, and tells of a failure after it.
    jobs = node.workflow.delivery_jobs
    jobs._send(rows[0].group, rows, 1)

    held = node.ledger.deliveries()
    assert {row.state for row in held} == {DeliveryState.HELD}
    assert {row.reason for row in held} == {"held by order of jane"}


def test_the_same_objects_go_to_a_destination_once_more_byte_for_byte(
    make: Make, pacs: Pacs
) -> None:
    node = make()
    node.receive()
    node.finish()
    order = node.order(OrderKind.RESEND, "pacs")

    assert order.outcome == "2 objects are due again"
    assert len(pacs.received) == 4
    assert len({(uid, data) for uid, _, data in pacs.received}) == 2
    assert node.events().count(SeriesEvent.SENT) == 2


def test_a_destination_that_was_added_later_gets_what_was_made(make: Make, pacs: Pacs) -> None:
    node = make()
    node.receive()
    node.finish()
    peer = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    more = make(destinations=[{"name": "pacs", **peer}, {"name": "new", **peer}])
    more.order(OrderKind.RESEND, "new")

    assert more.find(SERIES_UID)[0].destinations == ("new: 2 sent", "pacs: 2 sent")


def test_an_order_is_carried_out_once_by_two_workers(make: Make) -> None:
    node, other = make(), make()
    node.receive()
    node.finish()
    place(node.config, OrderKind.REANALYSE, ONE, by="jane")
    (order,) = OperationLedger(node.ledger).open_orders(9)
    node.orders.carry_out()
    done = OperationLedger(other.ledger).conclude(order, datetime.now(UTC), lambda _c: "twice")
    other.orders.carry_out()

    assert not done
    assert len(node.ledger.revisions(SERIES_UID)) == 2


def test_the_audit_trail_is_told_who_ordered_what(make: Make, tmp_path: Path) -> None:
    node = make(audit={"file": str(tmp_path / "audit.jsonl")})
    node.receive()
    place(node.config, OrderKind.CANCEL, ONE, by="jane\x1b")
    open_trail(node.config, "orders").close()

    (entry,) = read_audit(node.config)
    assert "jane?" in str(entry)
    assert STUDY_UID in str(entry)


def test_a_revision_counts_from_its_own_images(make: Make) -> None:
    """Eleven images at one time; the twelfth, an hour later, is the whole of the second way."""
    node = make()
    first, *rest = source_datasets()
    keep(Spool(node.config.node.spool), rest, at_s=10_000.0)
    node.look(LATER_S)
    keep(Spool(node.config.node.spool), [first], at_s=13_600.0)
    node.look(LATER_S)
    one, two = series_history(node.ledger, SERIES_UID).revisions

    came = [
        {each.row.kind: each.row.at.timestamp() for each in this.events} for this in (one, two)
    ]
    ends = (SeriesEvent.FIRST_IMAGE, SeriesEvent.LAST_IMAGE)
    assert [[times[kind] for kind in ends] for times in came] == [
        [10_000.0, 10_000.0],
        [13_600.0, 13_600.0],
    ]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OrderKind.CANCEL, "it is reported already"),
        (OrderKind.RETRY, "it is reported: analyse it again"),
        (OrderKind.HOLD, "nothing of it waits to be sent"),
        (OrderKind.RELEASE, "nothing of it is held"),
    ],
)
def test_an_order_that_makes_no_sense_is_not_given(
    make: Make, kind: OrderKind, words: str
) -> None:
    node = make()
    node.receive()
    node.finish()

    (planned,) = plan(node.config, node.ledger, kind, ONE)
    assert planned.objection == words
    assert place(node.config, kind, ONE, by="jane") == 0


@pytest.mark.parametrize(
    ("kind", "chosen", "destination"),
    [
        (OrderKind.CANCEL, [("1.2.3", 1)], ""),
        (OrderKind.RESEND, ONE, ""),
        (OrderKind.HOLD, ONE, "nobody"),
    ],
)
def test_what_there_is_not_cannot_be_ordered(
    make: Make, kind: OrderKind, chosen: Sequence[tuple[str, int]], destination: str
) -> None:
    node = make()

    with pytest.raises(UnknownNameError):
        place(node.config, kind, chosen, by="jane", destination=destination)
