"""NIfTI-1 and NIfTI-2 files: voxels with what the header states, and results written likewise.

nibabel knows the fields of the headers. It reads them unchecked, for its checks mend what
they find and tell only a log; and ITK fills in what a file does not say.
"""

from __future__ import annotations

import gzip
import math
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from numpy.typing import NDArray

from dicom_node.case_files.nifti_form import FORM_FIELDS, grid_of
from dicom_node.case_files.stored_grid import checked_shape
from dicom_node.case_files.stored_image import StoredImage
from dicom_node.case_files.stored_voxels import (
    VoxelPlace,
    first_bytes,
    packed_as,
    read_voxels,
    scaled,
)
from dicom_node.errors import (
    GeometryError,
    PixelDataError,
    UnstatedSidesError,
)

HEADERS: Final = (Nifti1Header, Nifti1PairHeader, Nifti2Header, Nifti2PairHeader)

UNHARMED: Final = (13, 10, 26, 10)
"""`eol_check` of NIfTI-2, where nobody changed the ends of lines."""

CODE_LIMITS: Final = (-32768, 32767)
"""Codes of forms in NIfTI-1 lie between these; in NIfTI-2 they are wider."""

DATA_SUFFIXES: Final = (".img", ".img.gz", ".IMG")


def read_nifti(path: Path) -> StoredImage:
    """Read `.nii`, `.nii.gz`, or the header of a pair (`.hdr`) with its `.img`.

    Raises:
        PixelDataError: it cannot be read, or holds no grey values.
        UnstatedSidesError: neither form is set, or it is an ANALYZE file.
        ContradictoryError: its forms, or its form and voxel sizes, differ.
        GantryTiltError: the axes are sheared.
        GeometryError: it is not one volume of the size of a body.
    """
    header = _header(path)
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise GeometryError(f"not one three-dimensional volume: {count} dimensions")
    shape = checked_shape(tuple(int(size) for size in header["dim"][1 : count + 1]))
    grid = grid_of(header, shape)
    data = path if header.is_single else _data_beside(path)
    place = VoxelPlace(data, _dtype(header), packed_as(data), skipped_bytes=_offset(header))
    voxels = scaled(read_voxels(place, shape), *_scale(header))
    unit_stated = int(header["xyzt_units"]) & 7
    notes = () if unit_stated else ("no unit of length is stated: taken as mm",)
    return StoredImage(grid, voxels, header, notes)


def nifti_data_file(path: Path) -> Path:
    """The file with the voxels; the header itself where they follow it.

    Raises:
        PixelDataError: the header cannot be read, or no `.img` is beside it.
        UnstatedSidesError: it is an ANALYZE file.
    """
    return path if _header(path).is_single else _data_beside(path)


def _header(path: Path) -> Nifti1Header:
    """The header as it stands there, of the class that its size and magic name."""
    head = first_bytes(path, Nifti2Header.sizeof_hdr, packed_as(path))
    for kind, order in product(HEADERS, "<>"):
        if len(head) < kind.sizeof_hdr:
            continue
        header = kind(head[: kind.sizeof_hdr], order, check=False)
        magic = kind.single_magic if kind.is_single else kind.pair_magic
        unharmed = tuple(header.get("eol_check", UNHARMED)) == UNHARMED
        if header["sizeof_hdr"] == kind.sizeof_hdr and header["magic"] == magic and unharmed:
            return header
    if AnalyzeHeader.may_contain_header(head):
        raise UnstatedSidesError(
            "an ANALYZE 7.5 header, not NIfTI: it does not say which side is right"
        )
    raise PixelDataError("the file cannot be read as NIfTI")


def _dtype(header: Nifti1Header) -> np.dtype[Any]:
    """Whole or floating numbers; others are colours, complex numbers or bits."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    try:
        found: np.dtype[Any] = header.get_data_dtype()
    except KeyError:
        found = np.dtype(np.void)
    if found.kind not in "iuf" or found.itemsize > 8:
        raise GeometryError(f"not one volume of grey values: NIfTI datatype {code}")
    if bits != found.itemsize * 8:
        raise PixelDataError(f"NIfTI datatype {code} has {found.itemsize * 8} bits, not {bits}")
    return found


def _offset(header: Nifti1Header) -> int:
    """Where the voxels begin: behind the header, or where the file of a pair says."""
    offset = float(header["vox_offset"])
    least = header.sizeof_hdr if header.is_single else 0
    if not (offset.is_integer() and (offset == 0 or least <= offset < 1 << 31)):
        raise PixelDataError(f"the voxels cannot begin at byte {offset:g} (vox_offset)")
    unstated = header.single_vox_offset if header.is_single else 0  # as nifti1_io takes it
    return int(offset) or unstated


def _scale(header: Nifti1Header) -> tuple[float, float]:
    """Slope and intercept; a slope of 0, or none, says that there are none.

    Raises:
        PixelDataError: an intercept without a slope, which some readers add and some do not.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        if intercept == 0 or math.isnan(intercept):
            return 1.0, 0.0
    elif math.isfinite(slope) and math.isfinite(intercept):
        return slope, intercept
    raise PixelDataError(
        f"readers disagree on the values: scl_slope {slope:g} with scl_inter {intercept:g}"
    )


def _data_beside(path: Path) -> Path:
    stem = path.name.lower().removesuffix(".gz").removesuffix(".hdr")
    stem = path.name[: len(stem)]
    for suffix in DATA_SUFFIXES:
        if (data := path.with_name(stem + suffix)).is_file():
            return data
    raise PixelDataError("the .img file that belongs to the header is not beside it")


def write_nifti(path: Path, voxels: NDArray[Any], form: Nifti1Header) -> None:
    """Write `[k, j, i]` voxels as NIfTI-1, gzip where the name says so.

    Args:
        path: the file.
        voxels: whole or floating numbers.
        form: of its fields those that state a place are repeated.

    Raises:
        OSError: the disk is full or fails.
    """
    stored = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("<"))
    header = Nifti1Header(endianness="<")
    header.set_data_shape(stored.shape[::-1])
    header.set_data_dtype(stored.dtype)
    header.set_slope_inter(1, 0)
    header["regular"] = b"r"  # as ANALYZE has it: some readers look
    with np.errstate(over="ignore"):  # a form that is not set may hold anything
        for name in FORM_FIELDS:
            code = name.endswith("code")
            header[name] = np.clip(form[name], *CODE_LIMITS) if code else form[name]
        header["pixdim"][:4], header["pixdim"][4:] = form["pixdim"][:4], 0
    with path.open("wb") as file:
        if not path.name.endswith(".gz"):
            header.write_to(file)
            file.write(stored.data)
            return
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packing:
            header.write_to(packing)
            packing.write(stored.data)
