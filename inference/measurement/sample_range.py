"""By how much the samples of a model differ in each segment: ranges, volumes, overlap.

The sampler keeps, for every sample and for their mean, how many pixels of each structure
lie in each slice and bin of columns, and their HU. Here those are given to right and left as
the final segments share the same slice and bin. What a sample finds where the final
segmentation has nothing of the structure nearby is an island of that sample, and is left out.

Samples are compared with the labels of their mean in the network's own pixels, which are not
the scan's: between two grids a volume differs by the rounding of its edge, and mean HU by
tens where a thin bone's edge is blurred into larger pixels. What the samples differ by is
the same on both: docs/method.md has the figures.

How much the samples agree is told by two figures that know no unit and no class: the Dice
between them, and the coefficient of variation of the volume (Roy et al., NeuroImage 195
(2019) 11-22, sections 3.3.1 and 3.3.2). There the Dice of each pair is averaged; here the
shared pixels and the sizes of all pairs are summed first, so that a pair of which neither
found anything needs no rule of its own, and no sample need be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.prediction import SampleProfiles
from inference.results import Spread
from inference.structures import LABEL_COUNT, SEGMENTS, Segment

FEWEST_SAMPLES: Final = 2
"""One sample differs by nothing."""

NEARBY_BINS: Final = 2
"""How many bins of columns beside the final segment a sample's pixels still count."""


@dataclass(frozen=True, slots=True)
class SampleDeviation:
    """Lowest and highest deviation of a sample's volume and mean HU of one segment.

    From those of the labels of the samples' mean; below 0 where a sample has less.
    """

    volume_cm3: Spread
    mean_hu: Spread


@dataclass(frozen=True, slots=True)
class SampleFigures:
    """Figures of one segment over the samples of a model.

    deviation: None where a sample, or their mean, does not find the segment.
    pairwise_dice: 0 (no pixel is given the segment by two samples) to 1 (all are the same).
    volume_cv: standard deviation (n - 1) of the volume over its mean; 0 where all are alike.
    """

    deviation: SampleDeviation | None
    pairwise_dice: float
    volume_cv: float


def sample_figures(
    profiles: SampleProfiles | None,
    labels: NDArray[np.uint8],
    segments: NDArray[np.uint8],
    geometry: Geometry,
) -> Mapping[Segment, SampleFigures]:
    """The figures of all segments that any sample found; none of a single sample.

    Args:
        profiles: what each sample, and their mean, would have measured, if there are any.
        labels: `[slice, row, column]` 0 to 22, the final labels before sides were split.
        segments: the same with sides, 0 to 43.
        geometry: the grid of both.
    """
    if profiles is None or len(profiles.voxels) < FEWEST_SAMPLES:
        return {}
    of_labels = _binned(labels, LABEL_COUNT, profiles.bin_edges)
    of_segments = _binned(segments, len(SEGMENTS) + 1, profiles.bin_edges)
    pixel_mm3 = geometry.voxel_volumes_mm3[:, np.newaxis] * profiles.source_pixels
    found = {}
    for segment in SEGMENTS:
        label = segment.structure.label
        share = _share(of_segments[:, segment.number], of_labels[:, label])
        figures = figures_of_label(profiles, label, share * pixel_mm3)
        if figures is not None:
            found[segment] = figures
    return found


def whole_figures(
    profiles: SampleProfiles | None, labels: NDArray[np.uint8], geometry: Geometry
) -> Mapping[int, SampleFigures]:
    """The figures of each label, both sides together, as `sample_figures` has them."""
    if profiles is None or len(profiles.voxels) < FEWEST_SAMPLES:
        return {}
    binned = _binned(labels, LABEL_COUNT, profiles.bin_edges)
    pixel_mm3 = geometry.voxel_volumes_mm3[:, np.newaxis] * profiles.source_pixels
    found = {}
    for label in range(1, LABEL_COUNT):
        share = _share(binned[:, label], binned[:, label])
        figures = figures_of_label(profiles, label, share * pixel_mm3)
        if figures is not None:
            found[label] = figures
    return found


def figures_of_label(
    profiles: SampleProfiles, label: int, pixel_mm3: NDArray[np.float64]
) -> SampleFigures | None:
    """The figures of a label, each of whose pixels counts for so much.

    Args:
        profiles: of two samples or more.
        label: 1 to 22.
        pixel_mm3: (slices, bins), or what becomes that: 0 where pixels do not count.

    Returns:
        None where no sample found a pixel that counts.
    """
    volumes_mm3 = np.einsum("tkb,kb->t", profiles.voxels[:, :, label], pixel_mm3)
    total_mm3 = float(volumes_mm3.sum())
    if not total_mm3:
        return None
    pairs_mm3 = float((profiles.agreeing_pairs[:, label] * pixel_mm3).sum())
    count = len(volumes_mm3)
    return SampleFigures(
        deviation=_deviation(profiles, label, pixel_mm3, volumes_mm3),
        # Each sample's size stands in count - 1 pairs.
        pairwise_dice=2 * pairs_mm3 / ((count - 1) * total_mm3),
        volume_cv=float(volumes_mm3.std(ddof=1)) * count / total_mm3,
    )


def _deviation(
    profiles: SampleProfiles,
    label: int,
    pixel_mm3: NDArray[np.float64],
    volumes_mm3: NDArray[np.float64],
) -> SampleDeviation | None:
    """Of the volumes of the samples from that of their mean; None where one has nothing."""
    of_mean = profiles.mean_voxels[:, label], profiles.mean_hu_sums[:, label]
    mean_mm3, mean_hu_mm3 = (float((each * pixel_mm3).sum()) for each in of_mean)
    if not mean_mm3 or not volumes_mm3.all():
        return None
    hu_mm3 = np.einsum("tkb,kb->t", profiles.hu_sums[:, :, label], pixel_mm3)
    return SampleDeviation(
        volume_cm3=_spread((volumes_mm3 - mean_mm3) / 1000),
        mean_hu=_spread(hu_mm3 / volumes_mm3 - mean_hu_mm3 / mean_mm3),
    )


def _spread(values: NDArray[np.float64]) -> Spread:
    return Spread(low=float(values.min()), high=float(values.max()))


def _binned(
    numbers: NDArray[np.uint8], count: int, edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(slices, count, bins) how often each number stands in each bin of columns."""
    bins = len(edges) - 1
    columns = np.arange(numbers.shape[2])
    bin_of = np.clip(np.searchsorted(edges, columns, side="right") - 1, 0, bins - 1)
    binned = np.zeros((len(numbers), count, bins))
    for place, image in enumerate(numbers):
        rows, columns = np.nonzero(image)
        index = image[rows, columns].astype(np.intp) * bins + bin_of[columns]
        binned[place] = np.bincount(index, minlength=count * bins).reshape(count, bins)
    return binned


def _share(segment: NDArray[np.float64], label: NDArray[np.float64]) -> NDArray[np.float64]:
    """(slices, bins) the segment's share of its label; empty bins take their neighbours'."""
    parts, wholes = segment, label
    share = np.zeros_like(segment)
    known = np.zeros(segment.shape, dtype=bool)
    for _ in range(NEARBY_BINS + 1):
        new = (wholes > 0) & ~known
        share[new] = parts[new] / wholes[new]
        known |= new
        parts, wholes = _widened(parts), _widened(wholes)
    return share


def _widened(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each bin with the sum of itself and its two neighbours."""
    padded = np.pad(values, ((0, 0), (1, 1)))
    return np.asarray(padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:])
