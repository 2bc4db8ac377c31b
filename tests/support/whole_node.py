"""A node from its port to its results, in the test's own process: what comes in by a real port.

Receiver, spool, watcher, workflow and delivery are real, the analysis is the fast one, and
the jobs are done as they are put. A second one on the same folder is a node that was restarted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from dicom_node.node.status import NodeStatus, node_status
from dicom_node.node.workflow import Workflow
from dicom_node.peers.outcome import SendOutcome
from dicom_node.persistence.jobs import JobRequest
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesRow
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.watcher import Watcher
from inference.models.bundle import load_bundle
from support.ct import SERIES_UID, save
from support.delivering import deliver
from support.fast_analysis import COMMAND
from support.small_node import small_config

SHORT = {"quiet_s": 0.3, "resend_s": 0.6, "give_up_s": 1.0}
"""Waits of a test; the rules are the same."""

COME_TO_REST_S = 60.0


@dataclass(slots=True)
class WholeNode:
    """A node that runs."""

    config: NodeConfig
    receiver: Receiver
    workflow: Workflow
    watcher: Watcher
    offered: list[SeriesArrival]

    def send(
        self, datasets: Sequence[Dataset], folder: str = "sent", called: str = "MSKNODE"
    ) -> list[int | None]:
        """Send them in this order on one association; the statuses."""
        paths = save(datasets, self.config.node.spool.parent / folder)
        return [outcome.status for outcome in self.send_files(paths, called)]

    def send_files(self, paths: list[Path], called: str = "MSKNODE") -> tuple[SendOutcome, ...]:
        """Send files as a scanner does."""
        return deliver(self.receiver, paths, called=called)

    def come_to_rest(self, seconds: float = 1.6) -> None:
        """Look at the spool again and again until nothing has been offered for so long."""
        until = time.monotonic() + COME_TO_REST_S
        rest_at = time.monotonic() + seconds
        while time.monotonic() < min(rest_at, until):
            if self.watcher.poll():
                rest_at = time.monotonic() + seconds
            time.sleep(0.05)

    @property
    def rows(self) -> tuple[SeriesRow, ...]:
        """The revisions of the series."""
        return self.workflow.ledger.revisions(SERIES_UID)

    @property
    def status(self) -> NodeStatus:
        """What `msk-node status` shows."""
        return node_status(self.config)

    def result(self, kind: str, revision: int) -> Dataset:
        """A result object of a revision."""
        found = self.workflow.ledger.results(SERIES_UID, revision)
        return pydicom.dcmread(next(each.path for each in found if each.kind == kind))

    def kinds(self, revision: int) -> list[str]:
        """The kinds of objects of a revision."""
        return sorted(each.kind for each in self.workflow.ledger.results(SERIES_UID, revision))


@contextmanager
def whole_node(
    folder: Path, pacs_port: int, *options: str, **sections: Any
) -> Iterator[WholeNode]:
    """A node on the folders of `folder`, until the end of the block.

    options: of the fast analysis.
    """
    sections = {"completion": SHORT} | sections
    config = small_config(folder, pacs_port, **sections)
    ledger = Ledger(config.node.database_url)
    sha256 = load_bundle(config.analysis.bundle).sha256
    workflow = Workflow(config, ledger, sha256, (*COMMAND, *options))
    offered: list[SeriesArrival] = []

    def hand_over(arrival: SeriesArrival) -> None:
        offered.append(arrival)
        waiting: list[JobRequest] = list(workflow.admit(arrival))
        while waiting:
            job = waiting.pop(0)
            waiting += workflow.kinds()[job.kind].run(job.payload)

    settings = ReceiverSettings.of(config)
    with Receiver(_on_any_port(settings)) as receiver:
        watcher = Watcher(receiver.spool, config.completion, hand_over)
        yield WholeNode(config, receiver, workflow, watcher, offered)
    ledger.close()


def _on_any_port(settings: ReceiverSettings) -> ReceiverSettings:
    return replace(settings, port=0)
