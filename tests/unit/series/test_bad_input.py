"""Bad input: every case of the corpus ends as it must, within bounds, and tells no patient."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.corpus.cases import bad_series
from support.corpus.sound import PATIENT, READ, BadSeries, file_of, put, sound

MEGABYTES = 256
"""Beyond what is imported already, for reading a series of at most a few megabytes."""

SECONDS = 10
"""Wall clock, of which a sound series takes a hundredth of one."""

RELIABILITY = Path(__file__).parents[3] / "docs" / "reliability.md"
TABLE = re.compile(r"(?<=<!-- corpus -->\n).*?(?=<!-- /corpus -->)", re.DOTALL)

Reader = Callable[[list[Path]], dict[str, Any]]


@pytest.fixture(scope="module")
def read_bounded() -> Iterator[Reader]:
    """Reads a series in a process of its own, with memory and time limited by the system."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).parents[2] / "support" / "bounded_reader.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(paths: list[Path]) -> dict[str, Any]:
            question = {
                "paths": [str(path) for path in paths],
                "megabytes": 2 * MEGABYTES,
                "seconds": SECONDS,
            }
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return dict(json.loads(process.stdout.readline()))

        yield ask


def test_the_sound_series_is_read(read_bounded: Reader, tmp_path: Path) -> None:
    answer = read_bounded(put(tmp_path, map(file_of, sound())))

    assert (answer["ends"], answer["slices"]) == (READ, 5)


@pytest.mark.parametrize("case", bad_series(), ids=str)
def test_bad_input_ends_as_it_must_within_bounds(
    case: BadSeries, read_bounded: Reader, tmp_path: Path
) -> None:
    answer = read_bounded(case.write(tmp_path))

    assert answer["ends"] == case.ends, answer["words"]
    assert answer["megabytes"] < MEGABYTES
    assert PATIENT not in answer["words"]
    assert "MemoryError" not in answer["words"]
    assert len(answer["words"]) < 1000
    assert answer["ends"] != READ or answer["slices"] == 5
    # Some image of each series is whole enough to say whom the refusal is about.
    assert answer["ends"] == READ or answer["studies"] == 1, answer


def test_the_table_in_the_documentation_is_of_this_corpus(
    pytestconfig: pytest.Config,
) -> None:
    """`pytest --update-golden tests/unit/series/test_bad_input.py` writes it anew."""
    text = RELIABILITY.read_text(encoding="utf-8")
    if pytestconfig.getoption("--update-golden"):
        text = TABLE.sub(lambda _: table(), text)
        RELIABILITY.write_text(text, encoding="utf-8")

    assert table() in text


def table() -> str:
    """How many cases of each kind end how; each of them is a test of its own above."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for case in bad_series():
        groups[case.group][case.ends] += 1
    rows = ["| damage | cases | how they end |", "| --- | --- | --- |"]
    for group, ends in groups.items():
        said = ", ".join(
            f"{count} {'read as if sound' if code == READ else f'`{code}`'}"
            for code, count in ends.most_common()
        )
        rows.append(f"| {group} | {ends.total()} | {said} |")
    rows.append(f"| all | {sum(ends.total() for ends in groups.values())} | |")
    return "\n".join(rows) + "\n"
