"""Claims about what the worker looks after beside its jobs; the clock is the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from structlog.testing import capture_logs
from support.pacs import Pacs
from support.sent_results import SEG, SERIES, SR, Site
from support.small_node import result_pacs
from typer.testing import CliRunner

from dicom_node.commands import cli
from dicom_node.commands.status_tables import render
from dicom_node.delivery.release import release
from dicom_node.node.maintenance import MaintenanceTasks
from dicom_node.node.status import node_status
from dicom_node.persistence.job_queue import JobRequest
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


def hold(site: Site) -> None:
    """Let every attempt fail."""
    site.do_jobs(site.answer())
    assert {row.state for row in site.ledger.deliveries()} == {HELD}


def test_what_is_held_goes_on_when_its_destination_answers_again(
    make: Make, pacs: Pacs
) -> None:
    hold(make(1))
    back = make(pacs.port)
    put: list[JobRequest] = []
    chores = MaintenanceTasks(back.delivery_jobs, put.append)
    chores.probe()
    chores.poll()
    chores.poll()

    assert [each.key for each in put] == [f"deliver:{SERIES}:1:pacs:4"], "put only once"
    back.do_jobs(put)
    assert {row.state for row in back.ledger.deliveries()} == {SENT}


def test_every_delivery_that_is_held_is_an_alarm_with_its_reason(make: Make) -> None:
    site = make(1)
    with capture_logs() as events:
        hold(site)
    (alarm,) = [each for each in events if each["event"] == "delivery.held"]

    assert (alarm["log_level"], alarm["count"], alarm["destination"]) == ("error", 2, "pacs")
    assert alarm["reason"].endswith("cannot be reached: no connection to 127.0.0.1 port 1")
    (held,) = node_status(site.config).held
    assert (held.objects, held.reason) == (("SEG", "SR"), alarm["reason"])


def test_what_is_held_stays_so_while_its_destination_is_away(make: Make) -> None:
    site = make(1)
    hold(site)
    MaintenanceTasks(site.delivery_jobs, lambda _: None).probe()

    assert {row.state for row in site.ledger.deliveries()} == {HELD}


def test_an_archive_that_answers_and_refuses_is_not_tried_for_ever(
    make: Make, pacs: Pacs
) -> None:
    """0xA700, out of resources, at every attempt: that a C-ECHO works is no news."""
    with result_pacs(statuses=[0xA700] * 20).running() as full:
        site = make(full.port)
        hold(site)
        MaintenanceTasks(site.delivery_jobs, lambda _: None).probe()

    assert {row.state for row in site.ledger.deliveries()} == {HELD}


def test_a_person_releases_what_is_held_and_it_has_all_its_attempts_again(
    make: Make, pacs: Pacs
) -> None:
    with result_pacs(statuses=[0xA700] * 20).running() as full:
        site = make(full.port)
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
    hold(make(1))
    settings = tmp_path / "node.toml"
    settings.write_text(
        '[node]\ndatabase = "db"\n[[destinations]]\nname = "pacs"\nae_title = "PACS"\n'
        f'host = "127.0.0.1"\nport = {pacs.port}\n'
    )
    runner = CliRunner()
    other = runner.invoke(cli.app, ["release", "-c", str(settings), "--destination", "x"])
    done = runner.invoke(cli.app, ["release", "-c", str(settings), "--destination", "pacs"])

    assert "no destination 'x'" in str(other.exception)
    assert "2 held objects released" in done.output


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
