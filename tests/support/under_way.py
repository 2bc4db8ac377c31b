"""A site whose node has cases in every state, and three destinations.

pacs takes everything, away is not there, strict refuses for good. Receiver, watcher, engine,
objects and delivery are real, the analysis is the fast one.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from dicom_node.peers.store import send
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.settings.loading import load_config
from support.cases import source_datasets
from support.ct import save
from support.installed_node import PAUSING, InstalledNode
from support.pacs import Pacs
from support.waiting import wait_until

PATIENCE_S = 120.0
LOOK_S = 0.25
"""Between two looks into a ledger: each opens the database anew."""
ARRIVING, QUEUED, ANALYSING, ANALYSED, SENT = (f"1.2.840.99999.12.{n}" for n in range(5))
NODE_TOML = """\
# What the reading room agreed on.
[node]
port = {port}
spool = "data/spool"
work = "data/work"
results = "data/results"
database = "{database}"

[receive]
free_reserve_mb = 0

[completion]
quiet_s = 2
give_up_s = 600
resend_s = 600

[analysis]
bundle = "./bundle"   # our own
device = "cpu"

[delivery]
first_wait_s = 0.2
max_wait_s = 1
timeout_s = 5

[logging]
format = "json"
level = "debug"

[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}

[[destinations]]
name = "away"
ae_title = "PACS"
host = "127.0.0.1"
port = {away}

[[destinations]]
name = "strict"
ae_title = "PACS"
host = "127.0.0.1"
port = {strict}
"""


@dataclass(slots=True)
class Site:
    """A node with cases in every state, and its three destinations.

    pacs takes everything, away is not there, strict refuses for good.
    """

    node: InstalledNode
    pacs: Pacs
    strict: Pacs
    images: dict[str, list[Path]]

    @property
    def toml(self) -> Path:
        """Its settings."""
        return self.node.folder / "node.toml"

    def states(self) -> dict[str, SeriesState]:
        """How far each series has come."""
        ledger = ledger_of(self.node)
        try:
            return {row.series_instance_uid: row.state for row in ledger.all_series()}
        finally:
            ledger.close()


def installed(folder: Path) -> InstalledNode:
    """The node of a folder with a `node.toml`."""
    config = load_config(folder / "node.toml")
    gates = folder / "gates"
    gates.mkdir(exist_ok=True)
    environment = {
        "PYTHONPATH": PAUSING,
        "MSK_TEST_GATES": str(gates),
        "MSK_TEST_WORK": str(config.node.work),
        "MSK_TEST_RESULTS": str(config.node.results),
    }
    return InstalledNode(folder, config, environment)


def series_images() -> dict[str, list[Path]]:
    """Every series' images in the order of their places."""
    found = {}
    for uid in (ARRIVING, QUEUED, ANALYSING, ANALYSED, SENT):
        datasets = source_datasets(SeriesInstanceUID=uid, StudyInstanceUID=f"{uid}.1")
        for number, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = f"{uid}.2.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        found[uid] = save(datasets, Path(tempfile.mkdtemp(prefix="msk-series-")))
    return found


def bring_under_way(site: Site) -> None:
    """Let the running node work until a series is in each state."""
    node, gates = site.node, site.node.folder / "gates"
    assert all(each.stored for each in send(node.peer, site.images[SENT]))
    wait_until(lambda: len(site.pacs.received) >= 2, PATIENCE_S, "one is delivered")
    wait_until(lambda: held(site) >= 2, PATIENCE_S, "and held for the strict one", LOOK_S)
    for uid, moment in ((ANALYSED, "publishing"), (ANALYSING, "segmenting")):
        (gates / f"hold-{moment}").touch()
        send(node.peer, site.images[uid])
        wait_until((gates / f"at-{moment}").exists, PATIENCE_S, moment)
    send(node.peer, site.images[QUEUED])
    send(node.peer, [*site.images[ARRIVING][:3], *site.images[ARRIVING][-3:]])
    wait_until(lambda: QUEUED in site.states(), PATIENCE_S, "one is queued", LOOK_S)


def ledger_of(node: InstalledNode) -> Ledger:
    """The ledger of a node, of whatever version, to read."""
    ledger = existing_ledger(node.config.node.database_url, only_read=True)
    assert ledger is not None
    return ledger


def held(site: Site) -> int:
    """How many objects are held."""
    ledger = ledger_of(site.node)
    try:
        return ledger.count_deliveries().get(DeliveryState.HELD, 0)
    finally:
        ledger.close()


def deliveries(node: InstalledNode) -> dict[str, set[str]]:
    """The objects that have arrived or must, by destination."""
    ledger = ledger_of(node)
    try:
        rows = ledger.deliveries()
    finally:
        ledger.close()
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.destination, set()).add(row.sop_instance_uid)
    return found


def is_done(node: InstalledNode) -> bool:
    """Whether every series is answered and delivered to those who take it."""
    ledger = ledger_of(node)
    try:
        states = ledger.count_series()
        waiting = ledger.count_deliveries().get(DeliveryState.WAITING, 0)
    finally:
        ledger.close()
    return states.get(SeriesState.REPORTED) == 5 and sum(states.values()) == 5 and not waiting
