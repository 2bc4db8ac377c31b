"""Claims about images that the node refused: no sender sends them again, so the node must tell.

Everything comes in by a real port; what is told is read where a person reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from rich.console import Console
from support.cases import source_datasets
from support.ct import SERIES_UID, save
from support.pacs import Pacs, dataset_bytes
from support.small_node import result_pacs
from support.waiting import wait_until
from support.whole_node import WholeNode, whole_node

from dicom_node.commands.status_tables import render
from dicom_node.persistence.rows import SeriesState
from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.spool.refusals import read_refusals, refused_file


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def node(tmp_path: Path, pacs: Pacs) -> Iterator[WholeNode]:
    with whole_node(tmp_path, pacs.port, analysis={"attempts": 1}) as node:
        yield node


def fifteen() -> list[Dataset]:
    """A series of which the fast analysis likes the first twelve images."""
    return source_datasets(offsets_mm=tuple(5.0 * index for index in range(15)))


def take_only(node: WholeNode, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The spool has room for so many images more; the association is let in before it fills."""

    def shortage(size_bytes: int | None = None) -> str:
        kept = len(node.receiver.spool.entries(SERIES_UID))
        has_room = size_bytes is None or kept < count
        return "" if has_room else "the spool is as large as it may be"

    monkeypatch.setattr(node.receiver.capacity, "shortage", shortage)


def texts(dataset: Dataset) -> str:
    """All text of a report."""
    return " ".join(str(each.value) for each in dataset.iterall() if each.VR == "UT")


def shown(node: WholeNode) -> str:
    """What `msk-node status` prints, without its frames and line breaks."""
    console = Console(width=400)
    with console.capture() as captured:
        console.print(render(node.status))
    return captured.get()


REFUSED = "3 images of this series were refused for lack of room"


def test_a_series_cut_off_by_a_full_spool_says_so_in_reason_report_picture_and_status(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_only(node, monkeypatch, 12)
    statuses = node.send(fifteen())
    node.come_to_rest()

    assert statuses == [0] * 12 + [0xA700] * 3
    (arrival,) = node.offered
    assert REFUSED in arrival.reason
    assert "sender" not in arrival.reason
    (row,) = node.rows
    assert row.state is SeriesState.REPORTED
    assert REFUSED in row.reason
    assert REFUSED in texts(node.result("SR", 1))
    assert REFUSED in node.result("SC", 1).ImageComments
    assert REFUSED in texts(node.result("KO", 1))
    assert REFUSED in shown(node)


def test_a_series_that_lost_images_is_not_called_whole(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once, and not as gap-free: the images that are missing lie at an end."""
    take_only(node, monkeypatch, 12)
    node.send(fifteen())
    node.come_to_rest()

    marker = (node.receiver.spool.folder / SERIES_UID / "handed-over.json").read_text()
    assert '"rule": "timer"' in marker
    assert "gap-free" not in marker


def test_an_image_that_is_refused_and_then_sent_again_and_kept_is_not_lost(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_only(node, monkeypatch, 12)
    images = fifteen()
    node.send(images)
    monkeypatch.undo()
    node.send(images[12:], "again")
    node.come_to_rest()

    (arrival,) = node.offered
    assert len(arrival.paths) == 15
    assert "refused" not in arrival.reason
    assert arrival.notes == ()


def test_images_that_come_after_they_were_told_lost_open_a_revision_that_is_whole(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_only(node, monkeypatch, 12)
    images = fifteen()
    node.send(images)
    node.come_to_rest()
    monkeypatch.undo()
    node.send(images[12:], "again")
    node.come_to_rest()

    assert [row.revision for row in node.rows] == [1, 2]
    assert "refused" not in node.rows[1].reason
    assert "refused" not in shown(node).partition("(2)")[2].partition("\n")[0]


def test_images_refused_after_a_series_was_answered_are_told_in_a_revision(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow sender: what had come was gap-free, and was answered as whole."""
    images = fifteen()
    node.send(images[:12])
    node.come_to_rest()
    take_only(node, monkeypatch, 12)
    node.send(images[12:], "late")
    node.come_to_rest()

    assert [REFUSED in row.reason for row in node.rows] == [False, True]
    assert REFUSED in texts(node.result("SR", 2))


def test_the_same_images_refused_again_and_again_open_no_revision_each(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_only(node, monkeypatch, 12)
    for turn in range(3):
        node.send(fifteen(), f"turn {turn}")
        node.come_to_rest()

    assert len(node.rows) == 1


def test_a_refusal_outlives_the_receiver_and_is_told_of_a_series_of_which_nothing_came(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_only(node, monkeypatch, 0)
    node.send(fifteen())
    refusals = read_refusals(refused_file(node.config.node.spool, SERIES_UID))
    node.watcher.poll()

    assert len(refusals) == 15
    (row,) = node.status.incoming
    assert row.series_instance_uid == SERIES_UID
    assert "15 images of this series were refused for lack of room" in row.reason
    assert "nothing of it was kept" in row.reason


@pytest.mark.parametrize(
    ("tag", "whose"),
    [(0x00711010, "of this series"), (0x00091010, "that came amid this series")],
)
def test_an_object_that_is_too_large_is_told_though_the_node_ended_the_association(
    tag: int,
    whose: str,
    tmp_path: Path,
    pacs: Pacs,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The log says whose it was and of which series, where that stood before its length."""
    words = f"1 image {whose} was refused as too large"
    images = fifteen()
    images[12].add_new(tag, "OB", b"\0" * 1_500_000)
    limits = {"max_object_mb": 1, "free_reserve_mb": 0}
    with whole_node(tmp_path, pacs.port, receive=limits) as node:
        statuses = node.send(images)
        node.come_to_rest()
        (row,) = node.rows
        (arrival,) = node.offered

    assert statuses[:12] == [0] * 12
    assert not any(status == 0 for status in statuses[12:])
    assert words in row.reason
    assert words in arrival.reason
    assert "sender" not in arrival.reason
    lines = capfd.readouterr().out.splitlines()
    (line,) = [each for each in lines if "association.aborted" in each]
    assert (SERIES_UID in line) is (tag > 0x0020000E)
    assert "SCANNER" in line
    assert images[12].SOPInstanceUID in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SOPInstanceUID": "1.2.3.4"}, "1 image of this series was refused as another image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "refused as another image"),
    ],
)
def test_an_image_that_is_not_what_was_announced_is_told(
    change: dict[str, Any], words: str, node: WholeNode, tmp_path: Path
) -> None:
    paths = save(fifteen(), tmp_path / "sent")
    spoil(paths[14], change)
    node.send_files(paths)
    node.come_to_rest()

    assert words in node.rows[0].reason


def spoil(path: Path, change: dict[str, Any]) -> None:
    """Change a dataset and leave the file meta information, which makes the command."""
    dataset = dcmread(path)
    meta = file_meta_bytes(
        dataset.SOPClassUID, dataset.SOPInstanceUID, ExplicitVRLittleEndian, "A", "B"
    )
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    (written,) = save([dataset], path.parent / "spoilt")
    path.write_bytes(meta + dataset_bytes(written))


def test_a_dataset_that_cannot_be_read_counts_for_the_series_it_came_amid(
    node: WholeNode, tmp_path: Path
) -> None:
    paths = save(fifteen(), tmp_path / "sent")
    raw = paths[14].read_bytes()
    start = len(raw) - len(dataset_bytes(paths[14]))
    paths[14].write_bytes(raw[:start] + b"\xff" * 400)
    node.send_files(paths)
    node.come_to_rest()

    words = "1 image that came amid this series was refused as damaged"
    assert words in node.rows[0].reason
    assert "of which series, nothing says" in node.rows[0].reason


def test_an_unreadable_dataset_alone_is_counted_by_its_caller(
    node: WholeNode, tmp_path: Path
) -> None:
    (path,) = save(fifteen()[:1], tmp_path / "sent")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - len(dataset_bytes(path))] + b"\xff" * 400)
    node.send_files([path])

    def told() -> list[tuple[str, str, int]]:
        return [
            (each.calling_ae_title, each.reason, each.count) for each in node.status.turned_away
        ]

    wait_until(lambda: bool(told()), 5.0, "the association has ended")
    assert told() == [("SCANNER", "image refused, of an unknown series: damaged", 1)]


def test_the_log_names_the_series_of_a_refused_image_wherever_that_stands_in_it(
    node: WholeNode, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Behind 100 KB of a maker's own elements, it was found and not told."""
    images = fifteen()[:3]
    for image in images:
        image.private_block(0x0009, "A MAKER", create=True).add_new(0x10, "OB", bytes(100_000))

    def full_at_the_end(for_bytes: int = 1) -> str:
        return "" if for_bytes else "the spool is as large as it may be"

    monkeypatch.setattr(node.receiver.capacity, "shortage", full_at_the_end)
    node.send(images)
    refused = [line for line in capfd.readouterr().out.splitlines() if "store.refused" in line]

    assert [SERIES_UID in line for line in refused] == [True] * 3
