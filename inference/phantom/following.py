"""A region of a label map, followed from slice to slice, as tubes of few numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from inference.phantom.atlas import POINTS, Atlas, Curve
from inference.phantom.raster import Plane, inside
from inference.phantom.tube import Tube

LARGEST_HARMONIC: Final = 6


@dataclass(frozen=True, slots=True)
class Fit:
    """Tolerances within which outlines are followed.

    error_mm: root mean square distance that the harmonics may leave to the curves.
    knot_error_mm: the same, over all coefficients, that heights between two knots may have.
    least_mm2, least_cm3, least_share, least_length_mm: smaller outlines and tubes are dropped.
    overlap: intersection over union from which outlines of two slices are one tube.
    """

    error_mm: float = 1.0
    knot_error_mm: float = 1.8
    least_mm2: float = 12.0
    least_cm3: float = 0.3
    least_share: float = 0.006
    least_length_mm: float = 2.0
    overlap: float = 0.55


@dataclass(slots=True, eq=False)
class _Branch:
    """A tube while it is being followed."""

    slices: list[int] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def follow(atlas: Atlas, depth_mm: NDArray[np.float64], code: int, fit: Fit) -> list[Tube]:
    """The tubes of the region where a depth is positive."""
    done: list[_Branch] = []
    live: list[_Branch] = []
    for index, section in enumerate(depth_mm):
        curves = _outlines(atlas, section, fit.least_mm2)
        kept = _continued(live, curves, fit.overlap)
        done += [branch for branch in live if branch not in [b for b, _ in kept]]
        taken = [number for _, number in kept]
        fresh = [(_Branch(), n) for n in range(len(curves)) if n not in taken]
        live = []
        for branch, number in (*kept, *fresh):
            branch.slices.append(index)
            branch.curves.append(curves[number])
            live.append(branch)
    tubes = [_fitted(atlas, branch, code, fit) for branch in (*done, *live)]
    total = sum(tube.volume_cm3() for tube in tubes)
    least = max(fit.least_cm3, fit.least_share * total)
    return [
        tube
        for tube in tubes
        if tube.volume_cm3() >= least
        and tube.heights_mm[-1] - tube.heights_mm[0] >= fit.least_length_mm
    ]


def _outlines(atlas: Atlas, section: NDArray[np.float64], least_mm2: float) -> list[Curve]:
    """The outer outlines of a section's positive part, without those of holes."""
    if section.max() <= 0:
        return []
    contours = [c - 1 for c in find_contours(np.pad(section, 1, constant_values=-50.0), 0.0)]
    areas = [_signed_area_mm2(c * atlas.spacing_mm) for c in contours]
    # Contours of holes turn the other way round than the largest, which is an outer one.
    outer = np.sign(max(areas, key=abs))
    return [
        atlas.curve_mm(contour)
        for contour, area in zip(contours, areas, strict=True)
        if area * outer >= least_mm2 and len(contour) >= 8
    ]


def _signed_area_mm2(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


def _continued(
    live: list[_Branch], curves: list[Curve], overlap: float
) -> list[tuple[_Branch, int]]:
    """Pairs of a branch and the curve that it goes on as, the most alike first."""
    before = [_filled(branch.curves[-1]) for branch in live]
    after = [_filled(curve) for curve in curves]
    pairs = sorted(
        (-float((a & b).sum() / max((a | b).sum(), 1)), i, j)
        for i, a in enumerate(before)
        for j, b in enumerate(after)
    )
    kept: dict[int, int] = {}
    for likeness, i, j in pairs:
        if -likeness >= overlap and i not in kept and j not in kept.values():
            kept[i] = j
    return [(live[i], j) for i, j in kept.items()]


def _filled(curve: Curve) -> NDArray[np.bool_]:
    mask = np.zeros((220, 350), np.bool_)
    found = inside(curve, Plane(-260.0, -160.0, 1.5, rows=220, columns=350))
    if found is not None:
        mask[found[0], found[1]] = found[2]
    return mask


def _fitted(atlas: Atlas, branch: _Branch, code: int, fit: Fit) -> Tube:
    """The fewest harmonics, then the fewest knots, that follow a branch closely enough."""
    curves = in_step(branch.curves)
    for harmonics in range(1, LARGEST_HARMONIC + 1):
        outlines = fourier(curves, harmonics)
        if _distance_mm(outlines, curves) < fit.error_mm:
            break
    if len(outlines) > 4:
        smooth = [ndimage.gaussian_filter1d(part, 1.0, axis=0, mode="nearest")
                  for part in (outlines.real, outlines.imag)]  # fmt: skip
        outlines = smooth[0] + 1j * smooth[1]
    heights = atlas.heights_mm()[branch.slices]
    knots = _knots(heights, outlines, fit.knot_error_mm)
    # The first and the last slice reach half a slice further out.
    ends = heights[knots]
    ends[0] -= atlas.spacing_mm / 2
    ends = np.append(ends[:-1], heights[-1] + atlas.spacing_mm / 2)
    if len(knots) == 1:
        ends, knots = np.array([ends[0] - atlas.spacing_mm, ends[0]]), [0, 0]
    return Tube(code, ends, outlines[knots])


def in_step(curves: list[Curve]) -> NDArray[np.complex128]:
    """(curves, POINTS) x + iy, each curve begun where it lies closest to the one before."""
    points = np.array([curve[:, 0] + 1j * curve[:, 1] for curve in curves])
    points[0] = np.roll(points[0], -int(np.argmax(points[0].real)))
    for index in range(1, len(points)):
        one, two = points[index - 1], points[index]
        match = np.fft.ifft(
            np.fft.fft(two - two.mean()) * np.conj(np.fft.fft(one - one.mean()))
        )
        points[index] = np.roll(two, -int(np.argmax(match.real)))
    return points


def fourier(points: NDArray[np.complex128], harmonics: int) -> NDArray[np.complex128]:
    """(curves, 2K + 1) coefficients of exp(-iKt) to exp(iKt)."""
    spectrum = np.fft.fft(points, axis=-1) / points.shape[-1]
    return np.concatenate([spectrum[..., -harmonics:], spectrum[..., : harmonics + 1]], axis=-1)


def _distance_mm(outlines: NDArray[np.complex128], points: NDArray[np.complex128]) -> float:
    harmonics = outlines.shape[-1] // 2
    turns = np.outer(
        np.arange(-harmonics, harmonics + 1), np.arange(POINTS) * (2 * np.pi / POINTS)
    )
    return float(np.sqrt((np.abs(outlines @ np.exp(1j * turns) - points) ** 2).mean()))


def _knots(
    heights: NDArray[np.float64], outlines: NDArray[np.complex128], error_mm: float
) -> list[int]:
    """Slices to keep so that straight lines between them stay close (Douglas-Peucker)."""

    def between(low: int, high: int) -> Iterator[int]:
        if high - low < 2:
            return
        share = (heights[low + 1 : high] - heights[low]) / (heights[high] - heights[low])
        straight = outlines[low] + (outlines[high] - outlines[low]) * share[:, None]
        errors = np.sqrt((np.abs(straight - outlines[low + 1 : high]) ** 2).sum(axis=1))
        worst = low + 1 + int(errors.argmax())
        if errors.max() > error_mm:
            yield worst
            yield from between(low, worst)
            yield from between(worst, high)

    last = len(heights) - 1
    return sorted({0, last, *between(0, last)})
