"""Claims about re-query by workers that share a PostgreSQL server, as whole processes."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.archives import Archive
from support.node_parts import PORT_OF_NONE, Part
from support.postgres import running_postgres
from support.small_node import small_config
from support.studies import series, series_uid
from support.waiting import wait_until

from dicom_node.archive.by_hand import archive_ledger, run_now
from dicom_node.persistence.archive_rows import ArchiveState
from dicom_node.settings.node import NodeConfig

PATIENCE_S = 180.0
STUDIES = range(1, 6)


@pytest.fixture
def archive() -> Iterator[Archive]:
    held = [image for study in STUDIES for image in series(study)]
    with Archive(held=held).running() as archive:
        yield archive


@pytest.fixture
def workers(tmp_path: Path, archive: Archive) -> Iterator[dict[str, Part]]:
    """Two workers without a receiver, by the AE title that each calls the archive with."""
    parts: dict[str, Part] = {}
    with running_postgres() as server:
        for name in ("a", "b"):
            node = {
                "spool": "spool",
                "work": "work",
                "results": "results",
                "database": server.url,
                "name": name,
                "ae_title": f"NODE-{name}",
                "lease_s": 3.0,
                "port": PORT_OF_NONE,
            }
            store = {
                "name": "store",
                "ae_title": "ARCHIVE",
                "host": "127.0.0.1",
                "port": archive.port,
                "retrieve": "get",
                "pause_s": 0.0,
            }
            schedule = {
                "name": "nightly",
                "archive": "store",
                "since": "2026-01-05",
                "until": "2026-01-05",
                "first_wait_s": 1.0,
            }
            config = small_config(
                tmp_path, None, node=node, archives=[store], schedules=[schedule]
            )
            parts[f"NODE-{name}"] = Part.start(tmp_path, name, config, "--role", "work")
        yield parts
        for part in parts.values():
            if part.process.poll() is None:
                part.signal(signal.SIGKILL)
                part.process.wait()


def test_what_a_killed_worker_was_fetching_another_one_fetches_and_nothing_else_again(
    workers: dict[str, Part], archive: Archive
) -> None:
    """It is killed amid a series, of which five images have come."""
    for each in workers.values():
        wait_until(lambda: each.events("engine.started"), PATIENCE_S, "it works")  # noqa: B023
    config = next(iter(workers.values())).config
    with archive_ledger(config) as ledger:
        assert run_now(config, ledger, config.schedules[0])
    wait_until(lambda: fetched(config), PATIENCE_S, "one is whole")
    archive.move_silent_after = 5
    wait_until(archive.silent.is_set, PATIENCE_S, "the archive falls silent")
    victim = workers[archive.associations[-1]]
    victim.signal(signal.SIGKILL)
    victim.process.wait()
    under_way = archive.retrievals[-1]
    archive.move_silent_after = None
    wait_until(lambda: len(fetched(config)) == len(STUDIES), PATIENCE_S, "all are whole")

    every = {series_uid(study) for study in STUDIES}
    assert fetched(config) == every
    asked = Counter(str(each.SeriesInstanceUID) for each in archive.retrievals)
    assert asked == {uid: 1 + (uid == under_way.SeriesInstanceUID) for uid in every}
    again = [each for each in archive.retrievals if each.get("SOPInstanceUID")]
    assert [each.SeriesInstanceUID for each in again] == [under_way.SeriesInstanceUID]
    assert len(again[0].SOPInstanceUID) == 12 - 5, "only what had not come"
    queried = [each.StudyInstanceUID for each in archive.queries if lists_series(each)]
    assert len(queried) == len(set(queried)) == len(STUDIES), "each study was listed once"


def lists_series(query: Dataset) -> bool:
    """Not the question that is put again, without a count, where there was one answer."""
    return "NumberOfSeriesRelatedInstances" in query


def fetched(config: NodeConfig) -> set[str]:
    """The series that the schedule has fetched."""
    with archive_ledger(config, only_read=True) as ledger:
        rows = ledger.series("nightly", states=(ArchiveState.FETCHED,))
    return {row.series_instance_uid for row in rows}
