"""Values between processes: what comes out is what went in, and nothing has a name."""

import os
from pathlib import Path

import numpy as np
import pytest

from dicom_node.batch.pace import Pace, duration
from dicom_node.batch.parcels import packed, unpacked
from dicom_node.batch.table import Row, write_table


def test_arrays_come_out_as_they_went_in():
    value = {
        "whole": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "view": np.arange(100.0)[::3],
        "empty": np.zeros((0, 3), np.uint8),
        "words": ("a", None),
    }
    parcel = packed(value)
    found = unpacked(parcel)
    os.close(parcel)

    assert found["words"] == value["words"]
    for name in ("whole", "view", "empty"):
        np.testing.assert_array_equal(found[name], value[name])
        assert found[name].dtype == value[name].dtype


def test_a_parcel_is_opened_twice_and_each_has_its_own():
    parcel = packed(np.zeros(5))
    one, other = unpacked(parcel), unpacked(parcel)
    one[:] = 1
    os.close(parcel)
    assert other.sum() == 0


def test_a_pace_counts_this_run_alone():
    """10 cases in an hour, of 40 left: three more hours."""
    pace = Pace(total=100, before=50, now=10, seconds=3600)
    assert pace.per_hour == pytest.approx(10)
    assert pace.left_s == pytest.approx(4 * 3600)
    assert pace.words == "10 cases an hour, 4 h 0 min left"
    assert Pace(5, 2, 0, 0.0).words == "no pace yet"
    assert Pace(5, 2, 3, 1.0).words.endswith("an hour, done")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.6, "1 min 0 s"), (4, "4 s"), (3720, "1 h 2 min"), (200000, "2 d 7 h")],
)
def test_lengths_of_time_have_two_units(seconds: float, words: str):
    assert duration(seconds) == words


def test_the_table_quotes_words(tmp_path: Path):
    write_table(tmp_path, [Row("a", Path("/x, y"), "refused", "refused (x)", 'no "CT"', 1.0)])
    assert (tmp_path / "cases.csv").read_text().splitlines() == [
        "case,source,outcome,verdict,words,seconds",
        'a,"/x, y",refused,refused (x),"no ""CT""",1.0',
    ]
