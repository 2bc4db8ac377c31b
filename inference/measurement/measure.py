"""Volumes, attenuation, composition and uncertainty of the 43 segments.

All figures come from one pass over the labelled voxels, slice by slice, so unevenly spaced
slices count with their own extent. Definitions follow the study (Soufi et al. 2025, Methods
and Table 7): volume = voxels times voxel size; normalised volume = volume over height
squared; density = mean HU inside the label; composition by voxel HU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.measurement.sample_range import SampleFigures
from inference.results import FAT_BELOW_HU, LEAN_ABOVE_HU, Composition, Measurement, Spread
from inference.structures import SEGMENTS, Segment
from inference.volume import Patient, Volume

SEGMENT_NUMBERS: Final = len(SEGMENTS) + 1


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over the voxels of every segment in every slice: (slices, 44), column 0 unused.

    uncertainty: None where there is none to sum.
    """

    voxels: NDArray[np.int64]
    hu: NDArray[np.float64]
    fat: NDArray[np.int64]
    lean: NDArray[np.int64]
    uncertainty: NDArray[np.float64] | None


def measure(
    volume: Volume,
    segments: NDArray[np.uint8],
    uncertainty: NDArray[np.float32] | None,
    patient: Patient,
    samples: Mapping[Segment, SampleFigures] | None = None,
) -> tuple[Measurement, ...]:
    """Measure all 43 segments, in the order of `SEGMENTS`.

    Args:
        volume: the CT.
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
        uncertainty: voxel-wise uncertainty on the same grid; None of a model that has none.
        patient: for the height, if known.
        samples: what they differ by, if there are several.
    """
    counts = tally(volume, segments, uncertainty)
    return tuple(
        _with_samples(_measurement(segment, counts, volume, patient), samples or {})
        for segment in SEGMENTS
    )


def tally(
    volume: Volume, segments: NDArray[np.uint8], uncertainty: NDArray[np.float32] | None
) -> Tally:
    """Count and sum in one pass over the labelled voxels."""
    shape = (len(segments), SEGMENT_NUMBERS)
    counts = Tally(
        voxels=np.zeros(shape, dtype=np.int64),
        hu=np.zeros(shape),
        fat=np.zeros(shape, dtype=np.int64),
        lean=np.zeros(shape, dtype=np.int64),
        uncertainty=None if uncertainty is None else np.zeros(shape),
    )
    for number, labels in enumerate(segments):
        where = np.flatnonzero(labels)
        if not where.size:
            continue
        which = labels.ravel()[where]
        hu = volume.hu[number].ravel()[where]
        counts.voxels[number] = np.bincount(which, minlength=SEGMENT_NUMBERS)
        counts.hu[number] = np.bincount(which, hu, minlength=SEGMENT_NUMBERS)
        counts.fat[number] = np.bincount(which[hu < FAT_BELOW_HU], minlength=SEGMENT_NUMBERS)
        counts.lean[number] = np.bincount(which[hu > LEAN_ABOVE_HU], minlength=SEGMENT_NUMBERS)
        if uncertainty is not None and counts.uncertainty is not None:
            counts.uncertainty[number] = np.bincount(
                which, uncertainty[number].ravel()[where], minlength=SEGMENT_NUMBERS
            )
    return counts


def _measurement(
    segment: Segment, counts: Tally, volume: Volume, patient: Patient
) -> Measurement:
    """One segment's figures; in means and shares a voxel weighs by its volume."""
    voxel_mm3 = volume.geometry.voxel_volumes_mm3
    column = segment.number
    voxel_count = int(counts.voxels[:, column].sum())
    if not voxel_count:
        return Measurement(segment, 0)
    volume_mm3, hu_mm3, fat_mm3, lean_mm3 = (
        float(voxel_mm3 @ sums[:, column])
        for sums in (counts.voxels, counts.hu, counts.fat, counts.lean)
    )
    uncertainties = counts.uncertainty
    volume_cm3 = volume_mm3 / 1000
    height_m = patient.height_m
    fat, lean = fat_mm3 / volume_mm3, lean_mm3 / volume_mm3
    return Measurement(
        segment=segment,
        voxel_count=voxel_count,
        volume_cm3=volume_cm3,
        normalised_volume_cm3_per_m2=volume_cm3 / height_m**2 if height_m else None,
        mean_hu=hu_mm3 / volume_mm3,
        composition=Composition(lean=lean, mixed=max(0.0, 1 - fat - lean), fat=fat),
        uncertainty=(
            None
            if uncertainties is None
            else float(voxel_mm3 @ uncertainties[:, column]) / volume_mm3
        ),
    )


def _with_samples(
    measured: Measurement, samples: Mapping[Segment, SampleFigures]
) -> Measurement:
    figures = samples.get(measured.segment)
    if figures is None or measured.volume_cm3 is None or measured.mean_hu is None:
        return measured
    agreeing = replace(
        measured, pairwise_dice=figures.pairwise_dice, volume_cv=figures.volume_cv
    )
    deviation = figures.deviation
    if deviation is None:
        return agreeing
    volume_cm3 = _around(measured.volume_cm3, deviation.volume_cm3)
    return replace(
        agreeing,
        volume_spread_cm3=replace(volume_cm3, low=max(0.0, volume_cm3.low)),
        mean_hu_spread=_around(measured.mean_hu, deviation.mean_hu),
    )


def _around(value: float, deviation: Spread) -> Spread:
    """The range of the samples and of the value itself.

    The value is that of the label of the samples' mean: where the network is torn, all
    samples can lie on one side of it, and the range then ends at the value.
    """
    return Spread(low=value + min(0.0, deviation.low), high=value + max(0.0, deviation.high))
