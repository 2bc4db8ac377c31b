"""Orthanc as the archive that is asked: by Storage Commitment, and by C-FIND.

The node's ledger, visits and receiver are real and run in the test's own process; what they
deliver is small and made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.orthanc import DICOM_PORT, NODE_AE, NODE_PORT, PACS_AE, Orthanc
from support.sent_results import SEG, SERIES, SR, STUDY, Site
from support.waiting import wait_until

from dicom_node.peers.transports import transport_for
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.loading import parse_config
from dicom_node.spool.commitment_reports import REPORTS

WAITING, CONFIRMED = DeliveryState.WAITING, DeliveryState.CONFIRMED
Make = Callable[[str], Site]


@pytest.fixture
def make(tmp_path: Path, orthanc: Orthanc) -> Iterator[Make]:
    """Makes a node that asks Orthanc in one of the two ways, and listens for its reports."""
    ledger = Ledger(f"sqlite:///{tmp_path}/db")
    settings = ReceiverSettings(
        NODE_AE, tmp_path / "spool", port=NODE_PORT, free_reserve_bytes=0
    )

    def site(confirm: str) -> Site:
        peer = {"name": "pacs", "ae_title": PACS_AE, "host": "127.0.0.1", "port": DICOM_PORT}
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "destinations": [{**peer, "confirm": confirm}],
        }
        return Site(parse_config(table, source="test", folder=tmp_path), ledger)

    with Receiver(settings):
        yield site
    ledger.close()


def take_report(site: Site) -> None:
    """Wait for Orthanc's report, which comes on an association that it opens."""
    folder = site.config.node.spool / REPORTS
    wait_until(lambda: any(folder.glob("*.json")), within_s=30, words="Orthanc reports")
    site.delivery_jobs.take_reports()


def states(site: Site) -> dict[str, DeliveryState]:
    return {uid: site.row(uid).state for uid in (SEG, SR)}


def test_orthanc_commits_to_what_it_stored(make: Make) -> None:
    site = make("commitment")
    site.do_jobs(site.answer(), most=2)
    take_report(site)

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}


def test_what_orthanc_has_lost_is_sent_again_until_it_commits(
    make: Make, orthanc: Orthanc
) -> None:
    site = make("commitment")
    (ask,) = site.make(site.answer()[0])
    orthanc.lose(SEG)
    site.make(ask)
    take_report(site)
    assert states(site) == {SEG: WAITING, SR: CONFIRMED}
    assert site.row(SEG).reason == "not committed to: 0112H, no such object instance"

    site.clock.advance(minutes=1)
    site.do_jobs(site.delivery_jobs.due(), most=2)
    take_report(site)
    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}


def test_orthanc_takes_again_what_it_keeps_as_it_was(make: Make, orthanc: Orthanc) -> None:
    """`OverwriteInstances` is off: it answers a duplicate with success, and needs no asking."""
    site = make("query")
    site.answer()
    paths = [Path(each.path) for each in site.ledger.results(SERIES, 1)]
    way = transport_for(site.config, site.config.destinations[0])
    way.send(paths)
    site.do_jobs(site.delivery_jobs.due())

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert {row.status for row in site.ledger.deliveries()} == {0}
    assert len(orthanc.instances(STUDY)) == 2


def test_orthanc_lists_what_it_stored(make: Make) -> None:
    site = make("query")
    site.do_jobs(site.answer())

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}


def test_what_orthanc_does_not_list_is_sent_again_until_it_does(
    make: Make, orthanc: Orthanc
) -> None:
    site = make("query")
    (ask,) = site.make(site.answer()[0])
    orthanc.lose(SEG)
    site.do_jobs([ask])

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert site.row(SEG).losses == 1
