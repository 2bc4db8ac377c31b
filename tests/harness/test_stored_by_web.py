"""Orthanc as a DICOMweb archive: results go to it by STOW-RS and are asked for by QIDO-RS.

The node's ledger and visits are real and run in the test's own process; what they deliver
is small and made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.orthanc import HTTP_PORT, Orthanc
from support.sent_results import SEG, SERIES, SR, STUDY, Site

from dicom_node.delivery.attempts import is_slow
from dicom_node.node.maintenance import MaintenanceTasks
from dicom_node.peers.transports import transport_for
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.settings.loading import parse_config

CONFIRMED = DeliveryState.CONFIRMED
Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path, orthanc: Orthanc) -> Iterator[Make]:
    """Makes a node that stores at Orthanc by STOW-RS."""
    ledgers: list[Ledger] = []

    def site(port: int = HTTP_PORT) -> Site:
        url = f"http://127.0.0.1:{port}/dicom-web/"
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "delivery": {"hold_after": 2, "timeout_s": 10.0},
            "destinations": [{"name": "pacs", "url": url, "confirm": "query"}],
        }
        config = parse_config(table, source="test", folder=tmp_path)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    yield site
    for ledger in ledgers:
        ledger.close()


def states(site: Site) -> dict[str, DeliveryState]:
    return {uid: site.row(uid).state for uid in (SEG, SR)}


def test_orthanc_takes_results_by_stow_and_lists_them_by_qido(
    make: Make, orthanc: Orthanc
) -> None:
    site = make()
    site.do_jobs(site.answer())

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert {row.status for row in site.ledger.deliveries()} == {0}
    kept = {one.sop_instance_uid: orthanc.file(one) for one in orthanc.instances(STUDY)}
    for result in site.ledger.results(SERIES, 1):
        assert kept[result.sop_instance_uid] == Path(result.path).read_bytes()


def test_what_orthanc_has_lost_is_stored_again(make: Make, orthanc: Orthanc) -> None:
    site = make()
    (ask,) = site.make(site.answer()[0])
    orthanc.lose(SEG)
    site.do_jobs([ask])

    assert states(site) == {SEG: CONFIRMED, SR: CONFIRMED}
    assert site.row(SEG).losses == 1


def test_storing_the_same_again_is_taken_again(make: Make, orthanc: Orthanc) -> None:
    """Killed after the request and before its record."""
    site = make()
    site.answer()
    paths = [Path(each.path) for each in site.ledger.results(SERIES, 1)]
    way = transport_for(site.config, site.config.destinations[0])
    first, again = way.send(paths), way.send(paths)

    assert all(each.stored for each in (*first, *again))
    assert len(orthanc.instances(STUDY)) == 2


def test_a_large_object_arrives_whole_in_pieces(
    make: Make, orthanc: Orthanc, tmp_path: Path
) -> None:
    """8 MB of pixels, behind a header that Orthanc knows: 33 chunks."""
    site = make()
    site.answer()
    small = Path(site.ledger.results(SERIES, 1)[0].path)
    large = tmp_path / "large.dcm"
    length = 8 << 20
    pixels = bytes.fromhex("e07f 1000 4f42 0000") + length.to_bytes(4, "little")
    large.write_bytes(small.read_bytes() + pixels + bytes(range(256)) * (length // 256))
    (outcome,) = transport_for(site.config, site.config.destinations[0]).send([large])
    (kept,) = orthanc.instances(STUDY)

    assert outcome.stored
    assert orthanc.file(kept) == large.read_bytes()


def test_what_is_no_dicom_is_refused_beside_what_is_taken(
    make: Make, orthanc: Orthanc, tmp_path: Path
) -> None:
    site = make()
    site.answer()
    good = Path(site.ledger.results(SERIES, 1)[0].path)
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(good.read_bytes()[:300])
    way = transport_for(site.config, site.config.destinations[0])
    refused, taken = way.send([torn, good])

    assert (refused.stored, taken.stored) == (False, True)
    assert refused.reason


def test_what_waits_slowly_for_orthanc_goes_on_when_it_answers_a_query(
    make: Make, orthanc: Orthanc
) -> None:
    away = make(port=1)
    away.do_jobs(away.answer(), most=2)
    assert is_slow(away.row(SEG), away.config.delivery)
    assert "cannot be reached: no connection" in away.row(SEG).reason

    back = make()
    put: list[JobRequest] = []
    tasks = MaintenanceTasks(back.delivery_jobs, put.append)
    tasks.probe()
    tasks.poll()
    back.do_jobs(put)
    assert states(back) == {SEG: CONFIRMED, SR: CONFIRMED}
