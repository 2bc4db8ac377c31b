"""Overlap, distance and failure detection as the study defines them.

Soufi et al. 2025, Methods, "evaluation": Dice (DC), average symmetric surface distance
(ASD), errors of volume (AVE, relative) and of mean HU (AIE, absolute), and how well the
uncertainty tells bad segmentations (AUROC). What cannot be said is None, never a number:
the distance to a structure that was not found has no length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from inference.geometry import Geometry
from inference.quality.calibration import dice_limits

FACES: Final = ndimage.generate_binary_structure(3, 1)
"""Voxels are neighbours through their faces."""


def dice_of_counts(common: float, true: float, found: float) -> float | None:
    """Dice from the sizes of the overlap and of both masks; None where both are empty.

    Sizes may be voxels or volumes: they differ where slices are unevenly spaced.
    """
    return 2 * common / (true + found) if true + found else None


def average_surface_distance_mm(
    true: NDArray[np.bool_], found: NDArray[np.bool_], geometry: Geometry
) -> float | None:
    """Average symmetric surface distance: mean over the surface voxels of both masks.

    The surface of a mask are its voxels with a face on the outside, the border of the scan
    counting as outside; distances are between voxel centres, at the slices' own positions,
    so slices may be unevenly spaced.

    Args:
        true: `[slice, row, column]` on the grid of `geometry`.
        found: likewise.
        geometry: where the voxels lie.

    Returns:
        Millimetres; None where one of the masks is empty.
    """
    if not true.any() or not found.any():
        return None
    here, there = _surface_mm(true, geometry), _surface_mm(found, geometry)
    apart_mm = [np.asarray(cKDTree(b).query(a)[0]) for a, b in ((here, there), (there, here))]
    return float(np.concatenate(apart_mm).mean())


def _surface_mm(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float64]:
    """(voxels, 3) places of the surface voxels, along normal, rows and columns."""
    inside = ndimage.find_objects(mask.astype(np.uint8))[0]
    part = mask[inside]
    index = np.argwhere(part & ~ndimage.binary_erosion(part, FACES))
    index += [extent.start for extent in inside]
    offsets_mm = geometry.slice_offsets_mm[index[:, 0]]
    in_plane_mm = index[:, 1:] * np.asarray(geometry.spacing_mm)
    return np.column_stack([offsets_mm, in_plane_mm])


def absolute_volume_error_percent(true_cm3: float, found_cm3: float) -> float | None:
    """AVE: |V - V_true| / V_true in per cent; None where nothing was annotated."""
    return 100 * abs(found_cm3 - true_cm3) / true_cm3 if true_cm3 else None


def auroc(score: NDArray[np.float64], bad: NDArray[np.bool_]) -> float | None:
    """Chance that a bad case scores higher than a good one; ties count half.

    None unless there are both kinds.
    """
    if bad.all() or not bad.any():
        return None
    high, low = score[bad][:, None], score[~bad][None, :]
    return float((high > low).mean() + 0.5 * (high == low).mean())


def aurc(score: NDArray[np.float64], risk: NDArray[np.float64]) -> float | None:
    """Area under the risk-coverage curve (Zenk et al., Med Image Anal 101 (2025) 103392).

    Kept are the items with the lowest scores; coverage is the share kept, the selective risk
    the mean risk of those. The area is that of the steps, one for each item: the mean of the
    selective risks over all coverages. Items of the same score are kept together, so that
    their order says nothing: each of them has the mean of what the orders would give.

    Args:
        score: the higher, the less an item is trusted.
        risk: of each item: 1 - Dice.

    Returns:
        The lower, the better: the mean risk where scores say nothing. None of no items.
    """
    if not len(score):
        return None
    _, tied, counts = np.unique(score, return_inverse=True, return_counts=True)
    even = (np.bincount(tied, risk) / counts)[np.sort(tied)]
    return float((np.cumsum(even) / np.arange(1, len(even) + 1)).mean())


def roc_curve(
    score: NDArray[np.float64], bad: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates as the threshold falls, both from 0 to 1.

    Equal scores are one step, so that the area below is `auroc`. There must be both kinds.
    """
    thresholds = np.unique(score)[::-1]
    flagged = score[:, None] >= thresholds[None, :]
    false = np.append(0.0, flagged[~bad].mean(axis=0))
    true = np.append(0.0, flagged[bad].mean(axis=0))
    return false, true


@dataclass(frozen=True, slots=True)
class FailureClasses:
    """Classes of bad segmentations among these cases (study, "failure detection").

    median, mad: of Dice over the cases; MAD is the median absolute deviation.
    inaccurate_below, failed_below: median + 1.4826 k MAD with k = -2 and -3.
    """

    median: float
    mad: float
    inaccurate_below: float
    failed_below: float

    @classmethod
    def of(cls, dice: NDArray[np.float64]) -> FailureClasses:
        """The classes that the Dice values of the cases draw themselves."""
        median = float(np.median(dice))
        mad = float(np.median(np.abs(dice - median)))
        return cls(median, mad, *dice_limits(median, mad))
