"""Claims about what a disk has spoiled: it is left out and told, and stops nothing else.

Images come by a real port, a disk fault is done to the spool, and a node looks at it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import SERIES_UID, ct_stack
from support.pacs import Pacs
from support.small_node import result_pacs
from support.waiting import wait_until
from support.whole_node import WholeNode, whole_node

from dicom_node.node.retention import purge
from dicom_node.persistence.rows import SeriesState
from dicom_node.spool.commitment_reports import REPORTS, read_reports
from dicom_node.spool.open_associations import MARK, sending
from dicom_node.spool.refusals import refused_file
from dicom_node.spool.revisions import MARKER, read_marker

OTHER_UID = "1.2.826.0.1.3680043.8.498.9"
THIRTEEN = tuple(5.0 * index for index in range(13))


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def node(tmp_path: Path, pacs: Pacs) -> Iterator[WholeNode]:
    with whole_node(tmp_path, pacs.port, analysis={"attempts": 1}) as node:
        yield node


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:140])


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


FAULTS = [empty, zeros, short, a_folder, a_link, a_link_to_nowhere]


@pytest.mark.parametrize("spoil", FAULTS)
def test_one_image_that_a_disk_has_spoiled_is_left_out_and_told(
    spoil: Callable[[Path], None], node: WholeNode
) -> None:
    """The first file is the one that says who sent it; the image lies at the lower end."""
    node.send(source_datasets(offsets_mm=THIRTEEN))
    first = node.receiver.spool.entries(SERIES_UID)[0].path
    assert first.name.endswith(".7.1.dcm")
    spoil(first)
    node.come_to_rest()

    (row,) = node.rows
    words = "1 image of this series was damaged on the node's disk"
    assert row.state is SeriesState.REPORTED
    assert row.instances == 12
    assert words in row.reason
    assert any(words in str(each.value) for each in node.result("KO", 1).iterall())
    assert node.status.incoming == ()


def test_an_image_that_is_sent_again_stands_in_for_its_spoiled_copy(node: WholeNode) -> None:
    images = source_datasets()
    node.send(images)
    empty(node.receiver.spool.entries(SERIES_UID)[0].path)
    node.send(images[:1], "again")
    node.come_to_rest()

    (arrival,) = node.offered
    assert len(arrival.paths) == 12
    assert arrival.notes == ()


@pytest.mark.parametrize("spoil", [empty, zeros, a_folder])
def test_a_series_of_which_no_file_can_be_read_is_an_alarm_and_holds_nothing_up(
    spoil: Callable[[Path], None], node: WholeNode, capfd: pytest.CaptureFixture[str]
) -> None:
    node.send(ct_stack(SeriesInstanceUID=OTHER_UID))
    for entry in node.receiver.spool.entries(OTHER_UID):
        spoil(entry.path)
    node.send(source_datasets(), "sound")
    node.come_to_rest(4.0)
    log = capfd.readouterr().out

    (told,) = node.status.incoming
    assert told.series_instance_uid == OTHER_UID
    assert "ALARM: not one of its 5 files can be read" in told.reason
    assert [row.state for row in node.rows] == [SeriesState.REPORTED]
    assert 1 <= log.count("series.unreadable") < 50


@pytest.mark.parametrize(
    "content",
    [b"", b'{"revisions": [{"revi', b"\0" * 200, b"[]", b'{"revisions": [7]}', b"null"],
)
def test_a_record_that_is_cut_off_is_set_aside_and_nothing_is_answered_twice(
    content: bytes, node: WholeNode, pacs: Pacs, capfd: pytest.CaptureFixture[str]
) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    marker = node.receiver.spool.folder / SERIES_UID / MARKER
    marker.write_bytes(content)
    os.utime(marker.parent)
    node.come_to_rest()

    assert len(node.rows) == 1
    assert len(pacs.received) == 2
    assert read_marker(marker.parent)[-1].done
    assert marker.with_name("handed-over.unreadable").read_bytes() == content
    assert "series.record_damaged" in capfd.readouterr().out


def test_a_damaged_record_stops_neither_status_nor_retention(node: WholeNode) -> None:
    node.send(source_datasets())
    node.come_to_rest()
    (node.receiver.spool.folder / SERIES_UID / MARKER).write_bytes(b'{"rev')
    retention = node.config.retention.model_copy(update={"images_d": 0.0})
    config = node.config.model_copy(update={"retention": retention})
    purge(config, node.workflow.ledger, node.workflow.clock())
    node.config = config

    assert len(node.receiver.spool.entries(SERIES_UID)) == 12
    assert "the record of what was handed over cannot be read" in str(node.status.kept)


def test_a_hand_over_that_fails_backs_off_and_is_an_alarm(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried at once again, then after 2 s and 4 s, and not every second."""
    tried_s: list[float] = []

    def fails(*_: object) -> None:
        tried_s.append(time.monotonic())
        raise RuntimeError("whatever")

    def has_tried_three_times() -> bool:
        node.watcher.poll()
        return len(tried_s) == 3

    with monkeypatch.context() as broken:
        broken.setattr("dicom_node.node.workflow.Workflow.admit", fails)
        node.send(source_datasets())
        wait_until(has_tried_three_times, 60.0, "it is tried three times")
        node.watcher.poll()
        (told,) = node.status.incoming
    wait_until(lambda: bool(node.watcher.poll()), 60.0, "it is handed over")

    assert len(tried_s) == 3
    assert tried_s[2] - tried_s[1] >= 2.0
    assert told.series_instance_uid == SERIES_UID
    assert told.reason.startswith("ALARM: it could not be handed over (RuntimeError)")
    assert [row.state for row in node.rows] == [SeriesState.REPORTED]
    assert node.status.incoming == ()


def test_what_a_disk_made_of_the_other_state_files_keeps_no_receiver_from_starting(
    tmp_path: Path, pacs: Pacs
) -> None:
    spool = tmp_path / "spool"
    for name in (
        ".incoming/x.part",
        ".turned-away.json.part",
        ".waiting.json",
        f"{SERIES_UID}/x.dcm",
    ):
        (spool / name).mkdir(parents=True)
    (spool / ".turned-away.json").write_bytes(b'{"since": "2026')
    (spool / SERIES_UID / f"{MARK}x").mkdir()
    (spool / ".refused").mkdir()
    refused_file(spool, SERIES_UID).write_bytes(b"room 1.2.3\nroo\0\xff\nroom\nsnow 1.2\n")
    limits = {"max_spool_mb": 100, "free_reserve_mb": 0}
    with whole_node(tmp_path, pacs.port, receive=limits) as node:
        assert set(node.send(source_datasets())) == {0}
        node.come_to_rest()
        (row,) = node.rows

    assert row.instances == 12
    assert "1 image of this series was refused for lack of room" in row.reason
    assert sending(spool / SERIES_UID).interrupted


def test_a_report_that_is_no_file_keeps_no_other_waiting(tmp_path: Path) -> None:
    folder = tmp_path / REPORTS
    (folder / "1.json").mkdir(parents=True)
    (folder / "2.json").write_text("[]")
    (folder / "3.json").write_text(
        '{"transaction_uid": "1.2", "committed": ["1.3"], "failed": {}}'
    )

    assert [report.transaction_uid for report in read_reports(folder)] == ["1.2"]


def test_a_series_that_is_arriving_is_shown_with_what_it_waits_for(
    tmp_path: Path, pacs: Pacs
) -> None:
    with whole_node(tmp_path, pacs.port, completion={"quiet_s": 60, "give_up_s": 90}) as node:
        node.send(source_datasets()[:7])
        node.watcher.poll()
        (told,) = node.status.incoming

    assert (told.series_instance_uid, told.instances) == (SERIES_UID, 7)
    assert told.reason.startswith("arriving since ")
    assert "nothing has come for 60 s" in told.reason


def test_the_log_tells_what_is_kept_from_what_was_there_and_names_the_series(
    node: WholeNode, capfd: pytest.CaptureFixture[str]
) -> None:
    node.send(source_datasets()[:2])
    node.send(source_datasets()[:3], "again")
    lines = capfd.readouterr().out.splitlines()
    kept = [line for line in lines if "store.kept" in line]
    repeated = [line for line in lines if "store.repeated" in line]

    assert (len(kept), len(repeated)) == (3, 2)
    assert all(SERIES_UID in line for line in (*kept, *repeated))
