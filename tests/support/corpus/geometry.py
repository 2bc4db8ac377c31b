"""Geometry that no scanner states."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from support.corpus.sound import (
    READ,
    SHAPE,
    BadSeries,
    change,
    everywhere,
    file_of,
    put,
    raw_element,
    with_file,
    with_raw,
)
from support.ct import ct_stack

LONG_SPACING = b"1.%038d\\0.5%038d " % (0, 0)
LONG_POSITION = b"-4.%037d\\-3.%037d\\4.%038d" % (0, 0, 0)
"""Of the damaged slice, with more digits than a decimal string may have."""


def once(changes: dict[str, Any], folder: Path) -> list[Path]:
    """One slice with these values."""

    def make(dataset: Dataset) -> bytes:
        change(dataset, changes)
        return file_of(dataset)

    return with_file(folder, make)


def geometry() -> Iterator[BadSeries]:
    """Numbers that no scanner means."""
    one_tilted = [1.0, 0.0, 0.0, 0.0, 0.9, 0.4358899]
    for keyword, values in {
        "PixelSpacing": ([0, 0], [-1, 1], [1e-9, 1], [1e9, 1], [1], [1, 1, 1], "", None),
        "ImagePositionPatient": ([0, 0], [1e7, 0, 0], [0, 0, 1e7], "", None),
        "ImageOrientationPatient": (
            [1, 0, 0, 1, 0, 0], [0] * 6, [2, 0, 0, 0, 2, 0], [1, 0, 0, 0.5, 0.866, 0],
            [1, 0, 0], "", None,
        ),
        "RescaleSlope": (0, -1, 1e30, 1e-30, "", None),
        "RescaleIntercept": (1e30, -1e30, "", None),
        "Rows": (0, 65535, None),
        "Columns": (0, 65535, None),
    }.items():  # fmt: skip
        for value in values:
            name = f"{keyword} {'missing' if value is None else value or repr(value)}"
            yield BadSeries("geometry", name, "geometry", partial(everywhere, {keyword: value}))
    for keyword, vr in (
        ("PixelSpacing", b"DS"),
        ("ImagePositionPatient", b"DS"),
        ("RescaleSlope", b"DS"),
        ("RescaleIntercept", b"DS"),
    ):
        tag = int(Tag(keyword))
        for word in (b"NaN", b"inf", b"-inf", b"1e999"):
            count = {"PixelSpacing": 2, "ImagePositionPatient": 3}.get(keyword, 1)
            value = b"\\".join([word] * count)
            raw = raw_element(tag, vr, value + b" " * (len(value) % 2))
            yield BadSeries(
                "geometry",
                f"{keyword} {word.decode()}",
                "geometry",
                partial(with_raw, tag, raw),
            )
    for keyword in ("PixelSpacing", "ImagePositionPatient"):
        tag = int(Tag(keyword))
        written = {"PixelSpacing": LONG_SPACING, "ImagePositionPatient": LONG_POSITION}[keyword]
        yield BadSeries(
            "geometry", f"{keyword} of 40 characters a number", READ,
            partial(with_raw, tag, raw_element(tag, b"DS", written)),
        )  # fmt: skip
    yield BadSeries(
        "geometry", "one slice 10 km away", "geometry",
        partial(once, {"ImagePositionPatient": [-4, -3, 1e7]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "one slice 50 m away", "incomplete-series",
        partial(once, {"ImagePositionPatient": [-4, -3, 5e4]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "one slice tilted", "mixed-series",
        partial(once, {"ImageOrientationPatient": one_tilted}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "two slices at one position", "duplicate-slice",
        partial(once, {"ImagePositionPatient": [-4, -3, 2]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "all slices at one position", "duplicate-slice",
        partial(everywhere, {"ImagePositionPatient": [-4, -3, 2]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "slices 1 km thick", READ, partial(everywhere, {"SliceThickness": 1e6})
    )
    yield BadSeries(
        "geometry", "slices of no thickness", READ, partial(everywhere, {"SliceThickness": 0})
    )
    yield BadSeries(
        "geometry", "a gap behind slices 1 km thick", "incomplete-series", gap_of_thick
    )


def gap_of_thick(folder: Path) -> list[Path]:
    stack = ct_stack([0, 2, 4, 6, 12, 14], shape=SHAPE, SliceThickness=1e6)
    return put(folder, map(file_of, stack))
