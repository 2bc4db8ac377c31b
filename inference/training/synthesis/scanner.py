"""Effects of a scanner and a photographer's hand on slices: cheap, different every time.

Slices come in as a batch on the synthetic bodies' grid and leave as training images of the
network's crop: turned, scaled, cut by the field of view, blurred or sharpened, noisy, now and
then streaked by metal. A batch costs about as many steps as a single slice would, which is
what a GPU needs; no step waits for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from inference.hounsfield import AIR_HU, BODY_ABOVE_HU
from inference.training.resampling import resampled
from inference.training.synthesis.fields import Draw

METAL_SHARE: Final = 0.05
STREAKED_SHARE: Final = 0.25
CUT_SHARE: Final = 0.15
FRAMED_SHARE: Final = 0.05
"""How many of the slices show metal, photon starvation, a round and a rectangular cut."""


@dataclass(frozen=True, slots=True)
class View:
    """Extent of a training image: rows and columns of pixels of this size in mm."""

    crop: tuple[int, int]
    pixel_mm: float = 2.0

    @property
    def most_noise_hu(self) -> float:
        """The highest standard deviation of the noise: 50 HU on pixels of 2 mm."""
        return 50.0 * math.sqrt(2.0 / self.pixel_mm)


def augmented(hu: Tensor, labels: Tensor, draw: Draw, view: View) -> tuple[Tensor, Tensor]:
    """Training images from slices `[image, row, column]` of HU and labels.

    Returns:
        float32 HU and int64 labels, both `[image, *view.crop]`.
    """
    count, crop = len(hu), view.crop
    hu, labels = _placed(hu, labels, draw, view)
    metal = _chosen(draw, count, METAL_SHARE)
    if len(metal):
        hu[metal] = with_metal(hu[metal], labels[metal], draw, view.pixel_mm)
    hu = _kernel(hu, draw)
    gain, offset = draw.scalars.normal(1, 0.015, count), draw.scalars.normal(0, 6, count)
    hu = hu * _column(draw, gain) + _column(draw, offset)
    noise = draw.scalars.uniform(math.log(2), math.log(view.most_noise_hu), count)
    hu = with_noise(hu, draw, np.exp(noise))
    for share, outside in ((CUT_SHARE, _outside_circle), (FRAMED_SHARE, _outside_frame)):
        cut = _chosen(draw, count, share)
        if len(cut):
            beyond = outside(draw, len(cut), crop)
            hu[cut] = hu[cut].masked_fill(beyond, AIR_HU)
            labels[cut] = labels[cut].masked_fill(beyond, 0)
    return hu, labels


def with_noise(hu: Tensor, draw: Draw, deviation_hu: ArrayLike) -> Tensor:
    """Correlated noise, some of it stronger and streaked sideways through the pelvis' long way.

    Args:
        hu: slices `[image, row, column]`.
        draw: the source of the noise.
        deviation_hu: standard deviation, one number or one an image.
    """
    count = len(hu)
    soft = draw.scalars.uniform(0.4, 0.9, count)
    soft[draw.scalars.random(count) < 0.3] = 0.0
    noise = _of_unit_spread(blurred(draw.noise(tuple(hu.shape)), draw, soft, soft))
    streaked = _chosen(draw, count, STREAKED_SHARE)
    if len(streaked):
        wide = np.full(len(streaked), 9.0)
        white = draw.noise((len(streaked), *hu.shape[1:]))
        streaks = _of_unit_spread(blurred(white, draw, np.full(len(streaked), 0.5), wide))
        through = (hu[streaked] > BODY_ABOVE_HU).float().mean(2, keepdim=True)  # share of a row
        strength = _column(draw, draw.scalars.uniform(0, 1.5, len(streaked)))
        noise[streaked] += streaks * through * strength
    deviations = np.broadcast_to(np.asarray(deviation_hu, dtype=float), (count,))
    return hu + noise * _column(draw, deviations)


def with_metal(hu: Tensor, labels: Tensor, draw: Draw, pixel_mm: float = 2.0) -> Tensor:
    """An implant in a bone of every slice that shows one, and the streaks that fan out of it.

    Args:
        hu: slices `[image, row, column]`.
        labels: theirs; bones are 1 and 2.
        draw: the source of places and patterns.
        pixel_mm: of the slices.
    """
    count, rows, columns = hu.shape
    bone = (labels == 1) | (labels == 2)
    # A bone's pixel at random, without asking the device how many there are.
    place = (draw.noise((count, rows, columns)) + 1e3 * bone).flatten(1).argmax(1)
    y = torch.arange(rows, device=hu.device)[None, :, None] - (place // columns)[:, None, None]
    x = torch.arange(columns, device=hu.device)[None, None] - (place % columns)[:, None, None]
    radius = torch.sqrt(y * y + x * x.float()) * pixel_mm  # (image, row, column)
    angle = torch.atan2(y.float(), x.float())
    waves = draw.scalars.integers(2, 24, (4, count)).astype(float)
    phases = draw.scalars.uniform(0, 6.3, (4, count))
    pattern = torch.zeros_like(radius)
    for wave, phase in zip(waves, phases, strict=True):
        pattern += torch.cos(_column(draw, wave) * angle + _column(draw, phase))
    reach = _column(draw, draw.scalars.uniform(30, 120, count))
    strength = _column(draw, draw.scalars.uniform(100, 600, count)) * torch.exp(-radius / reach)
    streaked = hu + pattern * strength * (hu > -700)
    core = radius < _column(draw, draw.scalars.uniform(6, 22, count))
    implanted = torch.where(
        core, _column(draw, draw.scalars.uniform(2000, 3071, count)), streaked
    )
    return torch.where(bone.flatten(1).any(1)[:, None, None], implanted, hu)


def blurred(images: Tensor, draw: Draw, down: ArrayLike, across: ArrayLike) -> Tensor:
    """Gaussian blur, each image by a width of its own; the border is reflected.

    Args:
        images: float32 `[image, row, column]`.
        draw: knows the device.
        down: (image,) sigma in pixels from row to row; 0 leaves an image as it is.
        across: the same from column to column.
    """
    for axis, sigma in ((1, np.asarray(down, float)), (2, np.asarray(across, float))):
        radius = math.ceil(2.5 * float(sigma.max(initial=0.0)))
        if radius:
            images = _blurred_along(images, axis, _taps(draw, sigma, radius), radius)
    return images


def _taps(draw: Draw, sigma: NDArray[np.float64], radius: int) -> Tensor:
    """(image, 2 radius + 1) weights of a Gaussian; all on the middle where sigma is 0."""
    steps = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (steps / np.maximum(sigma, 1e-3)[:, None]) ** 2)
    return _on_device(draw, taps / taps.sum(axis=1, keepdims=True))


def _blurred_along(images: Tensor, axis: int, taps: Tensor, radius: int) -> Tensor:
    pad = (0, 0, radius, radius) if axis == 1 else (radius, radius, 0, 0)
    padded = functional.pad(images[None], pad, mode="replicate")
    kernel = taps[:, None, :, None] if axis == 1 else taps[:, None, None, :]
    return functional.conv2d(padded, kernel, groups=len(images))[0]


def _placed(hu: Tensor, labels: Tensor, draw: Draw, view: View) -> tuple[Tensor, Tensor]:
    """Turn, scale, shear and shift; sides carry no label, so mirroring is free."""
    count, scalars = len(hu), draw.scalars
    angle, scale = scalars.normal(0, 0.08, count), scalars.uniform(0.85, 1.18, count)
    across = scale * scalars.normal(1, 0.04, count) * scalars.choice([-1.0, 1.0], count)
    cosine, sine = np.cos(angle), np.sin(angle)
    shear = sine + scalars.normal(0, 0.03, count)
    shift = scalars.normal(0, [[20], [28]], (2, count)) / view.pixel_mm
    down, right = (
        torch.arange(n, device=hu.device) - n / 2 + _on_device(draw, s)[:, None]
        for n, s in zip(view.crop, shift, strict=True)
    )
    y = (down * _on_device(draw, scale)[:, None])[:, :, None]  # (image, row, 1)
    x = (right * _on_device(draw, across)[:, None])[:, None]  # (image, 1, column)
    centre_y, centre_x = _body_centre(hu)
    source_y = centre_y + _column(draw, cosine) * y + _column(draw, shear) * x
    source_x = centre_x - _column(draw, sine) * y + _column(draw, cosine) * x
    return resampled(hu, labels, source_y, source_x)


def _body_centre(hu: Tensor) -> tuple[Tensor, Tensor]:
    """(image, 1, 1) mean row and mean column of the body; the middle where there is none."""
    body = (hu > BODY_ABOVE_HU).float()
    mass = body.sum((1, 2))
    centres = []
    for axis, length in ((2, hu.shape[1]), (1, hu.shape[2])):
        index = torch.arange(length, device=hu.device, dtype=torch.float32)
        mean = (body.sum(axis) @ index) / mass.clamp_min(1)
        centres.append(torch.where(mass > 0, mean, length / 2)[:, None, None])
    return centres[0], centres[1]


def _kernel(hu: Tensor, draw: Draw) -> Tensor:
    """A soft kernel blurs, a hard one overshoots at edges; four in ten slices stay."""
    count = len(hu)
    width = draw.scalars.uniform(0.35, 0.9, count)
    detail = draw.scalars.uniform(-0.2, 1.6, count)
    detail[draw.scalars.random(count) < 0.4] = 1.0
    soft = blurred(hu, draw, width, width)
    return torch.lerp(soft, hu, _column(draw, detail))


def _outside_circle(draw: Draw, count: int, crop: tuple[int, int]) -> Tensor:
    """(image, row, column) beyond a field of view smaller than the body."""
    rows, columns = crop
    y = _from(draw, rows, rows * draw.scalars.uniform(0.35, 0.65, count))[:, :, None]
    x = _from(draw, columns, columns * draw.scalars.uniform(0.3, 0.7, count))[:, None]
    radius = _column(draw, columns * draw.scalars.uniform(0.25, 0.5, count))
    return y * y + x * x > radius * radius


def _outside_frame(draw: Draw, count: int, crop: tuple[int, int]) -> Tensor:
    """(image, row, column) beyond a rectangle, as around one hip or one thigh."""
    rows, columns = crop
    y = _from(draw, rows, rows * draw.scalars.uniform(0.35, 0.65, count))[:, :, None]
    x = _from(draw, columns, columns * draw.scalars.uniform(0.25, 0.75, count))[:, None]
    high = _column(draw, rows * draw.scalars.uniform(0.25, 0.5, count))
    wide = _column(draw, columns * draw.scalars.uniform(0.2, 0.5, count))
    return (y.abs() > high) | (x.abs() > wide)


def _chosen(draw: Draw, count: int, share: float) -> Tensor:
    """Indices of the images, of `count`, that are chosen, each with the same chance."""
    chosen = np.flatnonzero(draw.scalars.random(count) < share)
    return torch.from_numpy(chosen).to(draw.device, non_blocking=True)


def _from(draw: Draw, length: int, origin: NDArray[np.float64]) -> Tensor:
    """(image, length) pixel positions relative to an origin of each image."""
    return torch.arange(length, device=draw.device) - _on_device(draw, origin)[:, None]


def _of_unit_spread(noise: Tensor) -> Tensor:
    return noise / noise.std((1, 2), keepdim=True).clamp_min(1e-6)


def _column(draw: Draw, values: NDArray[np.float64]) -> Tensor:
    """(image, 1, 1) one number an image."""
    return _on_device(draw, values)[:, None, None]


def _on_device(draw: Draw, values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32)).to(draw.device, non_blocking=True)
