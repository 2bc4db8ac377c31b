"""Synthetic CT of hip to knee from label maps: endless bodies, each named by a seed.

A label map is deformed (`pose`), the anatomy that it lacks is added around it (`anatomy`),
every voxel gets an attenuation (`tissue`). What a scanner does to single slices is left to
augmentation, which is cheap enough to differ each time. All steps are torch operations on
the device that holds the label map.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import TrainingError
from inference.structures import LABEL_COUNT
from inference.training.synthesis.anatomy import add_background
from inference.training.synthesis.canvas import Canvas
from inference.training.synthesis.fields import Draw
from inference.training.synthesis.landmarks import find_landmarks
from inference.training.synthesis.pose import LabelMap, draw_pose, sample
from inference.training.synthesis.tags import ATLAS_NEIGHBOURS, FEMUR, PELVIS, SACRUM
from inference.training.synthesis.tissue import attenuation, thick_slices

EXTENT_MM: Final = (384.0, 512.0)
"""Rows and columns of a synthetic body; two thighs and both arms fit."""


@dataclass(frozen=True, slots=True)
class BodyGrid:
    """Voxels of the synthetic bodies.

    Slices lie apart where pixels are small: a training image is one slice, and more of the
    same body teach less than another body does.
    """

    step_mm: float = 4.0
    pixel_mm: float = 2.0

    @classmethod
    def for_pixels(cls, pixel_mm: float) -> Self:
        """The grid for a network that sees pixels of this size."""
        return cls(step_mm=max(4.0, 8.0 - 2.0 * pixel_mm), pixel_mm=pixel_mm)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of slices, rows and columns."""
        return self.step_mm, self.pixel_mm, self.pixel_mm

    @property
    def rows_columns(self) -> tuple[int, int]:
        """Pixels of a slice."""
        return round(EXTENT_MM[0] / self.pixel_mm), round(EXTENT_MM[1] / self.pixel_mm)


WHOLE_LEGS_SHARE: Final = 0.25
"""So many bodies may go on to the foot; the others end below the knee."""

COARSE: Final = BodyGrid()
"""The grid of the compact network, and what bodies are made on unless said otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A synthetic body: int16 HU and uint8 labels 0 to 22, `[slice, row, column]`."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    source: str

    def __post_init__(self) -> None:
        """Tie image and labels to each other."""
        if self.hu.shape != self.labels.shape:
            raise ValueError(f"hu is {self.hu.shape}, labels {self.labels.shape}")


def draw_body(source: LabelMap, *seed: int, grid: BodyGrid = COARSE) -> Body:
    """A new body from a label map; the same seed, grid and device make the same body."""
    hu, labels = draw_tensors(source, *seed, grid=grid)
    return Body(hu.cpu().numpy(), labels.cpu().numpy(), grid.spacing_mm, source.name)


def draw_tensors(
    source: LabelMap, *seed: int, grid: BodyGrid = COARSE
) -> tuple[Tensor, Tensor]:
    """Like `draw_body`; int16 HU and uint8 labels stay on the device of the label map."""
    device = source.tags.device
    with device:  # whatever is made on the way is made there
        return _draw(source, Draw(*seed, device=device), grid)


def _draw(source: LabelMap, draw: Draw, grid: BodyGrid) -> tuple[Tensor, Tensor]:
    """The steps of `draw_tensors`."""
    pose = draw_pose(draw)
    spacing_mm = grid.spacing_mm
    below_mm = draw.uniform(40, 440 if draw.chance(WHOLE_LEGS_SHARE) else 200)
    height_mm = source.tags.shape[0] * source.spacing_mm[0] * pose.scale[0]
    slices = int((below_mm + height_mm - draw.uniform(0, 30)) / grid.step_mm)
    tags = sample(source, pose, draw, (slices, *grid.rows_columns), spacing_mm, below_mm)
    return surrounded(tags, draw, grid)


def surrounded(tags: Tensor, draw: Draw, grid: BodyGrid) -> tuple[Tensor, Tensor]:
    """A label map on a body's grid with all that it lacks, as CT.

    Args:
        tags: uint8 `[slice, row, column]`, changed in place.
        draw: for the surroundings and the tissues.
        grid: of the tags.

    Returns:
        int16 HU and uint8 labels, shaped as the tags.
    """
    marks = find_landmarks(tags, grid.spacing_mm)
    add_background(Canvas(tags, marks, draw))
    hu = thick_slices(attenuation(tags, marks, draw), grid.spacing_mm, draw)
    labels = torch.where(tags < LABEL_COUNT, tags, 0)
    return hu.round().clamp(-1024, 3071).to(torch.int16), labels.to(torch.uint8)


def read_label_map(path: Path) -> LabelMap:
    """A label map with the labels of the project's atlases.

    From NIfTI or MetaImage, or from an npz archive of `labels` and `spacing_mm` in the patient
    frame (`label_map`): what a training machine without an image library can read. Such an
    archive may also lie where the recipe names an image, under the image's name.
    """
    archive = path.with_name(path.name.split(".nii")[0] + ".npz")
    if archive.is_file() and not path.is_file():
        path = archive
    if not path.is_file():
        raise TrainingError(f"label map {path} is not there")
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            step_mm, row_mm, column_mm = arrays["spacing_mm"].tolist()
            spacing_mm = (step_mm, row_mm, column_mm)
            return label_map(arrays["labels"], spacing_mm, path.name.split(".")[0])
    import SimpleITK as sitk  # noqa: N813, PLC0415 - its own name; see above

    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    column_mm, row_mm, step_mm = image.GetSpacing()
    array = sitk.GetArrayFromImage(image).astype(np.uint8)
    return label_map(array, (step_mm, row_mm, column_mm), path.name.split(".")[0])


def label_map(
    labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float], name: str
) -> LabelMap:
    """A label map from an array in the patient frame."""
    table = np.zeros(256, np.uint8)
    table[:LABEL_COUNT] = np.arange(LABEL_COUNT)
    for label, tag in ATLAS_NEIGHBOURS.items():
        table[label] = tag
    tags = torch.from_numpy(table[labels])
    for needed in (PELVIS, FEMUR, SACRUM):
        if not (tags == needed).any():
            raise TrainingError(f"{name} lacks structure {needed}: not a body from hip to knee")
    sacrum_columns = (tags == SACRUM).any(1).any(0).nonzero().float()
    hip = float((tags == PELVIS).any(2).any(1).nonzero().min())
    midline_mm = float(sacrum_columns.mean()) * spacing_mm[2]
    return LabelMap(
        name=name,
        tags=tags,
        spacing_mm=spacing_mm,
        midline_mm=midline_mm,
        hip_mm=hip * spacing_mm[0],
        axes_mm=_leg_axes(tags, spacing_mm, midline_mm),
    )


def _leg_axes(
    tags: Tensor, spacing_mm: tuple[float, float, float], midline_mm: float
) -> Tensor:
    """(2, slices, 2) row and column of the femurs, constant beyond their ends."""
    femur = tags == FEMUR
    columns = torch.arange(tags.shape[2]) * spacing_mm[2]
    axes = []
    for side in (columns < midline_mm, columns >= midline_mm):
        counts = (femur & side).float()
        weight = counts.sum((1, 2))
        rows = (counts.sum(2) @ torch.arange(tags.shape[1]).float()) / weight * spacing_mm[1]
        across = (counts.sum(1) @ columns.float()) / weight
        axes.append(torch.stack([_held(rows), _held(across)], 1))
    return torch.stack(axes)


def _held(values: Tensor) -> Tensor:
    """A smooth line through known values; the ends hold their last one."""
    known = values.isfinite().nonzero()[:, 0]
    index = torch.arange(len(values)).clamp(int(known[0]), int(known[-1]))
    filled = values.nan_to_num(float(values[known].mean()))[index]
    padded = torch.cat([filled[:1].expand(20), filled, filled[-1:].expand(20)])
    return padded.unfold(0, 41, 1).mean(1)
