"""Guests go the whole way: members, variations of the image, uneven slices, and verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny_guest import HU, TINY_GUESTS, tiny_guest_bundle
from support.volumes import body

from inference.models.bundle import KINDS
from inference.models.guests.members import Members
from inference.models.guests.variation import AS_IT_IS, Variation
from inference.pipeline import analyse
from inference.results import SampleKind, Uncertainty, Verdict
from inference.structures import BY_KEY, Side

THIGH = body(spacing_mm=(20.0, 4.0, 4.0))
ONE_LEG = body(spacing_mm=(20.0, 4.0, 4.0), sides=(Side.LEFT,), shift_mm=-10.0)


@pytest.fixture(autouse=True)
def guests_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guest's line in `bundle.py` does."""
    monkeypatch.setattr("inference.models.bundle.KINDS", {**KINDS, **TINY_GUESTS})


def test_folds_go_all_the_way(tmp_path: Path):
    bundle = tiny_guest_bundle(tmp_path / "b", Members(kind="folds", networks=2), hu=(HU, HU))
    case = analyse(THIGH.volume, bundle, seed=5)

    assert case.model.samples_of is SampleKind.FOLDS
    assert case.model.samples == 2
    assert case.model.uncertainty is Uncertainty.VARIANCE
    assert case.of(BY_KEY["FEMUR_L"]).measured.mean_hu == pytest.approx(500.0)


def test_one_answer_is_not_judged(tmp_path: Path):
    bundle = tiny_guest_bundle(tmp_path / "b", Members(kind="none"))
    case = analyse(THIGH.volume, bundle, seed=5)

    assert case.uncertainty is None
    assert case.model.samples_of is SampleKind.NONE
    assert case.of(BY_KEY["FEMUR_L"]).verdict is Verdict.NOT_JUDGED


def test_a_mirrored_member_finds_the_same_body_on_the_same_side(tmp_path: Path):
    variations = (AS_IT_IS, Variation(mirrored=True, shift_voxels=(2, 3, 5)))
    bundle = tiny_guest_bundle(
        tmp_path / "b", Members(kind="variations", variations=variations)
    )
    case = analyse(ONE_LEG.volume, bundle, seed=5)
    alone = analyse(ONE_LEG.volume, bundle, samples=1, seed=5)

    np.testing.assert_array_equal(case.segments, alone.segments)
    assert case.segments.any()
    assert case.uncertainty is not None
    assert case.uncertainty.max() < 1e-6
