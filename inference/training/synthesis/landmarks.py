"""Landmarks of a body of which only bones and muscles are known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.training.synthesis.tags import FEMUR, PELVIS, PSOAS, SACRUM


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Positions in mm from the first voxel of the grid; one entry a slice where a tensor.

    midline, spine_row: column of the midline and row of the spine's centre.
    left, right, front, back: extent of what is labelled.
    femur_row, femur_column: (2, slices) centre of each femur, lower columns first.
    knee: lowest part of each femur; hip, symphysis, crest, sacrum_top: slice positions.
    asis_row, pubis_row: the most anterior bone of the ilium and of the pubis.
    """

    spacing_mm: tuple[float, float, float]
    z: Tensor
    midline: Tensor
    left: Tensor
    right: Tensor
    front: Tensor
    back: Tensor
    spine_row: Tensor
    psoas_row: Tensor
    psoas_half: Tensor
    femur_row: Tensor
    femur_column: Tensor
    knee: tuple[float, float]
    hip: float
    symphysis: float
    crest: float
    sacrum_top: float
    crest_half_width: float
    asis_row: float
    pubis_row: float
    pubis_back: float
    sacrum_front: Tensor
    sacrum_back: Tensor

    def pixels(self, length_mm: float) -> int:
        """Number of pixels of the plane that a length is; at least one."""
        return max(1, round(length_mm / self.spacing_mm[1]))


def find_landmarks(tags: Tensor, spacing_mm: tuple[float, float, float]) -> Landmarks:
    """Landmarks of a deformed label map, before anything else is added."""
    step, row_mm, column_mm = spacing_mm
    slices = tags.shape[0]
    structures = (tags > 0) & (tags < 32)
    front, back = (v * row_mm for v in _extent(structures.any(2)))
    left, right = (v * column_mm for v in _extent(structures.any(1)))
    midline = _smoothed((left + right) / 2, 9)
    pelvis = tags == PELVIS
    crest, hip = _top(pelvis) * step, _bottom(pelvis) * step
    height = crest - hip
    symphysis = hip + 0.26 * height
    femur_row, femur_column, knee = _femurs(tags, midline, spacing_mm)
    psoas_row = _smoothed(_centre(tags == PSOAS, 1) * row_mm, 7)
    sacrum = tags == SACRUM
    sacrum_top = _top(sacrum) * step
    sacrum_front, sacrum_back = (v * row_mm for v in _extent(sacrum.any(2)))
    z = torch.arange(slices) * step
    above = ((z - sacrum_top) / 60.0).clamp(0, 1)
    sacral_row = float(_at(sacrum_front, z, sacrum_top - 2 * step)) + 18.0
    spine_row = sacral_row * (1 - above) + (psoas_row + 8.0) * above
    psoas_left, psoas_right = (v * column_mm for v in _extent((tags == PSOAS).any(1)))
    ilium = pelvis[int((hip + 0.55 * height) / step) : int(crest / step) + 1]
    pubis = pelvis[int(hip / step) : int((hip + 0.4 * height) / step)]
    middle = int(float(midline[int(symphysis / step)]) / column_mm)
    near = pubis[:, :, middle - int(25 / column_mm) : middle + int(25 / column_mm)]
    ilium_rows, pubis_rows = ilium.any(2).any(0).nonzero(), near.any(2).any(0).nonzero()
    ilium_columns = ilium.any(1).any(0).nonzero()
    return Landmarks(
        spacing_mm=spacing_mm,
        z=z,
        midline=midline,
        left=left,
        right=right,
        front=front,
        back=back,
        spine_row=spine_row,
        psoas_row=psoas_row,
        psoas_half=_smoothed((psoas_right - psoas_left) / 2, 7),
        femur_row=femur_row,
        femur_column=femur_column,
        knee=knee,
        hip=hip,
        symphysis=symphysis,
        crest=crest,
        sacrum_top=sacrum_top,
        crest_half_width=float(ilium_columns.max() - ilium_columns.min()) * column_mm / 2,
        asis_row=float(ilium_rows.min()) * row_mm,
        pubis_row=float(pubis_rows.min()) * row_mm,
        pubis_back=float(pubis_rows.min()) * row_mm + 32.0,
        sacrum_front=sacrum_front,
        sacrum_back=sacrum_back,
    )


def _extent(present: Tensor) -> tuple[Tensor, Tensor]:
    """First and last index of (slices, n) flags, nearest slice's where there is none."""
    n = present.shape[1]
    index = torch.arange(n)
    low = torch.where(present, index, n).amin(1).float()
    high = torch.where(present, index, -1).amax(1).float()
    low[~present.any(1)] = torch.nan
    high[~present.any(1)] = torch.nan
    return _filled(low), _filled(high)


def _centre(mask: Tensor, axis: int) -> Tensor:
    """(slices,) mean index of a mask along rows (1) or columns (2)."""
    counts = mask.sum(3 - axis).float()
    index = torch.arange(mask.shape[axis]).float()
    return _filled((counts * index).sum(1) / counts.sum(1))


def _filled(values: Tensor) -> Tensor:
    """Gaps (nan) take the nearest known value; all zero where nothing is known."""
    known = values.isfinite().nonzero()[:, 0]
    if not len(known):
        return torch.zeros_like(values)
    nearest = (torch.arange(len(values))[:, None] - known[None]).abs().argmin(1)
    return values[known[nearest]]


def _smoothed(values: Tensor, width: int) -> Tensor:
    half = width // 2
    padded = torch.cat([values[:1].expand(half), values, values[-1:].expand(half)])
    return padded.unfold(0, width, 1).mean(1)


def _at(values: Tensor, z: Tensor, where: float) -> Tensor:
    return values[int((z - where).abs().argmin())]


def _bottom(mask: Tensor) -> float:
    return float(mask.any(2).any(1).nonzero().min())


def _top(mask: Tensor) -> float:
    return float(mask.any(2).any(1).nonzero().max())


def _femurs(
    tags: Tensor, midline: Tensor, spacing_mm: tuple[float, float, float]
) -> tuple[Tensor, Tensor, tuple[float, float]]:
    step, row_mm, column_mm = spacing_mm
    femur = tags == FEMUR
    columns = torch.arange(tags.shape[2]) * column_mm
    low = columns[None] < midline[:, None]  # (slices, columns)
    sides = [femur & low[:, None], femur & ~low[:, None]]
    rows = torch.stack([_smoothed(_centre(side, 1) * row_mm, 5) for side in sides])
    across = torch.stack([_smoothed(_centre(side, 2) * column_mm, 5) for side in sides])
    knees = (_bottom(sides[0]) * step, _bottom(sides[1]) * step)
    return rows, across, knees
