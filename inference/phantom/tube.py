"""A tube: outlines stacked along the body, with a volume in closed form.

Each outline is a closed curve in the complex plane, w(t) = x + iy = sum of F_k exp(ikt),
k = -K..K (elliptic Fourier descriptors; Kuhl and Giardina, Comput Graph Image Process 18
(1982) 236-258); K = 1 is an ellipse. It encloses pi * sum k |F_k|^2. Between two knots the
coefficients run linearly, so the area is a parabola in z and Simpson's rule gives the volume
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

PerKnot = NDArray[np.complex128] | NDArray[np.float64] | complex
"""One number for all knots of a tube, or one for each."""

CORNERS: Final = 72
"""Points of the polygon that stands for an outline where it is painted."""


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """One tissue's tube in the body frame: x to the left, y to the back, z to the head.

    heights_mm: (knots,) ascending z.
    outlines: (knots, 2K + 1) coefficients of exp(-iKt) to exp(iKt), in mm, counter-clockwise.
    code: what is painted inside: a tissue's code, with the bit of the left.
    """

    code: int
    heights_mm: NDArray[np.float64]
    outlines: NDArray[np.complex128]

    @property
    def harmonics(self) -> int:
        """K, the highest frequency of the outlines."""
        return int(self.outlines.shape[1]) // 2

    @property
    def centres(self) -> NDArray[np.complex128]:
        """(knots,) the centre of each outline as x + iy."""
        return self.outlines[:, self.harmonics]

    def at(self, heights_mm: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(heights, 2K + 1) the outlines at heights within the tube."""
        upper = np.clip(
            np.searchsorted(self.heights_mm, heights_mm, "right"), 1, len(self.heights_mm) - 1
        )
        below, above = self.heights_mm[upper - 1], self.heights_mm[upper]
        share = ((heights_mm - below) / (above - below))[:, None]
        return np.asarray(self.outlines[upper - 1] * (1 - share) + self.outlines[upper] * share)

    def polygon_mm(self, height_mm: float) -> NDArray[np.float64] | None:
        """(CORNERS, 2) x and y of the outline at a height, or None above or below the tube."""
        if not self.heights_mm[0] <= height_mm < self.heights_mm[-1]:
            return None
        outline = self.at(np.array([height_mm]))[0]
        turns = np.outer(
            np.arange(-self.harmonics, self.harmonics + 1),
            np.arange(CORNERS) * (2 * np.pi / CORNERS),
        )
        points = outline @ np.exp(1j * turns)
        return np.stack([points.real, points.imag], axis=-1)

    def areas_mm2(self, heights_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The enclosed area at heights within the tube: pi * sum k |F_k|^2."""
        k = np.arange(-self.harmonics, self.harmonics + 1)
        return np.asarray(np.pi * (k * np.abs(self.at(heights_mm)) ** 2).sum(axis=1))

    def volume_cm3(self, lower_mm: float = -np.inf, upper_mm: float = np.inf) -> float:
        """The exact volume between two heights (Simpson's rule on parabolas)."""
        lower = max(lower_mm, self.heights_mm[0])
        upper = min(upper_mm, self.heights_mm[-1])
        if lower >= upper:
            return 0.0
        inner = self.heights_mm[(self.heights_mm > lower) & (self.heights_mm < upper)]
        edges = np.concatenate([[lower], inner, [upper]])
        ends, middles = self.areas_mm2(edges), self.areas_mm2((edges[1:] + edges[:-1]) / 2)
        thirds = np.diff(edges) * (ends[:-1] + 4 * middles + ends[1:]) / 6
        return float(thirds.sum()) / 1000

    def refined(self, step_mm: float) -> Tube:
        """The same tube with knots at most `step_mm` apart, so that it can be bent."""
        pieces = [
            np.linspace(low, high, int(np.ceil((high - low) / step_mm)), endpoint=False)
            for low, high in zip(self.heights_mm[:-1], self.heights_mm[1:], strict=True)
        ]
        heights = np.concatenate([*pieces, self.heights_mm[-1:]])
        return replace(self, heights_mm=heights, outlines=self.at(heights))

    def mapped(
        self,
        turn: PerKnot,
        shear: PerKnot,
        shift: PerKnot,
    ) -> Tube:
        """The tube after w -> turn * w + shear * conj(w) + shift at every knot.

        This is every affine map of the plane; it maps the coefficients exactly.
        """
        turn, shear, shift = (
            np.broadcast_to(np.asarray(v, np.complex128), self.heights_mm.shape)
            for v in (turn, shear, shift)
        )
        outlines = turn[:, None] * self.outlines
        outlines = outlines + shear[:, None] * self.outlines[:, ::-1].conj()
        outlines[:, self.harmonics] += shift
        return replace(self, outlines=outlines)

    def grown(self, factor: NDArray[np.float64] | float) -> Tube:
        """The tube with every outline scaled about its own centre."""
        return self.mapped(factor, 0, self.centres * (1 - np.asarray(factor)))

    def mirrored(self, code: int) -> Tube:
        """The tube on the other side of the midline: x -> -x, still counter-clockwise."""
        return replace(self, code=code, outlines=-self.outlines.conj())


def ellipses(code: int, knots: NDArray[np.float64]) -> Tube:
    """A tube of ellipses from (knots, 5): z, x, y, half width, half depth in mm."""
    z, x, y, a, b = knots.T
    outlines = np.stack([(a - b) / 2 + 0j, x + 1j * y, (a + b) / 2 + 0j], axis=-1)
    return Tube(code, z, outlines)
