"""Notes of what came, and the walk that makes up for the lack of one, in a large spool."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.ct import SERIES_UID, ct_stack
from support.spooled import SETTINGS, keep

from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.refusals import Refusal, RefusalRecord, Why
from dicom_node.spool.revisions import Revision, write_marker
from dicom_node.spool.spool import Spool
from dicom_node.spool.touched import (
    TOUCHED,
    forget_note,
    keep_note,
    note_looked_through,
    take_notes,
    touch,
    was_looked_through,
)
from dicom_node.spool.watcher import Watcher

OTHERS = 40


class Node:
    """A watched spool that holds many series, of which a look's walk sees one."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.taken: list[SeriesArrival] = []
        # Behind the clock of the files, by which a record is younger than its images.
        self.now_s = time.time() - 1e6
        for number in range(OTHERS):
            # Whatever order a disk lists them in, the walk has others before and after it.
            series = folder / f"{SERIES_UID}.{number}"
            series.mkdir()
            write_marker(series, [Revision(1, (), "", done=True)])
        self.watcher = self.started()

    def started(self) -> Watcher:
        """A watcher that has seen nothing yet."""
        return Watcher(self.spool, SETTINGS, self.taken.append, lambda: self.now_s)

    def comes(self, offsets_mm: list[float] | None = None) -> None:
        """Images come, and then nothing for a while."""
        self.now_s += 1000.0
        keep(self.spool, ct_stack(offsets_mm) if offsets_mm else ct_stack(), at_s=self.now_s)
        self.now_s += 10.0

    def polls(self, count: int) -> None:
        """Look so often."""
        for _ in range(count):
            self.now_s += 1.0
            self.watcher.poll()

    @property
    def notes(self) -> list[str]:
        """The notes there are, of whichever form."""
        names = [path.name for path in (self.spool.folder / TOUCHED).iterdir()]
        return sorted(name for name in names if not name.startswith("."))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """One that has been looked through, and whose folders are settled at once."""
    monkeypatch.setattr("dicom_node.spool.watcher.SETTLED_AFTER_NS", -(10**15))
    monkeypatch.setattr("dicom_node.spool.watcher.WALK_S", -1.0)
    node = Node(tmp_path / "spool")
    note_looked_through(node.spool.folder)
    return node


def test_what_comes_is_handed_over_at_once_however_many_series_there_are(node: Node) -> None:
    node.comes()
    node.polls(1)
    first = len(node.taken)
    node.comes([10.0])
    node.polls(1)

    assert first == 1
    assert [(one.series_instance_uid, one.revision) for one in node.taken] == [
        (SERIES_UID, 1),
        (SERIES_UID, 2),
    ]


def test_a_series_with_nothing_left_to_decide_leaves_no_note(node: Node) -> None:
    node.comes()
    node.polls(1)
    while_it_may_change = node.notes
    node.polls(1)

    assert while_it_may_change == [f"{SERIES_UID}~"]
    assert node.notes == []


def test_a_series_that_waits_is_looked_at_by_the_next_watcher(node: Node) -> None:
    """Half of it had come when the worker was killed; nothing of it comes any more."""
    node.comes([0.0, 2.0, 6.0, 8.0])
    node.polls(1)
    node.watcher = node.started()
    node.now_s += SETTINGS.give_up_s
    node.polls(1)

    assert [len(one.paths) for one in node.taken] == [4]


def test_what_came_without_a_note_is_found_by_the_walk(node: Node) -> None:
    """An older receiver left none, or a power cut took it."""
    node.comes()
    forget_note(node.spool.folder, SERIES_UID)
    (node.spool.folder / TOUCHED / SERIES_UID).unlink()
    node.polls(1)
    at_once = len(node.taken)
    # Whatever else is in the folder (.incoming, .digest-key) takes a look of its own.
    node.polls(OTHERS + 20)

    assert at_once == 0
    assert len(node.taken) == 1


def test_a_late_image_without_a_note_is_found_by_the_next_walk(node: Node) -> None:
    node.comes()
    node.polls(2 * OTHERS)
    node.comes([10.0])
    (node.spool.folder / TOUCHED / SERIES_UID).unlink()
    node.polls(2 * OTHERS)

    assert [one.revision for one in node.taken] == [1, 2]


def test_a_spool_of_before_there_were_notes_is_looked_through_whole_at_the_start(
    node: Node,
) -> None:
    for path in (node.spool.folder / TOUCHED).iterdir():
        path.unlink()
    (node.spool.folder / TOUCHED).rmdir()
    node.comes()
    (node.spool.folder / TOUCHED / SERIES_UID).unlink()
    node.polls(1)

    assert len(node.taken) == 1
    assert was_looked_through(node.spool.folder)


def test_a_series_that_had_an_image_refused_is_looked_at_every_time(node: Node) -> None:
    node.comes()
    node.polls(2)
    RefusalRecord(node.spool.folder).add(SERIES_UID, Refusal("1.2.9", Why.ROOM))
    node.now_s += SETTINGS.give_up_s
    node.polls(1)

    assert [len(one.notes) for one in node.taken] == [0, 1]


def test_a_note_that_is_left_while_its_series_is_looked_at_is_there_afterwards(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "1.2.3")
    first = take_notes(tmp_path)
    touch(tmp_path, "1.2.3")
    forget_note(tmp_path, "1.2.3")
    second = take_notes(tmp_path)
    forget_note(tmp_path, "1.2.3")

    assert first == second == {"1.2.3"}
    assert take_notes(tmp_path) == frozenset()


def test_a_taken_note_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    keep_note(tmp_path, "1.2.3")
    found = [take_notes(tmp_path) for _ in range(2)]
    forget_note(tmp_path, "1.2.3")

    assert found == [{"1.2.3"}, {"1.2.3"}]
    assert take_notes(tmp_path) == frozenset()
