"""The cut above the pelvis: what a scan shows of the upper abdomen and the chest is left out.

A scan of the whole body, or of the arteries down to the feet, goes on far above what this
method measures, and the network knows nothing of that: it takes ribs, shoulders, the heart
and kidneys for what they look like. As below the knee it is done twice. Before the network the
chest is left out, whose mark the lungs are: nothing else in a body is as large and as light
without being empty, so the CT alone shows them. Bowel gas is emptier, stool denser.
Afterwards nothing is kept that lies higher above the pelvis than any psoas reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.anatomy.coverage import BELOW_LUNGS_MM, height_below_mm
from inference.anatomy.knees import SeenKnee
from inference.anatomy.runs import main_run, runs_of, slice_areas_mm2
from inference.geometry import Geometry
from inference.hounsfield import BODY_ABOVE_HU
from inference.results import Chest
from inference.structures import BY_KEY, Side
from inference.volume import Volume

PIXEL_MM: Final = 2.0
SLICE_MM: Final = 4.0
"""Lungs are sought on every n-th pixel and slice, up to about these distances."""

LUNG_HU: Final = (-930.0, -550.0)
"""The median of a lung's section lies between: breathed in and emphysematous, breathed out.
Gas in a real bowel read -950 to -990; up to -930 in pieces that blur has reached all over."""

SECTION_MM2: Final = 2000.0
"""Less of a lung in a slice is no evidence; those pieces of bowel were of up to 1100 mm2."""

LUNGS_MM2: Final = 10000.0
HEIGHT_MM: Final = 40.0
"""Both lungs together are this large somewhere, and so high, or they are something else. (Of
a real chest's lungs, 45 mm above their lower end, 210 cm2.)"""

KEPT_ABOVE_LUNGS_MM: Final = 20.0
"""What is segmented goes on this far above the lower end of the lungs: the recess behind them
reaches down to the twelfth thoracic vertebra, from which the highest fibres of psoas come."""

HEAD_MM: Final = 300.0
"""Above the lungs a head and its neck reach as far."""

KNEE_BELOW_LUNGS_MM: Final = 150.0
"""What is nearer below the lungs, or above their lower end, is no knee but an elbow or a
shoulder: between the two lie abdomen, pelvis and thigh."""

KEPT_ABOVE_PELVIS_MM: Final = 160.0
"""On two published label maps (Andreassen et al., Sci Data 10:34, 2023) psoas ends 128 and
134 mm above the pelvis, and everything else below it; a body of 2 m adds a seventh."""


def find_chest(volume: Volume) -> Chest | None:
    """The chest that is left out of a scan; None where there is nothing to leave out."""
    lungs = _lungs(*_sections(volume))
    if lungs is None:
        return None
    lung_mm, _ = lungs
    above = volume.geometry.slice_offsets_mm > lung_mm + KEPT_ABOVE_LUNGS_MM
    return Chest(lung_mm, int(above.sum()), KEPT_ABOVE_LUNGS_MM) if above.any() else None


def above_lungs(volume: Volume, chest: Chest) -> range | None:
    """The slices above the lungs of a scan that begins there and goes on far above; or None.

    With more above a chest than head and neck, and no pelvis below it, the body may be upside
    down: hips and thighs, if there are any, are above.
    """
    lungs = _lungs(*_sections(volume))
    heights = volume.geometry.slice_offsets_mm
    shows_pelvis = height_below_mm(chest, volume.geometry) >= BELOW_LUNGS_MM
    if lungs is None or shows_pelvis or float(heights[-1]) - lungs[1] < HEAD_MM:
        return None
    return range(int(np.searchsorted(heights, lungs[1], side="right")), len(heights))


def below_lungs(knees: Sequence[SeenKnee], chest: Chest | None) -> tuple[SeenKnee, ...]:
    """The knees that lie far enough below the lungs, where those are seen."""
    if chest is None:
        return tuple(knees)
    highest_mm = chest.lung_mm - KNEE_BELOW_LUNGS_MM
    return tuple(knee for knee in knees if knee.height_mm <= highest_mm)


def cut_above_pelvis(segments: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Segments without what lies more than `KEPT_ABOVE_PELVIS_MM` above the pelvis.

    Args:
        segments: `[slice, row, column]` 0 to 43; without a pelvis nothing is cut.
        geometry: the grid of `segments`.
    """
    areas = slice_areas_mm2(segments, geometry)
    runs = (main_run(areas[:, BY_KEY[f"PELVIS_{side}"].number], geometry) for side in Side)
    tops = [run.last for run in runs if run is not None]
    if not tops:
        return segments
    heights = geometry.slice_offsets_mm
    above = heights > heights[max(tops)] + KEPT_ABOVE_PELVIS_MM
    if not segments[above].any():
        return segments
    kept = segments.copy()
    kept[above] = 0
    return kept


def _lungs(
    heights: NDArray[np.float64], areas: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The heights of the lowest and of the highest slice that show lungs."""
    seen = np.flatnonzero(areas >= SECTION_MM2)
    if not seen.size:
        return None
    lungs = max(runs_of(seen, heights), key=lambda run: float(areas[run].sum()))
    height = heights[lungs[-1]] - heights[lungs[0]]
    is_chest = height >= HEIGHT_MM and areas[lungs].max() >= LUNGS_MM2
    return (float(heights[lungs[0]]), float(heights[lungs[-1]])) if is_chest else None


def _sections(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heights of slices about `SLICE_MM` apart, and the area of lungs in each in mm2."""
    geometry = volume.geometry
    numbers = _apart(geometry)
    row_mm, column_mm = geometry.spacing_mm
    rows, columns = (max(1, int(PIXEL_MM // each)) for each in (row_mm, column_mm))
    pixel_mm2 = rows * row_mm * columns * column_mm
    areas = [_lungs_mm2(volume.hu[n, ::rows, ::columns], pixel_mm2) for n in numbers]
    return geometry.slice_offsets_mm[numbers], np.array(areas)


def _apart(geometry: Geometry) -> list[int]:
    """Slices that are about `SLICE_MM` apart."""
    numbers: list[int] = []
    heights = geometry.slice_offsets_mm
    for number, height in enumerate(heights):
        if not numbers or height - heights[numbers[-1]] >= SLICE_MM - 0.01:
            numbers.append(number)
    return numbers


def _lungs_mm2(hu: NDArray[np.int16] | NDArray[np.float32], pixel_mm2: float) -> float:
    """The area of all that looks like lung in a slice and has body all around."""
    parts, count = ndimage.label(hu < BODY_ABOVE_HU)
    areas = np.bincount(parts.ravel(), minlength=count + 1) * pixel_mm2
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        areas[edge] = 0.0  # the air around the body
    areas[0] = 0.0
    large = np.flatnonzero(areas >= SECTION_MM2)
    medians = [float(np.median(hu[parts == part])) for part in large]
    low, high = LUNG_HU
    return float(sum(a for a, m in zip(areas[large], medians, strict=True) if low <= m <= high))
