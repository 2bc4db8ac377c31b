"""What samples differ by, from profiles made by hand; and from a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.anatomy.sides import split_sides
from inference.geometry import Geometry
from inference.measurement.measure import measure
from inference.measurement.sample_range import (
    SampleDeviation,
    SampleFigures,
    sample_figures,
)
from inference.models.bundle import load_bundle
from inference.phantom.render import phantom
from inference.phantom.spec import SMALL_PHANTOM
from inference.prediction import SampleProfiles
from inference.results import Spread
from inference.structures import BY_KEY, LABEL_COUNT, Segment
from inference.volume import Patient, Volume

GMED_R, GMED_L = BY_KEY["GMED_R"], BY_KEY["GMED_L"]
LABEL = GMED_R.structure.label
BINS = 10

Found = dict[int, tuple[int, float]]
"""By bin: pixels and mean HU of the one structure."""


def profile(found: Found) -> tuple[np.ndarray, np.ndarray]:
    voxels = np.zeros((1, LABEL_COUNT, BINS), dtype=np.int32)
    hu_sums = np.zeros(voxels.shape, dtype=np.float32)
    for place, (pixels, hu) in found.items():
        voxels[0, LABEL, place], hu_sums[0, LABEL, place] = pixels, pixels * hu
    return voxels, hu_sums


def figures(
    mean: Found,
    samples: list[Found],
    pairs: dict[int, int] | None = None,
    *,
    source_pixels: float = 1.0,
) -> dict[Segment, SampleFigures]:
    """One slice of 1 mm voxels, 10 columns, a bin each.

    The final label is in columns 1 and 2 (right) and 7 (left).
    pairs: of samples that agree, by bin, summed over its pixels.
    """
    labels = np.zeros((1, 4, BINS), dtype=np.uint8)
    segments = np.zeros_like(labels)
    labels[0, 0, [1, 2, 7]] = LABEL
    segments[0, 0, [1, 2]], segments[0, 0, 7] = GMED_R.number, GMED_L.number
    of_samples = [np.stack(each) for each in zip(*map(profile, samples), strict=True)]
    edges = np.arange(BINS + 1) - 0.5
    agreeing = np.zeros((1, LABEL_COUNT, BINS), dtype=np.int64)
    for place, number in (pairs or {}).items():
        agreeing[0, LABEL, place] = number
    profiles = SampleProfiles(*of_samples, *profile(mean), agreeing, edges, source_pixels)
    geometry = Geometry.regular(labels.shape, (1, 1, 1))
    return dict(sample_figures(profiles, labels, segments, geometry))


def deviations(
    mean: Found, samples: list[Found], *, source_pixels: float = 1.0
) -> dict[Segment, SampleDeviation]:
    """The deviations among `figures`, of those segments that have some."""
    found = figures(mean, samples, source_pixels=source_pixels)
    return {key: each.deviation for key, each in found.items() if each.deviation}


MEAN: Found = {1: (3, 50.0), 7: (2, 20.0)}


def test_each_side_has_the_lowest_and_highest_of_its_own_samples():
    """Right: 2 and 4 mm3 around 3; left: 1 and 3 mm3 around 2, at 10 and 30 HU around 20."""
    found = deviations(
        MEAN, [{1: (2, 50.0), 7: (1, 10.0)}, {1: (3, 50.0), 2: (1, 90.0), 7: (3, 30.0)}]
    )
    right, left = found[GMED_R], found[GMED_L]

    assert (right.volume_cm3.low, right.volume_cm3.high) == pytest.approx((-0.001, 0.001))
    assert (right.mean_hu.low, right.mean_hu.high) == pytest.approx((0.0, 10.0))
    assert (left.volume_cm3.low, left.volume_cm3.high) == pytest.approx((-0.001, 0.001))
    assert (left.mean_hu.low, left.mean_hu.high) == pytest.approx((-10.0, 10.0))


def test_samples_that_agree_with_their_mean_do_not_deviate_whatever_the_pixels():
    """The network's pixels may show half the voxels, and an edge 40 HU darker, as the scan."""
    found = deviations(MEAN, [MEAN, MEAN], source_pixels=0.5)

    assert found[GMED_R] == SampleDeviation(Spread(0.0, 0.0), Spread(0.0, 0.0))


def test_pixels_beside_a_segment_count_for_it_and_for_no_other():
    """Column 3 is beside the right segment; 5 is within two bins of the left one."""
    near = deviations(MEAN, [{1: (3, 0.0)}, {1: (3, 0.0), 3: (5, 0.0)}])
    far = deviations(MEAN, [{7: (2, 0.0)}, {7: (2, 0.0), 5: (2, 0.0)}])

    assert near[GMED_R].volume_cm3.high == pytest.approx(0.005)
    assert far[GMED_L].volume_cm3.high == pytest.approx(0.002)
    assert GMED_L not in near


def test_a_network_pixel_counts_for_the_source_pixels_it_stands_for():
    found = deviations(MEAN, [{1: (3, 0.0)}, {1: (5, 0.0)}], source_pixels=4.0)

    assert found[GMED_R].volume_cm3.high == pytest.approx(0.008)


def test_a_segment_that_one_sample_or_their_mean_does_not_find_has_no_range():
    both = {1: (1, 0.0), 7: (1, 0.0)}

    assert GMED_L not in deviations(MEAN, [{1: (1, 0.0)}, both])
    assert GMED_L not in deviations({1: (1, 0.0)}, [both, both])


def test_one_sample_has_no_range():
    assert deviations(MEAN, [MEAN]) == {}


def test_each_side_has_the_dice_between_its_own_samples():
    """Right: 4, 3 and 2 pixels of three samples; 3, 2 and 2 are shared by each two of them.

    2 (3 + 2 + 2) / (7 + 6 + 5) = 14 / 18. Left: two pixels, the same in all: 1.
    """
    samples: list[Found] = [{1: (k, 0.0), 7: (2, 0.0)} for k in (4, 3, 2)]
    found = figures(MEAN, samples, {1: 3 + 2 + 2, 7: 2 * 3})

    assert found[GMED_R].pairwise_dice == pytest.approx(14 / 18)
    assert found[GMED_L].pairwise_dice == 1.0


def test_each_side_s_volume_varies_by_its_own_samples():
    """Right: 2, 3 and 4 mm3: a standard deviation of 1 over a mean of 3. Left: none."""
    samples: list[Found] = [{1: (k, 0.0), 7: (2, 0.0)} for k in (2, 3, 4)]
    found = figures(MEAN, samples)

    assert found[GMED_R].volume_cv == pytest.approx(1 / 3)
    assert found[GMED_L].volume_cv == 0.0


def test_a_sample_that_finds_nothing_agrees_with_none_and_there_is_no_range():
    """Two samples of two pixels that agree, one of none: 2 (2) / (2 (2 + 2 + 0)) = 1/2."""
    two: Found = {7: (2, 0.0)}
    found = figures(MEAN, [two, two, {}], {7: 2})[GMED_L]

    assert found.pairwise_dice == pytest.approx(0.5)
    assert found.volume_cv == pytest.approx(np.sqrt(3) / 2)
    assert found.deviation is None


def test_what_no_sample_finds_has_no_figures():
    right: Found = {1: (3, 0.0)}

    assert set(figures(MEAN, [right, right], {1: 3})) == {GMED_R}


def test_samples_agree_as_little_as_their_pixels_count_in_uneven_slices():
    """A slice of 1 mm where all agree on 4 pixels, one of 3 mm where 4 and 4 share none.

    2 (1 x 4) / (1 x 8 + 3 x 8) = 1/4; per pixel it would be 1/2.
    """
    voxels = np.zeros((2, 2, LABEL_COUNT, 1), dtype=np.int32)
    voxels[:, :, LABEL] = 4
    agreeing = np.zeros((2, LABEL_COUNT, 1), dtype=np.int64)
    agreeing[0, LABEL] = 4
    hu, edges = np.zeros(voxels.shape, np.float32), np.array([-0.5, 3.5])
    profiles = SampleProfiles(voxels, hu, voxels[0], hu[0], agreeing, edges, 1.0)
    labels = np.full((2, 1, 4), LABEL, dtype=np.uint8)
    uneven = replace(Geometry.regular(labels.shape, (1, 1, 1)), extents_mm=np.array([1.0, 3.0]))
    segments = np.full(labels.shape, GMED_R.number, dtype=np.uint8)

    found = sample_figures(profiles, labels, segments, uneven)[GMED_R]

    assert found.pairwise_dice == pytest.approx(0.25)


def test_a_range_holds_its_value_also_where_all_samples_lie_on_one_side():
    """A cube of 8 cm3 at 50 HU; every sample found 2 to 3 cm3 more, and 5 to 9 HU less."""
    geometry = Geometry.regular((2, 2, 2), (10, 10, 10))
    segments = np.full((2, 2, 2), GMED_R.number, dtype=np.uint8)
    volume = Volume(np.full(segments.shape, 50, dtype=np.int16), geometry)
    torn = {
        GMED_R: SampleFigures(SampleDeviation(Spread(2.0, 3.0), Spread(-9.0, -5.0)), 0.75, 0.1)
    }
    measured = measure(volume, segments, None, Patient(), torn)[GMED_R.number - 1]

    assert measured.volume_spread_cm3 == Spread(8.0, 11.0)
    assert measured.mean_hu_spread == Spread(41.0, 50.0)
    assert (measured.pairwise_dice, measured.volume_cv) == (0.75, 0.1)


def test_a_volume_s_range_never_falls_below_nothing():
    geometry = Geometry.regular((1, 1, 1), (10, 10, 10))
    volume = Volume(np.full((1, 1, 1), 50, dtype=np.int16), geometry)
    segments = np.full((1, 1, 1), GMED_R.number, dtype=np.uint8)
    less = {
        GMED_R: SampleFigures(SampleDeviation(Spread(-2.0, 0.0), Spread(0.0, 0.0)), 0.0, 1.0)
    }
    measured = measure(volume, segments, None, Patient(), less)[GMED_R.number - 1]

    assert measured.volume_spread_cm3 == Spread(0.0, 1.0)


def test_the_delivered_network_s_samples_lie_on_both_sides_of_its_value():
    """A phantom of 3.2 mm pixels, a network of 2 mm: of 43 structures 42 at least.

    Were the value compared on the scan's pixels with samples on the network's, 38 mean HU
    of 43 would lie at the edge of their own range, or outside.
    """
    volume = phantom(SMALL_PHANTOM).volume
    network = load_bundle("compact").model.load("cpu")
    (found,) = network.predict(volume, counts=(10,), seed=1)
    segments = split_sides(found.labels, volume.geometry)
    figures = sample_figures(found.profiles, found.labels, segments, volume.geometry)
    ranges = {key: each.deviation for key, each in figures.items() if each.deviation}

    assert len(ranges) == 43
    assert all(0.5 < each.pairwise_dice < 1 for each in figures.values())
    for quantity in ("volume_cm3", "mean_hu"):
        sides = [getattr(each, quantity) for each in ranges.values()]
        assert sum(each.low <= 0 <= each.high for each in sides) >= 42
