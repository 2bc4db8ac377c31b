"""NIfTI-1 and NIfTI-2 files: voxels with what the header states, and results written likewise.

The header is read here and not by ITK, which fills in what a file does not say and does not
tell.

Source: nifti1.h and nifti2.h, nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicom_node.case_files.nifti_form import NiftiForm, grid_of
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

DTYPES: Final = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""Grey values by NIfTI's datatype; others are colours, complex numbers or bits."""


def _fields(size: int, **places: tuple[str, int]) -> np.dtype[Any]:
    """The fields of a header that are used, each with its type and where it stands."""
    return np.dtype(
        {
            "names": list(places),
            "formats": [kind for kind, _ in places.values()],
            "offsets": [offset for _, offset in places.values()],
            "itemsize": size,
        }
    )


NIFTI_1: Final = _fields(
    348,
    sizeof_hdr=("<i4", 0),
    regular=("S1", 38),
    dim=("(8,)<i2", 40),
    datatype=("<i2", 70),
    bitpix=("<i2", 72),
    pixdim=("(8,)<f4", 76),
    vox_offset=("<f4", 108),
    scl_slope=("<f4", 112),
    scl_inter=("<f4", 116),
    xyzt_units=("u1", 123),
    qform_code=("<i2", 252),
    sform_code=("<i2", 254),
    quatern=("(3,)<f4", 256),
    qoffset=("(3,)<f4", 268),
    srow=("(12,)<f4", 280),
    magic=("S4", 344),
)
NIFTI_2: Final = _fields(
    540,
    sizeof_hdr=("<i4", 0),
    magic=("S8", 4),
    datatype=("<i2", 12),
    bitpix=("<i2", 14),
    dim=("(8,)<i8", 16),
    pixdim=("(8,)<f8", 104),
    vox_offset=("<i8", 168),
    scl_slope=("<f8", 176),
    scl_inter=("<f8", 184),
    qform_code=("<i4", 344),
    sform_code=("<i4", 348),
    quatern=("(3,)<f8", 352),
    qoffset=("(3,)<f8", 376),
    srow=("(12,)<f8", 400),
    xyzt_units=("<i4", 500),
)
MAGIC: Final = {
    b"n+1": (NIFTI_1, False),
    b"ni1": (NIFTI_1, True),
    b"n+2\0\r\n\x1a\n": (NIFTI_2, False),
    b"ni2\0\r\n\x1a\n": (NIFTI_2, True),
}
"""What stands in `magic`: the layout of the header, and whether the voxels lie beside it."""

HIGHEST_CODE: Final = 32767
"""Codes of forms in NIfTI-1 are no higher, in which results are written."""

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
    header, paired = _header(path)
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise GeometryError(f"not one three-dimensional volume: {count} dimensions")
    shape = checked_shape(tuple(int(size) for size in header["dim"][1 : count + 1]))
    form = _form(header)
    grid = grid_of(form, shape)
    data = _data_beside(path) if paired else path
    place = VoxelPlace(
        path=data,
        dtype=_dtype(header),
        encoding=packed_as(data),
        skipped_bytes=_offset(header, paired=paired),
    )
    voxels = read_voxels(place, shape)
    notes = () if form.xyzt_units & 7 else ("no unit of length is stated: taken as mm",)
    return StoredImage(grid, scaled(voxels, *_scale(header)), form, notes)


def nifti_data_file(path: Path) -> Path:
    """The file with the voxels; the header itself where they follow it.

    Raises:
        PixelDataError: the header cannot be read, or no `.img` is beside it.
        UnstatedSidesError: it is an ANALYZE file.
    """
    _, paired = _header(path)
    return _data_beside(path) if paired else path


def _header(path: Path) -> tuple[np.void, bool]:
    """The header in this machine's byte order, and whether the voxels lie beside it."""
    head = first_bytes(path, NIFTI_2.itemsize, packed_as(path))
    for layout in (NIFTI_1, NIFTI_2):
        for ordered in (layout, layout.newbyteorder(">")):
            if len(head) < ordered.itemsize:
                continue
            header = np.frombuffer(head, dtype=ordered, count=1)[0]
            if int(header["sizeof_hdr"]) != ordered.itemsize:
                continue
            known, paired = MAGIC.get(bytes(header["magic"]), (None, False))
            if known is layout:
                return header, paired
            if layout is NIFTI_1:
                raise UnstatedSidesError(
                    "an ANALYZE 7.5 header, not NIfTI: it does not say which side is right"
                )
    raise PixelDataError("the file cannot be read as NIfTI")


def _form(header: np.void) -> NiftiForm:
    def several(name: str) -> tuple[float, ...]:
        return tuple(float(value) for value in header[name])

    return NiftiForm(
        pixdim=several("pixdim")[:4],
        qform_code=min(int(header["qform_code"]), HIGHEST_CODE),
        sform_code=min(int(header["sform_code"]), HIGHEST_CODE),
        quatern=several("quatern"),
        qoffset=several("qoffset"),
        srow=several("srow"),
        xyzt_units=int(header["xyzt_units"]) & 0xFF,
    )


def _dtype(header: np.void) -> np.dtype[Any]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code not in DTYPES:
        raise GeometryError(f"not one volume of grey values: NIfTI datatype {code}")
    found = np.dtype(DTYPES[code])
    if bits != found.itemsize * 8:
        raise PixelDataError(f"NIfTI datatype {code} has {found.itemsize * 8} bits, not {bits}")
    return np.dtype(header.dtype["dim"].base.byteorder + DTYPES[code])


def _offset(header: np.void, *, paired: bool) -> int:
    """Where the voxels begin: behind the header, or where the file of a pair says."""
    offset = float(header["vox_offset"])
    least = 0 if paired else header.dtype.itemsize
    if not (offset.is_integer() and (offset == 0 or least <= offset < 1 << 31)):
        raise PixelDataError(f"the voxels cannot begin at byte {offset:g} (vox_offset)")
    return int(offset) if offset or paired else least + 4  # as nifti1_io takes it


def _scale(header: np.void) -> tuple[float, float]:
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


def write_nifti(path: Path, voxels: NDArray[Any], form: NiftiForm) -> None:
    """Write `[k, j, i]` voxels as NIfTI-1, gzip where the name says so.

    Raises:
        OSError: the disk is full or fails.
    """
    stored = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("<"))
    header = np.zeros((), dtype=NIFTI_1)
    header["sizeof_hdr"], header["regular"], header["magic"] = NIFTI_1.itemsize, b"r", b"n+1"
    header["dim"] = (3, *stored.shape[::-1], 1, 1, 1, 1)
    header["datatype"] = _datatype(stored.dtype)
    header["bitpix"] = stored.dtype.itemsize * 8
    header["vox_offset"] = NIFTI_1.itemsize + 4
    header["scl_slope"] = 1
    with np.errstate(over="ignore"):  # a form that is not set may hold anything
        header["pixdim"] = (*form.pixdim, 0, 0, 0, 0)
        for name in ("qform_code", "sform_code", "quatern", "qoffset", "srow", "xyzt_units"):
            header[name] = getattr(form, name)
    with path.open("wb") as file:
        parts = (header.tobytes(), b"\0\0\0\0", stored.data)
        if not path.name.endswith(".gz"):
            file.writelines(parts)
            return
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packing:
            for part in parts:
                packing.write(part)


def _datatype(dtype: np.dtype[Any]) -> int:
    return next(code for code, name in DTYPES.items() if np.dtype(name) == dtype)
