"""NRRD files (`.nrrd`, and `.nhdr` with its data file): what the header states, and the voxels.

Source: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

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
    name: kind
    for kind, names in {
        "i1": ("signed char", "int8", "int8_t"),
        "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
        "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
        "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
        "i4": ("int", "signed int", "int32", "int32_t"),
        "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
        "i8": (
            *("longlong", "long long", "long long int", "signed long long"),
            *("signed long long int", "int64", "int64_t"),
        ),
        "u8": (
            *("ulonglong", "unsigned long long", "unsigned long long int"),
            *("uint64", "uint64_t"),
        ),
        "f4": ("float",),
        "f8": ("double",),
    }.items()
    for name in names
}

ENCODINGS: Final = {
    "raw": Encoding.RAW,
    "gz": Encoding.ZLIB,
    "gzip": Encoding.ZLIB,
    "bz2": Encoding.BZIP2,
    "bzip2": Encoding.BZIP2,
}

TO_LPS: Final = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
"""Spaces whose axes are the patient's; the others name a scanner's or nobody's."""

SAME_FIELD: Final = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}
NAMED: Final = frozenset(
    {
        "byte skip",
        "data file",
        "dimension",
        "encoding",
        "endian",
        "kinds",
        "line skip",
        "sizes",
        "space",
        "space directions",
        "space origin",
        "space units",
        "type",
    }
)
"""Fields that are looked at, by the names that a message may repeat."""

ONE_VOLUME: Final = frozenset({"domain", "space", "???", "none", ""})
"""Kinds of an axis of a volume; `none` and `???` say nothing."""

VECTOR: Final = re.compile(r"\(([^()]*)\)|none", re.IGNORECASE)


def read_nrrd(path: Path) -> StoredImage:
    """Read an NRRD file of one volume.

    Raises:
        PixelDataError: it cannot be read, or its voxels are not in one file beside it.
        UnstatedSidesError: its space is none of the patient's, or its axes have no direction.
        ContradictoryError: it states one thing in two ways.
        UnevenSlicesError: its spacing is an average.
        GantryTiltError: its axes are sheared.
        GeometryError: it is not one volume of grey values of the size of a body.
    """
    fields, header_bytes = _header(path)
    dimension = header_sizes(_needed(fields, "dimension"), 1, "dimension")[0]
    if not 1 <= dimension <= 16:
        raise GeometryError(f"not one three-dimensional volume: {dimension:.9g} dimensions")
    sizes = header_sizes(_needed(fields, "sizes"), dimension, "sizes")
    axes = _volume_axes(fields, sizes)
    shape = checked_shape(tuple(sizes[axis] for axis in axes))
    check_not_averaged(fields.get(AVERAGED))
    grid = _grid(fields, shape, axes, dimension)
    voxels = read_voxels(_place(path, fields, header_bytes), shape)
    notes = () if "space origin" in fields else ("no position is stated: taken as 0, 0, 0",)
    return StoredImage(grid, voxels, notes=notes)


def nrrd_data_file(path: Path) -> Path:
    """The file with the voxels; the header itself where they follow it.

    Raises:
        PixelDataError: the header cannot be read, or names none that is taken.
        ContradictoryError: it names two.
    """
    fields, _ = _header(path)
    return _data_file(path, fields)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Fields and keys in lower case (keys as they are), and the length of the header."""
    head = first_bytes(path, HEADER_BYTES)
    if not re.match(rb"NRRD000[1-6]\r?\n", head):
        raise PixelDataError("the file cannot be read as NRRD")
    fields: dict[str, str] = {}
    place = head.find(b"\n") + 1
    ended = False
    while not ended and place < len(head):
        end = head.find(b"\n", place)
        end = len(head) if end < 0 else end
        words = head[place:end].decode("latin-1").rstrip("\r")
        place = min(end + 1, len(head))
        ended = not words
        name, value = _field(words)
        if not name:
            continue
        if name in fields:
            named = f"'{name}'" if name in NAMED else "a field"
            raise ContradictoryError(f"the header states {named} twice")
        fields[name] = value
    if len(head) == HEADER_BYTES and not ended:
        raise PixelDataError("the header does not end")
    return fields, place


def _field(words: str) -> tuple[str, str]:
    """`field: value` or `key:=value`; no name of a comment or of anybody's own key."""
    if words.startswith("#"):
        return "", ""
    name, colon, value = words.partition(":")
    if value.startswith("="):
        return (AVERAGED, value[1:].strip()) if name == AVERAGED else ("", "")
    name = name.strip().lower()
    return (SAME_FIELD.get(name, name) if colon else ""), value.strip()


def _needed(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise PixelDataError(f"the header has no {name}")
    return fields[name]


def _volume_axes(fields: Mapping[str, str], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of the volume; others must have one sample, which is no matter.

    Raises:
        GeometryError: there are several values at a place.
    """
    kinds = fields.get("kinds", "").lower().split()
    kinds = kinds if len(kinds) == len(sizes) else [""] * len(sizes)
    inside = [axis for axis, kind in enumerate(kinds) if kind in ONE_VOLUME]
    vectors = VECTOR.findall(fields.get("space directions", ""))
    if len(vectors) == len(sizes):
        inside = [axis for axis in inside if vectors[axis]]
    outside = set(range(len(sizes))) - set(inside)
    if len(inside) != 3 or any(sizes[axis] != 1 for axis in outside):
        listed = " x ".join(f"{size:.9g}" for size in sizes)
        raise GeometryError(f"not one volume of grey values: {listed} values")
    return tuple(inside)


def _grid(
    fields: Mapping[str, str],
    shape: tuple[int, int, int],
    axes: tuple[int, ...],
    dimension: int,
) -> StoredGrid:
    space = fields.get("space", "")
    to_lps = TO_LPS.get(space.lower())
    if to_lps is None:
        raise UnstatedSidesError(
            "the file does not say which side is right: its space is"
            f" {'none of the patient' if space else 'not stated'}"
        )
    vectors = VECTOR.findall(fields.get("space directions", ""))
    if len(vectors) != dimension:
        raise UnstatedSidesError("the file does not say in which direction its axes run")
    if "spacings" in fields:
        raise ContradictoryError("the header states both spacings and space directions")
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", "")))
    if not units <= {"mm", "", "???", "millimeter", "millimeters", "millimetre"}:
        raise GeometryError(
            "lengths are in other units (space units), which readers ignore: mm is expected"
        )
    steps = [_vector(vectors[axis], "space directions") for axis in axes]
    stated = VECTOR.findall(fields.get("space origin", "(0,0,0)"))
    origin = _vector(stated[0] if stated else "", "space origin")
    turn = np.array(to_lps)
    return stored_grid(shape, np.array(steps) * turn, np.array(origin) * turn)


def _vector(words: str, what: str) -> tuple[float, ...]:
    return header_numbers(words.replace(",", " "), 3, what)


def _place(path: Path, fields: Mapping[str, str], header_bytes: int) -> VoxelPlace:
    """The one place of all voxels."""
    encoding = ENCODINGS.get(_needed(fields, "encoding").lower())
    if encoding is None:
        raise PixelDataError("voxels in this encoding are not taken: raw, gzip and bzip2 are")
    dtype = _dtype(fields)
    if header_sizes(fields.get("line skip", "0"), 1, "line skip") != (0,):
        raise PixelDataError("a data file with lines before the voxels is not taken")
    skipped = header_sizes(fields.get("byte skip", "0"), 1, "byte skip")[0]
    if skipped < -1 or (skipped == -1 and encoding is not Encoding.RAW):
        raise PixelDataError("the header's byte skip is none")
    data = _data_file(path, fields)
    before = header_bytes if data == path else 0
    raw = encoding is Encoding.RAW
    return VoxelPlace(
        path=data,
        dtype=dtype,
        encoding=encoding,
        start_bytes=None if skipped == -1 else before + (skipped if raw else 0),
        skipped_bytes=0 if raw else skipped,
    )


def _data_file(path: Path, fields: Mapping[str, str]) -> Path:
    named = fields.get("data file")
    if named is None:
        return path
    if named.split(" ")[0].upper() == "LIST" or "%" in named or not named:
        raise PixelDataError("voxels in several files are not taken (data file)")
    return beside(path, named)


def _dtype(fields: Mapping[str, str]) -> np.dtype[Any]:
    kind = DTYPES.get(" ".join(_needed(fields, "type").lower().split()))
    if kind is None:
        raise GeometryError("not one volume of grey values, by its type")
    if np.dtype(kind).itemsize == 1:
        return np.dtype(kind)
    order = {"little": "<", "big": ">"}.get(_needed(fields, "endian").lower())
    if order is None:
        raise PixelDataError("the header's endian is neither little nor big")
    return np.dtype(order + kind)
