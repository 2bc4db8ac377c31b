"""What is read of an image file, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from dicom_node.case_files.stored_grid import StoredGrid


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """An image file's voxels `[k, j, i]` and where they lie.

    form: the header of a NIfTI file, whose statement results on its grid repeat.
    notes: what was noticed and tolerated.
    """

    grid: StoredGrid
    voxels: NDArray[Any]
    form: Nifti1Header | None = None
    notes: tuple[str, ...] = ()
