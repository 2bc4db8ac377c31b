"""The two U-Nets of nnU-Net's plans: plain convolutions, or a residual encoder.

Names of parameters are those of dynamic_network_architectures' `PlainConvUNet` and
`ResidualEncoderUNet`, without the second names that it gives to the same tensors
(`all_modules`, `decoder.encoder`); see `own_names`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

Count = Annotated[int, Field(ge=1, le=4096)]
Sizes = tuple[Annotated[int, Field(ge=1, le=64)], ...]
Value = TypeVar("Value")

_CONVOLUTION: Final[Mapping[int, type[nn.Conv2d | nn.Conv3d]]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: Final[Mapping[int, type[nn.ConvTranspose2d | nn.ConvTranspose3d]]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_POOLING: Final[Mapping[int, type[nn.AvgPool2d | nn.AvgPool3d]]] = {
    2: nn.AvgPool2d,
    3: nn.AvgPool3d,
}
_NORMALISATION: Final = {
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A U-Net as the plans describe it; one entry for each level of the encoder, from fine.

    encoder: two or more plain convolutions a level, or residual blocks.
    axes: 2 or 3, of an image.
    features: channels.
    kernels, strides: of the convolutions, and by how much the first of a level shrinks.
    blocks: convolutions (plain) or blocks of two (residual) in the encoder.
    decoder_blocks: convolutions of each level on the way up, coarse first; one fewer.
    stem_features: channels of the first convolution of a residual encoder.
    bias: whether convolutions add one.
    normalisation, eps, affine: after each convolution.
    activation, slope: after that; the slope is a leaky ReLU's below zero.
    """

    encoder: Literal["plain", "residual"]
    axes: Literal[2, 3]
    features: tuple[Count, ...]
    kernels: tuple[Sizes, ...]
    strides: tuple[Sizes, ...]
    blocks: tuple[Count, ...]
    decoder_blocks: tuple[Count, ...]
    stem_features: Count | None = None
    bias: bool = True
    normalisation: Literal["instance", "batch"] = "instance"
    eps: Annotated[float, Field(gt=0)] = 1e-5
    affine: bool = True
    activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    slope: float = 0.01

    def __post_init__(self) -> None:
        """Tie the lists to the number of levels and axes."""
        levels = len(self.features)
        lengths = (len(self.kernels), len(self.strides), len(self.blocks))
        if levels < 2 or lengths != (levels,) * 3 or len(self.decoder_blocks) != levels - 1:
            raise ValueError("features, kernels, strides and blocks are not of as many levels")
        if any(len(size) != self.axes for size in (*self.kernels, *self.strides)):
            raise ValueError(f"a kernel or stride has not {self.axes} numbers")
        if any(number % 2 == 0 for size in self.kernels for number in size):
            raise ValueError("a kernel is even")


class UNet(nn.Module):
    """nnU-Net's network, for prediction: no dropout, no outputs of coarser levels.

    Args:
        architecture: of it.
        classes: output channels, with background.
    """

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        plain = architecture.encoder == "plain"
        self.encoder: nn.Module = (
            _PlainEncoder(architecture) if plain else _ResidualEncoder(architecture)
        )
        self.decoder: _Decoder = _Decoder(architecture, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits `(batch, class, ...)` of images `(batch, 1, ...)`, of the same size."""
        return torch.stack([self.classified(one) for one in self.features(image)])

    def features(self, image: Tensor) -> Tensor:
        """What the logits are made of, `(batch, feature, ...)` of the images' size."""
        found: Tensor = self.decoder(self.encoder(image))
        return found

    def classified(self, features: Tensor, classes: slice = slice(None)) -> Tensor:
        """Logits `(class, ...)` of some classes, from features `(feature, ...)`."""
        parameters = dict(self.decoder.seg_layers[-1].named_parameters())
        weight, bias = parameters["weight"][classes], parameters["bias"][classes]
        # A product: torch's convolution of one voxel would copy the features first.
        logits = torch.addmm(bias[:, None], weight.flatten(1), features.flatten(1))
        return logits.view(-1, *features.shape[1:])


class _Unit(nn.Module):
    """Convolution, normalisation and, but for the last of a block, activation."""

    def __init__(  # noqa: PLR0913 - as many as a convolution has
        self,
        of: Architecture,
        channels: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        *,
        bias: bool,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = _CONVOLUTION[of.axes](
            channels,
            features,
            tuple(kernel),  # type: ignore[arg-type]
            tuple(stride),  # type: ignore[arg-type]
            padding=tuple((size - 1) // 2 for size in kernel),  # type: ignore[arg-type]
            bias=bias,
        )
        kind = _NORMALISATION[of.normalisation, of.axes]
        self.norm = kind(features, eps=of.eps, affine=of.affine)
        self.active = _activation(of) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.active(self.norm(self.conv(x)))
        return y


class _Units(nn.Module):
    """Several in a row; the first one shrinks."""

    def __init__(  # noqa: PLR0913, PLR0917 - likewise
        self,
        of: Architecture,
        count: int,
        channels: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int],
    ) -> None:
        super().__init__()
        still = (1,) * of.axes
        self.convs = nn.Sequential(
            _Unit(of, channels, features, kernel, stride, bias=of.bias),
            *(
                _Unit(of, features, features, kernel, still, bias=of.bias)
                for _ in range(count - 1)
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs(x)
        return y


class _PlainEncoder(nn.Module):
    """Returns what each level found, fine first."""

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        inputs = (1, *of.features)
        levels = zip(of.blocks, inputs, of.features, of.kernels, of.strides, strict=False)
        self.stages = nn.Sequential(*(nn.Sequential(_Units(of, *level)) for level in levels))

    def forward(self, x: Tensor) -> list[Tensor]:
        return _each(self.stages, x)


class _ResidualEncoder(nn.Module):
    """A stem at full size, then levels of residual blocks."""

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        stem = of.stem_features or of.features[0]
        self.stem = _Units(of, 1, 1, stem, of.kernels[0], (1,) * of.axes)
        inputs = (stem, *of.features)
        levels = zip(of.blocks, inputs, of.features, of.kernels, of.strides, strict=False)
        self.stages = nn.Sequential(*(_Blocks(of, *level) for level in levels))

    def forward(self, x: Tensor) -> list[Tensor]:
        return _each(self.stages, self.stem(x))


class _Blocks(nn.Module):
    """Residual blocks in a row; the first one shrinks."""

    def __init__(  # noqa: PLR0913, PLR0917 - likewise
        self,
        of: Architecture,
        count: int,
        channels: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int],
    ) -> None:
        super().__init__()
        still = (1,) * of.axes
        self.blocks = nn.Sequential(
            _Block(of, channels, features, kernel, stride),
            *(_Block(of, features, features, kernel, still) for _ in range(count - 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y


class _Block(nn.Module):
    """Two convolutions beside a path that only shrinks and, where needed, widens.

    He T. et al., Bag of Tricks for Image Classification, CVPR 2019 (variant D).
    """

    def __init__(
        self,
        of: Architecture,
        channels: int,
        features: int,
        kernel: Sequence[int],
        stride: Sequence[int],
    ) -> None:
        super().__init__()
        still = (1,) * of.axes
        self.conv1 = _Unit(of, channels, features, kernel, stride, bias=of.bias)
        self.conv2 = _Unit(of, features, features, kernel, still, bias=of.bias, active=False)
        self.active = _activation(of)
        skip: list[nn.Module] = []
        if any(step != 1 for step in stride):
            skip.append(_POOLING[of.axes](tuple(stride), tuple(stride)))  # type: ignore[arg-type]
        if channels != features:
            skip.append(_Unit(of, channels, features, still, still, bias=False, active=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        y += self.skip(x)
        active: Tensor = self.active(y)
        return active


class _Decoder(nn.Module):
    """Each level is widened, laid beside what the encoder found there, and convolved.

    The last layer, from features to logits, is `UNet.classified`.
    """

    def __init__(self, of: Architecture, classes: int) -> None:
        super().__init__()
        upwards = list(pairwise(reversed(of.features)))
        strides, kernels = of.strides[:0:-1], of.kernels[-2::-1]
        self.transpconvs = nn.ModuleList(
            _TRANSPOSED[of.axes](below, here, stride, stride, bias=of.bias)  # type: ignore[arg-type]
            for (below, here), stride in zip(upwards, strides, strict=True)
        )
        still = (1,) * of.axes
        self.stages = nn.ModuleList(
            _Units(of, count, 2 * here, here, kernel, still)
            for (_, here), count, kernel in zip(
                upwards, of.decoder_blocks, kernels, strict=True
            )
        )
        # Those of coarser levels served training alone; the file has them, they are not run.
        self.seg_layers = nn.ModuleList(
            _CONVOLUTION[of.axes](here, classes, 1) for _, here in upwards
        )

    def forward(self, found: list[Tensor]) -> Tensor:
        x = found.pop()
        for widen, stage in zip(self.transpconvs, self.stages, strict=True):
            x = stage(torch.cat((widen(x), found.pop()), dim=1))
        return x


def own_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Tensors of a checkpoint without second names and the marks of training wrappers."""
    found: dict[str, Value] = {}
    for name, value in tensors.items():
        plain = name.removeprefix("module.").removeprefix("_orig_mod.")
        if ".all_modules." in plain or plain.startswith("decoder.encoder."):
            continue
        found[plain] = value
    return found


def _each(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found


def _activation(of: Architecture) -> nn.Module:
    if of.activation == "relu":
        return nn.ReLU(inplace=True)
    return nn.LeakyReLU(of.slope, inplace=True)
