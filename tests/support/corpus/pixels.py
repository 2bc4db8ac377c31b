"""Pixels that are too few, too many or of another kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from support.corpus.sound import (
    BLACK,
    READ,
    BadSeries,
    everywhere,
    file_of,
    with_file,
)


def pixels() -> Iterator[BadSeries]:
    """Descriptions of pixels that are impossible, or not true."""
    for changes in (
        {"BitsAllocated": 0}, {"BitsAllocated": 12}, {"BitsAllocated": 65535},
        {"BitsAllocated": None}, {"BitsStored": 0}, {"BitsStored": 17}, {"BitsStored": 65535},
        {"BitsStored": None}, {"HighBit": 3}, {"HighBit": 65535}, {"PixelRepresentation": 2},
        {"PixelRepresentation": None}, {"PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": "PALETTE COLOR"}, {"PhotometricInterpretation": None},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, {"PixelData": None},
        {"PixelData": b""}, {"PixelData": BLACK[:-2]}, {"PixelData": BLACK * 2},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, {"NumberOfFrames": 100},
        {"NumberOfFrames": 0}, {"NumberOfFrames": -1}, {"NumberOfFrames": 2147483647},
        {"Rows": 33}, {"Rows": 16}, {"Columns": 24}, {"Rows": 8192, "Columns": 8192},
    ):  # fmt: skip
        words = ", ".join(f"{keyword} {_briefly(value)}" for keyword, value in changes.items())
        yield BadSeries("pixels", words, "pixel-data", partial(everywhere, changes))
    yield BadSeries(
        "pixels", "SamplesPerPixel 3", "no-images", partial(everywhere, {"SamplesPerPixel": 3})
    )
    yield BadSeries(
        "pixels", "SamplesPerPixel 0", "no-images", partial(everywhere, {"SamplesPerPixel": 0})
    )
    yield BadSeries(
        "pixels", "MONOCHROME1, which changes no unit", READ,
        partial(everywhere, {"PhotometricInterpretation": "MONOCHROME1"}),
    )  # fmt: skip
    yield BadSeries(
        "pixels", "padding values of another sign", READ,
        partial(everywhere, {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 65535}),
    )  # fmt: skip
    yield BadSeries(
        "pixels", "a transfer syntax that nobody knows", "pixel-data",
        partial(with_file, make=lambda dataset: file_of(dataset, "1.2.3.4.5")),
    )  # fmt: skip


def _briefly(value: Any) -> str:
    if isinstance(value, bytes):
        return f"of {len(value)} bytes"
    return "missing" if value is None else str(value)
