"""One CT slice as its header describes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.series.ct_series import SourcePlane


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """One slice as its header describes it, in the source's own row and column order.

    frame_number: 1-based in a multi-frame file, None in a classic one.
    frames: how many frames the file has, 1 in a classic one.
    position_mm: (3,) LPS centre of the first pixel.
    row_axis, column_axis: (3,) unit vectors along which row and column *index* grow.
    spacing_mm: distance between rows, distance between columns.
    thickness_mm: nominal, or None where missing or absurd.
    tilt_degrees: Gantry/Detector Tilt, 0 where it is not given.
    acquisition: what tells acquisitions apart, by keyword (`ACQUISITION_KEYWORDS`); without
        what is not stated.
    padding: lowest and highest stored value that means "no pixel here", or None.
    plane: where it lies, in the header's own words.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    frames: int
    series_instance_uid: str
    frame_of_reference_uid: str
    rows: int
    columns: int
    position_mm: NDArray[np.float64]
    row_axis: NDArray[np.float64]
    column_axis: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    tilt_degrees: float
    kernel: str
    acquisition: Mapping[str, str]
    slope: float
    intercept: float
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None
    plane: SourcePlane

    @property
    def instance_number(self) -> int | None:
        """Instance Number of a classic image; None where it has none, and for a frame."""
        try:
            return None if self.frame_number else int(self.acquisition["InstanceNumber"])
        except (KeyError, ValueError):
            return None

    @property
    def peak_kilovoltage(self) -> float | None:
        """KVP (PS3.3 C.8.2.1); None where it is missing or no number."""
        try:
            volts = float(self.acquisition["KVP"])
        except (KeyError, ValueError):
            return None
        return volts if math.isfinite(volts) else None

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector across the slice, as the image's own axes give it."""
        return np.cross(self.column_axis, self.row_axis)
