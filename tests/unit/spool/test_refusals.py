"""Claims about the record of refused images: what it remembers, and its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.spool import refusals
from dicom_node.spool.refusals import (
    AssociationRefusals,
    Neighbour,
    Refusal,
    RefusalRecord,
    Why,
    lost_images,
    read_neighbours,
    read_refusals,
    refused_file,
    refused_series,
)


def lines(spool: Path, series: str) -> list[str]:
    return [one.line for one in read_refusals(refused_file(spool, series))]


def test_a_refusal_is_on_disk_when_it_is_noted_and_known_to_the_next_receiver(
    tmp_path: Path,
) -> None:
    RefusalRecord(tmp_path).add("1.2", Refusal("1.2.3", Why.ROOM))
    RefusalRecord(tmp_path).add("1.2", Refusal("1.2.3", Why.ROOM))
    RefusalRecord(tmp_path).add("1.2", Refusal("1.2.4", Why.SIZE))

    assert lines(tmp_path, "1.2") == ["room 1.2.3", "size 1.2.4"]


def test_a_flood_of_refusals_of_one_series_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_LINES", 20)
    record = RefusalRecord(tmp_path)
    for number in range(200):
        record.add("1.2", Refusal(f"1.2.{number}", Why.ROOM))

    assert len(lines(tmp_path, "1.2")) == 20


def test_a_flood_of_series_forgets_the_oldest_of_which_nothing_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_WITHOUT_IMAGES", 10)
    (tmp_path / "1.2.0").mkdir()
    record = RefusalRecord(tmp_path)
    for number in range(50):
        record.add(f"1.2.{number}", Refusal("1.3", Why.ROOM))
    left = set(refused_series(tmp_path))

    assert left == {"1.2.0", *(f"1.2.{number}" for number in range(40, 50))}


def test_what_the_disk_does_not_take_is_written_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    association = AssociationRefusals(RefusalRecord(tmp_path), lambda _why: None)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("dicom_node.spool.refusals.os.write", full)
        association.refused("1.2", "1.2.3", Why.DISK)
    before = lines(tmp_path, "1.2")
    association.end()

    assert before == []
    assert lines(tmp_path, "1.2") == ["disk 1.2.3"]


def test_a_refusal_of_no_series_counts_for_its_neighbours_or_for_its_caller(
    tmp_path: Path,
) -> None:
    counted: list[Why] = []
    record = RefusalRecord(tmp_path)
    between = AssociationRefusals(record, counted.append)
    between.came("1.2")
    between.refused("", "1.9", Why.DAMAGED)
    between.came("1.3")
    between.end()
    alone = AssociationRefusals(record, counted.append)
    alone.refused("", "1.8", Why.SIZE)
    alone.end()

    assert lines(tmp_path, "1.2") == lines(tmp_path, "1.3") == ["damaged? 1.9"]
    assert counted == [Why.SIZE]


def test_the_words_tell_how_many_why_and_what_is_not_known() -> None:
    refused = [Refusal(f"1.{number}", Why.ROOM) for number in range(9)]
    refused += [Refusal("2.1", Why.SIZE), Refusal("3.1", Why.DAMAGED, amid=True)]

    assert lost_images(refused[:9], ()).words == (
        "9 images of this series were refused for lack of room"
    )
    assert lost_images(refused, {"1.0", "1.1"}).words == (
        "7 images of this series were refused for lack of room, 1 as too large, which ended the"
        " transfer; 1 image that came amid this series was refused as damaged (of which series,"
        " nothing says)"
    )
    assert lost_images(refused[:1], {"1.0"}).words == ""


def test_lines_that_a_crash_or_a_disk_spoiled_are_passed_over(tmp_path: Path) -> None:
    path = refused_file(tmp_path, "1.2")
    path.parent.mkdir()
    path.write_bytes(b"room 1.2.3\nroo\nsnow 1.2.4\n\xff\xfe\0\nsize? 1.2.5\nroom x/../y\nroom")

    assert lines(tmp_path, "1.2") == ["room 1.2.3", "size? 1.2.5"]
    assert read_refusals(tmp_path / "nowhere") == ()


def test_what_the_disk_did_not_take_until_the_association_ended_is_written_at_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full stays so for longer than the sender that met it."""
    record = RefusalRecord(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("dicom_node.spool.refusals.os.write", full)
        first = AssociationRefusals(record, lambda _why: None)
        first.refused("1.2", "1.2.3", Why.DISK)
        first.refused("1.4", "1.4.5", Why.DISK)
        first.end()
    before = lines(tmp_path, "1.2")
    AssociationRefusals(record, lambda _why: None)

    assert before == []
    assert (lines(tmp_path, "1.2"), lines(tmp_path, "1.4")) == (["disk 1.2.3"], ["disk 1.4.5"])


def test_what_is_owed_while_a_disk_is_full_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MAX_OWED", 10)
    record = RefusalRecord(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("dicom_node.spool.refusals.os.write", full)
        taken = [record.add("1.2", Refusal(f"1.2.{n}", Why.DISK)) for n in range(100)]
    record.pay()

    assert not any(taken)
    assert len(lines(tmp_path, "1.2")) == 10


def test_a_refusal_between_two_series_names_each_to_the_other(tmp_path: Path) -> None:
    association = AssociationRefusals(RefusalRecord(tmp_path), lambda _why: None)
    association.came("1.2")
    association.refused("", "1.9", Why.DAMAGED)
    association.refused("", "-", Why.DAMAGED)
    association.came("1.3")

    assert read_neighbours(refused_file(tmp_path, "1.2")) == (Neighbour("1.9", "1.3"),)
    assert read_neighbours(refused_file(tmp_path, "1.3")) == (Neighbour("1.9", "1.2"),)
    assert lines(tmp_path, "1.2") == lines(tmp_path, "1.3") == ["damaged? 1.9", "damaged? -"]
