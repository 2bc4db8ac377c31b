"""Lengths and value representations that are not what follows."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from support.corpus.sound import (
    BLACK,
    ENDLESS,
    READ,
    BadSeries,
    meta,
    raw_element,
    with_file,
    with_raw,
)

HUGE: Final = 0xFFFFFFF0
HUGE_ITEM: Final = b"\xfe\xff\x00\xe0\xf0\xff\xff\xff"


def lengths() -> Iterator[BadSeries]:
    """Values of a wrong size, lengths beyond the file, and ends that never come."""
    rows: tuple[tuple[str, int, tuple[Any, ...], str], ...] = (
        ("Rows of 1 byte", 0x00280010, (b"US", b"\x10"), "geometry"),
        ("Rows of 3 bytes", 0x00280010, (b"US", b"\0\0\0"), "geometry"),
        ("Rows empty", 0x00280010, (b"US", b""), "geometry"),
        ("two Rows", 0x00280010, (b"US", b"\x10\0\x10\0"), "geometry"),
        ("Rows as text", 0x00280010, (b"LO", b"many"), "geometry"),
        ("Rows as a sequence", 0x00280010, (b"SQ", b""), "geometry"),
        ("Bits Stored of 1 byte", 0x00280101, (b"US", b"\x10"), "pixel-data"),
        ("a name of 4 GB", 0x00100010, (b"UT", b"X", HUGE), "pixel-data"),
        ("a position of 4 GB", 0x00200032, (b"UN", b"1", HUGE), "pixel-data"),
        ("a private element of 4 GB", 0x00290010, (b"OB", b"1", HUGE), "pixel-data"),
        ("pixels of 4 GB", 0x7FE00010, (b"OW", BLACK, HUGE), "pixel-data"),
        ("a private value without end", 0x00290010, (b"OB", b"1" * 99, ENDLESS), "pixel-data"),
        ("a sequence without end", 0x00081140, (b"SQ", b"", ENDLESS), "pixel-data"),
        ("a sequence of one item of 4 GB", 0x00081140, (b"SQ", HUGE_ITEM, 8), READ),
        ("native pixels without end", 0x7FE00010, (b"OW", BLACK, ENDLESS), "pixel-data"),
        ("a VR that is none", 0x00180050, (b"QQ", b"1.0 "), READ),
        ("a position that is no number", 0x00200032, (b"DS", b"a\\b\\c "), "geometry"),
        ("Specific Character Set of 64 KB", 0x00080005, (b"CS", b"ISO_IR " * 9000), READ),
        ("Image Type of 32,000 values", 0x00080008, (b"CS", b"\\" * 32000), READ),
        ("private garbage", 0x00291010, (b"UN", bytes(range(256)) * 40), READ),
        ("private garbage as text", 0x00090010, (b"LO", b"\xff\x00\x1b$B" * 99), READ),
    )  # fmt: skip
    for name, tag, stated, ends in rows:
        raw = raw_element(tag, *stated)
        yield BadSeries("lengths", name, ends, partial(with_raw, tag, raw))
    yield BadSeries(
        "lengths", "sequences 1,000 deep", "pixel-data", partial(nested, 0x00081140)
    )  # fmt: skip
    yield BadSeries(
        "lengths", "sequences 1,000 deep in a private element", "pixel-data",
        partial(nested, 0x00291020),
    )  # fmt: skip
    yield BadSeries("lengths", "items 1,000 deep of stated length", READ, stated_depth)
    yield BadSeries("lengths", "nothing but zeros after the prefix", "pixel-data", zeros)


def nested(tag: int, folder: Path) -> list[Path]:
    """Sequences of undefined length, each in the item of another, 1,000 deep."""
    opening = raw_element(tag, b"SQ", b"", ENDLESS) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return with_raw(tag, opening * 1000 + closing * 1000, folder)


def stated_depth(folder: Path) -> list[Path]:
    raw = b""
    for _ in range(1000):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(raw)) + raw
        raw = raw_element(0x00081140, b"SQ", item)
    return with_raw(0x00081140, raw, folder)


def zeros(folder: Path) -> list[Path]:
    return with_file(folder, lambda dataset: meta(dataset) + b"\0" * 2000)
