"""Claims about the room that a step needs, and the disks that must have it."""

from __future__ import annotations

import threading
from pathlib import Path

from support.ct import ct_slice, save
from support.small_node import small_config

from dicom_node.node.room import (
    ANALYSIS,
    PUBLICATION,
    RECORD,
    Disk,
    GivingWay,
    Need,
    Waiting,
    disks,
    keep_for_next,
    need_of_case,
    room_to_keep,
    wait_for_room,
)
from dicom_node.spool.capacity import SpoolCapacity, promised
from dicom_node.spool.spool import Spool

MB = 1 << 20
ALL = ("spool", "work", "results", "database")
NEED = Need(work=100 * MB, results=20 * MB)


def test_on_one_disk_the_needs_of_a_case_are_added_and_the_reserve_is_left() -> None:
    enough = Disk(ALL, free=1120 * MB, reserve=1000 * MB)
    short = Disk(ALL, free=1119 * MB, reserve=1000 * MB)

    assert ANALYSIS.shortages([enough], NEED) == ()
    (said,) = ANALYSIS.shortages([short], NEED)
    assert said.words == "1 MB more must be free for spool, work, results, database"


def test_a_publication_leaves_a_quarter_and_needs_no_room_for_work() -> None:
    enough = Disk(ALL, free=270 * MB, reserve=1000 * MB)

    assert PUBLICATION.shortages([enough], NEED) == ()
    assert PUBLICATION.shortages([Disk(("work",), 0, 0)], NEED) == ()
    assert ANALYSIS.shortages([Disk(("work",), 0, 0)], NEED) != ()


def test_a_disk_of_the_spool_alone_keeps_no_step_waiting() -> None:
    spool = Disk(("spool",), free=0, reserve=1000 * MB)

    for step in (ANALYSIS, PUBLICATION, RECORD):
        assert step.shortages([spool], NEED) == ()
    assert spool.below_reserve == "spool: 1000 MB less than is kept free"


def test_a_record_of_the_database_may_use_the_reserve_up() -> None:
    assert RECORD.shortages([Disk(ALL, free=2 * MB, reserve=1000 * MB)], Need()) == ()
    assert RECORD.shortages([Disk(ALL, free=0, reserve=0)], Need()) != ()
    assert RECORD.shortages([Disk(("work", "results"), free=0, reserve=0)], Need()) == ()


def test_a_disk_that_takes_no_more_files_has_no_room() -> None:
    disk = Disk(ALL, free=10_000 * MB, reserve=0, inodes=3)

    assert ANALYSIS.shortages([disk], NEED) != ()
    assert disk.below_reserve.endswith("it takes 3 more files only")


def test_the_need_follows_the_size_that_the_headers_state_and_what_is_asked_for(
    tmp_path: Path,
) -> None:
    slices = [ct_slice((0.0, 0.0, float(place))) for place in range(10)]
    paths = save(slices, tmp_path / "series")
    voxels = 10 * slices[0].Rows * slices[0].Columns
    plain = need_of_case(paths, small_config(tmp_path, None))
    coloured = need_of_case(
        paths, small_config(tmp_path, None, profile={"density_slices": True})
    )

    assert plain == Need(8 * voxels + MB, 2 * voxels + MB)
    assert coloured.results - plain.results == 3 * voxels


def test_a_header_that_states_far_more_than_its_file_can_hold_is_not_believed(
    tmp_path: Path,
) -> None:
    """Else a file of a kilobyte would keep everybody from sending."""
    one = ct_slice((0.0, 0.0, 0.0))
    one.Rows = one.Columns = 8192
    one.NumberOfFrames = 16_000
    (path,) = save([one], tmp_path / "series")

    assert (
        need_of_case([path], small_config(tmp_path, None)).work < 200 * path.stat().st_size + MB
    )


def test_what_cannot_be_read_needs_as_much_as_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"no image" * 1000)

    assert need_of_case([path], small_config(tmp_path, None)).work == 8 * 4000 + MB


def test_a_disk_without_the_spool_keeps_a_quarter_at_most(
    tmp_path: Path,
) -> None:
    config = small_config(tmp_path, None, receive={"free_reserve_mb": 1 << 30})
    node = config.node.model_copy(update={"work": Path("/proc/none-yet")})
    found = {disk.folders: disk for disk in disks(config.model_copy(update={"node": node}))}

    assert found["spool", "results", "database"].reserve == 1 << 50
    assert found["work",].reserve < 1 << 45


def test_the_receiver_leaves_room_for_the_largest_case_that_waits(tmp_path: Path) -> None:
    config = small_config(tmp_path, None)
    spool = Spool(config.node.spool)
    cases = (Waiting(NEED, 0.0), Waiting(Need(work=MB, results=MB), 0.0))
    keep_for_next(config, lambda: cases)

    assert promised(config.node.spool) == 120 * MB
    assert SpoolCapacity(spool, 0).shortage(spool.free_bytes() - 119 * MB) != ""
    assert SpoolCapacity(spool, 0).shortage(spool.free_bytes() - 200 * MB) == ""
    keep_for_next(config, lambda: cases[1:])
    assert promised(config.node.spool) == 2 * MB
    keep_for_next(config, tuple)
    assert promised(config.node.spool) == 0


def test_what_was_promised_in_between_is_not_taken_back(tmp_path: Path) -> None:
    """The cases are read while the promise is held: another thread's promise comes after."""
    config = small_config(tmp_path, None)
    Spool(config.node.spool)
    other = threading.Thread(
        target=keep_for_next, args=(config, lambda: [Waiting(NEED, 0.0)]), daemon=True
    )

    def nobody_yet() -> tuple[Waiting, ...]:
        other.start()
        other.join(0.3)
        return ()

    keep_for_next(config, nobody_yet)
    other.join()

    assert promised(config.node.spool) == 120 * MB


def test_room_that_is_not_there_is_kept_for_the_smallest_case_and_not_for_ever() -> None:
    disk = Disk(ALL, free=100 * MB, reserve=10 * MB, size=10_000 * MB)
    small, large = Need(work=95 * MB), Need(work=500 * MB)

    assert room_to_keep([Waiting(small, 0.0), Waiting(large, 0.0)], disk) == 95 * MB
    assert room_to_keep([Waiting(large, 0.0)], disk) == 500 * MB
    assert room_to_keep([Waiting(small, 3601.0), Waiting(large, 3601.0)], disk) == 0
    assert room_to_keep([Waiting(Need(work=80 * MB), 3601.0)], disk) == 80 * MB


def test_what_a_disk_could_not_hold_if_it_were_empty_is_neither_waited_for_nor_kept() -> None:
    disk = Disk(ALL, free=500 * MB, reserve=100 * MB, size=1000 * MB)
    never = Need(work=901 * MB)

    assert ANALYSIS.shortages([disk], never) == ()
    assert ANALYSIS.too_small([disk], never) == ALL
    assert room_to_keep([Waiting(never, 0.0)], disk) == 0
    assert ANALYSIS.shortages([disk], Need(work=900 * MB)) != ()
    assert ANALYSIS.shortages([Disk(ALL, 50 * MB, 100 * MB, size=1000 * MB)], never) != ()


def test_a_reserve_larger_than_its_disk_is_waited_for() -> None:
    disk = Disk(ALL, free=500 * MB, reserve=2000 * MB, size=1000 * MB)

    assert ANALYSIS.shortages([disk], NEED) != ()
    assert ANALYSIS.too_small([disk], NEED) == ()


def test_a_series_that_states_more_than_the_reader_takes_waits_for_nothing(
    tmp_path: Path,
) -> None:
    """It is refused by name before anything is written."""
    slices = [ct_slice((0.0, 0.0, float(place))) for place in range(5)]
    for each in slices:
        each.Rows = each.Columns = 8192
        each.NumberOfFrames = 100
    paths = save(slices, tmp_path / "series")

    assert need_of_case(paths, small_config(tmp_path, None)) == Need(MB, MB)


def test_who_gives_way_waits_no_longer(tmp_path: Path) -> None:
    config = small_config(tmp_path, None, receive={"free_reserve_mb": 1 << 30})
    gives_way = GivingWay(threading.Event(), lambda: True)

    assert not wait_for_room(config, ANALYSIS, NEED, gives_way, {})


def test_who_is_told_to_end_waits_no_longer(tmp_path: Path) -> None:
    config = small_config(tmp_path, None, receive={"free_reserve_mb": 1 << 30})
    ending = threading.Event()
    ending.set()

    assert not wait_for_room(config, ANALYSIS, NEED, ending, {})
