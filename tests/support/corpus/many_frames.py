"""Many frames in one image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from support.corpus.sound import (
    BLACK,
    SHAPE,
    BadSeries,
    encoded,
    file_of,
    in_order,
    meta,
    put,
    raw_element,
    sound,
)
from support.ct import ct_stack, enhanced_ct


def frames() -> Iterator[BadSeries]:
    """Enhanced CT whose functional groups and counts do not fit each other."""
    for count in (0, 4, 6, 1_000_000):
        yield BadSeries(
            "frames", f"{count:,} frames stated, 5 described", "pixel-data",
            partial(enhanced, lambda one, count=count: setattr(one, "NumberOfFrames", count)),
        )  # fmt: skip
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        yield BadSeries(
            "frames", f"{keyword} missing", "geometry",
            partial(enhanced, partial(drop_shared, keyword)),
        )  # fmt: skip
    for keyword in ("PlanePositionSequence", "PixelValueTransformationSequence"):
        yield BadSeries(
            "frames", f"{keyword} missing in one frame", "geometry",
            partial(enhanced, partial(drop_in_frame, keyword)),
        )  # fmt: skip
    yield BadSeries(
        "frames", "no per-frame groups", "pixel-data",
        partial(enhanced, lambda one: delattr(one, "PerFrameFunctionalGroupsSequence")),
    )  # fmt: skip
    yield BadSeries(
        "frames", "empty per-frame groups", "pixel-data",
        partial(enhanced, lambda one: setattr(one, "PerFrameFunctionalGroupsSequence", [])),
    )  # fmt: skip
    yield BadSeries(
        "frames",
        "per-frame groups that are text",
        "pixel-data",
        partial(groups_as, b"UT", b"no"),
    )
    yield BadSeries("frames", "20,000 frames", "too-large", partial(many_frames, 20_000))
    yield BadSeries(
        "frames", "4 GB declared: 8,192 x 8,192 x 32 in 400 KB", "pixel-data", four_gigabytes
    )
    yield BadSeries(
        "frames", "pixels of four frames, five described", "pixel-data",
        partial(enhanced, lambda one: setattr(one, "PixelData", BLACK * 4)),
    )  # fmt: skip


def enhanced(damage: Callable[[Dataset], object], folder: Path) -> list[Path]:
    dataset = enhanced_ct(sound())
    damage(dataset)
    return put(folder, [file_of(dataset)])


def drop_shared(keyword: str, dataset: Dataset) -> None:
    delattr(dataset.SharedFunctionalGroupsSequence[0], keyword)


def drop_in_frame(keyword: str, dataset: Dataset) -> None:
    delattr(dataset.PerFrameFunctionalGroupsSequence[3], keyword)


def groups_as(vr: bytes, value: bytes, folder: Path) -> list[Path]:
    dataset = enhanced_ct(sound())
    tag = 0x52009230
    elements = encoded(dataset) | {tag: raw_element(tag, vr, value)}
    return put(folder, [meta(dataset) + in_order(elements)])


def many_frames(count: int, folder: Path) -> list[Path]:
    dataset = enhanced_ct(sound())
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    elements = encoded(dataset) | {0x52009230: raw_element(0x52009230, b"SQ", item * count)}
    elements[0x00280008] = raw_element(0x00280008, b"IS", str(count).encode().ljust(6))
    return put(folder, [meta(dataset) + in_order(elements)])


def four_gigabytes(folder: Path) -> list[Path]:
    stack = ct_stack([2.0 * number for number in range(32)], shape=SHAPE)
    dataset = enhanced_ct(stack)
    dataset.Rows = dataset.Columns = 8192
    return put(folder, [file_of(dataset)])
