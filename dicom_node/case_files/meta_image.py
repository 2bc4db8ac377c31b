"""MetaImage files (`.mha`, `.mhd`): what the header states, and the voxels.

ITK gives a file without a matrix the axes of the patient and one without a spacing 1 mm,
ignores units, scales and rescaling, and mirrors an axis of negative spacing. Here each of
these is a refusal.

Source: the documentation of MetaIO, itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicom_node.case_files.stored_grid import (
    AVERAGED,
    StoredGrid,
    check_not_averaged,
    checked_shape,
    stored_grid,
)
from dicom_node.case_files.stored_image import StoredImage
from dicom_node.case_files.stored_voxels import (
    HEADER_BYTES,
    Encoding,
    VoxelPlace,
    beside,
    first_bytes,
    header_numbers,
    header_sizes,
    read_voxels,
)
from dicom_node.errors import (
    ContradictoryError,
    GeometryError,
    PixelDataError,
    UnstatedSidesError,
)

DTYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

SAME_FIELD: Final = {
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "Position": "Offset",
    "Origin": "Offset",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
"""Other names of fields, as MetaIO reads them."""

FIELDS: Final = frozenset(
    {
        *SAME_FIELD.values(),
        "AnatomicalOrientation",
        "BinaryData",
        "CenterOfRotation",
        "CompressedData",
        "DimSize",
        "DistanceUnits",
        "ElementDataFile",
        "ElementNumberOfChannels",
        "ElementSize",
        "ElementSpacing",
        "ElementToIntensityFunctionOffset",
        "ElementToIntensityFunctionSlope",
        "ElementType",
        "HeaderSize",
        "NDims",
        AVERAGED,
    }
)
"""Fields that are used; each may stand once. Others are somebody's own."""

LETTERS: Final = ("RL", "AP", "IS")
"""Where x, y and z of LPS come from and go to."""

UNIT_LENGTH: Final = 0.01
"""Rows of a rotation may be longer or shorter than 1 by so much: rounding."""


def read_meta_image(path: Path) -> StoredImage:
    """Read a MetaImage file of one volume.

    Raises:
        PixelDataError: it cannot be read, or its voxels are not in one file beside it.
        UnstatedSidesError: it has no matrix.
        ContradictoryError: it states one thing in two ways.
        UnevenSlicesError: its spacing is an average.
        GantryTiltError: its axes are sheared.
        GeometryError: it is not one volume of grey values of the size of a body.
    """
    fields, header_bytes = _header(path)
    dimensions = header_sizes(_needed(fields, "NDims"), 1, "NDims")[0]
    if dimensions != 3 or fields.get("ElementNumberOfChannels", "1") != "1":
        raise GeometryError(f"not one volume of grey values: {_what_else(fields, dimensions)}")
    shape = checked_shape(header_sizes(_needed(fields, "DimSize"), 3, "DimSize"))
    check_not_averaged(fields.get(AVERAGED))
    grid = _grid(fields, shape)
    place = _place(path, fields, header_bytes)
    return StoredImage(grid, read_voxels(place, shape), notes=tuple(_notes(fields, grid)))


def meta_image_data_file(path: Path) -> Path:
    """The file with the voxels; the header itself where they follow it.

    Raises:
        PixelDataError: the header cannot be read, or names none that is taken.
        ContradictoryError: it names two.
    """
    fields, _ = _header(path)
    return _data_file(path, fields)


def _what_else(fields: Mapping[str, str], dimensions: int) -> str:
    channels = fields.get("ElementNumberOfChannels", "1")
    number = channels if channels.isdecimal() else "not one"
    return f"{dimensions:.9g} dimensions, {number[:9]} value(s) per voxel"


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields that are used, and the length of the header."""
    head = first_bytes(path, HEADER_BYTES)
    fields: dict[str, str] = {}
    place = 0
    while (end := head.find(b"\n", place)) >= 0:
        words = head[place:end].decode("latin-1")
        place = end + 1
        at = min((i for i in (words.find("="), words.find(":")) if i >= 0), default=None)
        if at is None:
            continue
        key = words[:at].strip()
        key = SAME_FIELD.get(key, key)
        if key in FIELDS:
            if key in fields:
                raise ContradictoryError(f"the header states {key} twice")
            fields[key] = words[at + 1 :].strip()
        if key == "ElementDataFile":
            return fields, place
    raise PixelDataError("the file cannot be read as MetaImage: it names no ElementDataFile")


def _needed(fields: Mapping[str, str], key: str) -> str:
    if key not in fields:
        raise PixelDataError(f"the header has no {key}")
    return fields[key]


def _grid(fields: Mapping[str, str], shape: tuple[int, int, int]) -> StoredGrid:
    """Axes by the matrix, sizes by the spacing, place by the offset."""
    stated = fields.get("TransformMatrix")
    if stated is None:
        raise UnstatedSidesError(
            "the file does not say which side is right: it has no TransformMatrix"
        )
    matrix = np.array(header_numbers(stated, 9, "TransformMatrix")).reshape(3, 3)
    if not (np.isfinite(matrix).all() and np.abs(matrix).max() <= 1 + UNIT_LENGTH):
        raise GeometryError("the file's TransformMatrix is no rotation")
    if not matrix.any(axis=1).all():
        raise UnstatedSidesError("the file's TransformMatrix names no direction for an axis")
    lengths = np.linalg.norm(matrix, axis=1)
    if not (np.abs(lengths - 1) <= UNIT_LENGTH).all():
        raise GeometryError("the file's TransformMatrix changes sizes, it is no rotation")
    _check_letters(fields.get("AnatomicalOrientation", ""), matrix)
    offset = header_numbers(fields.get("Offset", "0 0 0"), 3, "Offset")
    spacing = np.array(_spacing_mm(fields))
    return stored_grid(shape, matrix / lengths[:, np.newaxis] * spacing[:, np.newaxis], offset)


def _spacing_mm(fields: Mapping[str, str]) -> tuple[float, ...]:
    """ElementSpacing; without it ElementSize, which MetaIO takes for the same."""
    stated = fields.get("ElementSpacing", fields.get("ElementSize"))
    if stated is None:
        raise GeometryError("the file does not say how large its voxels are (ElementSpacing)")
    spacing = header_numbers(stated, 3, "ElementSpacing")
    if min(spacing) < 0:
        raise ContradictoryError(
            "a spacing is negative, which some readers take as a mirrored axis"
        )
    if not np.isfinite(spacing).all() or max(spacing) > 1e6:
        raise GeometryError("the file's ElementSpacing is absurd")
    unit = fields.get("DistanceUnits", "mm")
    if unit not in {"mm", "?", ""}:
        raise GeometryError("DistanceUnits is not mm, which readers ignore: mm is expected")
    return spacing


def _check_letters(letters: str, matrix: NDArray[np.float64]) -> None:
    """AnatomicalOrientation, where it is stated, must say what the matrix says.

    MetaIO's letters say where an axis comes from (RAI for LPS); writers are about that say
    where it goes. Either is accepted, ITK believes the matrix alone.
    """
    named = letters.upper()
    if len(named) != 3 or any(letter not in "RLAPIS" for letter in named):
        return
    nearest = np.abs(matrix).argmax(axis=1)
    backwards = [bool(matrix[row, axis] < 0) for row, axis in enumerate(nearest)]
    ends = [
        LETTERS[axis][::-1] if back else LETTERS[axis]
        for axis, back in zip(nearest, backwards, strict=True)
    ]
    if named not in {"".join(end[0] for end in ends), "".join(end[1] for end in ends)}:
        raise ContradictoryError(
            f"the file's AnatomicalOrientation ({named}) contradicts its TransformMatrix"
            f" ({''.join(end[0] for end in ends)})"
        )


def _place(path: Path, fields: Mapping[str, str], header_bytes: int) -> VoxelPlace:
    """The one place of all voxels."""
    kind = _needed(fields, "ElementType")
    if kind not in DTYPES:
        raise GeometryError("not one volume of grey values, by its ElementType")
    if not _yes(fields.get("BinaryData", "True")):
        raise PixelDataError("voxels that are written as text are not taken (BinaryData)")
    for key, none in (
        ("ElementToIntensityFunctionSlope", 1.0),
        ("ElementToIntensityFunctionOffset", 0.0),
    ):
        if header_numbers(fields.get(key, f"{none}"), 1, key) != (none,):
            raise PixelDataError(f"readers disagree on the values: they ignore {key}")
    order = ">" if _yes(fields.get("BinaryDataByteOrderMSB", "False")) else "<"
    packed = _yes(fields.get("CompressedData", "False"))
    skipped = header_sizes(fields.get("HeaderSize", "0"), 1, "HeaderSize")[0]
    if skipped < -1 or (packed and skipped):
        raise PixelDataError("packed voxels behind a HeaderSize are not taken")
    data = _data_file(path, fields)
    before = header_bytes if data == path else 0
    return VoxelPlace(
        path=data,
        dtype=np.dtype(order + DTYPES[kind]),
        encoding=Encoding.ZLIB if packed else Encoding.RAW,
        start_bytes=None if skipped == -1 else before + skipped,
    )


def _data_file(path: Path, fields: Mapping[str, str]) -> Path:
    named = fields["ElementDataFile"]
    if named.upper() == "LOCAL":
        return path
    if named.split(" ")[0].upper() == "LIST" or "%" in named or not named:
        raise PixelDataError("voxels in several files are not taken (ElementDataFile)")
    return beside(path, named)


def _yes(words: str) -> bool:
    return words[:1] in {"T", "t", "1"}


def _notes(fields: Mapping[str, str], grid: StoredGrid) -> Iterator[str]:
    if "Offset" not in fields:
        yield "no position is stated (Offset): taken as 0, 0, 0"
    centre = header_numbers(fields.get("CenterOfRotation", "0 0 0"), 3, "CenterOfRotation")
    if any(centre) and not np.allclose(grid.directions, np.eye(3)):
        yield "CenterOfRotation is not applied to the position, as other readers do not"
