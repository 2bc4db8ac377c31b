"""Claims about what the worker looks after beside its jobs; the clock is the test's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from structlog.testing import capture_logs
from support.pacs import Pacs
from support.sent_results import SEG, SERIES, SR, START, Site
from support.small_node import result_pacs
from typer.testing import CliRunner

from dicom_node.commands import cli
from dicom_node.commands.status_tables import render
from dicom_node.delivery.attempts import is_slow
from dicom_node.delivery.release import release
from dicom_node.node.maintenance import MaintenanceTasks
from dicom_node.node.status import node_status
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.settings.loading import parse_config

Make = Callable[..., Site]
HELD, SENT = DeliveryState.HELD, DeliveryState.SENT


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    ledgers: list[Ledger] = []

    def site(port: int, *, confirm: str = "no", **sections: Any) -> Site:
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "delivery": {"hold_after": 2, "timeout_s": 5.0},
            "destinations": [{**peer, "confirm": confirm}],
            **sections,
        }
        config = parse_config(table, source="test", folder=tmp_path)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    yield site
    for ledger in ledgers:
        ledger.close()


NOT_AUTHORISED = 0x0124


def hold(site: Site) -> None:
    """Let an attempt fail for good."""
    site.do_jobs(site.answer())
    assert {row.state for row in site.ledger.deliveries()} == {HELD}


def stall(site: Site) -> None:
    """Let every fast attempt fail."""
    site.do_jobs(site.answer(), most=2)
    rows = site.ledger.deliveries()
    assert all(is_slow(row, site.config.delivery) for row in rows)


def refusing(status: int) -> Pacs:
    return result_pacs(statuses=[status] * 40)


def is_back(site: Site) -> bool:
    """Whether what waited slowly has its fast attempts again."""
    return {row.attempts for row in site.ledger.deliveries()} == {0}


def test_what_waits_slowly_goes_on_when_its_destination_answers_again(
    make: Make, pacs: Pacs
) -> None:
    stall(make(1))
    back = make(pacs.port)
    put: list[JobRequest] = []
    chores = MaintenanceTasks(back.delivery_jobs, put.append)
    chores.probe()
    chores.poll()
    chores.poll()

    assert [each.key for each in put] == [f"deliver:{SERIES}:1:pacs:4"], "put only once"
    back.do_jobs(put)
    assert {row.state for row in back.ledger.deliveries()} == {SENT}


def test_what_a_version_before_held_for_want_of_its_destination_goes_on_too(
    make: Make, pacs: Pacs
) -> None:
    site = make(pacs.port)
    site.answer()
    site.ledger.save(
        *(replace(_held(row), resumes=True, attempts=2) for row in site.ledger.deliveries())
    )
    MaintenanceTasks(site.delivery_jobs, lambda _: None).probe()

    site.do_jobs(site.delivery_jobs.due())
    assert {row.state for row in site.ledger.deliveries()} == {SENT}


def test_every_delivery_that_is_held_is_an_alarm_with_its_reason(make: Make) -> None:
    with refusing(NOT_AUTHORISED).running() as strict, capture_logs() as events:
        site = make(strict.port)
        hold(site)
    (alarm,) = [each for each in events if each["event"] == "delivery.held"]

    assert (alarm["log_level"], alarm["count"], alarm["destination"]) == ("error", 2, "pacs")
    assert alarm["reason"].startswith("0x0124")
    (held,) = node_status(site.config).held
    assert held.objects == ("SEG", "SR")
    assert alarm["reason"] in held.reason
    assert held.since == START, "since it is held"


def test_what_waits_slowly_does_so_while_its_destination_is_away(make: Make) -> None:
    site = make(1)
    stall(site)
    MaintenanceTasks(site.delivery_jobs, lambda _: None).probe()

    assert not is_back(site)


def test_an_archive_without_room_is_tried_slowly_until_it_has_some(make: Make) -> None:
    """0xA700, out of resources, for three days. That a C-ECHO works is no news."""
    with result_pacs(statuses=[0xA700] * 74).running() as full:
        site = make(full.port)
        stall(site)
        MaintenanceTasks(site.delivery_jobs, lambda _: None).probe()
        assert not is_back(site)
        began = site.clock.now
        site.do_jobs(site.delivery_jobs.pending_jobs(), most=200)

    assert {row.state for row in site.ledger.deliveries()} == {SENT}
    assert timedelta(days=2, hours=23) < site.clock.now - began < timedelta(days=3, hours=2)


def test_what_waits_slowly_is_an_alarm_once_and_status_says_since_when_and_for_what(
    make: Make,
) -> None:
    with refusing(0xA700).running() as full:
        site = make(full.port)
        stall(site)
        tasks = MaintenanceTasks(site.delivery_jobs, lambda _: None)
        with capture_logs() as events:
            tasks.raise_alarms()
            tasks.raise_alarms()

    (alarm,) = events
    assert (alarm["event"], alarm["log_level"]) == ("delivery.stalled", "error")
    assert (alarm["count"], alarm["attempt"]) == (2, 2)
    status = node_status(site.config)
    (stalled,) = status.stalled
    assert (status.waiting, stalled.objects, stalled.since) == ((), ("SEG", "SR"), START)
    console = Console(width=240)
    with console.capture() as shown:
        console.print(render(status))
    for words in ("ALARM: not taken for long", "0xA700", "2026-11-22"):
        assert words in shown.get()


def test_a_start_tries_at_once_what_is_tried_slowly_and_it_stays_an_alarm(make: Make) -> None:
    with refusing(0xA700).running() as full:
        site = make(full.port)
        stall(site)
        jobs = site.delivery_jobs.pending_jobs()
        assert site.delivery_jobs.pending_jobs() == jobs, "a start that is killed at once"
        tried = len(full.received)
        site.do_jobs(jobs, most=1)
        assert len(full.received) == tried + 1

    assert [one.attempts for one in node_status(site.config).stalled] == [3]


def test_a_person_releases_what_is_slow_and_it_has_all_its_attempts_again(
    make: Make, tmp_path: Path
) -> None:
    with refusing(0xA700).running() as full:
        site = make(full.port)
        stall(site)
        settings = _settings(tmp_path, full.port)
        done = CliRunner().invoke(cli.app, ["release", "-c", str(settings)])

    assert "2 held objects released" in done.output
    assert is_back(site)


def test_a_person_releases_what_is_held_and_it_has_all_its_attempts_again(
    make: Make, pacs: Pacs
) -> None:
    with refusing(NOT_AUTHORISED).running() as strict:
        site = make(strict.port)
        hold(site)
        assert release(site.ledger, site.clock(), destination="other") == 0
        assert release(site.ledger, site.clock(), series_instance_uid=SERIES) == 2

    assert site.row(SEG).attempts == 0
    mended = make(pacs.port)
    mended.clock.now = site.clock.now
    mended.do_jobs(mended.delivery_jobs.due())
    assert {row.state for row in mended.ledger.deliveries()} == {SENT}


def test_a_release_is_not_lost_on_a_visit_that_waits_for_its_time(
    make: Make, pacs: Pacs
) -> None:
    """The job of the next visit is there already, for later; this one has another key."""
    site = make(pacs.port, confirm="commitment")
    site.do_jobs(site.answer(), most=2)
    (later,) = site.make(JobRequest("deliver", "", _payload(2)))
    held = site.row(SR)
    site.ledger.save(_held(held))
    release(site.ledger, site.clock())
    (now,) = site.delivery_jobs.due()

    assert now.key != later.key
    site.do_jobs([now], most=1)
    assert site.row(SR).state is SENT
    assert site.make(later)[0].key != later.key, "overtaken: it does nothing and leads on"


def _payload(number: int) -> dict[str, Any]:
    return {
        "series_instance_uid": SERIES,
        "revision": 1,
        "destination": "pacs",
        "attempt": number,
    }


def _held(row: Any) -> Any:
    return replace(row, state=HELD, next_attempt_at=None, reason="refused")


def test_the_command_releases_beside_the_node(make: Make, tmp_path: Path, pacs: Pacs) -> None:
    with refusing(NOT_AUTHORISED).running() as strict:
        hold(make(strict.port))
    settings = _settings(tmp_path, pacs.port)
    release_it = ["release", "-c", str(settings), "--destination", "pacs", "--series", SERIES]
    done = CliRunner().invoke(cli.app, release_it)
    again = CliRunner().invoke(cli.app, release_it)

    assert "2 held objects released" in done.output
    assert (again.exit_code, again.output) == (0, "0 held objects released\n")


@pytest.mark.parametrize(
    ("option", "name", "words"),
    [
        ("--destination", "pcas", "there is no destination 'pcas' in the settings"),
        ("--series", "1.2.4", "no series '1.2.4' has been taken up here"),
        ("--series", "", "no series '' has been taken up here"),
    ],
)
def test_a_release_of_what_nobody_knows_is_wrong_usage(
    make: Make, tmp_path: Path, option: str, name: str, words: str
) -> None:
    """In a process of its own, for its exit code; first at a node that has no ledger yet."""
    settings = _settings(tmp_path, 1)
    _release_in_vain(settings, option, name, words)
    make(1).answer()
    _release_in_vain(settings, option, name, words)


def _release_in_vain(settings: Path, option: str, name: str, words: str) -> None:
    command = [Path(sys.executable).with_name("msk-node"), "release", "-c", settings]
    ended = subprocess.run(
        [*map(str, command), option, name], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert words in " ".join(ended.stderr.split())
    assert "released" not in ended.stdout


def _settings(folder: Path, port: int) -> Path:
    """A node.toml of the same node, for the command line."""
    path = folder / "node.toml"
    path.write_text(
        '[node]\ndatabase = "db"\n[[destinations]]\nname = "pacs"\nae_title = "PACS"\n'
        f'host = "127.0.0.1"\nport = {port}\n[delivery]\nhold_after = 2\n'
    )
    return path


def test_status_shows_what_is_asked_for_in_vain_and_what_is_overdue(
    make: Make, pacs: Pacs
) -> None:
    """The report was sent an hour ago, the segmentation 25."""
    site = make(pacs.port, confirm="commitment")
    site.do_jobs(site.answer(), most=2)
    now = datetime.now(UTC)
    for uid, hours in ((SEG, 25), (SR, 1)):
        site.ledger.save(replace(site.row(uid), sent_at=now - timedelta(hours=hours)))
    status = node_status(site.config)

    assert [one.objects for one in status.overdue] == [("SEG",)]
    assert [(one.objects, one.reason) for one in status.unconfirmed] == [
        (("SR",), "no commitment report yet")
    ]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render(status))
    assert "ALARM: sent, and not confirmed in time" in shown.get()


def test_what_is_unconfirmed_for_too_long_is_an_alarm_once(make: Make, pacs: Pacs) -> None:
    site = make(pacs.port, confirm="commitment")
    site.do_jobs(site.answer(), most=2)
    chores = MaintenanceTasks(site.delivery_jobs, lambda _: None)
    with capture_logs() as events:
        site.clock.advance(hours=23.9)
        chores.raise_alarms()
        assert events == []
        site.clock.advance(hours=0.2)
        chores.raise_alarms()
        chores.raise_alarms()

    (alarm,) = events
    assert (alarm["event"], alarm["log_level"]) == ("delivery.unconfirmed", "error")
    assert (alarm["count"], alarm["reason"]) == (2, "no commitment report yet")
