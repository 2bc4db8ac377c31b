"""The acceptance of a site whose archive is a real Orthanc, by DICOM and by DICOMweb.

Receiver, spool, watcher, workflow and delivery are the node's own; the network is replaced by
the phantom's own segments, so that what is wrong is known.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.orthanc import DICOM_PORT, PACS_AE, Orthanc
from support.phantom_analysis import COMMAND, SWAPPED
from support.small_node import small_config

from dicom_node.cohort.reading import records_of_ledger
from dicom_node.node.acceptance.run import AcceptanceOptions, accept
from dicom_node.node.workflow import Workflow
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.results.pdf.protocol import Outcome, Protocol
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.watcher import Watcher
from inference.models.bundle import load_bundle
from inference.phantom.spec import SMALL_PHANTOM

WAYS: dict[str, dict[str, Any]] = {
    "dicom": {"ae_title": PACS_AE, "host": "127.0.0.1", "port": DICOM_PORT},
    "web": {"url": "http://127.0.0.1:8042/dicom-web"},
}


@contextmanager
def running(folder: Path, *options: str, **sections: Any) -> Iterator[NodeConfig]:
    """A node in this process that works until the end of the block; its settings."""
    config = small_config(folder, None, completion={"quiet_s": 0.5}, **sections)
    sha256 = load_bundle(config.analysis.bundle).sha256
    ledger, stop = Ledger(config.node.database_url), threading.Event()
    workflow = Workflow(config, ledger, sha256, (*COMMAND, *options))

    def hand_over(arrival: SeriesArrival) -> None:
        waiting: list[JobRequest] = list(workflow.admit(arrival))
        while waiting:
            job = waiting.pop(0)
            waiting += workflow.kinds()[job.kind].run(job.payload)

    with Receiver(ReceiverSettings.of(config)) as receiver:
        watcher = Watcher(receiver.spool, config.completion, hand_over)

        def work() -> None:
            while not stop.wait(0.05):
                watcher.poll()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield config.model_copy(
                update={"node": config.node.model_copy(update={"port": receiver.port})}
            )
        finally:
            stop.set()
            thread.join()
            ledger.close()


def accepted(config: NodeConfig, folder: Path, **options: Any) -> Protocol:
    """What the acceptance of a running node says."""
    wanted = AcceptanceOptions(timeout_s=60, spec=SMALL_PHANTOM, **options)
    return accept(config, wanted, folder / "acceptance", lambda _: None)


def failed(protocol: Protocol) -> list[str]:
    return [each.claim for each in protocol.checks if each.outcome is Outcome.FAILED]


@pytest.mark.parametrize("way", WAYS)
def test_a_site_that_does_as_it_should_is_accepted(
    way: str, orthanc: Orthanc, tmp_path: Path
) -> None:
    pacs = {"name": "pacs", "confirm": "query", **WAYS[way]}
    with running(tmp_path, destinations=[pacs]) as config:
        # The small phantom is coarse, and its muscles' edges blur.
        limits = {
            "volume_percent": 30,
            "median_volume_percent": 20,
            "muscle_hu": 60,
            "bone_hu": 200,
        }
        wide = config.acceptance.model_copy(update=limits)
        protocol = accepted(config.model_copy(update={"acceptance": wide}), tmp_path)

    found = {(each.subject, each.claim): each for each in protocol.checks}
    assert failed(protocol) == [], protocol.checks
    assert "2 of 2 identical" in found["pacs", "gives them back unchanged"].found
    assert "2 of 2" in found["pacs", "confirms what it has taken"].found
    assert protocol.count(Outcome.NOT_CHECKED) == 0
    study = dict(protocol.facts)["Study"]
    assert {each.modality for each in orthanc.instances(study)} == {"SEG", "SR", "KO"}


def test_swapped_sides_are_found(orthanc: Orthanc, tmp_path: Path) -> None:
    pacs = {"name": "pacs", "confirm": "no", **WAYS["dicom"]}
    with running(tmp_path, SWAPPED, destinations=[pacs]) as config:
        protocol = accepted(config, tmp_path, keep=True)

    (sides,) = [each for each in protocol.checks if "both sides right" in each.claim]
    assert not protocol.passed
    assert sides.outcome is Outcome.FAILED
    assert "on the wrong side: PELVIS_R" in sides.found


def test_a_test_case_is_in_no_table_unless_it_is_wanted(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    with running(tmp_path, destinations=[{"name": "pacs", **WAYS["dicom"]}]) as config:
        accepted(config, tmp_path, keep=True)
        ledger = Ledger(config.node.database_url)
        usual = list(records_of_ledger(ledger, lambda *_: None))
        wanted = list(records_of_ledger(ledger, lambda *_: None, tests=True))
        ledger.close()

    assert (len(usual), len(wanted)) == (0, 1)
