"""Image files byte by byte: NIfTI-1 and -2, MetaImage and NRRD, each as its format has it.

Written here and not by a library, so that they can state what no library would write.
"""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from support.ct import field_hu

SHAPE: Final = (5, 6, 7)
SPACING_MM: Final = (1.0, 2.0, 3.0)
ORIGIN_MM: Final = (10.0, -20.0, 30.0)
TO_RAS: Final = np.array([-1.0, -1.0, 1.0])
NIFTI_TYPES: Final = {"i2": (4, 16), "u2": (512, 16), "f4": (16, 32), "i4": (8, 32)}
META_TYPES: Final = {"i2": "MET_SHORT", "u2": "MET_USHORT", "f4": "MET_FLOAT"}
NRRD_TYPES: Final = {"i2": "short", "u2": "unsigned short", "f4": "float"}
SPACES: Final = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "RAS": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
}

Fields = Mapping[str, Any]


def voxels_at(directions: NDArray[np.float64], dtype: str = "i2") -> NDArray[Any]:
    """Values `[k, j, i]` that tell where they lie; rows of `directions` are i, j, k in LPS."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE[::-1]), indexing="ij"), axis=-1)
    points = np.array(ORIGIN_MM) + (index * SPACING_MM) @ directions
    return (np.round(field_hu(points)) - 1000).transpose(2, 1, 0).astype(dtype)


def quaternion(directions: NDArray[np.float64]) -> tuple[float, tuple[float, ...]]:
    """The sign of k (qfac) and (b, c, d) of the patient's axes in any order and direction.

    By search among all 24 turns: nothing of the code under test.
    """
    columns = (directions * TO_RAS).T
    qfac = float(np.sign(np.linalg.det(columns)))
    columns = columns * [1.0, 1.0, qfac]
    half = np.sqrt(0.5)
    for a, b, c, d in np.stack(np.meshgrid(*[[0, 0.5, -0.5, half, -half, 1]] * 4), -1).reshape(
        -1, 4
    ):
        if a < 0 or not np.isclose(a * a + b * b + c * c + d * d, 1):
            continue
        turned = [  # nifti1.h, method 2
            [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
            [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
            [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
        ]
        if np.allclose(turned, columns):
            return qfac, (b, c, d)
    raise AssertionError(directions)


def nifti_fields(directions: NDArray[np.float64]) -> dict[str, Any]:
    """The statement of a grid by both forms, code 1."""
    qfac, turn = quaternion(directions)
    origin = np.array(ORIGIN_MM) * TO_RAS
    steps = (directions * TO_RAS).T * SPACING_MM
    return {
        "pixdim": (qfac, *SPACING_MM, 0, 0, 0, 0),
        "qform_code": 1,
        "sform_code": 1,
        "quatern": turn,
        "qoffset": origin,
        "srow": np.column_stack([steps, origin]).ravel(),
        "xyzt_units": 2,
        "scl_slope": 1.0,
        "scl_inter": 0.0,
    }


def nifti_header(
    fields: Fields,
    kind: str = "i2",
    *,
    order: str = "<",
    dim: tuple[int, ...] = SHAPE[::-1],
    magic: bytes = b"n+1\0",
) -> bytes:
    """The 348 bytes of NIfTI-1; `fields` may also name `datatype` and `vox_offset`."""
    code, bits = fields.get("datatype", NIFTI_TYPES[kind])
    header = bytearray(348)

    def put(offset: int, words: str, *values: Any) -> None:
        struct.pack_into(order + words, header, offset, *values)

    put(0, "i", 348)
    put(40, "8h", len(dim), *dim, *[1] * (7 - len(dim)))
    put(70, "2h", code, bits)
    put(76, "8f", *fields["pixdim"])
    put(108, "3f", fields.get("vox_offset", 352), fields["scl_slope"], fields["scl_inter"])
    put(123, "B", fields["xyzt_units"])
    put(252, "2h", fields["qform_code"], fields["sform_code"])
    put(256, "3f", *fields["quatern"])
    put(268, "3f", *fields["qoffset"])
    put(280, "12f", *fields["srow"])
    header[344:348] = magic
    return bytes(header)


def nifti_2_header(fields: Fields, kind: str = "i2", *, order: str = "<") -> bytes:
    """The 540 bytes of NIfTI-2."""
    header = bytearray(540)

    def put(offset: int, words: str, *values: Any) -> None:
        struct.pack_into(order + words, header, offset, *values)

    put(0, "i", 540)
    header[4:12] = b"n+2\0\r\n\x1a\n"
    put(12, "2h", *NIFTI_TYPES[kind])
    put(16, "8q", 3, *SHAPE[::-1], 1, 1, 1, 1)
    put(104, "8d", *fields["pixdim"])
    put(168, "q2d", 544, fields["scl_slope"], fields["scl_inter"])
    put(344, "2i", fields["qform_code"], fields["sform_code"])
    put(352, "3d", *fields["quatern"])
    put(376, "3d", *fields["qoffset"])
    put(400, "12d", *fields["srow"])
    put(500, "i", fields["xyzt_units"])
    return bytes(header)


def nifti(
    path: Path,
    directions: NDArray[np.float64],
    voxels: NDArray[Any] | None = None,
    *,
    order: str = "<",
    **changed: Any,
) -> Path:
    """A NIfTI-1 file; `changed` are fields of its header."""
    stored = voxels_at(directions) if voxels is None else voxels
    dim = changed.pop("dim", stored.shape[::-1])
    fields = nifti_fields(directions) | changed
    header = nifti_header(fields, stored.dtype.str[1:], order=order, dim=dim)
    content = header + bytes(4) + stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def nifti_2(path: Path, directions: NDArray[np.float64], order: str = "<") -> Path:
    """A NIfTI-2 file."""
    stored = voxels_at(directions)
    header = nifti_2_header(nifti_fields(directions), order=order)
    path.write_bytes(header + bytes(4) + stored.astype(f"{order}i2").tobytes())
    return path


def nifti_pair(path: Path, directions: NDArray[np.float64]) -> Path:
    """A `.hdr`, with its `.img` beside it."""
    fields = nifti_fields(directions) | {"vox_offset": 0}
    path.write_bytes(nifti_header(fields, magic=b"ni1\0"))
    path.with_suffix(".img").write_bytes(voxels_at(directions).tobytes())
    return path


def meta_image(
    path: Path,
    directions: NDArray[np.float64],
    voxels: NDArray[Any] | None = None,
    *,
    packed: bool = False,
    order: str = "<",
    **changed: Any,
) -> Path:
    """A MetaImage file; a field that is `changed` to None is left out."""
    stored = voxels_at(directions) if voxels is None else voxels
    data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    fields: dict[str, Any] = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": order == ">",
        "CompressedData": packed,
        "TransformMatrix": _words(directions.ravel()),
        "Offset": _words(ORIGIN_MM),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _words(SPACING_MM),
        "DimSize": _words(stored.shape[::-1]),
        "ElementType": META_TYPES[stored.dtype.str[1:]],
    } | changed
    apart = path.suffix == ".mhd"
    fields.setdefault("ElementDataFile", f"{path.stem}.raw" if apart else "LOCAL")
    lines = [f"{key} = {value}\n" for key, value in fields.items() if value is not None]
    header = "".join(lines).encode("latin-1")
    path.write_bytes(header if apart else header + data)
    if apart:
        path.with_suffix(".raw").write_bytes(data)
    return path


def nrrd(
    path: Path,
    directions: NDArray[np.float64],
    voxels: NDArray[Any] | None = None,
    *,
    encoding: str = "raw",
    space: str | None = "left-posterior-superior",
    keys: str = "",
    **changed: Any,
) -> Path:
    """An NRRD file; `changed` are fields, with `_` for spaces, None for left out."""
    stored = voxels_at(directions) if voxels is None else voxels
    packing = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}
    data = packing.get(encoding, bytes)(stored.tobytes())
    turn = np.array(SPACES.get(space or "", (1.0, 1.0, 1.0)))
    vectors = directions * np.array(SPACING_MM)[:, np.newaxis] * turn
    fields: dict[str, Any] = {
        "type": NRRD_TYPES[stored.dtype.str[1:]],
        "dimension": 3,
        "space": space,
        "sizes": _words(stored.shape[::-1]),
        "space_directions": " ".join(_vector(vector) for vector in vectors),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": encoding,
        "space_origin": _vector(np.array(ORIGIN_MM) * turn),
    } | changed
    apart = path.suffix == ".nhdr"
    if apart:
        fields.setdefault("data_file", f"{path.stem}.raw")
    lines = [f"{key.replace('_', ' ')}: {v}\n" for key, v in fields.items() if v is not None]
    header = f"NRRD0004\n# a comment: none\n{''.join(lines)}{keys}\n".encode("latin-1")
    path.write_bytes(header if apart else header + data)
    if apart:
        path.with_suffix(".raw").write_bytes(data)
    return path


def _words(values: Any) -> str:
    return " ".join(f"{float(value):g}" for value in values)


def _vector(values: Any) -> str:
    return f"({','.join(f'{float(value):g}' for value in values)})"
