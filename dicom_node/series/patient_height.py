"""Patient's Size: the height that the images state, if it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.series.slice_headers import (
    value_of,
)
from inference.volume import Patient

HEIGHT_LIMITS_M: Final = (0.5, 2.5)
"""Body heights that are believed."""

CENTIMETRES_FROM: Final = 100.0
"""A smaller number may be inches: 68 is a man's height in inches, and a baby's in cm."""


def stated_height_m(header: Dataset) -> float | None:
    """Patient's Size as an image states it; None where it is no number."""
    height = value_of(header, "PatientSize")
    try:
        return None if isinstance(height, bytes) else float(height)
    except (TypeError, ValueError, OverflowError):
        return None


def believed_patient(heights: Sequence[float | None]) -> tuple[Patient, list[str]]:
    """The height, if one is stated that can be believed, and what was noticed about it.

    Patient's Size is in metres (PS3.3 C.7.2.2); a value that can only be a height in
    centimetres is read so, and noted.
    """
    stated = {height for height in heights if height}
    if not stated:
        return Patient(), []
    if len(stated) > 1:
        return Patient(), [f"{len(stated)} different patient heights: none is used"]
    height = stated.pop()
    low, high = HEIGHT_LIMITS_M
    if low <= height <= high:
        return Patient(height_m=height), []
    if CENTIMETRES_FROM <= height <= high * 100:
        return Patient(height_m=height / 100), ["patient height read as centimetres"]
    return Patient(), ["absurd patient height ignored"]
