"""Claims about re-query by a whole node: real processes, a real archive, SIGKILL in between.

The archive is `support/archives.py`; the analysis is the fast one, all else is real.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from support.archives import Archive
from support.installed_node import InstalledNode, free_port
from support.small_node import small_config
from support.studies import series, series_uid
from support.waiting import wait_until
from typer.testing import CliRunner

from dicom_node.commands import cli, console
from dicom_node.node.status import node_status
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState
from dicom_node.persistence.ledger import existing_ledger

FETCHED = ArchiveState.FETCHED
PATIENCE_S = 120.0
SCHEDULE: dict[str, Any] = {
    "name": "nightly",
    "archive": "store",
    "since": "2026-01-03",
    "until": "2026-01-07",
    "window": "week",
    "attempts": 3,
    "first_wait_s": 1.0,
    "max_wait_s": 2.0,
    "look_back_d": 0,
    "rules": "long",
}
LONG: dict[str, Any] = {
    "name": "long",
    "take": [{"attribute": "Modality", "equals": ["CT"]}],
    "images": {"at_least": 3},
    "length_mm": {"at_least": 50},
}
LONGER: dict[str, Any] = {"name": "longer", "length_mm": {"at_least": 500}}
"""By these, which are for series that scanners send, nothing would be analysed."""
Install = Callable[..., InstalledNode]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    nodes: list[InstalledNode] = []

    def made(
        archive: Archive, *, hours: tuple[str, ...] = (), **schedule: Any
    ) -> InstalledNode:
        node = {"port": free_port(), "spool": "spool", "work": "work", "results": "results"}
        store = {
            "name": "store",
            "ae_title": "ARCHIVE",
            "host": "127.0.0.1",
            "port": archive.port,
            "pause_s": 0.0,
            "hours": hours,
        }
        config = small_config(
            tmp_path,
            None,
            node=node,
            archives=[store],
            schedules=[{**SCHEDULE, **schedule}],
            rules=[LONG, LONGER],
            analysis={"rules": "longer"},
            completion={"quiet_s": 1.0, "give_up_s": 3.0},
        )
        archive.destinations["MSKNODE"] = config.node.port
        nodes.append(InstalledNode(tmp_path, config))
        settings = json.loads(config.model_dump_json())
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        return nodes[-1]

    yield made
    for node in nodes:
        node.kill()


def requery(node: InstalledNode, *words: str) -> str:
    """What `msk-node requery` prints of the node's own settings."""
    settings = node.folder / "node.toml"
    settings.write_text(as_toml(node))
    # Its console may have been made before, as wide as the tests' own terminal.
    console.stdout.width = 250
    done = CliRunner(env={"NO_COLOR": "1"}).invoke(
        cli.app, ["requery", *words, "--config", str(settings)]
    )
    assert done.exit_code == 0, done.output
    return done.output


def begin(node: InstalledNode) -> None:
    """Start it, and wait until its worker has made the ledger."""
    node.start()
    wait_until(node.works, PATIENCE_S, "it works")


def as_toml(node: InstalledNode) -> str:
    """The settings that a command needs."""
    schedule = node.config.schedules[0]
    archive = node.config.archives[0]
    return f"""
[node]
spool = "spool"
work = "work"
results = "results"
database = "{node.config.node.database}"
[[archives]]
name = "store"
ae_title = "ARCHIVE"
host = "127.0.0.1"
port = {archive.port}
hours = {json.dumps(archive.hours)}
[[schedules]]
name = "nightly"
archive = "store"
since = {schedule.since}
until = {schedule.until}
window = "week"
look_back_d = 0
"""


def rows(node: InstalledNode) -> dict[str, ArchiveSeriesRow]:
    """The series of the schedule, by UID."""
    ledger = existing_ledger(node.config.node.database_url, only_read=True)
    if ledger is None:
        return {}
    try:
        found = ArchiveLedger(ledger).series("nightly")
        return {row.series_instance_uid: row for row in found}
    finally:
        ledger.close()


def in_state(node: InstalledNode, state: ArchiveState) -> set[str]:
    return {uid for uid, row in rows(node).items() if row.state is state}


def is_over(node: InstalledNode) -> bool:
    """Whether its one run has ended and was told of."""
    ledger = existing_ledger(node.config.node.database_url, only_read=True)
    assert ledger is not None
    try:
        return all(run.ended_at is not None for run in ArchiveLedger(ledger).runs("nightly"))
    finally:
        ledger.close()


def events(node: InstalledNode, name: str) -> list[dict[str, Any]]:
    """The events of a name; two processes may have written one line."""
    lines = node.log.read_text().splitlines()
    told = [line for line in lines if f'"{name}"' in line and line.count('"event"') == 1]
    return [json.loads(line) for line in told]


def some_studies() -> list[Dataset]:
    """Two that are whole, one with a slice missing, two of too few images; one MR.

    One of those has images enough, but only its headers tell how short it is.
    """
    return [
        *series(6, slices=8),
        *series(1),
        *series(2),
        *series(3, without=(4,)),
        *series(4, slices=2),
        *series(5, Modality="MR"),
    ]


def test_a_run_goes_on_behind_a_kill_and_asks_for_nothing_twice(install: Install) -> None:
    """Killed when one is whole, and of another all but a late image is here.

    The archive says that it sent all of study 1 while it keeps an image back. A kill amid a
    retrieval is in `test_requery_shared.py`.
    """
    late = series(1)[-1].SOPInstanceUID
    archive = Archive(held=some_studies(), withholds=frozenset({late}))
    with archive.running():
        node = install(archive)
        begin(node)
        said = requery(node, "run", "nightly")
        wait_until(lambda: series_uid(2) in in_state(node, FETCHED), PATIENCE_S, "it is whole")
        wait_until(lambda: waits_for(node, series_uid(1)), PATIENCE_S, "the other is not")
        waiting = waits_for(node, series_uid(1))
        node.kill()
        killed_at = len(archive.retrievals)
        archive.withholds = frozenset()
        begin(node)
        wait_until(lambda: is_over(node), PATIENCE_S, "the run is over")
        listed = requery(node, "list", "nightly", "--state", "incomplete")
        status = requery(node, "status")
        left_out = node_status(node.config).left_out

    found, asked = rows(node), asked_by_series(archive)
    assert "of nightly begins" in said
    assert {uid: row.state.value for uid, row in found.items()} == {
        series_uid(1): "fetched",
        series_uid(2): "fetched",
        series_uid(3): "incomplete",
        series_uid(4): "refused",
        series_uid(6): "refused",
    }
    assert asked[series_uid(2)] == 1
    assert "being fetched from store by schedule nightly" in waiting
    assert {
        each.get("SOPInstanceUID")
        for each in archive.retrievals[killed_at:]
        if each.SeriesInstanceUID == series_uid(1)
    } == {late}, "only what is missing"
    assert "slices are missing between 10.0 and 20.0 mm" in found[series_uid(3)].reason
    assert series_uid(3) in listed
    assert found[series_uid(4)].reason == "number of images is 2: at least 3 wanted"
    assert [(row.series_instance_uid, row.reason) for row in left_out] == [
        (series_uid(6), "schedule nightly: length is 35 mm: at least 50 mm wanted")
    ]
    handed = {e["series_instance_uid"]: e for e in events(node, "series.handed_over")}
    assert handed[series_uid(1)]["instances"] == 12, "once, and whole"
    assert handed[series_uid(3)]["code"] == "timer", "not as a whole one"
    (line,) = events(node, "requery.night")
    assert (line["found"], line["fetched"], line["incomplete"], line["failed"]) == (5, 2, 1, 0)
    assert (line["refused"], line["analysed"]) == (2, 2)
    assert line["reason"] == "length: 1, number of images: 1"
    assert "2026-01-08" in status, "the watermark"


def waits_for(node: InstalledNode, uid: str) -> str:
    """What a series in the spool waits for; empty where it is not there, or waits no more."""
    incoming = {row.series_instance_uid: row for row in node_status(node.config).incoming}
    return incoming[uid].reason if uid in incoming else ""


def asked_by_series(archive: Archive) -> Counter[str]:
    """How often something of each series was asked for."""
    return Counter(str(each.SeriesInstanceUID) for each in archive.retrievals)
