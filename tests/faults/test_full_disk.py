"""A claim about a disk without a free byte: it is no reason to delete anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.ct import ct_stack, save
from support.installed_node import mounted_disk
from support.sent_results import SERIES, Site
from support.stopping import stop

from dicom_node.node.retention import purge
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import Completion
from dicom_node.spool.spool import Spool
from dicom_node.spool.watcher import Watcher

TABLE = {
    "node": {"spool": "disk/spool", "results": "disk/results", "database": "db"},
    "retention": {"images_d": 1, "results_d": 1},
    "destinations": [
        {
            "name": "pacs",
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": 104,
            "confirm": "commitment",
        }
    ],
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An answered series, long past its age, on a disk that is full to the last byte."""
    with mounted_disk(tmp_path / "disk") as is_disk:
        if not is_disk:
            stop("not root: no disk can be mounted")
        config = parse_config(TABLE, source="test", folder=tmp_path)
        site = Site(config, Ledger(config.node.database_url))
        save(ct_stack(), config.node.spool / SERIES)
        Watcher(Spool(config.node.spool), Completion(), lambda _: None, lambda: 2e9).poll()
        site.answer()
        ballast = tmp_path / "disk" / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield site
        site.ledger.close()


def kept(site: Site) -> set[Path]:
    return set(site.config.node.spool.parent.rglob("*.dcm"))


def all_become(site: Site, state: DeliveryState) -> None:
    site.ledger.save(*(replace(row, state=state) for row in site.ledger.deliveries()))


@pytest.mark.parametrize(
    "state", [DeliveryState.WAITING, DeliveryState.SENT, DeliveryState.HELD]
)
def test_a_full_disk_deletes_nothing_that_is_not_confirmed(
    state: DeliveryState, site: Site
) -> None:
    before = kept(site)
    all_become(site, state)
    site.clock.advance(days=30_000)
    purge(site.config, site.ledger, site.clock())

    assert len(before) == 7
    assert kept(site) == before


def test_what_is_confirmed_and_old_goes_from_a_full_disk_too(site: Site) -> None:
    """Else nothing above would be a claim."""
    all_become(site, DeliveryState.CONFIRMED)
    site.clock.advance(days=30_000)
    purge(site.config, site.ledger, site.clock())

    assert kept(site) == set()
