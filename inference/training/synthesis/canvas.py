"""A synthetic body while it is being built, and how a shape is put into it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.training.synthesis.fields import Draw
from inference.training.synthesis.landmarks import Landmarks
from inference.training.synthesis.tags import put


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """A body being built: its tags (changed in place), its grid and its landmarks."""

    tags: Tensor
    marks: Landmarks
    draw: Draw

    @property
    def y(self) -> Tensor:
        """(1, rows, 1) row positions in mm."""
        return (torch.arange(self.tags.shape[1]) * self.marks.spacing_mm[1])[None, :, None]

    @property
    def x(self) -> Tensor:
        """(1, 1, columns) column positions in mm."""
        return (torch.arange(self.tags.shape[2]) * self.marks.spacing_mm[2])[None, None, :]

    def slices(self, low_mm: float, high_mm: float) -> slice:
        """The slices between two positions."""
        step = self.marks.spacing_mm[0]
        last = self.tags.shape[0]
        return slice(
            min(max(0, round(low_mm / step)), last), min(max(0, round(high_mm / step)), last)
        )

    def ellipse(
        self,
        where: slice,
        tag: int,
        centre: tuple[Tensor | float, Tensor | float],
        radii: tuple[Tensor | float, Tensor | float],
    ) -> None:
        """Put an ellipse into every slice of a range.

        Args:
            where: the slices.
            tag: what it is made of.
            centre: row and column in mm, one number or one a slice of the range.
            radii: along rows and columns in mm, likewise; nothing where not positive.
        """
        count = where.stop - where.start
        if count <= 0:
            return
        cy, cx, ry, rx = (
            torch.as_tensor(v, dtype=torch.float32).expand(count)[:, None, None]
            for v in (*centre, *radii)
        )
        inside = ((self.y - cy) / ry.clamp_min(0.1)) ** 2 + (
            (self.x - cx) / rx.clamp_min(0.1)
        ) ** 2 < 1
        put(self.tags[where], inside & (ry > 0) & (rx > 0), tag)
