"""Synthetic CT of hip to knee from label maps: endless bodies, each named by a seed.

A label map is deformed (`synthesis_pose`), the anatomy that it lacks is added around it
(`synthesis_anatomy`), every voxel gets an attenuation (`synthesis_tissue`). What a scanner
does to single slices is left to augmentation, which is cheap enough to differ each time.
All steps are torch operations on the device that holds the label map.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import TrainingError
from inference.structures import LABEL_COUNT
from inference.training.synthesis_anatomy import add_background
from inference.training.synthesis_canvas import Canvas
from inference.training.synthesis_fields import Draw
from inference.training.synthesis_landmarks import find_landmarks
from inference.training.synthesis_pose import LabelMap, draw_pose, sample
from inference.training.synthesis_tags import ATLAS_NEIGHBOURS, FEMUR, PELVIS, SACRUM
from inference.training.synthesis_tissue import attenuation, thick_slices

SPACING_MM: Final = (4.0, 2.0, 2.0)
"""Grid of the synthetic bodies; the plane is the compact network's own."""

ROWS_COLUMNS: Final = (192, 256)


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


def draw_body(source: LabelMap, *seed: int) -> Body:
    """A new body from a label map; the same seed and device make the same body."""
    hu, labels = draw_tensors(source, *seed)
    return Body(hu.cpu().numpy(), labels.cpu().numpy(), SPACING_MM, source.name)


def draw_tensors(source: LabelMap, *seed: int) -> tuple[Tensor, Tensor]:
    """Like `draw_body`; int16 HU and uint8 labels stay on the device of the label map."""
    device = source.tags.device
    with device:  # whatever is made on the way is made there
        return _draw(source, Draw(*seed, device=device))


def _draw(source: LabelMap, draw: Draw) -> tuple[Tensor, Tensor]:
    """The steps of `draw_tensors`."""
    pose = draw_pose(draw)
    below_mm = draw.uniform(40, 200)
    height_mm = source.tags.shape[0] * source.spacing_mm[0] * pose.scale[0]
    slices = int((below_mm + height_mm - draw.uniform(0, 30)) / SPACING_MM[0])
    tags = sample(source, pose, draw, (slices, *ROWS_COLUMNS), SPACING_MM, below_mm)
    marks = find_landmarks(tags, SPACING_MM)
    add_background(Canvas(tags, marks, draw))
    hu = thick_slices(attenuation(tags, marks, draw), draw)
    labels = torch.where(tags < LABEL_COUNT, tags, 0)
    return hu.round().clamp(-1024, 3071).to(torch.int16), labels.to(torch.uint8)


def read_label_map(path: Path) -> LabelMap:
    """A label map with the labels of the project's atlases.

    From NIfTI or MetaImage, or from an npz archive of `labels` and `spacing_mm` in the patient
    frame (`label_map`): what a training machine without an image library can read.
    """
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
