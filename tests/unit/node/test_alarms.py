"""Claims about alarms: each kind, raised by what it is for on a real spool and ledger."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.certificates import make_authority
from support.hook_server import hook_server
from support.installed_node import free_port
from support.waiting import wait_until

from dicom_node.delivery.holding import hold
from dicom_node.monitoring.alarm_memory import Changes, MemoryFile
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
from dicom_node.monitoring.heartbeats import HEARTBEATS, Heart
from dicom_node.monitoring.notify import NotToldError
from dicom_node.node import alarm_task
from dicom_node.node.alarm_task import AlarmTask, ProcessAlarmTask
from dicom_node.node.alarms import current_alarms
from dicom_node.node.audit_log import audit_alarms
from dicom_node.node.health import node_health
from dicom_node.persistence.archive_rows import TroubleRow
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    DeliveryRow,
    DeliveryState,
    OrderKind,
    OrderRow,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.receiving.rejections import Caller, Reason, RejectionLog
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import WaitingList, WaitingSeries
from dicom_node.spool.spool import Spool

ROOT = Path(__file__).parents[3]
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
SERIES = SeriesRow("1.2.3", 1, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW)
DELIVERY = DeliveryRow("2.25.1", "pacs", "1.2.3", 1, NOW, next_attempt_at=NOW + DAY)
RESULT = ResultRow("2.25.1", "1.1", "SEG", "2.25.9", "1.2.3", 1, "a", "0" * 64, NOW - DAY)


@dataclass
class Site:
    """A node's folders, without any process."""

    folder: Path

    def config(self, **sections: Any) -> NodeConfig:
        """Its settings."""
        table = {
            "receive": {"free_reserve_mb": 0},
            "destinations": [
                {"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": 104}
            ],
            **sections,
        }
        return parse_config(table, source="", folder=self.folder)

    def enter(self, *rows: Any) -> NodeConfig:
        """Write rows into its ledger."""
        config = self.config()
        config.node.spool.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(config.node.database_url)
        ledger.save(*rows)
        ledger.close()
        return config


@pytest.fixture
def site(tmp_path: Path) -> Site:
    spool = tmp_path / "msk-node-data" / "spool"
    Spool(spool)
    (spool / HEARTBEATS).mkdir()
    return Site(tmp_path)


def process_gone(site: Site) -> NodeConfig:
    config = site.config()
    heart = Heart(config.node.spool, "supervise", node="node", serves=["receive", "work"])
    heart._beat = replace(heart._beat, start="1")  # as one that is no more
    heart._write()
    return config


def process_stuck(site: Site) -> NodeConfig:
    config = site.config(alarms={"stuck_s": 1.0})
    heart = Heart(config.node.spool, "supervise", node="node", serves=["receive", "work"])
    heart.note("main thread", -100.0)
    heart._write()
    return config


def database_unreachable(site: Site) -> NodeConfig:
    config = site.config()
    Path(config.node.database).write_text("no database at all, but text " * 100)
    return config


def disk_short(site: Site) -> NodeConfig:
    return site.config(receive={"free_reserve_mb": 1 << 40})


def incoming_trouble(site: Site) -> NodeConfig:
    config = site.config()
    row = WaitingSeries("1.2.3", 9, (NOW - DAY).timestamp(), "ALARM: 3 images refused: room")
    WaitingList(config.node.spool).write({"1.2.3": row})
    return config


def queue_old(site: Site) -> NodeConfig:
    return site.enter(replace(SERIES, received_at=NOW - DAY))


def stalled(site: Site) -> NodeConfig:
    row = replace(DELIVERY, attempts=150, reason="0xA700, out of resources")
    return site.enter(SERIES.become(SeriesState.REPORTED, NOW), RESULT, row)


def held(site: Site) -> NodeConfig:
    row = replace(DELIVERY, state=DeliveryState.HELD, changed_at=NOW - DAY, reason="no class")
    return site.enter(SERIES.become(SeriesState.REPORTED, NOW), RESULT, row)


def unconfirmed(site: Site) -> NodeConfig:
    sent = replace(DELIVERY, state=DeliveryState.SENT, sent_at=NOW - 2 * DAY)
    return site.enter(SERIES.become(SeriesState.REPORTED, NOW), RESULT, sent)


def destination_down(site: Site) -> NodeConfig:
    row = replace(DELIVERY, attempts=3, reason="no connection to 127.0.0.1:104")
    return site.enter(SERIES.become(SeriesState.REPORTED, NOW), RESULT, row)


def certificate_expires(site: Site) -> NodeConfig:
    authority = make_authority(site.folder / "ca")
    soon = authority.issue("node", days=(-10, 3))
    tls = {
        "certificate": str(soon.path),
        "key": str(soon.key),
        "require_client_certificate": False,
    }
    return site.config(receive={"free_reserve_mb": 0, "tls": tls})


def analyses_fail(site: Site) -> NodeConfig:
    rows = [
        replace(
            SERIES,
            series_instance_uid=f"1.2.{n}",
            state=SeriesState.FAILED,
            code="analysis-failed",
            changed_at=NOW - DAY + timedelta(minutes=n),
        )
        for n in range(5)
    ]
    return site.enter(*rows)


def senders_rejected(site: Site) -> NodeConfig:
    config = site.config()
    record = RejectionLog(config.node.spool)
    for _ in range(17):
        record.note(Reason.CALLING_TITLE, Caller("SCANNER9", "MSKNODE", "10.0.0.9"))
    return config


def archive_trouble(site: Site) -> NodeConfig:
    site.enter(TroubleRow("arc", NOW, failures=5, reason="refused"))
    archive = {"name": "arc", "ae_title": "ARC", "host": "127.0.0.1", "port": 104}
    schedule = {"name": "night", "archive": "arc", "since": "2026-01-01"}
    return site.config(archives=[archive], schedules=[schedule])


def audit_unwritten(site: Site) -> NodeConfig:
    """A trail whose file is in the way of itself: a folder has its name."""
    path = site.folder / "trail"
    path.mkdir()
    config = site.config(audit={"file": str(path)})
    open_trail(config, "work").record(AuditEvent(AuditKind.APPLICATION_STARTED))
    wait_until(lambda: audit_alarms(config), 5.0, "it cannot be written")
    return config


def alarm_untold(site: Site) -> NodeConfig:
    """A webhook that is not there is told an alarm."""
    site.enter()
    hook = {"url": f"http://127.0.0.1:{free_port()}/", "attempts": 1}
    short = {"free_reserve_mb": 1 << 40}
    config = site.config(alarms={"webhook": hook}, receive=short)
    AlarmTask(config, Heart(config.node.spool, "work")).look()
    return config


RAISED: Mapping[AlarmKind, tuple[Callable[[Site], NodeConfig], Severity, str, str]] = {
    AlarmKind.PROCESS_GONE: (
        process_gone, Severity.CRITICAL, "node supervise", "killed or crashed"),
    AlarmKind.PROCESS_STUCK: (
        process_stuck, Severity.CRITICAL, "node supervise", "main thread: not moved since"),
    AlarmKind.DATABASE_UNREACHABLE: (
        database_unreachable, Severity.CRITICAL, "database", "not a database"),
    AlarmKind.DISK_SHORT: (
        disk_short, Severity.CRITICAL, "spool, work, results, database", "MB less than is"),
    AlarmKind.INCOMING_TROUBLE: (
        incoming_trouble, Severity.WARNING, "spool", "3 images refused: room"),
    AlarmKind.QUEUE_OLD: (
        queue_old, Severity.CRITICAL, "series", "1 series unanswered, the oldest for 24"),
    AlarmKind.DELIVERY_STALLED: (
        stalled, Severity.WARNING, "pacs", "1 object not taken after 150 attempts: 0xA700"),
    AlarmKind.DELIVERY_HELD: (
        held, Severity.WARNING, "pacs", "1 object held until a person lets them go: no cl"),
    AlarmKind.DELIVERY_UNCONFIRMED: (
        unconfirmed, Severity.WARNING, "pacs", "1 object sent and not confirmed for 24 h"),
    AlarmKind.DESTINATION_DOWN: (
        destination_down, Severity.CRITICAL, "pacs", "takes nothing, 1 object wait"),
    AlarmKind.CERTIFICATE_EXPIRES: (
        certificate_expires, Severity.WARNING, "receive.tls node.pem", "expires on"),
    AlarmKind.ANALYSES_FAIL: (
        analyses_fail, Severity.CRITICAL, "analysis", "5 analyses failed one after another"),
    AlarmKind.SENDERS_REJECTED: (
        senders_rejected, Severity.WARNING, "senders",
        "SCANNER9 from 10.0.0.9: calling AE title not known (17 times)"),
    AlarmKind.ARCHIVE_TROUBLE: (
        archive_trouble, Severity.WARNING, "arc", "failed 5 times in a row: refused"),
    AlarmKind.AUDIT_UNWRITTEN: (
        audit_unwritten, Severity.CRITICAL, "audit trail", "Is a directory; work goes on"),
    AlarmKind.ALARM_UNTOLD: (
        alarm_untold, Severity.WARNING, "webhook", "the webhook cannot be reached"),
}  # fmt: skip


def of_kind(kind: AlarmKind, config: NodeConfig, now: datetime = NOW) -> list[Alarm]:
    return [each for each in current_alarms(config, now) if each.kind is kind]


@pytest.mark.parametrize("kind", AlarmKind)
def test_each_alarm_is_raised_by_what_it_is_for(kind: AlarmKind, site: Site) -> None:
    make, severity, subject, words = RAISED[kind]
    assert of_kind(kind, site.config()) == []
    config = make(site)

    (alarm,) = of_kind(kind, config, datetime.now(UTC))
    assert (alarm.severity, alarm.subject) == (severity, subject)
    assert words in alarm.reason
    assert not node_health(config, NOW).is_healthy


@pytest.mark.parametrize("kind", AlarmKind)
def test_each_alarm_has_its_heading_in_the_operating_guide(kind: AlarmKind) -> None:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    (section,) = re.findall(
        rf"^### {kind.value}$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL
    )

    assert "*Meaning*" in section
    assert "*What to do*" in section


def test_a_healthy_ledger_raises_nothing(site: Site) -> None:
    reported = SERIES.become(SeriesState.REPORTED, NOW)
    sent = replace(DELIVERY, state=DeliveryState.SENT, sent_at=NOW, next_attempt_at=None)
    config = site.enter(reported, RESULT, sent)

    assert current_alarms(config, NOW) == ()


@pytest.mark.parametrize(
    ("kind", "since"),
    [
        (AlarmKind.QUEUE_OLD, NOW - DAY + timedelta(hours=4)),
        (AlarmKind.DELIVERY_STALLED, NOW - DAY),
        (AlarmKind.DELIVERY_HELD, NOW - DAY),
        (AlarmKind.DELIVERY_UNCONFIRMED, NOW - DAY),
        (AlarmKind.DESTINATION_DOWN, NOW - DAY),
        (AlarmKind.ANALYSES_FAIL, NOW - DAY),
        (AlarmKind.INCOMING_TROUBLE, NOW - DAY),
    ],
)
def test_an_alarm_is_since_its_reason_began(
    kind: AlarmKind, since: datetime, site: Site
) -> None:
    (alarm,) = of_kind(kind, RAISED[kind][0](site))

    assert alarm.since is not None
    assert abs(alarm.since - since) < timedelta(milliseconds=2)


def test_what_no_table_dates_is_dated_by_when_it_was_first_seen(site: Site) -> None:
    config = disk_short(site)
    (before,) = of_kind(AlarmKind.DISK_SHORT, config)
    task = AlarmTask(config, Heart(config.node.spool, "work"), clock=lambda: NOW)
    task.look()

    (after,) = of_kind(AlarmKind.DISK_SHORT, config, NOW + DAY)
    assert (before.since, after.since) == (None, NOW)


def test_a_destination_that_took_something_since_is_not_down(site: Site) -> None:
    config = destination_down(site)
    later = replace(
        DELIVERY,
        sop_instance_uid="2.25.2",
        state=DeliveryState.SENT,
        sent_at=NOW + timedelta(seconds=5),
        next_attempt_at=None,
    )
    assert len(of_kind(AlarmKind.DESTINATION_DOWN, config)) == 1
    site.enter(later, replace(RESULT, sop_instance_uid="2.25.2"))

    assert of_kind(AlarmKind.DESTINATION_DOWN, config) == []


def test_a_destination_that_has_failed_for_a_moment_is_not_down_yet(site: Site) -> None:
    row = replace(DELIVERY, attempts=1, reason="no connection")
    made = replace(RESULT, made_at=NOW - timedelta(minutes=5))
    config = site.enter(SERIES.become(SeriesState.REPORTED, NOW), made, row)

    assert of_kind(AlarmKind.DESTINATION_DOWN, config) == []
    assert len(of_kind(AlarmKind.DESTINATION_DOWN, config, NOW + timedelta(minutes=6))) == 1


def test_an_analysis_that_does_not_fail_ends_the_row_of_failures(site: Site) -> None:
    config = analyses_fail(site)
    refused = replace(SERIES, series_instance_uid="1.3", state=SeriesState.REFUSED)
    assert len(of_kind(AlarmKind.ANALYSES_FAIL, config)) == 1
    site.enter(refused)

    assert of_kind(AlarmKind.ANALYSES_FAIL, config) == []


def test_senders_that_were_turned_away_long_ago_are_no_alarm(site: Site) -> None:
    config = senders_rejected(site)

    assert of_kind(AlarmKind.SENDERS_REJECTED, config, NOW + timedelta(hours=2)) == []


def test_an_expired_certificate_needs_a_person_now(site: Site) -> None:
    config = certificate_expires(site)
    (alarm,) = of_kind(AlarmKind.CERTIFICATE_EXPIRES, config, NOW + 5 * DAY)

    assert alarm.severity is Severity.CRITICAL
    assert "expired on" in alarm.reason


def test_an_audit_trail_is_missed_since_it_could_not_be_written(site: Site) -> None:
    before = datetime.now(UTC)
    (alarm,) = of_kind(AlarmKind.AUDIT_UNWRITTEN, audit_unwritten(site))

    assert alarm.since is not None
    assert before <= alarm.since <= datetime.now(UTC)


def test_an_audit_trail_that_is_kept_again_is_no_alarm(site: Site) -> None:
    config = audit_unwritten(site)
    (site.folder / "trail").rmdir()

    wait_until(lambda: not of_kind(AlarmKind.AUDIT_UNWRITTEN, config), 10.0, "it is kept")


def test_deliveries_that_a_person_holds_are_no_alarm_and_open_work(site: Site) -> None:
    """Beside one that the destination does not take, which is one."""
    config = held(site)
    (by_peer,) = of_kind(AlarmKind.DELIVERY_HELD, config)
    theirs = replace(DELIVERY, sop_instance_uid="2.25.2", state=DeliveryState.HELD)
    site.enter(*hold([theirs], [theirs], "ops", NOW))
    seen = node_health(config, NOW)

    assert of_kind(AlarmKind.DELIVERY_HELD, config) == [by_peer]
    assert {each.what: each.words for each in seen.waiting if "held" in each.what} == {
        "objects held for pacs": "a person: no class",
        "objects held by a person for pacs": "a person: held by order of ops",
    }
    assert seen.destinations[0].held == 2


def test_an_order_that_nobody_carries_out_is_open_work(site: Site) -> None:
    config = site.enter(OrderRow("o", OrderKind.RETRY, "1.2.3", 1, "ops", NOW - DAY))
    (found,) = node_health(config, NOW).waiting

    assert (found.what, found.count, found.since) == ("orders to retry", 1, NOW - DAY)
    assert found.words == "a worker, which looks every 2 s"


def test_deliveries_that_are_due_and_not_sent_are_an_old_queue(site: Site) -> None:
    row = replace(DELIVERY, next_attempt_at=NOW - timedelta(hours=5))
    config = site.enter(SERIES.become(SeriesState.REPORTED, NOW), RESULT, row)
    (alarm,) = of_kind(AlarmKind.QUEUE_OLD, config)

    assert alarm.subject == "deliveries"
    assert alarm.since == NOW - timedelta(hours=1)


def test_a_database_that_was_taken_away_is_missed_once_a_worker_has_run(site: Site) -> None:
    config = site.config()
    Heart(config.node.spool, "work", node="node")._write()

    assert of_kind(AlarmKind.DATABASE_UNREACHABLE, config) == []
    (alarm,) = of_kind(AlarmKind.DATABASE_UNREACHABLE, config, NOW + DAY)
    assert "there is none" in alarm.reason


def test_a_server_that_is_down_is_an_unreachable_database_and_the_rest_is_seen(
    site: Site,
) -> None:
    url = f"postgresql+psycopg://msk@127.0.0.1:{free_port()}/msk"
    config = site.config(
        node={"database": url, "name": "a"}, receive={"free_reserve_mb": 1 << 40}
    )
    found = current_alarms(config, NOW)

    assert {each.kind for each in found} == {
        AlarmKind.DATABASE_UNREACHABLE,
        AlarmKind.DISK_SHORT,
    }
    assert "refused" in found[0].reason


def test_alarms_name_no_series_in_their_words(site: Site) -> None:
    for kind in (AlarmKind.QUEUE_OLD, AlarmKind.INCOMING_TROUBLE, AlarmKind.DELIVERY_HELD):
        (alarm,) = of_kind(kind, RAISED[kind][0](site))

        assert "1.2.3" not in alarm.reason + alarm.subject
        assert alarm.series == ("1.2.3",)


def test_a_worker_tells_once_that_an_alarm_began_and_once_that_it_ended(site: Site) -> None:
    now = [NOW]
    with hook_server() as hook:
        alarms = {"webhook": {"url": hook.url}}
        heart = Heart(site.config().node.spool, "work")

        def look(reserve_mb: int, minute: int) -> None:
            """As after a restart: nothing is in the memory of a process."""
            now[0] = NOW + timedelta(minutes=minute)
            config = site.config(alarms=alarms, receive={"free_reserve_mb": reserve_mb})
            AlarmTask(config, heart, clock=lambda: now[0]).look()

        for minute in range(3):
            look(1 << 40, minute)
        assert (hook.kinds(), hook.kinds("ended")) == (["disk-short"], [])
        for minute in range(3, 8):
            look(0, minute)

    assert (hook.kinds(), hook.kinds("ended")) == (["disk-short"], ["disk-short"])


def test_what_could_not_be_told_is_told_as_soon_as_it_can(site: Site) -> None:
    short = {"free_reserve_mb": 1 << 40}
    with hook_server(answers=[500, 500]) as hook:
        alarms = {"webhook": {"url": hook.url, "attempts": 1}}
        config = site.config(alarms=alarms, receive=short)
        task = AlarmTask(config, Heart(config.node.spool, "work"))
        task.look()
        task.look()
        assert hook.posts == []
        assert len(of_kind(AlarmKind.ALARM_UNTOLD, config)) == 1
        task.look()

        assert hook.kinds() == ["disk-short"]
        assert of_kind(AlarmKind.ALARM_UNTOLD, config) == []


def test_a_database_that_cannot_say_who_is_first_is_told_of_all_the_same(
    site: Site,
) -> None:
    def away() -> bool:
        raise ConnectionError

    with hook_server() as hook:
        config = site.config(
            node={"database": f"postgresql+psycopg://m@127.0.0.1:{free_port()}/m"},
            alarms={"webhook": {"url": hook.url}},
        )
        AlarmTask(config, Heart(config.node.spool, "work"), is_first=away).look()

    assert hook.kinds() == ["database-unreachable"]


def test_a_worker_leaves_processes_to_the_supervisor_and_tells_of_the_supervisor(
    site: Site,
) -> None:
    config = process_gone(site)
    heart = Heart(config.node.spool, "x")
    later = datetime.now(UTC) + timedelta(seconds=30)

    (found,) = AlarmTask(config, heart).found(later)
    assert found.subject == "node supervise"
    assert ProcessAlarmTask(config, heart).found(later) == []


def test_a_role_that_is_gone_is_told_although_the_clock_was_set_back(site: Site) -> None:
    config = process_gone(site)
    for path in (config.node.spool / HEARTBEATS).glob("*supervise*"):
        path.unlink()
    other = Heart(config.node.spool, "supervise", node="node", serves=("work",))
    other._write()
    values = {**other._values(None), "role": "work", "serves": [], "start": "0"}
    path = config.node.spool / HEARTBEATS / "work.node.json"
    path.write_text(json.dumps(values))

    task = ProcessAlarmTask(config, Heart(config.node.spool, "x"))
    back = datetime.now(UTC) - timedelta(hours=1)
    assert "node work" in [each.subject for each in task.found(back)]


def test_a_way_of_telling_that_fails_keeps_no_other_from_telling(site: Site) -> None:
    class Broken:
        name = "broken"

        def tell(self, _changes: object) -> None:
            raise NotToldError("no")

    class Kept:
        name = "kept"
        times = 0

        def tell(self, _changes: object) -> None:
            Kept.times += 1

    config = disk_short(site)
    AlarmTask(config, Heart(config.node.spool, "w"), channels=[Broken(), Kept()]).look()

    assert Kept.times == 1
    assert set(MemoryFile(config.node.spool, "workers").load().failing) == {"broken"}


def test_no_process_is_told_to_be_frozen_because_the_clock_was_set(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the first look after that every beat is of another time."""
    looks: list[str] = []

    class Clock:
        jumps = iter([False, True, False])

        def __init__(self, *_: object) -> None:
            """Jumps before the second look."""

        def jumped(self) -> bool:
            has = next(self.jumps, None)
            if has is None:
                stop.set()
            looks.append("passed over" if has else "looked")
            return bool(has)

    stop = threading.Event()
    monkeypatch.setattr(alarm_task, "WatchClock", Clock)
    monkeypatch.setattr(ProcessAlarmTask, "every_s", 0.01)
    monkeypatch.setattr(ProcessAlarmTask, "look", lambda _self: looks.append("told"))
    config = site.config()
    ProcessAlarmTask(config, Heart(config.node.spool, "x")).run(stop).join(30)

    assert looks[:5] == ["looked", "told", "passed over", "looked", "told"]


def test_a_server_that_comes_to_no_end_keeps_no_other_way_from_telling(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again when the telling before has ended, and not once more beside it."""
    monkeypatch.setattr(alarm_task, "USUAL_TELLING_S", 0.2)
    ends = threading.Event()
    begun: list[Changes] = []
    told: list[Changes] = []

    class Endless:
        name = "endless"

        def tell(self, changes: Changes) -> None:
            begun.append(changes)
            ends.wait(60)

    class Quick:
        name = "quick"

        def tell(self, changes: Changes) -> None:
            told.append(changes)

    config = process_gone(site)
    heart = Heart(config.node.spool, "x")
    task = AlarmTask(config, heart, channels=(Endless(), Quick()))
    task.look()
    task.look()
    assert (len(begun), len(told)) == (1, 1)
    failing = MemoryFile(config.node.spool, "workers").load().failing
    assert list(failing) == ["endless"]

    ends.set()
    task._telling["endless"].join(10)
    task.look()
    assert len(begun) == 2
    assert not MemoryFile(config.node.spool, "workers").load().failing
