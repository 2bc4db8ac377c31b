"""The segmentation of an unevenly spaced series on evenly spaced slices.

Frames that lie unevenly are right by the standard, and most readers cannot place them: they
take the first step for every step, or refuse. For them every slice is shown as often as the
finest step goes into its extent. Nothing is interpolated: a voxel is in the structure that
the slice around it shows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dicom_node.series.ct_series import SourceGrid
from dicom_node.series.decimal_strings import decimal_string
from inference.geometry import even_slices
from inference.results import CaseResult, Uncertainty


def on_even_slices(case: CaseResult, grid: SourceGrid) -> tuple[CaseResult, SourceGrid] | None:
    """A case and its grid at the series' finest step; None where it is even as it is.

    The case is without uncertainty, which a segmentation does not show. A plane refers to
    the image of the slice that it shows.
    """
    geometry = case.geometry
    even = even_slices(geometry)
    if len(even.shown) == len(grid.planes):
        return None
    above_first_mm = (even.offsets_mm - geometry.slice_offsets_mm[0])[:, np.newaxis]
    moved_mm = above_first_mm * geometry.normal
    first = np.array(grid.planes[0].position, dtype=np.float64)
    planes = tuple(
        replace(
            grid.planes[shown],
            position=tuple(map(decimal_string, position)),
            thickness=decimal_string(even.step_mm),
        )
        for shown, position in zip(even.shown, first + moved_mm, strict=True)
    )
    on_even = replace(
        case,
        geometry=replace(
            geometry,
            positions_mm=geometry.positions_mm[0] + moved_mm,
            extents_mm=np.full(len(planes), even.step_mm),
        ),
        segments=case.segments[even.shown],
        uncertainty=None,
        model=replace(case.model, uncertainty=Uncertainty.NONE),
    )
    return on_even, replace(grid, planes=planes, resampled=True)
