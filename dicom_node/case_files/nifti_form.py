"""What a NIfTI header states of the place of its voxels, and which grid that is.

A header may say it twice: as a rotation with voxel sizes (qform) and as any affine matrix
(sform), each with a code that is 0 where nothing is meant. Readers differ in which they
believe, so where both are set they must say the same.

Source: nifti1.h, nifti.nimh.nih.gov, "3D image (volume) orientation and location in space".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dicom_node.case_files.stored_grid import StoredGrid, corners_mm, stored_grid
from dicom_node.errors import ContradictoryError, GeometryError, UnstatedSidesError

LPS: Final = np.array([-1.0, -1.0, 1.0])
"""NIfTI's x grows to the right and y to the front, DICOM's to the left and to the back."""

UNIT_MM: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in the units of length (xyzt_units); 0 says nothing, and everybody means mm."""

TEMPLATES: Final = frozenset({3, 4, 5})
"""Codes of a place in a template (Talairach, MNI 152, another) instead of a scanner."""

ROUNDED: Final = 1e-7
"""What single precision makes of 0 in a quaternion, squared; nifti1_io takes it so."""

NO_ROTATION: Final = 1e-3
"""A quaternion longer than 1 by more than this is none."""


@dataclass(frozen=True, slots=True, eq=False)
class NiftiForm:
    """All that a header says about the place of its voxels, as it says it.

    Fields are called as in nifti1.h; of `pixdim` the first four, lengths in `xyzt_units`.
    """

    pixdim: tuple[float, ...]
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]
    xyzt_units: int

    @classmethod
    def of(cls, grid: StoredGrid) -> NiftiForm:
        """Both forms of a grid that came from elsewhere, as a place in a scanner (code 1)."""
        rotation = (grid.directions * LPS).T  # columns are i, j, k
        mirrored = np.linalg.det(rotation) < 0
        proper = rotation * [1.0, 1.0, -1.0] if mirrored else rotation
        # scipy takes the nearest rotation, where rounding has left none.
        x, y, z, w = Rotation.from_matrix(proper).as_quat()
        turn = np.array([x, y, z]) * (-1.0 if w < 0 else 1.0)
        origin = np.array(grid.origin_mm) * LPS
        steps = rotation * np.array(grid.spacing_mm)
        return cls(
            pixdim=(-1.0 if mirrored else 1.0, *grid.spacing_mm),
            qform_code=1,
            sform_code=1,
            quatern=tuple(turn.tolist()),
            qoffset=tuple(origin.tolist()),
            srow=tuple(np.column_stack([steps, origin]).ravel().tolist()),
            xyzt_units=2,
        )

    @property
    def unit_mm(self) -> float:
        """Millimetres in the header's unit of length.

        Raises:
            GeometryError: there is no such unit.
        """
        unit = UNIT_MM.get(self.xyzt_units & 7)
        if unit is None:
            raise GeometryError(f"the file's unit of length is unknown ({self.xyzt_units & 7})")
        return unit

    @property
    def by_qform(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """LPS vectors along i, j, k (rows) and the first voxel, mm, by rotation and size.

        Raises:
            UnstatedSidesError: the quaternion is none.
        """
        turn = np.array(self.quatern, dtype=np.float64)
        rest = 1.0 - float(turn @ turn) if np.abs(turn).max() <= 2 else -math.inf
        if not rest >= -NO_ROTATION:
            raise UnstatedSidesError("the file's qform is no rotation (quaternion)")
        # Of a half turn the last part is 0; single precision would leave some of it.
        last = math.sqrt(rest) if rest > ROUNDED else 0.0
        rotation = Rotation.from_quat(np.append(turn, last)).as_matrix()
        sizes = np.array(self.pixdim[1:4]) * [1.0, 1.0, -1.0 if self.pixdim[0] < 0 else 1.0]
        steps = (rotation * sizes).T * LPS * self.unit_mm
        return steps, np.array(self.qoffset) * LPS * self.unit_mm

    @property
    def by_sform(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """LPS vectors along i, j, k (rows) and the first voxel, mm, by the affine matrix."""
        matrix = np.array(self.srow, dtype=np.float64).reshape(3, 4)
        steps = matrix[:, :3].T * LPS * self.unit_mm
        return steps, matrix[:, 3] * LPS * self.unit_mm


def grid_of(form: NiftiForm, shape: tuple[int, int, int]) -> StoredGrid:
    """The grid that a header states: by one form, with which the other agrees.

    Raises:
        UnstatedSidesError: neither form is set, or it is none.
        ContradictoryError: the forms, or a form and the voxel sizes, differ.
        GantryTiltError: the axes are sheared.
        GeometryError: it is no place in a scanner, or the voxels have absurd sizes.
    """
    q_stated, s_stated = form.qform_code > 0, form.sform_code > 0
    if not q_stated and not s_stated:
        raise UnstatedSidesError(
            "the file does not say which side is right: its qform and sform codes are 0"
        )
    codes = {code for code in (form.qform_code, form.sform_code) if code > 0}
    if codes <= TEMPLATES:
        raise GeometryError(
            f"the file was fitted to a template (code {max(codes)}): its sizes are not the"
            " patient's"
        )
    if not np.isfinite(form.pixdim).all():
        raise GeometryError("the file's voxel sizes are no numbers (pixdim)")
    if min(form.pixdim[1:4]) < 0:
        raise ContradictoryError(
            "a voxel size is negative (pixdim), which some readers take as a mirrored axis"
        )
    if min(form.pixdim[1:4]) == 0 and not s_stated:
        raise GeometryError("the file does not say how large its voxels are (pixdim)")
    if not s_stated:
        return stored_grid(shape, *form.by_qform)
    grid = stored_grid(shape, *form.by_sform)
    if q_stated:
        _check_same(shape, form, grid)
    sizes_mm = np.array(form.pixdim[1:4]) * form.unit_mm
    longer_mm = np.abs(sizes_mm - grid.spacing_mm) * (np.array(shape[::-1]) - 1)
    if not longer_mm.max() <= min(grid.spacing_mm):
        raise ContradictoryError(
            f"the file's voxels are {_by(grid.spacing_mm)} mm by its sform and"
            f" {_by(sizes_mm)} mm by its pixdim"
        )
    return grid


def _check_same(shape: tuple[int, int, int], form: NiftiForm, grid: StoredGrid) -> None:
    """Both forms must put every voxel at one place."""
    by_qform = corners_mm(shape, *form.by_qform)
    apart_mm = float(np.linalg.norm(by_qform - grid.corners_mm, axis=1).max())
    if not apart_mm <= min(grid.spacing_mm):
        raise ContradictoryError(
            "the file's qform and sform contradict each other: a corner of the scan lies"
            f" {apart_mm:.1f} mm from itself"
        )


def _by(values: Any) -> str:
    return " x ".join(f"{float(value):g}" for value in values)
