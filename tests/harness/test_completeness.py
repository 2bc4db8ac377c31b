"""A real archive says how many images a series has: when a series that it sends is closed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from support.ct_files import write_ct
from support.orthanc import DICOM_PORT, NODE_AE, NODE_PORT, PACS_AE, Orthanc
from support.waiting import wait_until

from dicom_node.archive.expected_counts import SenderCounts
from dicom_node.node.roles import counting_peer
from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.node import Completion, NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.revisions import read_marker
from dicom_node.spool.watcher import Watcher

QUIET_S = 0.5
CONFIG = NodeConfig.model_validate(
    {
        "senders": [{"ae_title": PACS_AE, "hosts": ["127.0.0.1"], "count_at": "pacs"}],
        "destinations": [
            {"name": "pacs", "ae_title": PACS_AE, "host": "127.0.0.1", "port": DICOM_PORT}
        ],
    }
)


@dataclass(slots=True)
class Inbox:
    """The receiver and the watcher of a node, without what follows them."""

    receiver: Receiver
    watcher: Watcher
    taken: list[SeriesArrival] = field(default_factory=list)

    def closes(self) -> bool:
        """Look at the spool once; whether anything has been handed over so far."""
        self.watcher.poll()
        return bool(self.taken)

    def is_quiet_with(self, instances: int) -> bool:
        """Whether so many files are there, and the watcher has decided to wait."""
        self.watcher.poll()
        files = list(self.receiver.spool.folder.glob("*/*.dcm"))
        return len(files) == instances and any(
            each.waiting for each in self.watcher._watches.values()
        )

    def rule(self) -> str:
        """What closed the one series."""
        (folder,) = (path.parent for path in self.receiver.spool.folder.glob("*/*.json"))
        return read_marker(folder)[-1].rule


@pytest.fixture
def inbox(orthanc: Orthanc, tmp_path: Path) -> Iterator[Inbox]:
    """Lets nobody in but the archive, and asks it."""
    settings = ReceiverSettings(
        NODE_AE,
        tmp_path / "spool",
        port=NODE_PORT,
        senders=CONFIG.allowed_senders(),
        free_reserve_bytes=0,
    )
    taken: list[SeriesArrival] = []
    with Receiver(settings) as receiver:
        watcher = Watcher(
            receiver.spool,
            Completion(quiet_s=QUIET_S, give_up_s=60.0, resend_s=60.0),
            taken.append,
            ask=SenderCounts(partial(counting_peer, CONFIG)),
        )
        yield Inbox(receiver, watcher, taken)


def send_as_the_archive(paths: Sequence[Path]) -> None:
    """Send some files only, which the archive itself never does."""
    outcomes = send(Peer("node", NODE_AE, "127.0.0.1", NODE_PORT, PACS_AE), paths)
    assert all(each.stored for each in outcomes)


def test_a_series_that_the_archive_routes_is_closed_by_the_archive_s_count(
    inbox: Inbox, orthanc: Orthanc, tmp_path: Path
) -> None:
    sent = write_ct(tmp_path / "series", slices=12)

    orthanc.store(sent)
    wait_until(inbox.closes, within_s=30, words="the series is handed over", every_s=0.2)

    assert len(inbox.taken[0].paths) == 12
    assert inbox.taken[0].reason == "all 12 instances are here that pacs counts"
    assert inbox.rule() == "count"


def test_half_a_series_without_a_gap_waits_for_what_the_archive_still_has(
    inbox: Inbox, orthanc: Orthanc, tmp_path: Path
) -> None:
    """Eight slices in the archive, of which five come at first: no header tells of the rest."""
    series = write_ct(tmp_path / "series", slices=8)
    orthanc.upload(series)
    send_as_the_archive(series[:5])

    wait_until(
        lambda: inbox.is_quiet_with(5), within_s=20, words="the watcher waits", every_s=0.1
    )
    handed_over = len(inbox.taken)
    send_as_the_archive(series[5:])
    wait_until(inbox.closes, within_s=20, words="the series is handed over", every_s=0.1)

    assert handed_over == 0
    assert len(inbox.taken[0].paths) == 8
    assert inbox.rule() == "count"


def test_a_series_that_the_archive_does_not_know_is_closed_by_the_timers(
    inbox: Inbox, tmp_path: Path
) -> None:
    series = write_ct(tmp_path / "series", slices=5)
    send_as_the_archive(series)
    wait_until(inbox.closes, within_s=20, words="the series is handed over", every_s=0.1)

    assert inbox.rule() == "gap-free"
