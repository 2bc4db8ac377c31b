"""What a NIfTI header states of the place of its voxels, and which grid that is.

A header may say it twice: as a rotation with voxel sizes (qform) and as any affine matrix
(sform), each with a code that is 0 where nothing is meant. Readers differ in which they
believe, so where both are set they must say the same.

Here a form is a header of nibabel, whose fields of a place are used as they stand there.

Source: nifti1.h, nifti.nimh.nih.gov, "3D image (volume) orientation and location in space".
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Header
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


FORM_FIELDS: Final = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)
"""What states the place of the voxels, besides the first four of `pixdim`."""


def form_of(grid: StoredGrid) -> Nifti1Header:
    """Both forms of a grid that came from elsewhere, as a place in a scanner (code 1)."""
    affine = np.eye(4)
    affine[:3, :3] = (grid.directions * LPS).T * grid.spacing_mm
    affine[:3, 3] = grid.origin_mm * LPS
    form = Nifti1Header()
    form.set_sform(affine, "scanner")
    form.set_qform(affine, "scanner")
    form.set_xyzt_units("mm")
    return form


def _unit_mm(form: Nifti1Header) -> float:
    """Millimetres in the header's unit of length.

    Raises:
        GeometryError: there is no such unit.
    """
    code = int(form["xyzt_units"]) & 7
    if code not in UNIT_MM:
        raise GeometryError(f"the file's unit of length is unknown ({code})")
    return UNIT_MM[code]


def _by_qform(form: Nifti1Header) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LPS vectors along i, j, k (rows) and the first voxel, mm, by rotation and size.

    Not by nibabel, which refuses rounded quaternions and a sign (`pixdim[0]`) of 0.

    Raises:
        UnstatedSidesError: the quaternion is none.
    """
    turn = np.array([form[f"quatern_{part}"] for part in "bcd"], dtype=np.float64)
    rest = 1.0 - float(turn @ turn) if np.abs(turn).max() <= 2 else -math.inf
    if not rest >= -NO_ROTATION:
        raise UnstatedSidesError("the file's qform is no rotation (quaternion)")
    # Of a half turn the last part is 0; single precision would leave some of it.
    last = math.sqrt(rest) if rest > ROUNDED else 0.0
    rotation = Rotation.from_quat(np.append(turn, last)).as_matrix()
    sizes = form["pixdim"][1:4] * np.array([1.0, 1.0, -1.0 if form["pixdim"][0] < 0 else 1.0])
    first = np.array([form[f"qoffset_{axis}"] for axis in "xyz"], dtype=np.float64)
    unit_mm = _unit_mm(form)
    return (rotation * sizes).T * LPS * unit_mm, first * LPS * unit_mm


def _by_sform(form: Nifti1Header) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LPS vectors along i, j, k (rows) and the first voxel, mm, by the affine matrix."""
    columns = form.get_sform()[:3].T * LPS * _unit_mm(form)
    return columns[:3], columns[3]


def grid_of(form: Nifti1Header, shape: tuple[int, int, int]) -> StoredGrid:
    """The grid that a header states: by one form, with which the other agrees.

    Raises:
        UnstatedSidesError: neither form is set, or it is none.
        ContradictoryError: the forms, or a form and the voxel sizes, differ.
        GantryTiltError: the axes are sheared.
        GeometryError: it is no place in a scanner, or the voxels have absurd sizes.
    """
    stated = [int(form[name]) for name in ("qform_code", "sform_code")]
    q_stated, s_stated = (code > 0 for code in stated)
    sizes = np.array(form["pixdim"][1:4], dtype=np.float64)
    if not q_stated and not s_stated:
        raise UnstatedSidesError(
            "the file does not say which side is right: its qform and sform codes are 0"
        )
    codes = {code for code in stated if code > 0}
    if codes <= TEMPLATES:
        raise GeometryError(
            f"the file was fitted to a template (code {max(codes)}): its sizes are not the"
            " patient's"
        )
    if not np.isfinite(form["pixdim"][:4]).all():
        raise GeometryError("the file's voxel sizes are no numbers (pixdim)")
    if sizes.min() < 0:
        raise ContradictoryError(
            "a voxel size is negative (pixdim), which some readers take as a mirrored axis"
        )
    if sizes.min() == 0 and not s_stated:
        raise GeometryError("the file does not say how large its voxels are (pixdim)")
    if not s_stated:
        return stored_grid(shape, *_by_qform(form))
    grid = stored_grid(shape, *_by_sform(form))
    if q_stated:
        _check_same(shape, form, grid)
    sizes_mm = sizes * _unit_mm(form)
    longer_mm = np.abs(sizes_mm - grid.spacing_mm) * (np.array(shape[::-1]) - 1)
    if not longer_mm.max() <= min(grid.spacing_mm):
        raise ContradictoryError(
            f"the file's voxels are {_by(grid.spacing_mm)} mm by its sform and"
            f" {_by(sizes_mm)} mm by its pixdim"
        )
    return grid


def _check_same(shape: tuple[int, int, int], form: Nifti1Header, grid: StoredGrid) -> None:
    """Both forms must put every voxel at one place."""
    by_qform = corners_mm(shape, *_by_qform(form))
    apart_mm = float(np.linalg.norm(by_qform - grid.corners_mm, axis=1).max())
    if not apart_mm <= min(grid.spacing_mm):
        raise ContradictoryError(
            "the file's qform and sform contradict each other: a corner of the scan lies"
            f" {apart_mm:.1f} mm from itself"
        )


def _by(values: Any) -> str:
    return " x ".join(f"{float(value):g}" for value in values)
