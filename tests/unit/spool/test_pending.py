"""Claims about series that wait: what `msk-node status` says, and what a set clock does."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from support.ct import SERIES_UID, ct_stack, save

from dicom_node.commands.status_tables import render
from dicom_node.node.status import node_status
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import Completion, NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.completeness import Expectation
from dicom_node.spool.pending import WAITING, read_waiting
from dicom_node.spool.spool import Spool
from dicom_node.spool.watcher import Watcher

SETTINGS = Completion(quiet_s=10, give_up_s=300, resend_s=120)
DAY_S = 86_400.0


@dataclass(slots=True)
class Clocks:
    """A clock that can be set, and a steady one."""

    steady_s: float = 5000.0
    wrong_by_s: float = 0.0

    def now(self) -> float:
        """What the clock shows."""
        return self.steady_s + self.wrong_by_s


@dataclass(slots=True)
class Inbox:
    """A watcher of a spool, with clocks and a sender that counts `counted` images."""

    folder: Path
    clocks: Clocks = field(default_factory=Clocks)
    counted: int | None = None
    taken: list[SeriesArrival] = field(default_factory=list)
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = Watcher(
            Spool(self.folder),
            SETTINGS,
            self.taken.append,
            self.clocks.now,
            ask=lambda *_: Expectation(self.counted, "pacs") if self.counted else None,
            since_s=self.clocks.now(),
            steady_clock=lambda: self.clocks.steady_s,
        )

    def receive(self, *offsets_mm: float) -> None:
        """Slices at these places come now."""
        scratch = self.folder.parent / "scratch"
        paths = save(ct_stack(offsets_mm), scratch)
        (self.folder / SERIES_UID).mkdir(parents=True, exist_ok=True)
        for path, offset in zip(paths, offsets_mm, strict=True):
            kept = path.rename(self.folder / SERIES_UID / f"1.2.{offset:.0f}.dcm")
            os.utime(kept, (self.clocks.now(), self.clocks.now()))

    def poll_after(self, seconds: float) -> None:
        """Look once, so much later."""
        self.clocks.steady_s += seconds
        self.watcher.poll()

    def reasons(self) -> list[str]:
        """What is told of series that wait."""
        return [row.reason for row in read_waiting(self.folder)]


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "spool")


def config_of(folder: Path) -> NodeConfig:
    table = {"node": {"spool": "spool", "database": "db"}}
    return parse_config(table, source="test", folder=folder)


def test_status_shows_a_gap_that_a_series_waits_for(inbox: Inbox, tmp_path: Path) -> None:
    inbox.receive(0, 2, 4, 8, 10)
    inbox.poll_after(11)
    console = Console(width=200)
    console.print(render(node_status(config_of(tmp_path))))  # as at every look before
    with console.capture() as captured:
        console.print(render(node_status(config_of(tmp_path))))

    assert inbox.taken == []
    for words in (
        "Series not complete yet",
        SERIES_UID,
        "slices are missing",
        "4.0 and 8.0 mm",
    ):
        assert words in captured.get()


def test_status_shows_a_count_that_a_series_waits_for(inbox: Inbox) -> None:
    inbox.counted = 7
    inbox.receive(0, 2, 4, 6, 8)
    inbox.poll_after(11)

    assert inbox.reasons() == ["5 of 7 instances that pacs counts"]


def test_what_is_handed_over_waits_no_longer(inbox: Inbox) -> None:
    inbox.receive(0, 2, 4, 8, 10)
    inbox.poll_after(11)
    inbox.receive(6)
    inbox.poll_after(11)

    assert [len(one.paths) for one in inbox.taken] == [6]
    assert inbox.reasons() == []


def test_a_list_that_is_no_list_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / WAITING).write_text('[{"series": 1}]')

    assert read_waiting(tmp_path) == ()
    assert read_waiting(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_is_set_closes_no_series_while_it_arrives(days: int, inbox: Inbox) -> None:
    """The age of what is here says nothing then: the sender gets its time to go on anew."""
    inbox.receive(0, 2, 4)
    inbox.poll_after(1)
    inbox.clocks.wrong_by_s = days * DAY_S
    inbox.poll_after(1)
    at_once = len(inbox.taken)
    inbox.receive(6, 8)
    inbox.poll_after(11)

    assert at_once == 0
    assert [len(one.paths) for one in inbox.taken] == [5]


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_is_set_does_not_end_the_wait_for_a_gap(days: int, inbox: Inbox) -> None:
    """What is missing gets the long time, from then on, and not the short one."""
    inbox.receive(0, 2, 4, 8)
    inbox.poll_after(1)
    inbox.clocks.wrong_by_s = days * DAY_S
    inbox.poll_after(1)
    inbox.poll_after(11)
    before = len(inbox.taken)
    inbox.receive(6)
    inbox.poll_after(11)

    assert before == 0
    assert [len(one.paths) for one in inbox.taken] == [5]


@pytest.mark.parametrize("days", [2, -2])
def test_a_gap_is_given_up_though_the_clock_was_set(days: int, inbox: Inbox) -> None:
    inbox.receive(0, 2, 4, 8)
    inbox.poll_after(1)
    inbox.clocks.wrong_by_s = days * DAY_S
    inbox.poll_after(1)
    inbox.poll_after(301)

    assert [len(one.paths) for one in inbox.taken] == [4]


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_is_set_holds_no_series_up(days: int, inbox: Inbox) -> None:
    inbox.receive(0, 2, 4)
    inbox.poll_after(1)
    inbox.clocks.wrong_by_s = days * DAY_S
    inbox.poll_after(1)
    inbox.poll_after(11)

    assert [len(one.paths) for one in inbox.taken] == [3]
