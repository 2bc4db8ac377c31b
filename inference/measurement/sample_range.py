"""Ranges of the segments' volumes and mean HU over the Monte Carlo samples.

The sampler keeps, for every sample, how many pixels of each structure lie in each slice and
bin of columns, and their HU. Here those are given to right and left as the final segments
share the same slice and bin. What a sample finds where the final segmentation has nothing
of the structure nearby is an island of that sample, and is left out.
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

NEARBY_BINS: Final = 2
"""How many bins of columns beside the final segment a sample's pixels still count."""


@dataclass(frozen=True, slots=True)
class SegmentSpread:
    """Lowest and highest volume and mean HU of one segment over the samples."""

    volume_cm3: Spread
    mean_hu: Spread


def sample_ranges(
    profiles: SampleProfiles,
    labels: NDArray[np.uint8],
    segments: NDArray[np.uint8],
    geometry: Geometry,
) -> Mapping[Segment, SegmentSpread]:
    """The sample ranges of all segments that every sample found; none of a single sample.

    Args:
        profiles: what each sample would have measured.
        labels: `[slice, row, column]` 0 to 22, the final labels before sides were split.
        segments: the same with sides, 0 to 43.
        geometry: the grid of both.
    """
    if len(profiles.voxels) < 2:
        return {}
    of_labels = _binned(labels, LABEL_COUNT, profiles.bin_edges)
    of_segments = _binned(segments, len(SEGMENTS) + 1, profiles.bin_edges)
    found = {}
    for segment in SEGMENTS:
        label = segment.structure.label
        share = _share(of_segments[:, segment.number], of_labels[:, label])
        if share.any():
            weight = share * geometry.voxel_volumes_mm3[:, np.newaxis] * profiles.source_pixels
            volumes_mm3 = np.einsum("tkb,kb->t", profiles.voxels[:, :, label], weight)
            hu_mm3 = np.einsum("tkb,kb->t", profiles.hu_sums[:, :, label], weight)
            if volumes_mm3.all():
                found[segment] = SegmentSpread(
                    _spread(volumes_mm3 / 1000), _spread(hu_mm3 / volumes_mm3)
                )
    return found


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
