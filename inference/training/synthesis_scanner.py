"""What a scanner and a photographer's hand do to a slice: cheap, and different every time.

Slices come in on the synthetic bodies' grid and leave as training images of the network's
crop: turned, scaled, cut by the field of view, blurred or sharpened, noisy, now and then
streaked by metal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from inference.training.synthesis_fields import Draw, blur

AIR_HU = -1000.0


def augmented(
    hu: Tensor, labels: Tensor, draw: Draw, crop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """A training image from a slice `[row, column]` of HU and labels.

    Returns:
        float32 HU and int64 labels, both of the size of the crop.
    """
    hu, labels = _placed(hu, labels, draw, crop)
    if draw.chance(0.03):
        hu = with_metal(hu, labels, draw)
    hu = _kernel(hu, draw)
    hu = hu * draw.normal(1, 0.015) + draw.normal(0, 6)
    hu = with_noise(hu, draw, math.exp(draw.uniform(math.log(2), math.log(50))))
    if draw.chance(0.15):
        hu, labels = _cut(hu, labels, draw)
    return hu, labels


def _placed(
    hu: Tensor, labels: Tensor, draw: Draw, crop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Turn, scale, shear and shift; sides carry no label, so mirroring is free."""
    rows, columns = hu.shape
    body = (hu > -300).nonzero().float()
    centre = body.mean(0) if len(body) else torch.tensor([rows / 2, columns / 2])
    angle, scale = draw.normal(0, 0.08), draw.uniform(0.85, 1.18)
    aspect = draw.normal(1, 0.04)
    mirror = -1.0 if draw.chance(0.5) else 1.0
    cosine, sine = math.cos(angle), math.sin(angle)
    y = torch.arange(crop[0]) - crop[0] / 2 + draw.normal(0, 10)
    x = torch.arange(crop[1]) - crop[1] / 2 + draw.normal(0, 14)
    y, x = torch.meshgrid(y * scale, x * mirror * scale * aspect, indexing="ij")
    source_y = centre[0] + cosine * y + (sine + draw.normal(0, 0.03)) * x
    source_x = centre[1] - sine * y + cosine * x
    grid = torch.stack([source_x / (columns - 1), source_y / (rows - 1)], -1)[None] * 2 - 1
    moved = functional.grid_sample(
        hu[None, None] - AIR_HU, grid, mode="bilinear", align_corners=True
    )
    kept = functional.grid_sample(
        labels[None, None].float(), grid, mode="nearest", align_corners=True
    )
    return moved[0, 0] + AIR_HU, kept[0, 0].long()


def _kernel(hu: Tensor, draw: Draw) -> Tensor:
    """A soft kernel blurs, a hard one overshoots at edges."""
    if draw.chance(0.4):
        return hu
    soft = blur(hu, (draw.uniform(0.35, 0.9),) * 2)
    return soft + draw.uniform(-0.2, 1.6) * (hu - soft)


def with_noise(hu: Tensor, draw: Draw, deviation_hu: float) -> Tensor:
    """Correlated noise, stronger and streaked sideways through the pelvis' long way."""
    noise = draw.noise((hu.shape[0], hu.shape[1]))
    if draw.chance(0.7):
        noise = blur(noise, (draw.uniform(0.4, 0.9),) * 2)
    noise = noise / noise.std().clamp_min(1e-6)
    if draw.chance(0.25):
        streaks = blur(draw.noise((hu.shape[0], hu.shape[1])), (0.5, 9.0))
        width = (hu > -300).float().sum(1, keepdim=True) / hu.shape[1]
        noise = noise + streaks / streaks.std().clamp_min(1e-6) * width * draw.uniform(0, 1.5)
    return hu + noise * deviation_hu


def with_metal(hu: Tensor, labels: Tensor, draw: Draw) -> Tensor:
    """An implant in a bone and the streaks that fan out from it."""
    bone = ((labels == 2) | (labels == 1)).nonzero()
    if not len(bone):
        return hu
    y0, x0 = bone[int(draw.scalars.integers(len(bone)))].tolist()
    y = (torch.arange(hu.shape[0]) - y0)[:, None].float()
    x = (torch.arange(hu.shape[1]) - x0)[None, :].float()
    radius = torch.sqrt(y * y + x * x)
    angle = torch.atan2(y, x)
    pattern = torch.zeros_like(radius)
    for _ in range(4):
        pattern += torch.cos(float(draw.scalars.integers(2, 24)) * angle + draw.uniform(0, 6.3))
    strength = draw.uniform(100, 600) * torch.exp(-radius / draw.uniform(15, 60))
    streaked = hu + pattern * strength * (hu > -700)
    return torch.where(radius < draw.uniform(3, 11), draw.uniform(2000, 3071), streaked)


def _cut(hu: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """A field of view smaller than the body; nothing is labelled outside."""
    rows, columns = hu.shape
    y = torch.arange(rows)[:, None] - rows * draw.uniform(0.35, 0.65)
    x = torch.arange(columns)[None, :] - columns * draw.uniform(0.3, 0.7)
    outside = y * y + x * x > (columns * draw.uniform(0.25, 0.5)) ** 2
    return hu.masked_fill(outside, AIR_HU), labels.masked_fill(outside, 0)
