"""Claims about the wait for a study before its best series is chosen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.node.selection import study_wait_s
from dicom_node.settings.node import Completion

NOW = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
SETTINGS = Completion(study_quiet_s=120, give_up_s=300)
SECONDS = st.floats(-1e6, 1e6)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("received", "arriving", "wait_s"),
    [
        ([0.0], [], 120.0),
        ([100.0, 500.0], [], 20.0),
        ([120.0], [], 0.0),
        ([500.0], [100.0], 200.0),
        ([500.0], [400.0], 0.0),
        ([-3600.0], [], 120.0),
        ([], [], 0.0),
    ],
)
def test_a_study_is_quiet_after_its_last_image(
    received: list[float], arriving: list[float], wait_s: float
) -> None:
    """120 s after the last series, 300 s after an image of one with gaps; never for longer.

    A series of the future is one from before the clock was set back: waited for once.
    """
    found = study_wait_s([*map(ago, received)], [*map(ago, arriving)], NOW, SETTINGS)

    assert found == pytest.approx(wait_s)


@given(st.lists(SECONDS), st.lists(SECONDS))
def test_the_wait_has_its_bounds_whatever_the_clock_says(
    received: list[float], arriving: list[float]
) -> None:
    found = study_wait_s([*map(ago, received)], [*map(ago, arriving)], NOW, SETTINGS)

    assert 0.0 <= found <= (300.0 if arriving else 120.0)
