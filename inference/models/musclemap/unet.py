"""The network of MuscleMap's files: MONAI's U-Net with residual units, in two dimensions.

Kerfoot et al., "Left-Ventricle Quantification Using Residual U-Net" (STACOM 2018,
doi:10.1007/978-3-030-12029-0_40). Names and shapes of the tensors are those of
`monai.networks.nets.UNet`, so that its state dict can be read without MONAI.

Every level halves the image in the first convolution of a residual unit and doubles it in a
transposed convolution. Nothing here has running statistics: an instance norm sees the window
that it is given, so another window is, strictly, another network.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, cat, nn

Count = Annotated[int, Field(ge=1, le=16384)]

LEAKY_SLOPE = 0.01
"""Of torch's LeakyReLU, which MONAI takes as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuscleMapUNet:
    """Shape of the network; table `network` of a MuscleMap bundle.

    out_channels: classes with background.
    channels: of every level, the finest first.
    strides: by which every level but the last divides rows and columns.
    residual_units: convolutions of a residual unit; 0 for plain convolutions.
    """

    in_channels: Literal[1] = 1
    out_channels: Annotated[int, Field(ge=2, le=256)]
    channels: Annotated[tuple[Count, ...], Field(min_length=2)] = (64, 128, 256, 512, 1024)
    strides: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 2, 2, 2)
    residual_units: Annotated[int, Field(ge=0, le=64)] = 1

    def __post_init__(self) -> None:
        """One stride for each level but the last."""
        if len(self.strides) != len(self.channels) - 1:
            raise ValueError(
                f"{len(self.channels)} channels need {len(self.channels) - 1} strides,"
                f" not {len(self.strides)}"
            )

    @property
    def multiple(self) -> int:
        """Rows and columns of a window must be a multiple of it."""
        return math.prod(self.strides)

    def build(self) -> UNet:
        """The network with weights that mean nothing yet."""
        return UNet(self)


class UNet(nn.Module):
    """Image float `[window, 1, row, column]` to logits `[window, class, row, column]`."""

    def __init__(self, shape: MuscleMapUNet) -> None:
        super().__init__()
        self.model = _level(shape, 0, shape.in_channels, shape.out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        logits: Tensor = self.model(image)
        return logits


def _level(shape: MuscleMapUNet, level: int, inward: int, outward: int) -> nn.Sequential:
    """Down, all that lies below and past it, and up again."""
    width, stride = shape.channels[level], shape.strides[level]
    units, top = shape.residual_units, level == 0
    if level + 1 < len(shape.strides):
        below: nn.Module = _level(shape, level + 1, width, width)
        joined = 2 * width
    else:
        below = _down(width, shape.channels[-1], 1, units)
        joined = width + shape.channels[-1]
    up = _transposed(joined, outward, stride, bare=top and not units)
    return nn.Sequential(
        _down(inward, width, stride, units),
        Beside(below),
        nn.Sequential(up, ResidualUnit(outward, outward, 1, 1, bare=top)) if units else up,
    )


def _down(inward: int, outward: int, stride: int, units: int) -> nn.Module:
    if units:
        return ResidualUnit(inward, outward, stride, units)
    return _convolution(inward, outward, stride)


class Beside(nn.Module):
    """What comes in, and beside it what a block makes of it."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, image: Tensor) -> Tensor:
        """`[window, channels in + channels of the block, row, column]`."""
        return cat([image, self.submodule(image)], dim=1)


class ResidualUnit(nn.Module):
    """Convolutions, added to what came in; a convolution fits that where shapes differ."""

    def __init__(
        self, inward: int, outward: int, stride: int, units: int, *, bare: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            OrderedDict(
                (
                    f"unit{unit}",
                    _convolution(
                        inward if unit == 0 else outward,
                        outward,
                        stride if unit == 0 else 1,
                        bare=bare and unit == units - 1,
                    ),
                )
                for unit in range(units)
            )
        )
        self.residual: nn.Module = nn.Identity()
        if stride != 1:
            self.residual = nn.Conv2d(inward, outward, 3, stride, 1)
        elif inward != outward:
            self.residual = nn.Conv2d(inward, outward, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`[window, outward, row / stride, column / stride]`."""
        added: Tensor = self.conv(image) + self.residual(image)
        return added


def _convolution(inward: int, outward: int, stride: int, *, bare: bool = False) -> nn.Module:
    return _normed(nn.Conv2d(inward, outward, 3, stride, 1), outward, bare=bare)


def _transposed(inward: int, outward: int, stride: int, *, bare: bool) -> nn.Module:
    convolution = nn.ConvTranspose2d(inward, outward, 3, stride, 1, output_padding=stride - 1)
    return _normed(convolution, outward, bare=bare)


def _normed(convolution: nn.Module, channels: int, *, bare: bool) -> nn.Module:
    """A convolution, an instance norm without weights, and a LeakyReLU; or the first only."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=convolution)
    if not bare:
        parts["adn"] = nn.Sequential(
            OrderedDict(
                N=nn.InstanceNorm2d(channels), A=nn.LeakyReLU(LEAKY_SLOPE, inplace=True)
            )
        )
    return nn.Sequential(parts)
