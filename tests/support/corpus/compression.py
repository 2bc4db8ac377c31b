"""Compressed pixel data that is broken, absurd or a bomb."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from support.corpus.sound import (
    DAMAGED,
    ENDLESS,
    SHAPE,
    BadSeries,
    encoded,
    file_of,
    in_order,
    meta,
    put,
    raw_element,
    sound,
    with_file,
)


def compressed_by(syntax: UID) -> list[Dataset]:
    """The sound series, its pixels compressed by the library."""
    stack = sound()
    for dataset in stack:
        if syntax == JPEGLosslessSV1:
            dataset.PixelData = encapsulate([LOSSLESS_JPEG])
            dataset["PixelData"].VR = "OB"
        else:
            dataset.compress(syntax, generate_instance_uid=False)
    return stack


def with_codestream(syntax: UID, damage: Callable[[bytes], bytes], folder: Path) -> list[Path]:
    """A compressed series in which one slice's codestream is damaged."""
    stack = compressed_by(syntax)
    files = [file_of(one, syntax) for one in stack]
    whole = next(generate_frames(stack[DAMAGED].PixelData, number_of_frames=1))
    fragment = damage(whole)
    item = b"\xfe\xff\x00\xe0"
    stack[DAMAGED].PixelData = (
        item + b"\0\0\0\0" + item + struct.pack("<I", len(fragment)) + fragment
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )  # fmt: skip
    files[DAMAGED] = file_of(stack[DAMAGED], syntax)
    return put(folder, files)


def resized(codestream: bytes, rows: int, columns: int) -> bytes:
    """A JPEG or JPEG-LS codestream that claims another size."""
    marker = next(
        place
        for place in range(2, len(codestream))
        if codestream[place] == 0xFF and codestream[place + 1] in {0xC0, 0xC1, 0xC3, 0xF7}
    )
    return (
        codestream[: marker + 5] + struct.pack(">HH", rows, columns) + codestream[marker + 9 :]
    )


def resized_2000(codestream: bytes, **fields: int) -> bytes:
    """A JPEG 2000 codestream with other sizes in its SIZ segment."""
    names = ("width", "height", "left", "top", "tile_width", "tile_height")
    values = dict(zip(names, struct.unpack_from(">6I", codestream, 8), strict=True)) | fields
    return codestream[:8] + struct.pack(">6I", *values.values()) + codestream[32:]


def noise(size: int) -> bytes:
    """The same random bytes every time."""
    return np.random.default_rng(7).bytes(size)


def compression() -> Iterator[BadSeries]:
    """Codestreams that are garbage, or claim to be what the header does not say."""
    huge = 65500
    for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
        damages: dict[str, Callable[[bytes], bytes]] = {
            "garbage": lambda whole: noise(len(whole)),
            "cut in half": lambda whole: whole[: len(whole) // 2],
            "empty": lambda whole: b"",
            "a head and garbage": lambda whole: whole[:64] + noise(400),
        }
        for name, damage in damages.items():
            yield BadSeries(
                "compression", f"{syntax.keyword}: {name}", "pixel-data",
                partial(with_codestream, syntax, damage),
            )  # fmt: skip
    for name, rows, columns in (
        ("of 65,500 x 65,500", huge, huge),
        ("of 0 x 0", 0, 0),
        ("one row larger", SHAPE[0] + 1, SHAPE[1]),
        ("turned", SHAPE[1], SHAPE[0]),
    ):
        yield BadSeries(
            "compression", f"JPEG-LS {name}", "pixel-data",
            partial(
                with_codestream, JPEGLSLossless, partial(resized, rows=rows, columns=columns)
            ),
        )  # fmt: skip
        yield BadSeries(
            "compression", f"JPEG 2000 {name}", "pixel-data",
            partial(
                with_codestream, JPEG2000Lossless,
                partial(resized_2000, width=columns, height=rows),
            ),
        )  # fmt: skip
    yield BadSeries(
        "compression", "JPEG 2000 in tiles of nothing", "pixel-data",
        partial(
            with_codestream, JPEG2000Lossless,
            partial(resized_2000, tile_width=0, tile_height=0),
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "JPEG 2000 of 4 thousand million columns less as many", "pixel-data",
        partial(
            with_codestream, JPEG2000Lossless,
            partial(
                resized_2000, width=0xFFFFFFFF, left=0xFFFFFFFF - SHAPE[1], tile_width=1
            ),
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "RLE of 15 segments", "pixel-data",
        partial(
            with_codestream, RLELossless,
            lambda whole: struct.pack("<16I", 15, *range(64, 79)) + whole[64:],
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "RLE segments beyond the end", "pixel-data",
        partial(
            with_codestream, RLELossless,
            lambda whole: struct.pack("<3I", 2, 64, 1 << 31) + whole[12:],
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "a lossless JPEG of 65,500 x 65,500", "pixel-data", huge_jpeg
    )
    yield BadSeries("compression", "an offset table of 4 GB", "pixel-data", offset_table)
    yield BadSeries("compression", "a fragment of 4 GB", "pixel-data", huge_fragment)
    yield BadSeries("compression", "no fragment at all", "pixel-data", no_fragment)
    yield BadSeries("compression", "deflate: a name that inflates to 1 GB", "pixel-data", bomb)
    yield BadSeries(
        "compression", "deflate: pixels that inflate to 1 GB", "pixel-data", bomb_of_pixels
    )
    yield BadSeries(
        "compression", "deflate: garbage", "pixel-data", partial(deflated, noise(900))
    )
    yield BadSeries("compression", "deflate: nothing", "pixel-data", partial(deflated, b""))
    yield BadSeries("compression", "deflate: cut in half", "pixel-data", half_deflated)


LOSSLESS_JPEG: Final = bytes.fromhex(
    "ffd8 ffc3 000b 10 ffdc ffdc 01 01 11 00 ffc4 0014 00 01" + "00" * 15 + "00"
    "ffda 0008 01 01 00 01 00 00 00 ffd9"
)
"""The head of a lossless JPEG of 65,500 x 65,500 pixels, and nothing behind it."""


def huge_jpeg(folder: Path) -> list[Path]:
    return put(
        folder, [file_of(one, JPEGLosslessSV1) for one in compressed_by(JPEGLosslessSV1)]
    )


def encapsulated(raw_items: bytes, folder: Path) -> list[Path]:
    raw = raw_element(0x7FE00010, b"OB", raw_items, ENDLESS)
    elements = [encoded(one) | {0x7FE00010: raw} for one in sound()]
    files = [
        meta(one, JPEGLSLossless) + in_order(e)
        for one, e in zip(sound(), elements, strict=True)
    ]
    return put(folder, files)


def offset_table(folder: Path) -> list[Path]:
    return encapsulated(b"\xfe\xff\x00\xe0\xf0\xff\xff\xff" + b"\0" * 40, folder)


def huge_fragment(folder: Path) -> list[Path]:
    items = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\xf0\xff\xff\xff" + b"\0" * 40
    return encapsulated(items, folder)


def no_fragment(folder: Path) -> list[Path]:
    return encapsulated(b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0", folder)


def zipped(head: bytes, filling: int, tail: bytes = b"") -> bytes:
    """Deflated: a head, so many zeros, a tail; made without deflating all the zeros.

    What stands between two full flushes is a piece of its own (RFC 1951 3.2.4), and can be
    repeated.
    """
    block = 1 << 24
    pieces = [_deflated(head, zlib.Z_FULL_FLUSH)]
    pieces += [_deflated(b"\0" * block, zlib.Z_FULL_FLUSH)] * (filling // block)
    return b"".join([*pieces, _deflated(tail, zlib.Z_FINISH)])


def _deflated(data: bytes, ending: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush(ending)


GIGABYTE: Final = 1 << 30


def bomb(folder: Path) -> list[Path]:
    """A megabyte that inflates to a gigabyte before the header ends."""

    def make(dataset: Dataset) -> bytes:
        elements = encoded(dataset)
        before = in_order({tag: raw for tag, raw in elements.items() if tag < 0x00100010})
        after = in_order({tag: raw for tag, raw in elements.items() if tag > 0x00100010})
        head = raw_element(0x00100010, b"UT", b"", GIGABYTE)
        return meta(dataset, DeflatedExplicitVRLittleEndian) + zipped(
            before + head, GIGABYTE, after
        )

    return with_file(folder, make)


def bomb_of_pixels(folder: Path) -> list[Path]:
    """A sound header, and far more pixels than it describes."""

    def make(dataset: Dataset) -> bytes:
        elements = encoded(dataset)
        del elements[0x7FE00010]
        head = in_order(elements) + raw_element(0x7FE00010, b"OW", b"", GIGABYTE)
        return meta(dataset, DeflatedExplicitVRLittleEndian) + zipped(head, GIGABYTE)

    return with_file(folder, make)


def deflated(data: bytes, folder: Path) -> list[Path]:
    return with_file(
        folder, lambda dataset: meta(dataset, DeflatedExplicitVRLittleEndian) + data
    )


def half_deflated(folder: Path) -> list[Path]:
    def make(dataset: Dataset) -> bytes:
        data = zipped(in_order(encoded(dataset)), 0)
        return meta(dataset, DeflatedExplicitVRLittleEndian) + data[: len(data) // 2]

    return with_file(folder, make)
