"""The size that a compressed image claims for itself, read before a decoder believes it.

A decoder makes room for what the codestream says, not for what the header of the dataset
says: a file of 200 bytes can claim 65,535 x 65,535 pixels in a million tiles. Only the few
bytes that state size, components and tiles are looked at here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID, JPEG2000TransferSyntaxes, RLELossless

from dicom_node.errors import PixelDataError

MAX_TILES: Final = 4096
"""Tiles of a JPEG 2000 image that are believed; each costs a decoder kilobytes."""

MAX_PRECISION: Final = 16
"""Bits of a pixel that CT has."""

SOC_SIZ: Final = b"\xff\x4f\xff\x51"
"""Start of codestream, and the marker of its size (ISO/IEC 15444-1 A.4.1, A.5.1)."""

SOI: Final = b"\xff\xd8"
"""Start of a JPEG or JPEG-LS image (ISO/IEC 10918-1 B.1.1.3)."""

EOI: Final = b"\xff\xd9"
"""End of image."""

_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers: SOF0 to SOF15 (ISO/IEC 10918-1 Table B.1), SOF55 (14495-1 C.1)."""

_BOX_SEARCH_BYTES: Final = 1024
"""The distance at which a codestream may stand behind the boxes of a JP2 file."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The claims of a codestream about itself."""

    rows: int
    columns: int
    components: int
    precision: int
    tiles: int = 1


def check_claim(codestream: bytes, syntax: UID, rows: int, columns: int) -> None:
    """Refuse a codestream of another size than its header's.

    RLE states no size: a decoder fills what the header describes.

    Raises:
        PixelDataError: what the codestream says, that it says nothing, or that it breaks off.
    """
    if syntax == RLELossless:
        return
    try:
        is_2000 = syntax in JPEG2000TransferSyntaxes or "HTJ2K" in syntax.keyword
        claim = _jpeg_2000(codestream) if is_2000 else _jpeg(codestream)
    except (struct.error, IndexError, ZeroDivisionError, ValueError) as error:
        raise PixelDataError("the codestream does not say how large it is") from error
    if not is_2000 and not codestream.rstrip(b"\0").endswith(EOI):
        # A decoder may fill in what is missing, and say nothing.
        raise PixelDataError("the codestream breaks off")
    if (claim.rows, claim.columns) != (rows, columns):
        raise PixelDataError(
            f"the codestream is {claim.rows} x {claim.columns}, the header says"
            f" {rows} x {columns}"
        )
    if claim.components != 1 or not 1 <= claim.precision <= MAX_PRECISION:
        raise PixelDataError(
            f"the codestream has {claim.components} component(s) of {claim.precision} bits"
        )
    if claim.tiles > MAX_TILES:
        raise PixelDataError(f"the codestream has {claim.tiles} tiles")


def _jpeg_2000(codestream: bytes) -> Claim:
    """ISO/IEC 15444-1 A.5.1: sizes and offsets of image and tiles on the reference grid."""
    start = codestream.index(SOC_SIZ, 0, _BOX_SEARCH_BYTES)
    right, lower, left, top, tile_width, tile_height, tile_left, tile_top, components = (
        struct.unpack_from(">8IH", codestream, start + 8)
    )
    depth, across, down = struct.unpack_from(">3B", codestream, start + 42)
    return Claim(
        rows=_steps(lower, down) - _steps(top, down),
        columns=_steps(right, across) - _steps(left, across),
        components=components,
        precision=(depth & 0x7F) + 1,
        tiles=_steps(right - tile_left, tile_width) * _steps(lower - tile_top, tile_height),
    )


def _steps(length: int, step: int) -> int:
    """The number of steps that cover a length."""
    return -(-length // step)


def _jpeg(codestream: bytes) -> Claim:
    """ISO/IEC 10918-1 B.2.2: the first frame header behind whatever segments come before."""
    if not codestream.startswith(SOI):
        raise ValueError("no start of image")
    place = len(SOI)
    while True:
        marker, length = struct.unpack_from(">HH", codestream, place)
        if marker == 0xFFFF:  # a fill byte (B.1.1.2)
            place += 1
            continue
        if marker >> 8 != 0xFF or length < 2:
            raise ValueError("no segment where one must be")
        if marker & 0xFF in _FRAMES:
            precision, rows, columns, components = struct.unpack_from(
                ">BHHB", codestream, place + 4
            )
            return Claim(rows, columns, components, precision)
        place += 2 + length
