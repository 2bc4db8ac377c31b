"""What is seen of a series that was looked at before: nothing that comes stays unseen."""

from __future__ import annotations

import errno
import os
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from support.ct import SERIES_UID, ct_slice, ct_stack
from support.spooled import SETTINGS, keep, purge

from dicom_node.errors import SeriesError
from dicom_node.series import bounded_files
from dicom_node.series.reading import read_series
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.pending import read_waiting
from dicom_node.spool.refusals import (
    AssociationRefusals,
    Refusal,
    RefusalRecord,
    Why,
    refused_file,
)
from dicom_node.spool.revisions import MARKER, read_marker
from dicom_node.spool.spool import Spool, SpoolEntry
from dicom_node.spool.watcher import Watcher

OTHER_UID = "1.2.3"


class Watched:
    """A watched spool, whose clock is set by hand and runs ahead of that of its files."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.taken: list[SeriesArrival] = []
        self.began_s = self.now_s = time.time() + 1e6
        self.watcher = Watcher(self.spool, SETTINGS, self.taken.append, lambda: self.now_s)

    def comes(self, datasets: list[Dataset]) -> None:
        """Images come, later than all before, and then nothing for a while."""
        self.now_s += 1000.0
        keep(self.spool, datasets, at_s=self.now_s)
        self.now_s += 10.0

    def polls(self, count: int = 3) -> None:
        """Look so often, a second apart."""
        for _ in range(count):
            self.now_s += 1.0
            self.watcher.poll()
            # The record is as old as the clock of the test says.
            for marker in self.spool.folder.glob(f"*/{MARKER}"):
                if marker.stat().st_mtime < self.began_s:
                    os.utime(marker, (self.now_s, self.now_s))

    @property
    def told(self) -> dict[str, str]:
        """What waits for what."""
        return {row.series_instance_uid: row.reason for row in read_waiting(self.spool.folder)}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A spool whose folders are settled at once, not two seconds after their last change."""
    monkeypatch.setattr("dicom_node.spool.watcher.SETTLED_AFTER_NS", -(10**15))
    return Watched(tmp_path / "spool")


def test_an_image_that_comes_while_its_series_is_looked_into_is_not_lost(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the folder has been listed, and before it is left for settled."""
    watched.comes(ct_stack())
    watched.polls()
    watched.comes([ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])])
    late = [ct_stack([10.0])]
    listed = watched.spool.entries

    def entries(uid: str) -> tuple[SpoolEntry, ...]:
        found = listed(uid)
        if late:
            keep(watched.spool, late.pop(), at_s=watched.now_s)
        return found

    monkeypatch.setattr(watched.spool, "entries", entries)
    watched.polls(1)
    watched.now_s += 10.0
    watched.polls()

    assert [len(one.paths) for one in watched.taken] == [5, 7]


def test_an_old_time_in_the_future_hides_no_refusal(watched: Watched) -> None:
    """The clock was set back an hour after the folder was last changed."""
    watched.comes(ct_stack())
    watched.polls()
    ahead_s = time.time() + 3600
    os.utime(watched.spool.folder / SERIES_UID, (ahead_s, ahead_s))
    watched.polls()
    RefusalRecord(watched.spool.folder).add(SERIES_UID, Refusal("1.2.9", Why.ROOM))
    watched.now_s += SETTINGS.give_up_s
    watched.polls()

    assert [len(one.notes) for one in watched.taken] == [0, 1]


class Disk:
    """A disk that fails with an error at the start of some files."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.fails_on: set[Path] = set()
        self.times = 10**9

    def read_meta(self, path: Path) -> FileMetaDataset:
        """Read, or fail."""
        if path in self.fails_on and self.times > 0:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        return bounded_files.read_meta(path)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_an_error_that_passes_is_no_damage(
    number: int, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(number)
    monkeypatch.setattr("dicom_node.spool.copies.read_meta", disk.read_meta)
    watched.comes(ct_stack())
    disk.fails_on = {entry.path for entry in watched.spool.entries(SERIES_UID)}
    disk.times = 3
    watched.polls(1)
    told = watched.told[SERIES_UID]
    watched.polls(20)

    assert told.startswith("ALARM: it could not be handed over (")
    assert [(len(one.paths), one.notes) for one in watched.taken] == [(5, ())]
    assert watched.told == {}


def test_an_image_on_a_bad_place_of_the_disk_is_left_out_when_it_was_tried_for_a_while(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(errno.EIO)
    monkeypatch.setattr("dicom_node.spool.copies.read_meta", disk.read_meta)
    watched.comes(ct_stack())
    disk.fails_on = {watched.spool.entries(SERIES_UID)[0].path}
    watched.polls(10)
    early = len(watched.taken)
    watched.now_s += SETTINGS.give_up_s
    watched.polls(60)

    assert early == 0
    (arrival,) = watched.taken
    assert len(arrival.paths) == 4
    assert "1 image of this series was damaged on the node's disk, left out" in arrival.notes


def test_a_series_of_which_no_file_can_be_read_is_looked_at_again_for_ever(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(errno.EIO)
    monkeypatch.setattr("dicom_node.spool.copies.read_meta", disk.read_meta)
    watched.comes(ct_stack())
    disk.fails_on = {entry.path for entry in watched.spool.entries(SERIES_UID)}
    watched.polls(100)
    told = watched.told[SERIES_UID]
    disk.fails_on = set()
    watched.now_s += 300.0
    watched.polls()

    assert told == "ALARM: not one of its 5 files can be read any more"
    assert [len(one.paths) for one in watched.taken] == [5]


def test_pixels_that_cannot_be_read_just_now_are_no_other_pixels(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without descriptors two copies are not compared: neither is called spoiled."""
    images = ct_stack()
    watched.comes(images)
    watched.polls()
    again = deepcopy(images)
    for image in again:
        image.InstitutionName = "Archive"
    watched.comes(again)

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as short:
        short.setattr("dicom_node.series.pixels.iter_pixels", fails)
        watched.polls(1)
        told = watched.told[SERIES_UID]
    watched.polls(10)

    assert "(OSError)" in told
    assert {one.revision for one in watched.taken} == {1}


def test_a_corrected_series_that_was_purged_and_comes_again_is_handed_over_from_files_that_are(
    watched: Watched,
) -> None:
    """The correction lay beside the first copies; after the purge it has their names."""
    images = ct_stack()
    watched.comes(images)
    watched.polls()
    for image in images:
        image.PatientID = "CORRECTED"
    watched.comes(images)
    watched.polls()
    assert all("~" in path.name for path in watched.taken[-1].paths)
    purge(watched.spool, SERIES_UID)
    for _ in range(2):
        watched.comes(images)
        watched.polls()

    assert [one.revision for one in watched.taken] == [1, 2, 3, 3]
    assert all(path.exists() for one in watched.taken[2:] for path in one.paths)
    assert watched.taken[2].paths == watched.taken[3].paths
    assert watched.told == {}
    assert read_marker(watched.spool.folder / SERIES_UID)[-1].done


def shifted(image: Dataset) -> None:
    x, y, z = image.ImagePositionPatient
    image.ImagePositionPatient = [x, y, 2 * z]


def widened(image: Dataset) -> None:
    image.PixelSpacing = [1.1, 0.55]


def turned(image: Dataset) -> None:
    image.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]


def thickened(image: Dataset) -> None:
    image.SliceThickness = 5.0


@pytest.mark.parametrize("correct", [shifted, widened, turned])
def test_images_again_at_another_place_are_no_repetition(
    correct: Any, watched: Watched
) -> None:
    """Both copies go to the engine, where the series is refused by name."""
    images = ct_stack()
    watched.comes(images)
    watched.polls()
    for image in images[1:]:
        correct(image)
    correct(images[0])
    watched.comes(images)
    watched.now_s += SETTINGS.give_up_s
    watched.polls()

    assert [one.revision for one in watched.taken] == [1, 2]
    with pytest.raises(SeriesError):
        read_series(watched.taken[-1].paths, min_slices=2)


def test_images_again_with_another_thickness_are_the_series(watched: Watched) -> None:
    images = ct_stack(SliceThickness=2.0)
    watched.comes(images)
    watched.polls()
    for image in images:
        thickened(image)
    watched.comes(images)
    watched.polls()

    assert [(one.revision, len(one.paths)) for one in watched.taken] == [(1, 5), (2, 5)]
    assert all("~" in path.name for path in watched.taken[-1].paths)


def test_the_same_place_with_other_decimals_is_the_same_place(watched: Watched) -> None:
    images = ct_stack(SliceThickness=2.0)
    watched.comes(images)
    watched.polls()
    for image in images:
        image.ImagePositionPatient = [f"{value:.6f}" for value in image.ImagePositionPatient]
        image.PixelSpacing = ["1.0000001", ".50000"]
        image.ImageOrientationPatient = ["1.000", "-0", "1e-7", "0", ".9999999", "0.0"]
    images[0].SliceThickness = "2.01"
    del images[1].SliceThickness
    watched.comes(images)
    watched.polls()

    assert {one.revision for one in watched.taken} == {1}


def test_a_refusal_between_two_series_is_told_of_neither_when_one_of_them_has_the_image(
    watched: Watched,
) -> None:
    *images, late = ct_stack()
    watched.comes(images)
    association = AssociationRefusals(RefusalRecord(watched.spool.folder), lambda _why: None)
    association.came(SERIES_UID)
    association.refused("", late.SOPInstanceUID, Why.DAMAGED)
    association.came(OTHER_UID)
    watched.polls()
    before = watched.told
    watched.comes([late])
    watched.polls()
    after = watched.told
    purge(watched.spool, SERIES_UID)
    watched.polls()

    assert "that came amid this series" in before[OTHER_UID]
    assert SERIES_UID in before
    assert after == watched.told == {}
    assert [(len(one.paths), one.notes) for one in watched.taken] == [(5, ())]
    assert refused_file(watched.spool.folder, OTHER_UID).exists()


def test_a_refusal_of_a_purged_series_is_told_for_what_it_is(watched: Watched) -> None:
    watched.comes(ct_stack())
    watched.polls()
    purge(watched.spool, SERIES_UID)
    RefusalRecord(watched.spool.folder).add(SERIES_UID, Refusal("1.2.9", Why.ROOM))
    watched.polls()

    assert watched.told[SERIES_UID] == (
        "ALARM: 1 image of this series was refused for lack of room; it was handed over before"
    )
