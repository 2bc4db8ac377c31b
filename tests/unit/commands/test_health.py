"""Claims about `health` and `status` as commands: one screen, stable JSON, the version."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dicom_node.commands.cli import app
from dicom_node.commands.health_tables import ago, render_health
from dicom_node.commands.status_tables import render
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.heartbeats import HEARTBEATS, Heart, software_version
from dicom_node.node.health import (
    DestinationHealth,
    DiskHealth,
    Health,
    OldestWaiting,
    ProcessHealth,
    node_health,
)
from dicom_node.node.health_json import health_values, status_values
from dicom_node.node.status import node_status
from dicom_node.persistence.ledger import Ledger
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import NodeConfig

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
MANY = 100_000
LINES, COLUMNS = 50, 100
LONG = (
    "association with PACS at 10.1.2.3:11112 was rejected: calling AE title not recognised " * 3
)

SETTINGS = """\
[receive]
free_reserve_mb = 0
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
[[destinations]]
name = "research"
ae_title = "RESEARCH"
host = "127.0.0.1"
port = 105
[[archives]]
name = "arc"
ae_title = "ARC"
host = "127.0.0.1"
port = 104
[[schedules]]
name = "night"
archive = "arc"
since = "2026-01-01"
"""

ROWS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {many})
INSERT INTO {table} SELECT {values} FROM n
"""
AT = "'2026-11-28 06:00:00.000000'"
LATER = f"strftime('%Y-%m-%d %H:%M:%f000', {AT}, '+' || (i / 1000) || ' minutes')"
UID = "'1.2.826.0.1.3680043.8.498.10000000000000000000000000000000000' || (1000000 + i)"
SERIES = {
    "series_instance_uid": UID,
    "revision": "1",
    "study_instance_uid": "'1.2.' || (i / 3)",
    "calling_ae_title": "'CT1'",
    "called_ae_title": "'MSKNODE'",
    "instances": "500",
    "fingerprint": "printf('%064d', i)",
    "state": "CASE WHEN i % 10 < 7 THEN 'reported' WHEN i % 10 = 7 THEN 'refused'"
    " WHEN i % 10 = 8 THEN 'received' ELSE 'failed' END",
    "code": "CASE WHEN i % 10 IN (7, 9) THEN 'image-orientation' ELSE '' END",
    "reason": f"CASE WHEN i % 10 IN (7, 9) THEN '{LONG}' ELSE '' END",
    "received_at": AT,
    "changed_at": LATER,
    "voxels": "1000",
}
RESULTS = {
    "sop_instance_uid": "'2.25.' || i",
    "sop_class_uid": "'1.1'",
    "kind": "'SEG'",
    "own_series_instance_uid": "'2.25.9'",
    "series_instance_uid": UID,
    "revision": "1",
    "path": "'a'",
    "sha256": "'0'",
    "made_at": AT,
}
DELIVERIES = {
    "sop_instance_uid": "'2.25.' || i",
    "destination": "'{destination}'",
    "series_instance_uid": UID,
    "revision": "1",
    "state": "CASE i % 5 WHEN 0 THEN 'waiting' WHEN 1 THEN 'held' WHEN 2 THEN 'sent'"
    " ELSE 'confirmed' END",
    "attempts": "i % 200",
    "reason": f"CASE WHEN i % 5 < 3 THEN '{LONG}' ELSE '' END",
    "changed_at": LATER,
    "next_attempt_at": f"CASE WHEN i % 5 IN (0, 2) THEN {LATER} END",
    "visit": "1",
    "status": "0",
    "sent_at": f"CASE WHEN i % 5 IN (2, 3, 4) THEN {LATER} END",
    "losses": "0",
    "resumes": "0",
}


def fill(database: Path) -> None:
    """100,000 series of which much is open, to two destinations."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [
            ("series", SERIES, MANY),
            ("results", RESULTS, MANY),
            ("deliveries", DELIVERIES | {"destination": "'pacs'"}, MANY),
            ("deliveries", DELIVERIES | {"destination": "'research'"}, 1000),
        ]
        for table, columns, many in tables:
            names = f"{table} ({', '.join(columns)})"
            values = ", ".join(columns.values())
            connection.execute(ROWS.format(many=many, table=names, values=values))
        connection.execute("ANALYZE")
        connection.commit()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    """The settings of a node with 100,000 series behind it."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "node.toml").write_text(SETTINGS)
    config = load_config(folder / "node.toml")
    (config.node.spool / HEARTBEATS).mkdir(parents=True)
    Ledger(config.node.database_url).close()
    fill(Path(config.node.database))
    for role in ("supervise", "receive", "work"):
        serves = ("receive", "work") if role == "supervise" else ()
        Heart(config.node.spool, role, node="node", serves=serves)._write()
    return config


def screen(what: Any) -> list[str]:
    """The lines of something that is printed on 100 columns."""
    console = Console(width=COLUMNS, markup=False)
    with console.capture() as captured:
        console.print(what, highlight=False)
    return captured.get().splitlines()


def test_status_fits_a_screen_with_100_000_series_behind_it(large: NodeConfig) -> None:
    lines = screen(render(node_status(large)))
    text = "\n".join(lines)

    assert len(lines) <= LINES, text
    assert max(map(len, lines)) <= COLUMNS
    for words in (
        "UNHEALTHY",
        "the node runs (node)",
        "queue-old",
        "reported 70000",
        "objects held for pacs",
        "series received",
        "msk-node release --dest",
        "--all tells everything",
    ):
        assert words in text


def test_health_fits_a_screen_with_100_000_series_behind_it(large: NodeConfig) -> None:
    lines = screen(render_health(node_health(large, datetime.now(UTC))))

    assert len(lines) <= LINES, "\n".join(lines)
    assert max(map(len, lines)) <= COLUMNS


def test_health_looks_at_100_000_series_in_seconds(large: NodeConfig) -> None:
    """About a second, where all that is open counts by tens of thousands."""
    began = datetime.now(UTC)
    node_health(large, began)

    assert datetime.now(UTC) - began < timedelta(seconds=10)


def everything_is_wrong() -> Health:
    """More of everything than a screen has lines."""
    rows = range(40)
    return Health(
        is_healthy=False,
        processes=tuple(
            ProcessHealth("work", f"n{n}", n, True, False, NOW, NOW, {}, LONG) for n in rows
        ),
        alarms=tuple(
            Alarm(AlarmKind.DELIVERY_UNCONFIRMED, Severity.WARNING, f"pacs{n}", LONG, NOW)
            for n in rows
        ),
        waiting=tuple(OldestWaiting(f"w{n}", n, NOW, LONG, LONG) for n in rows),
        disks=tuple(DiskHealth((name,), 1, 2, True) for name in ("spool", "work", "results")),
        database=LONG,
        destinations=tuple(
            DestinationHealth(f"d{n}", NOW, NOW, NOW, LONG, n, n, n) for n in rows
        ),
        is_running=True,
        words="the node runs",
        seen_at=NOW,
    )


def test_a_screen_has_room_for_a_node_on_which_everything_is_wrong() -> None:
    lines = screen(render_health(everything_is_wrong()))

    assert len(lines) <= LINES, "\n".join(lines)
    assert sum("more: msk-node" in line for line in lines) == 4


def documented(part: str) -> set[str]:
    """The keys that the guide has of some JSON."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {part} -->\n(.*?)<!-- /{part} -->", text, re.DOTALL)
    assert found is not None
    first = (line.split("|")[1] for line in found[1].splitlines()[2:])
    return {key.removesuffix("[]") for cell in first for key in re.findall(r"`([^`]+)`", cell)}


def test_the_guide_names_every_key_of_health_and_status(large: NodeConfig) -> None:
    health = health_values(node_health(large, NOW))
    status = status_values(node_status(large))

    assert documented("health.json") == set(health)
    assert documented("status.json") == set(status)


@pytest.mark.parametrize(
    "kind", [ProcessHealth, Alarm, OldestWaiting, DiskHealth, DestinationHealth]
)
def test_the_guide_names_every_key_within_them(kind: type) -> None:
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    table = text.partition("<!-- health.json -->")[2].partition("<!-- /health.json -->")[0]

    assert {each.name for each in fields(kind)} <= set(re.findall(r"`([^`]+)`", table))


def test_the_json_of_both_is_json_with_times_in_utc(large: NodeConfig) -> None:
    settings = str(Path(large.node.spool).parents[1] / "node.toml")
    for command, code in (("health", 7), ("status", 0)):
        done = CliRunner().invoke(app, [command, "--json", "--config", settings])
        values = json.loads(done.stdout)

        assert done.exit_code == code
        assert (values["schema"], values["version"]) == (1, software_version())
        health = values if command == "health" else values["health"]
        assert health["seen_at"].endswith("+00:00")
        assert {each["kind"] for each in health["alarms"]} >= {"queue-old", "delivery-held"}


def test_the_version_is_said() -> None:
    done = CliRunner().invoke(app, ["--version"])

    assert (done.exit_code, done.stdout) == (0, f"msk-node {software_version()}\n")


@pytest.mark.parametrize(
    ("span", "words"),
    [(0, "0 s"), (90, "90 s"), (150, "2 min"), (7200, "2 h"), (86400 * 3, "3 d"), (-5, "0 s")],
)
def test_how_long_ago_is_said_in_the_unit_that_fits(span: float, words: str) -> None:
    assert ago(NOW - timedelta(seconds=span), NOW) == words
    assert ago(None, NOW) == ""
