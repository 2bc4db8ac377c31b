"""What is read of an image file, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dicom_node.case_files.nifti_form import NiftiForm
from dicom_node.case_files.stored_grid import StoredGrid


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """An image file's voxels `[k, j, i]` and where they lie.

    form: the statement of a NIfTI file, which results on its grid repeat.
    notes: what was noticed and tolerated.
    """

    grid: StoredGrid
    voxels: NDArray[Any]
    form: NiftiForm | None = None
    notes: tuple[str, ...] = ()
