"""The spool on disk, and when a series counts as complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from support.ct import SERIES_UID, STUDY_UID, ct_slice, ct_stack, save
from support.pacs import dataset_bytes

from dicom_node.completeness import Arrivals, CompletionSettings, is_complete
from dicom_node.frames import SliceHeader, read_header, slice_header
from dicom_node.inbox import SeriesArrival, Watcher, read_arrivals, read_marker
from dicom_node.spool import Spool, SpoolEntry, is_uid
from dicom_node.wire import file_meta_bytes

SETTINGS = CompletionSettings(quiet_s=10, give_up_s=300)


def keep(spool: Spool, datasets: Sequence[Dataset], at_s: float = 1000.0) -> None:
    """Put datasets into the spool as the receiver does, with this arrival time."""
    scratch = spool.folder.parent / "scratch"
    for path, dataset in zip(save(datasets, scratch), datasets, strict=True):
        meta = file_meta_bytes(
            dataset.SOPClassUID,
            dataset.SOPInstanceUID,
            dataset.file_meta.TransferSyntaxUID,
            "SCANNER",
            "MSKNODE",
        )
        entry = spool.keep(
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID, (meta, dataset_bytes(path))
        )
        os.utime(entry.path, (at_s, at_s))


def headers(datasets: Sequence[Dataset], folder: Path) -> tuple[SliceHeader, ...]:
    found = []
    for path in save(datasets, folder):
        header = read_header(path)
        assert header is not None
        found.append(slice_header(path, header, None))
    return tuple(found)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


# --- keeping


def test_an_instance_is_kept_byte_for_byte_and_readable(spool: Spool, tmp_path: Path) -> None:
    dataset = ct_slice()

    keep(spool, [dataset])

    (entry,) = spool.entries(SERIES_UID)
    assert entry.path == spool.folder / SERIES_UID / f"{dataset.SOPInstanceUID}.dcm"
    assert dataset_bytes(entry.path) == dataset_bytes(tmp_path / "scratch" / "0.dcm")
    header = read_header(entry.path)
    assert header is not None
    assert header.SOPInstanceUID == dataset.SOPInstanceUID
    assert header.file_meta.SendingApplicationEntityTitle == "SCANNER"


def test_the_same_instance_again_changes_nothing(spool: Spool) -> None:
    dataset = ct_slice()

    keep(spool, [dataset], at_s=1000)
    keep(spool, [dataset], at_s=1000)

    assert len(spool.entries(SERIES_UID)) == 1


def test_other_bytes_under_the_same_uid_are_kept_beside_the_first(spool: Spool) -> None:
    first = ct_slice(SOPInstanceUID="1.2.3")
    other = ct_slice(SOPInstanceUID="1.2.3", hu=np.full((6, 8), 7))

    for dataset in (first, other, first, other):
        keep(spool, [dataset])

    entries = spool.entries(SERIES_UID)
    assert [entry.sop_instance_uid for entry in entries] == ["1.2.3", "1.2.3"]
    assert entries[0].path.name == "1.2.3.dcm"
    assert entries[1].path.name.startswith("1.2.3~")


@pytest.mark.parametrize(
    "uid", ["", "..", "../1.2", "1..2", ".1", "1.", "1.2/3", "/etc", "1.2\n", "1" * 65, "a.1"]
)
def test_what_is_no_uid_never_becomes_a_path(uid: str, spool: Spool) -> None:
    assert not is_uid(uid)
    for series, instance in [(uid, "1.2"), ("1.2", uid)]:
        with pytest.raises(ValueError, match="is not a UID"):
            spool.keep(series, instance, (b"meta", b"data"))


def test_a_disk_that_fills_leaves_nothing_half_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dicom_node.spool.os.fsync", full)

    with pytest.raises(OSError, match="No space"):
        spool.keep("1.2", "1.2.3", (b"meta", b"data"))

    assert spool.entries("1.2") == ()
    assert list((spool.folder / ".incoming").iterdir()) == []


def test_what_a_crash_left_is_swept_at_start(spool: Spool) -> None:
    left = spool.folder / ".incoming" / "dead.part"
    left.write_bytes(b"half")

    assert spool.sweep() == 1
    assert not left.exists()


def test_the_sweep_spares_what_another_receiver_is_writing(spool: Spool) -> None:
    with spool._temporary((b"meta", b"data")) as writing:
        assert Spool(spool.folder).sweep() == 0
        assert writing.exists()


# --- complete or not


def test_a_gap_free_stack_is_complete_once_it_is_quiet(tmp_path: Path) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path))

    assert not is_complete(arrivals, 1009.0, SETTINGS).complete
    assert is_complete(arrivals, 1010.0, SETTINGS).complete


def test_a_stack_with_a_gap_waits_and_goes_with_the_gap_named(tmp_path: Path) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack([0, 2, 4, 8, 10]), tmp_path))

    waiting = is_complete(arrivals, 1299.0, SETTINGS)
    given_up = is_complete(arrivals, 1300.0, SETTINGS)

    assert (waiting.complete, given_up.complete) == (False, True)
    assert "between 4.0 and 8.0 mm" in given_up.reason
    assert "300 s" in given_up.reason


@pytest.mark.parametrize(
    ("offsets", "elements", "words"),
    [
        ([0, 2], {}, "2 of at least 3 slices"),
        ([0, 2, 4], {"orientation": (0, 1, 0, 0, 0, -1)}, ""),
    ],
)
def test_what_is_no_stack_waits_for_the_long_timer(
    offsets: list[float], elements: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Also a sagittal stack is a stack: it is refused by name later."""
    arrivals = Arrivals(1000.0, headers(ct_stack(offsets, **elements), tmp_path))

    assert is_complete(arrivals, 1020.0, SETTINGS).complete == (not words)
    assert words in is_complete(arrivals, 1020.0, SETTINGS).reason


def test_headers_that_cannot_be_read_wait_for_the_long_timer(tmp_path: Path) -> None:
    arrivals = Arrivals(1000.0, headers(ct_stack(), tmp_path), defect="PixelSpacing is missing")

    assert not is_complete(arrivals, 1020.0, SETTINGS).complete
    assert "PixelSpacing" in is_complete(arrivals, 1300.0, SETTINGS).reason


def test_two_images_at_one_position_do_not_hold_the_series_up(tmp_path: Path) -> None:
    datasets = [*ct_stack(), ct_slice((-4, -3, 4.0), hu=np.zeros((6, 8)))]

    assert is_complete(Arrivals(0.0, headers(datasets, tmp_path)), 60.0, SETTINGS).complete


def test_a_clock_set_back_holds_nothing_up(tmp_path: Path) -> None:
    arrivals = Arrivals(5000.0, headers(ct_stack(), tmp_path))

    assert is_complete(arrivals, 1000.0, SETTINGS).complete


def test_localisers_are_no_part_of_the_stack(spool: Spool) -> None:
    scout = ct_slice((0, 0, 500.0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    keep(spool, [*ct_stack(), scout])

    arrivals = read_arrivals(spool.entries(SERIES_UID))

    assert len(arrivals.slices) == 5
    assert arrivals.last_received_s == 1000.0


# --- handing over


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

    assert spool.purge(SERIES_UID) == 5
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

    monkeypatch.setattr("dicom_node.inbox.read_arrivals", counted)
    watch = watcher(spool, Engine(), 1100.0)

    for _ in range(3):
        watch.poll()

    assert reads == [5]
