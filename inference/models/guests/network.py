"""The seam for guests: an even volume in, one network's logits for any of its slices out.

A guest is a network of another program: MuscleMap's, an nnU-Net. What is its own is the
original's way from HU to logits on the image's grid; a package beside this one is that, a
reader of its keys in `bundle.toml`, and an importer. What all guests share is here: uneven
slices made even, members and variations of the image, the label of the mean, the variance,
the agreement of the members, and the way from their labels to ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inference.models.model import Progress
from inference.volume import Volume


class GuestLogits(Protocol):
    """One network's answer for a volume, kept on the network's own grid."""

    def at(self, place: int) -> Tensor:
        """Logits of one slice on the volume's grid, as the original would resample them.

        Made when asked for: all of them at once, for 100 classes and 500 slices, would be
        tens of gigabytes.

        Returns:
            float32 `[class, row, column]` on the device; class 0 is background.
        """


class GuestNetwork(Protocol):
    """Networks of one bundle, ready on a device: the same architecture, other weights each.

    networks: how many sets of weights there are (folds, seeds or checkpoints).
    classes: output channels, with background.
    description: device and numbers in words, as in `Prediction.device`.
    """

    @property
    def networks(self) -> int:
        """Sets of weights."""

    @property
    def classes(self) -> int:
        """Output channels."""

    @property
    def description(self) -> str:
        """Device and numbers in words."""

    def logits(
        self, volume: Volume, network: int, progress: Progress | None = None
    ) -> GuestLogits:
        """What one of the networks makes of a volume, by the original's way.

        Args:
            volume: HU in the patient frame, slices evenly spaced.
            network: from 0.
            progress: called with (done, in all) in whatever parts it goes.
        """

    def mean(self, each: Iterable[GuestLogits]) -> GuestLogits | None:
        """The mean of several networks' answers for one volume, as the original averages them.

        An original that averages on its own grid, in its own numbers, gives other labels
        where classes nearly tie than one that averages the finished slices; and it holds one
        sum, not every answer. None of an original that has no mean of its own: slices are
        then averaged, and nothing is taken from `each`.
        """

    def cleaned(self, labels: NDArray[np.uint8], volume: Volume) -> NDArray[np.uint8]:
        """The original's post-processing of a label map `[slice, row, column]` of classes.

        The same array where the original has none.
        """
