"""Claims about fetching the images of a series again for an order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.ct import SERIES_UID, STUDY_UID, ct_stack
from support.spooled import keep, purge

from dicom_node.archive.asking import Asking
from dicom_node.node.refetch import AGAIN_AFTER_S, Refetch
from dicom_node.peers.archives import Retrieval, RetrievalEnd, Wanted
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import PauseRow
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import OrderKind, OrderRow, SeriesRow, SeriesState
from dicom_node.settings.loading import parse_config
from dicom_node.spool.revisions import Revision, write_marker
from dicom_node.spool.spool import Spool

NOW = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)
ROW = SeriesRow(SERIES_UID, 1, STUDY_UID, "CT1", "N", 2, "f", NOW, NOW, SeriesState.REPORTED)
ORDER = OrderRow("o1", OrderKind.REANALYSE, SERIES_UID, 1, "jane", NOW)
ARCHIVE = {"ae_title": "OLD", "host": "127.0.0.1", "retrieve": "get"}


class Site:
    """A node that purged a series, and two archives, of which the second may have it."""

    def __init__(self, folder: Path) -> None:
        archives = [{**ARCHIVE, "name": name, "port": 104} for name in ("first", "second")]
        self.config = parse_config({"archives": archives}, source="", folder=folder)
        spool = Spool(self.config.node.spool)
        keep(spool, ct_stack())
        self.images = {each.path: each.path.read_bytes() for each in spool.entries(SERIES_UID)}
        names = tuple(path.name for path in self.images)
        write_marker(spool.folder / SERIES_UID, [Revision(1, names, "whole", done=True)])
        purge(spool, SERIES_UID)
        self.ledger = Ledger(self.config.node.database_url)
        self.ledger.save(ROW, ORDER)
        self.asked: list[str] = []
        self.has_it = False
        asking = Asking(
            config=self.config,
            ledger=ArchiveLedger(self.ledger),
            call=lambda settings: settings.name,  # type: ignore[arg-type,return-value]
            retrieve=self.retrieve,
            title=lambda settings: settings.name,
            clock=lambda: NOW,
        )
        self.refetch = Refetch(asking)

    def retrieve(
        self, archive: Any, _settings: object, wanted: Collection[Wanted]
    ) -> Mapping[Wanted, Retrieval]:
        """The second archive gives it."""
        self.asked.append(archive)
        if archive == "second" and self.has_it:
            for path, data in self.images.items():
                path.write_bytes(data)
        end = Retrieval(RetrievalEnd.REFUSED, f"{archive} said no")
        return dict.fromkeys(wanted, end)

    def run(self) -> list[tuple[str, float]]:
        """Run the first job; those that follow."""
        jobs = self.refetch.run(self.refetch.job(ORDER, ROW).payload)
        return [(job.key, job.delay_s) for job in jobs]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    with closing(made.ledger):
        yield made


def outcome(site: Site) -> str:
    return OperationLedger(site.ledger).orders(SERIES_UID)[0].outcome


def test_what_no_archive_gives_is_asked_for_again_and_the_order_says_why(site: Site) -> None:
    assert site.run() == [("fetch-again:o1:2", AGAIN_AFTER_S)]
    assert site.asked == ["first", "second"]
    assert outcome(site) == (
        "its images did not come: first: first said no; second: second said no"
    )


def test_an_archive_that_is_paused_is_left_alone(site: Site) -> None:
    site.ledger.save(PauseRow("first", paused=True, changed_at=NOW))
    site.run()

    assert site.asked == ["second"]
    assert outcome(site).startswith("its images did not come: first: paused")


def test_an_order_that_is_done_has_nothing_fetched(site: Site) -> None:
    OperationLedger(site.ledger).conclude(ORDER, NOW, lambda _connection: "cancelled")

    assert site.run() == []
    assert site.asked == []


def test_what_an_archive_gives_is_asked_for_no_more(site: Site) -> None:
    site.has_it = True

    assert site.run() == []
    assert site.asked == ["first", "second"]
    assert site.run() == []
    assert site.asked == ["first", "second"]
