"""Claims about the audit trail's file: several processes, rotation, and changes noticed."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_node.monitoring.audit_file import AuditFile, verify


@pytest.fixture
def trail(tmp_path: Path) -> AuditFile:
    return AuditFile(tmp_path / "audit.jsonl")


def write(trail: AuditFile, count: int, words: str = "x") -> None:
    for number in range(count):
        trail.append([{"words": f"{words}{number}"}])


def write_many(path: str, name: str) -> None:
    write(AuditFile(Path(path), rotate_bytes=8_000), 60, name)


def numbers(trail: AuditFile) -> list[int]:
    return [json.loads(line)["n"] for _, line in trail.lines()]


def test_what_was_written_is_whole(trail: AuditFile) -> None:
    write(trail, 5)
    found = verify(trail)

    assert numbers(trail) == [1, 2, 3, 4, 5]
    assert (found.count, found.problems, found.notes) == (5, (), ())


def test_several_processes_write_one_chain_also_across_rotations(trail: AuditFile) -> None:
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=write_many, args=(str(trail.path), name)) for name in "abcd"
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    found = verify(trail)

    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    assert found.problems == ()
    assert (found.count, found.last) == (240, 240)
    assert found.files > 2


def test_a_file_that_is_put_aside_can_only_be_read(trail: AuditFile) -> None:
    write(AuditFile(trail.path, rotate_bytes=120), 4)
    aside = [path for path in trail.paths() if path != trail.path]

    assert [path.name for path in aside] == [
        "audit.000000000001.jsonl",
        "audit.000000000003.jsonl",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in aside} == {0o440}
    assert verify(trail).problems == ()


def change(trail: AuditFile, alter: Callable[[list[bytes]], list[bytes]]) -> tuple[str, ...]:
    lines = trail.path.read_bytes().splitlines(keepends=True)
    trail.path.write_bytes(b"".join(alter(lines)))
    return verify(trail).problems


def test_a_changed_message_is_noticed(trail: AuditFile) -> None:
    write(trail, 4)
    found = change(trail, lambda lines: [lines[0].replace(b"x0", b"y0"), *lines[1:]])

    assert len(found) == 1
    assert "chained to another line" in found[0]


def test_the_last_message_changed_is_noticed(trail: AuditFile) -> None:
    write(trail, 4)
    found = change(trail, lambda lines: [*lines[:3], lines[3].replace(b"x3", b"y3")])

    assert found == ("message 4, the last one, is not what was written",)


def test_a_message_taken_out_is_noticed(trail: AuditFile) -> None:
    write(trail, 4)

    assert "is message 3, not 2" in change(trail, lambda lines: [lines[0], *lines[2:]])[0]


def test_a_cut_end_is_noticed(trail: AuditFile) -> None:
    write(trail, 4)

    assert change(trail, lambda lines: lines[:2]) == ("ends with message 2; there were 4",)


def test_messages_in_another_order_are_noticed(trail: AuditFile) -> None:
    write(trail, 4)

    assert change(trail, lambda lines: [lines[0], lines[2], lines[1], lines[3]])


def test_a_file_that_is_missing_between_others_is_noticed(trail: AuditFile) -> None:
    write(AuditFile(trail.path, rotate_bytes=120), 6)
    trail.paths()[1].unlink()

    assert verify(trail).problems


def test_old_files_that_were_taken_away_are_noted_and_no_problem(trail: AuditFile) -> None:
    write(AuditFile(trail.path, rotate_bytes=120), 6)
    trail.paths()[0].unlink()
    found = verify(trail)

    assert found.problems == ()
    assert found.notes == ("begins with message 3; what was before is not here",)


def test_a_file_that_was_emptied_and_written_to_again_is_noticed(trail: AuditFile) -> None:
    """No message is missing between others, and the end is there."""
    write(trail, 3)
    os.truncate(trail.path, 0)
    assert verify(trail).problems == ("ends with message 0; there were 3",)

    write(trail, 2)

    assert verify(trail).problems == ("begins with message 4; what was before is not here",)


def test_a_trail_whose_files_are_gone_is_told_as_cut(trail: AuditFile) -> None:
    write(trail, 3)
    trail.path.unlink()

    assert verify(trail).problems == ("ends with message 0; there were 3",)


def test_a_write_that_a_power_cut_broke_off_is_noted_and_the_chain_goes_on(
    trail: AuditFile,
) -> None:
    write(trail, 2)
    with trail.path.open("ab") as file:
        file.write(b'{"n":3,"words":"br')
    write(trail, 2)
    found = verify(trail)

    assert found.problems == ()
    assert numbers_of_whole(trail) == [1, 2, 3, 4]
    assert len(found.notes) == 1
    assert "not whole" in found.notes[0]


def numbers_of_whole(trail: AuditFile) -> list[int]:
    return [json.loads(line)["n"] for _, line in trail.lines() if line.endswith(b"}")]


def test_a_head_that_a_crash_left_behind_is_no_problem(trail: AuditFile) -> None:
    write(trail, 2)
    head = trail.head_path.read_bytes()
    write(trail, 2)
    trail.head_path.write_bytes(head)
    write(trail, 1)

    assert numbers(trail) == [1, 2, 3, 4, 5]
    assert verify(trail).problems == ()


def test_a_disk_that_takes_half_of_a_write_is_left_with_nothing_of_it(
    trail: AuditFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(trail, 2)
    real = os.write

    def half(descriptor: int, content: memoryview) -> int:
        if len(content) < 60:
            raise OSError(28, "No space left on device")
        return real(descriptor, content[:50])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        trail.append([{"words": "lost" * 10}])
    monkeypatch.undo()
    write(trail, 1)

    assert numbers(trail) == [1, 2, 3]
    assert verify(trail).problems == ()
