"""Spreads over the samples, from profiles made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from inference.geometry import Geometry
from inference.measurement.sample_range import SegmentSpread, sample_ranges
from inference.prediction import SampleProfiles
from inference.structures import BY_KEY, Segment

GMED = BY_KEY["GMED_R"].structure
BINS = 10


def found(
    samples: list[dict[int, tuple[int, float]]], *, source_pixels: float = 1.0
) -> dict[Segment, SegmentSpread]:
    """One slice of 1 mm voxels, 10 columns, a bin each.

    The final label is in columns 1 and 2 (right) and 7 (left); samples give, per bin,
    pixels and mean HU of the same structure.
    """
    labels = np.zeros((1, 4, BINS), dtype=np.uint8)
    segments = np.zeros_like(labels)
    labels[0, 0, [1, 2, 7]] = GMED.label
    segments[0, 0, [1, 2]], segments[0, 0, 7] = BY_KEY["GMED_R"].number, BY_KEY["GMED_L"].number
    voxels = np.zeros((len(samples), 1, 23, BINS), dtype=np.int32)
    hu_sums = np.zeros(voxels.shape, dtype=np.float32)
    for number, sample in enumerate(samples):
        for place, (pixels, hu) in sample.items():
            voxels[number, 0, GMED.label, place] = pixels
            hu_sums[number, 0, GMED.label, place] = pixels * hu
    edges = np.arange(BINS + 1) - 0.5
    profiles = SampleProfiles(voxels, hu_sums, edges, source_pixels)
    return dict(
        sample_ranges(profiles, labels, segments, Geometry.regular(labels.shape, (1, 1, 1)))
    )


def test_each_side_has_the_lowest_and_highest_of_its_own_samples():
    """Right: 2 and 4 mm3; left: 1 and 3 mm3, at 10 and 30 HU."""
    result = found([{1: (2, 50.0), 7: (1, 10.0)}, {1: (3, 50.0), 2: (1, 90.0), 7: (3, 30.0)}])
    right, left = result[BY_KEY["GMED_R"]], result[BY_KEY["GMED_L"]]

    assert (right.volume_cm3.low, right.volume_cm3.high) == pytest.approx((0.002, 0.004))
    assert (right.mean_hu.low, right.mean_hu.high) == pytest.approx((50.0, 60.0))
    assert (left.volume_cm3.low, left.volume_cm3.high) == pytest.approx((0.001, 0.003))
    assert (left.mean_hu.low, left.mean_hu.high) == pytest.approx((10.0, 30.0))


def test_pixels_beside_the_segment_count_and_those_far_away_do_not():
    """Column 3 is beside the right segment; 5 is within two bins of the left one."""
    near = found([{1: (1, 0.0)}, {1: (1, 0.0), 3: (5, 0.0)}])
    far = found([{7: (1, 0.0)}, {7: (1, 0.0), 5: (2, 0.0)}])

    assert near[BY_KEY["GMED_R"]].volume_cm3.high == pytest.approx(0.006)
    assert far[BY_KEY["GMED_L"]].volume_cm3.high == pytest.approx(0.003)


def test_a_network_pixel_counts_for_the_source_pixels_it_stands_for():
    result = found([{1: (2, 0.0)}, {1: (2, 0.0)}], source_pixels=4.0)

    assert result[BY_KEY["GMED_R"]].volume_cm3.high == pytest.approx(0.008)


def test_a_segment_that_one_sample_does_not_find_has_no_spread():
    assert BY_KEY["GMED_L"] not in found([{1: (1, 0.0)}, {1: (1, 0.0), 7: (1, 0.0)}])


def test_one_sample_has_no_spread():
    assert found([{1: (1, 0.0)}]) == {}
