"""A published label map, and where the phantom's axes lie in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its users know it by this name)
from numpy.typing import NDArray
from scipy import ndimage

from inference.phantom.tissues import BY_NAME

Curve = NDArray[np.float64]
"""(POINTS, 2) x and y in mm of a closed curve, evenly spaced, counter-clockwise."""

POINTS: Final = 128


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """A label map in the patient frame, and where the phantom's axes lie in it.

    labels: `[slice, row, column]`, columns to the patient's left, isotropic.
    midline: a column. front_mm, foot_mm: the rows' and slices' millimetres at the origin.
    """

    labels: NDArray[np.uint8]
    spacing_mm: float
    midline: float
    front_mm: float = 0.0
    foot_mm: float = 0.0

    def mask(self, name: str) -> NDArray[np.bool_]:
        """A tissue's voxels of the right half, or of the whole sacrum made symmetric."""
        mask = np.asarray(self.labels == BY_NAME[name].code)
        return self._symmetric(mask) if name == "SACRUM" else self.right(mask)

    def right(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask without its left half."""
        kept = mask.copy()
        kept[:, :, int(np.ceil(self.midline)) :] = False
        return kept

    def heights_mm(self) -> NDArray[np.float64]:
        """(slices,) heights above the lowest point of the femur."""
        return np.asarray(np.arange(len(self.labels)) * self.spacing_mm - self.foot_mm)

    def curve_mm(self, rows_columns: NDArray[np.float64]) -> Curve:
        """A contour in row and column as an evenly spaced curve, counter-clockwise."""
        x = (rows_columns[:, 1] - self.midline) * self.spacing_mm
        y = rows_columns[:, 0] * self.spacing_mm - self.front_mm
        if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) < 0:
            x, y = x[::-1], y[::-1]
        length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
        at = np.linspace(0, length[-1], POINTS, endpoint=False)
        return np.stack([np.interp(at, length, x), np.interp(at, length, y)], axis=-1)

    def _symmetric(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        mirrored = np.zeros_like(mask)
        columns = np.arange(mask.shape[2])
        partners = (2 * self.midline - columns).astype(int)
        there = (partners >= 0) & (partners < mask.shape[2])
        mirrored[:, :, columns[there]] = mask[:, :, partners[there]]
        both = signed_distance(mask) + signed_distance(mirrored)
        return np.asarray(ndimage.gaussian_filter(both, 0.5) > 0)


def read_atlas(path: Path) -> Atlas:
    """Read a RAS label map and find the phantom's axes in it."""
    image = sitk.ReadImage(str(path))
    labels = np.asarray(sitk.GetArrayFromImage(image))[:, ::-1, ::-1]
    spacing = float(image.GetSpacing()[0])
    pelvis = np.nonzero((labels == BY_NAME["PELVIS"].code).any(axis=(0, 1)))[0]
    atlas = Atlas(labels, spacing, float(pelvis[0] + pelvis[-1]) / 2)
    slices = np.nonzero(labels == BY_NAME["FEMUR"].code)[0]
    right_rows = np.nonzero(atlas.mask("FEMUR"))[1]
    return replace(
        atlas,
        front_mm=float(right_rows.mean()) * spacing,
        foot_mm=float(slices.min()) * spacing,
    )


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Voxels to the surface, positive inside."""
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return np.asarray(np.where(distance > 0, distance - 0.5, distance + 0.5))
