"""The network's doubt about a body that lies with its back in front.

A network that was trained on bodies with the front in front labels every image so: turned
over, gluteus maximus is sought behind, and something is found there. The labels' places then
tell nothing (`anatomy.frame`), but the network is unsure of them, and sure again of the same
slices when their rows are reversed. An upright body is the other way round: of a phantom the
rows reversed made the uncertainty 6.7 to 10.7 times as large, of real hips, thighs and knees
1.9 to 16 times; of a chest and a head 0.64 to 1.9 times, which is no evidence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.hounsfield import BODY_ABOVE_HU
from inference.prediction import Prediction
from inference.quality.calibration import Calibration
from inference.structures import LABEL_COUNT, STRUCTURES, Group
from inference.volume import Volume

SLICES: Final = 12
"""So many slices are turned over, evenly among those that show something."""

SURER: Final = 0.55
"""The uncertainty over the body, turned over, is at most this share of what it is as it is."""

SURER_INSIDE: Final = 0.9
"""... and so is the mean inside the labels: it is not only that less is found."""

AS_MUCH: Final = 0.4
"""Turned over, this share of what is found as it is is found."""

MUSCLES_NEEDED: Final = 3
SHARE_NEEDED: Final = 0.01
"""A bone of hip or thigh and so many muscles, each with this share of all labels, are found."""


def is_doubted(prediction: Prediction, calibration: Calibration | None) -> bool:
    """True if it is worth looking: the network found something, and is unsure of it.

    Without a calibration nothing tells what is unsure.
    """
    found = prediction.labels > 0
    if prediction.uncertainty is None or not found.any():
        return False
    if calibration is None or calibration.average is None:
        return True
    limits = calibration.average.uncertainty_limits
    return limits is None or bool(prediction.uncertainty[found].mean() > limits[0])


def slices_to_turn(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Numbers of the slices to be looked at."""
    seen = np.flatnonzero(labels.any(axis=(1, 2)))
    which = np.linspace(0, len(seen) - 1, min(SLICES, len(seen))).round().astype(np.intp)
    return np.asarray(seen[which])


def turned_over(volume: Volume, slices: NDArray[np.intp]) -> Volume:
    """Those slices with their rows reversed."""
    grid = volume.geometry
    part = replace(
        grid,
        positions_mm=grid.positions_mm[slices],
        extents_mm=grid.extents_mm[slices],
    )
    return Volume(volume.hu[slices, ::-1], part)


def is_surer_turned_over(
    volume: Volume, prediction: Prediction, slices: NDArray[np.intp], turned: Prediction
) -> bool:
    """True if the network believes the turned slices, and not those of the scan.

    Args:
        volume: the scan.
        prediction: of the scan.
        slices: the numbers of those that were turned.
        turned: the prediction for `turned_over`.
    """
    if prediction.uncertainty is None or turned.uncertainty is None:
        return False
    body = volume.hu[slices] > BODY_ABOVE_HU
    found, found_turned = prediction.labels[slices] > 0, turned.labels > 0
    if not body.any() or not found.any():
        return False
    if found_turned.sum() < AS_MUCH * found.sum() or not _shows_hip_or_thigh(turned.labels):
        return False
    before, after = prediction.uncertainty[slices], turned.uncertainty
    # Less, not as much: where nothing wavers either way, 0 is no share of 0.
    over_body = after[body[:, ::-1]].mean() < SURER * before[body].mean()
    inside = after[found_turned].mean() < SURER_INSIDE * before[found].mean()
    return bool(over_body and inside)


def _shows_hip_or_thigh(labels: NDArray[np.uint8]) -> bool:
    """True if a bone is found with several muscles."""
    counts = np.bincount(labels.ravel(), minlength=LABEL_COUNT)
    counts[0] = 0
    seen = [s for s in STRUCTURES if counts[s.label] > SHARE_NEEDED * counts.sum()]
    bones = sum(s.group is Group.BONE for s in seen)
    return bones > 0 and len(seen) - bones >= MUSCLES_NEEDED
