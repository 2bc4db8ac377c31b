"""What the output channels of a Bayesian U-Net stand for, and how they become our labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from inference.errors import LabelTableError
from inference.label_table import LabelTable
from inference.models.guests.combining import StructureSoftmax
from inference.models.guests.labels import MOST_CLASSES
from inference.structures import STRUCTURES, Segment

BACKGROUND: Final = "background"

LABELS: Final = (BACKGROUND, *(structure.abbreviation for structure in STRUCTURES))
"""What the 23 channels of the study's network stand for, in order."""


@dataclass(frozen=True, slots=True)
class Channels:
    """The output channels of a network, in order; `labels` in `bundle.toml`.

    names: each is a structure (`FEMUR`), one on a side (`FEMUR_L`), or nothing that is
        measured here (`background`, or an empty text), as in a `LabelTable`. Several may be
        the same.
    """

    names: tuple[str, ...] = LABELS

    def __post_init__(self) -> None:
        """Refuse names that nobody knows, and channels that find nothing, or everything."""
        if not 2 <= len(self.names) <= MOST_CLASSES:
            raise ValueError(f"{len(self.names)} labels, not 2 to {MOST_CLASSES}")
        of_nothing = {BACKGROUND, ""} & set(self.names)
        if not of_nothing:
            raise ValueError(f"no label is {BACKGROUND!r}: every voxel would be a structure")
        if of_nothing == set(self.names):
            raise ValueError("no label is a structure: there is nothing to be found")
        try:
            _ = self.table
        except LabelTableError as error:
            raise ValueError(f"{error}; what is none of them is {BACKGROUND!r}") from error

    @property
    def table(self) -> LabelTable:
        """What each channel stands for."""
        entries = {
            str(channel): "" if name == BACKGROUND else name
            for channel, name in enumerate(self.names)
        }
        return LabelTable.read(entries, "labels")

    @property
    def segments(self) -> frozenset[Segment]:
        """Those of the 43 that the channels find; a structure without a side is both."""
        return self.table.segments


STUDY_CHANNELS: Final = Channels()


@dataclass(frozen=True, slots=True, eq=False)
class Structures:
    """Channels that are not our labels themselves, on their way to them.

    label_of: (channels,) int64, the label 0 to 22 that each is part of.
    together: adds up the channels of a structure, and those of none.
    """

    label_of: Tensor
    together: StructureSoftmax

    @classmethod
    def of(cls, channels: Channels) -> Self | None:
        """None where each channel is the label of its own number: nothing is to be done."""
        if channels == STUDY_CHANNELS:
            return None
        structure_of = channels.table.structure_of(len(channels.names))
        return cls(
            torch.from_numpy(structure_of.astype("int64")), StructureSoftmax.of(structure_of)
        )

    def labels(self, channels: Tensor) -> Tensor:
        """Our labels of channels' numbers, of any shape."""
        return self.label_of.to(channels.device)[channels]

    def softmax(self, softmax: Tensor) -> Tensor:
        """Of our structures that there are and the rest: `[slice, ours, row, column]`.

        Args:
            softmax: of the channels, `[slice, channel, row, column]`.
        """
        return self.together.summed(softmax)
