"""A small convolutional network that grades a radiograph, described by a few numbers.

Blocks of [3x3 convolution, batch normalisation, ReLU, 2x2 maximum], the mean over what is
left of the image, and one linear layer: the plainest of its kind, which learns from a few
hundred images. What a site trains otherwise is converted by retraining it in this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

Channels = Annotated[int, Field(ge=1, le=1024)]


@dataclass(frozen=True, slots=True)
class Architecture:
    """The network but for its weights.

    channels: of each block, from the image on.
    """

    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=8)]


class GraderNetwork(nn.Module):
    """Logits of the classes: (n, 1, pixels, pixels) to (n, classes)."""

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        inputs = (1, *architecture.channels[:-1])
        self.blocks = nn.Sequential(
            *(_block(*pair) for pair in zip(inputs, architecture.channels, strict=True))
        )
        self.head = nn.Linear(architecture.channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Grade images that are scaled as the bundle says."""
        features = self.blocks(images)  # (n, channels, pixels / 2^blocks, ...)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
