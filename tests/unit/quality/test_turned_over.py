"""The network's doubt as it is and turned over: what counts as evidence."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from support.volumes import body

from inference.prediction import Prediction
from inference.quality.calibration import Calibration, StructureCalibration
from inference.quality.turned_over import (
    SLICES,
    is_doubted,
    is_surer_turned_over,
    slices_to_turn,
    turned_over,
)

PATIENT = body()
LINE = StructureCalibration.from_line(dice_median=0.9, dice_mad=0.02, a=1.0, b=-200.0)
CALIBRATION = Calibration("by hand", "none", dt.date(2026, 1, 1), 10, average=LINE)
"""Inaccurate above 8e-4."""


def answer(labels: np.ndarray, uncertainty: float | None) -> Prediction:
    doubt = None
    if uncertainty is not None:
        doubt = np.full(labels.shape, uncertainty / 10, dtype=np.float32)
        doubt[labels > 0] = uncertainty
    return Prediction(labels.copy(), doubt, None, "none")


def surer(before: float, after: float, *, found: float = 1.0, labels: str = "all") -> bool:
    """Whether the turned slices are believed, by both uncertainties and what is found."""
    slices = slices_to_turn(PATIENT.labels)
    turned = np.ascontiguousarray(PATIENT.labels[slices, ::-1])
    if labels == "bones":
        turned = np.where(turned <= 3, turned, 1 * (turned > 0)).astype(np.uint8)
    if found < 1:
        chance = np.random.default_rng(1).random(turned.shape)
        turned = np.where(chance < found, turned, 0).astype(np.uint8)
    return is_surer_turned_over(
        PATIENT.volume, answer(PATIENT.labels, before), slices, answer(turned, after)
    )


def test_a_few_slices_that_show_something_are_turned():
    slices = slices_to_turn(PATIENT.labels)
    part = turned_over(PATIENT.volume, slices)

    assert len(slices) == SLICES
    assert PATIENT.labels[slices].any(axis=(1, 2)).all()
    np.testing.assert_array_equal(part.hu, PATIENT.volume.hu[slices, ::-1])
    np.testing.assert_array_equal(
        part.geometry.slice_offsets_mm, PATIENT.geometry.slice_offsets_mm[slices]
    )


def test_a_network_that_is_half_as_unsure_of_the_turned_slices_believes_them():
    assert surer(2e-3, 2e-4)
    assert surer(2e-3, 1e-3)


@pytest.mark.parametrize("after", [1.3e-3, 2e-3, 9e-3])
def test_a_little_less_doubt_or_more_is_no_evidence(after: float):
    assert not surer(2e-3, after)


def test_no_doubt_either_way_is_no_evidence():
    """As of the members of a guest that all answer alike."""
    assert not surer(0.0, 0.0)


def test_less_doubt_because_less_is_found_is_no_evidence():
    assert not surer(2e-3, 2e-4, found=0.2)


def test_bones_without_muscles_are_no_hip_and_no_thigh():
    assert not surer(2e-3, 2e-4, labels="bones")


def test_only_what_is_doubted_is_turned():
    labels = PATIENT.labels

    assert is_doubted(answer(labels, 9e-3), CALIBRATION)
    assert is_doubted(answer(labels, 1e-4), None)
    assert not is_doubted(answer(labels, 1e-4), CALIBRATION)
    assert not is_doubted(answer(labels, None), None)
    assert not is_doubted(answer(np.zeros_like(labels), 9e-3), None)
