"""Handing over: each complete series once, and a revision where images are new."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from support.ct import SERIES_UID, STUDY_UID, ct_slice, ct_stack
from support.spooled import SETTINGS, keep, purge

from dicom_node.spool.arrivals import SeriesArrival, read_arrivals
from dicom_node.spool.completeness import (
    Arrivals,
    Expectation,
)
from dicom_node.spool.open_associations import Transmissions, sending
from dicom_node.spool.pending import read_waiting
from dicom_node.spool.revisions import read_marker
from dicom_node.spool.spool import Spool, SpoolEntry
from dicom_node.spool.watcher import Watcher


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


class Engine:
    """Takes what is handed over; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.taken: list[SeriesArrival] = []
        self.failures = failures

    def __call__(self, arrival: SeriesArrival) -> None:
        """Take a series, or fail."""
        if self.failures:
            self.failures -= 1
            raise ConnectionError("database away")
        self.taken.append(arrival)


def watcher(spool: Spool, engine: Engine, now_s: float) -> Watcher:
    return Watcher(spool, SETTINGS, engine, clock=lambda: now_s)


class Sender:
    """Says how many images a series has, when asked."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, calling: str, study: str, series: str) -> Expectation | None:
        """Give the next answer; the last one again and again."""
        self.asked.append((calling, study, series))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return None if answer is None else Expectation(answer, "pacs")


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """The time that it was set to."""
        return self.now_s


def rules(spool: Spool) -> list[str]:
    """What closed each revision, as it was recorded."""
    return [each.rule for each in read_marker(spool.folder / SERIES_UID)]


def test_the_rule_that_closed_a_series_is_recorded(spool: Spool) -> None:
    keep(spool, ct_stack([0, 2, 4, 8, 10]))
    watcher(spool, Engine(), 1300.0).poll()
    keep(spool, ct_stack([6.0]), at_s=1400)
    watcher(spool, Engine(), 1410.0).poll()

    assert rules(spool) == ["timer", "gap-free"]


def test_the_count_in_the_headers_closes_a_series_at_once(spool: Spool) -> None:
    stack = ct_stack(NumberOfSeriesRelatedInstances=5)
    engine = Engine()
    watch = watcher(spool, engine, 1001.0)

    keep(spool, stack[:4])
    watch.poll()
    before = len(engine.taken)
    keep(spool, stack[4:])
    watch.poll()

    assert (before, len(engine.taken)) == (0, 1)
    assert rules(spool) == ["count"]


def test_a_count_in_the_headers_that_is_out_of_date_closes_nothing_amid_the_series(
    spool: Spool,
) -> None:
    """The archive wrote 3 when it had 3; the fourth comes half a second after the third."""
    stack = ct_stack(NumberOfSeriesRelatedInstances=3)
    clock, engine = Clock(1000.5), Engine()
    watch = Watcher(spool, SETTINGS, engine, clock)

    keep(spool, stack[:3], at_s=1000.0)
    watch.poll()
    keep(spool, stack[3:], at_s=1001.0)
    for clock.now_s in (1002.0, 1011.0):
        watch.poll()

    assert [len(one.paths) for one in engine.taken] == [5]
    assert rules(spool) == ["gap-free"]


def test_a_sender_that_counts_is_asked_once_for_what_is_there(spool: Spool) -> None:
    """3 of 5 are there; asked when it is quiet, when more has come, and not every second."""
    stack = ct_stack()
    keep(spool, stack[:3])
    clock, engine, sender = Clock(1005.0), Engine(), Sender(5)
    watch = Watcher(spool, SETTINGS, engine, clock, ask=sender)

    for now_s in (1005.0, 1010.0, 1011.0, 1050.0):
        clock.now_s = now_s
        watch.poll()
    waiting = (len(engine.taken), len(sender.asked))
    keep(spool, stack[3:], at_s=1060.0)
    clock.now_s = 1070.0
    watch.poll()

    assert waiting == (0, 1)
    assert sender.asked[0] == ("SCANNER", STUDY_UID, SERIES_UID)
    assert (len(engine.taken), len(sender.asked)) == (1, 2)
    assert rules(spool) == ["count"]


def test_a_sender_that_does_not_answer_holds_nothing_up(spool: Spool) -> None:
    keep(spool, ct_stack())
    engine = Engine()

    Watcher(spool, SETTINGS, engine, lambda: 1010.0, ask=Sender(None)).poll()

    assert rules(spool) == ["gap-free"]


def test_a_series_of_which_the_sender_keeps_some_goes_at_the_long_timer(spool: Spool) -> None:
    keep(spool, ct_stack())
    clock, engine = Clock(1010.0), Engine()
    watch = Watcher(spool, SETTINGS, engine, clock, ask=Sender(6))

    watch.poll()
    clock.now_s = 1300.0
    watch.poll()

    assert rules(spool) == ["timer"]
    assert "5 of 6 instances" in engine.taken[0].reason


def send(spool: Spool, datasets: Sequence[Dataset], at_s: float) -> Transmissions:
    """Put datasets into the spool on an association that is still open."""
    association = Transmissions(spool.folder)
    for dataset in datasets:
        keep(spool, [dataset], at_s)
        association.came(dataset.SeriesInstanceUID, kept=True)
        for mark in (spool.folder / SERIES_UID).glob(".sending-*"):
            os.utime(mark, (at_s, at_s))
    return association


def test_a_series_interrupted_and_sent_again_ends_as_one_revision(spool: Spool) -> None:
    """Three of five slices, no gap, and the connection is lost; all five come later."""
    stack = ct_stack()
    clock, engine = Clock(1000.0), Engine()
    watch = Watcher(spool, SETTINGS, engine, clock)

    send(spool, stack[:3], 1000.0).broke_off()
    clock.now_s = 1050.0
    watch.poll()
    interrupted = len(engine.taken)
    send(spool, stack, 1060.0).released()
    clock.now_s = 1070.0
    watch.poll()

    assert interrupted == 0
    assert [(one.revision, len(one.paths)) for one in engine.taken] == [(1, 5)]
    assert rules(spool) == ["gap-free"]


def test_a_series_whose_node_was_killed_amid_it_waits_for_its_sender(spool: Spool) -> None:
    """The new watcher starts an hour later: the sender has its time from then on."""
    stack = ct_stack()
    killed = send(spool, stack[:3], 1000.0)
    killed.broke_off()  # as the kernel does with the locks of a killed process
    clock, engine = Clock(4600.0), Engine()
    watch = Watcher(Spool(spool.folder), SETTINGS, engine, clock, since_s=4600.0)

    for now_s in (4600.0, 4611.0, 4700.0):
        clock.now_s = now_s
        watch.poll()
    waited = len(engine.taken)
    clock.now_s = 4720.0
    watch.poll()

    assert (waited, len(engine.taken)) == (0, 1)


def test_what_is_being_sent_again_is_not_taken_for_quiet(spool: Spool) -> None:
    """The first slices of the second try are there already, so no new file appears."""
    stack = ct_stack()
    send(spool, stack[:3], 1000.0).broke_off()
    again = send(spool, stack[:2], 1119.0)
    clock, engine = Clock(1121.0), Engine()
    watch = Watcher(spool, SETTINGS, engine, clock)

    watch.poll()
    again.broke_off()

    assert engine.taken == []
    assert sending(spool.folder / SERIES_UID).interrupted


def test_an_association_beside_the_one_that_broke_off_does_not_make_up_for_it(
    spool: Spool,
) -> None:
    """Two associations share a series; the other one ends well, and that proves nothing."""
    stack = ct_stack()
    lost = send(spool, stack[:2], 1000.0)
    beside = send(spool, stack[2:4], 1000.0)
    lost.broke_off()
    beside.released()

    assert sending(spool.folder / SERIES_UID).interrupted


def test_a_migration_of_many_series_in_one_association_keeps_few_files_open(
    spool: Spool,
) -> None:
    association = Transmissions(spool.folder)
    uids = [f"1.2.{number}" for number in range(50)]
    for uid in uids:
        keep(spool, [ct_slice(SeriesInstanceUID=uid)])
        association.came(uid, kept=True)
    folders = [spool.folder / uid for uid in uids]

    open_marks = [sending(folder).open for folder in folders]
    association.broke_off()
    interrupted = [sending(folder).interrupted for folder in folders]

    assert open_marks == interrupted == [False] * 46 + [True] * 4


def test_an_open_association_is_no_interrupted_one(spool: Spool) -> None:
    """A sender that keeps its association open between series holds nothing up."""
    association = send(spool, ct_stack(), 1000.0)
    engine = Engine()

    watcher(spool, engine, 1010.0).poll()

    assert sending(spool.folder / SERIES_UID).open
    assert len(engine.taken) == 1
    association.released()


def test_a_complete_series_is_handed_over_once(spool: Spool) -> None:
    keep(spool, ct_stack())
    engine = Engine()
    watch = watcher(spool, engine, 1010.0)

    watch.poll()
    watch.poll()

    (arrival,) = engine.taken
    assert arrival.revision == 1
    assert (arrival.series_instance_uid, arrival.study_instance_uid) == (SERIES_UID, STUDY_UID)
    assert (arrival.calling_ae_title, arrival.called_ae_title) == ("SCANNER", "MSKNODE")
    assert len(arrival.paths) == len(arrival.sop_instance_uids) == 5
    assert "no gap" in arrival.reason


def test_nothing_is_handed_over_while_images_arrive(spool: Spool) -> None:
    keep(spool, ct_stack())
    engine = Engine()

    watcher(spool, engine, 1009.0).poll()

    assert engine.taken == []
    assert read_marker(spool.folder / SERIES_UID) == ()


def test_a_restart_remembers_what_was_handed_over(spool: Spool) -> None:
    keep(spool, ct_stack())
    engine = Engine()
    watcher(spool, engine, 1010.0).poll()

    watcher(Spool(spool.folder), engine, 2000.0).poll()

    assert len(engine.taken) == 1


def test_an_interrupted_hand_over_is_offered_again_with_the_same_files(spool: Spool) -> None:
    """The crash falls between the decision and the engine; meanwhile a slice arrives."""
    keep(spool, ct_stack())
    engine = Engine(failures=1)
    watcher(spool, engine, 1010.0).poll()
    keep(spool, ct_stack([10.0]), at_s=1011)

    watch = watcher(Spool(spool.folder), engine, 1030.0)
    watch.poll()
    watch.poll()

    assert [(one.revision, len(one.paths)) for one in engine.taken] == [(1, 5), (2, 6)]


def test_a_late_slice_opens_the_next_revision_with_all_files(spool: Spool) -> None:
    keep(spool, ct_stack([0, 2, 4, 8, 10]))
    engine = Engine()
    watcher(spool, engine, 1300.0).poll()
    keep(spool, ct_stack([6.0]), at_s=1400)
    watch = watcher(spool, engine, 1410.0)

    watch.poll()
    watch.poll()

    assert [(one.revision, len(one.paths)) for one in engine.taken] == [(1, 5), (2, 6)]
    assert "between 4.0 and 8.0" in engine.taken[0].reason


def test_the_same_series_again_opens_no_revision(spool: Spool) -> None:
    datasets = ct_stack()
    keep(spool, datasets)
    engine = Engine()
    watcher(spool, engine, 1010.0).poll()

    keep(spool, datasets, at_s=1500)
    watcher(spool, engine, 1600.0).poll()

    assert len(engine.taken) == 1


def test_a_late_localiser_opens_no_revision(spool: Spool) -> None:
    keep(spool, ct_stack())
    engine = Engine()
    watcher(spool, engine, 1010.0).poll()

    keep(spool, [ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])], at_s=1500)
    watcher(spool, engine, 1600.0).poll()

    assert len(engine.taken) == 1


def test_the_same_images_in_another_encoding_open_no_revision(spool: Spool) -> None:
    """An archive may send back what it got compressed, or with a corrected header."""
    datasets = ct_stack(shape=(64, 64))
    keep(spool, datasets)
    engine = Engine()
    watcher(spool, engine, 1010.0).poll()

    datasets[0].compress(RLELossless, generate_instance_uid=False)
    datasets[1].InstitutionName = "Archive"
    keep(spool, datasets, at_s=1500)
    watcher(spool, engine, 1600.0).poll()

    assert len(spool.entries(SERIES_UID)) == 7
    assert len(engine.taken) == 1


def test_another_image_under_a_known_uid_opens_a_revision(spool: Spool) -> None:
    datasets = ct_stack()
    keep(spool, datasets)
    engine = Engine()
    watcher(spool, engine, 1010.0).poll()

    uid = datasets[2].SOPInstanceUID
    keep(spool, [ct_slice((-4, -3, 4), hu=np.zeros((6, 8)), SOPInstanceUID=uid)], at_s=1500)
    watcher(spool, engine, 1600.0).poll()

    assert [one.revision for one in engine.taken] == [1, 2]


def test_only_one_watcher_looks_at_a_time(spool: Spool) -> None:
    keep(spool, ct_stack())
    other = watcher(spool, Engine(), 1010.0)
    seen: list[tuple[SeriesArrival, ...]] = []

    Watcher(spool, SETTINGS, lambda _: seen.append(other.poll()), lambda: 1010.0).poll()

    assert seen == [()]


def test_a_purged_series_sent_again_opens_no_revision(spool: Spool) -> None:
    datasets = ct_stack()
    keep(spool, datasets)
    engine = Engine()
    watcher(spool, engine, 1010.0).poll()

    assert purge(spool, SERIES_UID) == 5
    keep(spool, datasets, at_s=1500)
    watcher(spool, engine, 1600.0).poll()

    assert len(engine.taken) == 1


def test_one_series_that_fails_does_not_hold_up_the_others(spool: Spool) -> None:
    keep(spool, ct_stack())
    keep(spool, ct_stack(SeriesInstanceUID="1.2.3"))
    engine = Engine(failures=1)
    watch = watcher(spool, engine, 1010.0)

    watch.poll()
    first = len(engine.taken)
    watch.poll()

    assert (first, len(engine.taken)) == (1, 2)


def test_waiting_for_a_gap_does_not_read_the_headers_every_second(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(spool, ct_stack([0, 2, 4, 8, 10]))
    reads: list[int] = []

    def counted(entries: Sequence[SpoolEntry]) -> Arrivals:
        reads.append(len(entries))
        return read_arrivals(entries)

    monkeypatch.setattr("dicom_node.spool.watcher.read_arrivals", counted)
    watch = watcher(spool, Engine(), 1100.0)

    for _ in range(3):
        watch.poll()

    assert reads == [5]


def test_a_silent_sender_is_asked_once_more_before_a_gap_is_given_up(spool: Spool) -> None:
    """5 with a gap, and that is all there is: the sender says so when it is back."""
    keep(spool, ct_stack([0, 2, 4, 8, 10]))
    clock, engine, sender = Clock(1010.0), Engine(), Sender(None, 5)
    watch = Watcher(spool, SETTINGS, engine, clock, ask=sender)

    for clock.now_s in (1010.0, 1119.0, 1120.0):
        watch.poll()

    assert len(sender.asked) == 2
    assert rules(spool) == ["count"]


def test_a_mark_that_goes_starts_no_timer_anew(spool: Spool) -> None:
    """What is there already comes again and is released: the gap is as old as before."""
    stack = ct_stack([0, 2, 4, 8, 10])
    keep(spool, stack)
    association = send(spool, stack[:1], 1000.0)
    (mark,) = (spool.folder / SERIES_UID).glob(".sending-*")
    os.utime(mark, (1200.0, 1200.0))
    clock, engine = Clock(1210.0), Engine()
    watch = Watcher(spool, SETTINGS, engine, clock)

    watch.poll()
    association.released()
    clock.now_s = 1300.0
    watch.poll()

    assert rules(spool) == ["timer"]


def test_a_series_of_which_images_were_deleted_waits_for_all_of_it(spool: Spool) -> None:
    stack = ct_stack()
    keep(spool, stack)
    clock, engine = Clock(1010.0), Engine()
    watch = Watcher(spool, SETTINGS, engine, clock)
    watch.poll()
    for entry in spool.entries(SERIES_UID):
        entry.path.unlink()
    keep(spool, ct_stack([10, 12, 14]), at_s=2000)

    for clock.now_s in (2010.0, 9000.0):
        watch.poll()
    (told,) = read_waiting(spool.folder)
    keep(spool, stack, at_s=9000)
    clock.now_s = 9010.0
    watch.poll()

    assert told.reason == "5 images were deleted; the whole series must be sent again"
    assert [len(one.paths) for one in engine.taken] == [5, 8]
