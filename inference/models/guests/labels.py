"""What the classes of a guest stand for: in its own words, and in ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.errors import LabelTableError
from inference.label_table import LabelTable
from inference.structures import Segment, Side

MOST_CLASSES: Final = 256
"""Label maps of guests are kept in a byte a voxel."""


@dataclass(frozen=True, kw_only=True)
class GuestLabels:
    """The output channels of a guest, in order; a table of its keys in `bundle.toml`.

    names: in the original's words, of every channel; the first is background.
    stands_for: what each name is of ours, as in a `LabelTable`; a name that is missing, or
        whose text is empty, is nothing that is measured here.
    mirrored: pairs of names that change places when the image is mirrored, left and right.
    """

    names: tuple[str, ...]
    stands_for: Mapping[str, str]
    mirrored: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that are doubled, that nobody knows, or that stand for nothing."""
        if not 2 <= len(self.names) <= MOST_CLASSES:
            raise ValueError(f"{len(self.names)} names, not 2 to {MOST_CLASSES}")
        if len(set(self.names)) != len(self.names):
            raise ValueError("a name stands twice")
        paired = [name for pair in self.mirrored for name in pair]
        unknown = sorted({*self.stands_for, *paired} - set(self.names[1:]))
        if unknown:
            raise ValueError(f"no channel is called {', '.join(unknown)}")
        if len(set(paired)) != len(paired):
            raise ValueError("a name is mirrored twice")
        try:
            _ = self.table  # checked while the file is read
        except LabelTableError as error:
            raise ValueError(str(error)) from error

    @cached_property
    def table(self) -> LabelTable:
        """What each channel stands for."""
        entries = {
            str(channel): self.stands_for.get(name, "")
            for channel, name in enumerate(self.names)
            if channel
        }
        return LabelTable.read(entries, "labels of the bundle")

    @cached_property
    def structure_of(self) -> NDArray[np.uint8]:
        """(channels,) label 0 to 22 of the structure that each channel is part of."""
        return self.table.structure_of(len(self.names))

    @cached_property
    def segments(self) -> frozenset[Segment]:
        """Those of the 43 that the channels find; a structure without a side is both."""
        return self.table.segments

    @cached_property
    def exchanged(self) -> NDArray[np.intp]:
        """(channels,) the channel that shows each one in a mirrored image."""
        found = np.arange(len(self.names))
        for one, other in self.mirrored:
            a, b = self.names.index(one), self.names.index(other)
            found[[a, b]] = b, a
        found.flags.writeable = False
        return found


def side_of(name: str) -> Side | None:
    """The side that a label's name says: `femur_left`, `gluteus_maximus_R`, `left kidney`."""
    words = "".join(c if c.isalnum() else " " for c in name.casefold()).split()
    sides = {"left": Side.LEFT, "l": Side.LEFT, "right": Side.RIGHT, "r": Side.RIGHT}
    found = {sides[word] for word in words if word in sides}
    return found.pop() if len(found) == 1 else None
