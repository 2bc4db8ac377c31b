"""Words in a header that contradict nothing, or everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from support.corpus.sound import READ, SHAPE, BadSeries, everywhere, file_of, put, sound
from support.ct import ct_slice, ct_stack

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def words() -> Iterator[BadSeries]:
    """Attributes that are missing, differ, or say that an image is not what it shows."""
    for name, ends, image_type in (
        ("derived axial slices", READ, ["DERIVED", "SECONDARY", "AXIAL"]),
        ("derived slices of no further word", READ, ["DERIVED", "SECONDARY"]),
        ("reformats", "no-images", ["DERIVED", "SECONDARY", "MPR"]),
        ("projections", "no-images", ["DERIVED", "SECONDARY", "AXIAL", "MIP"]),
        ("subtractions", "no-images", ["DERIVED", "PRIMARY", "AXIAL", "SUBTRACTION"]),
    ):
        yield BadSeries("words", name, ends, partial(everywhere, {"ImageType": image_type}))
    yield BadSeries(
        "words", "slices that a lossy compression derived", READ,
        partial(
            everywhere,
            {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "LossyImageCompression": "01"},
        ),
    )  # fmt: skip
    for name, ends, uid in (
        ("a frame of reference for each slice", READ, "1.2.{}"),
        ("a frame of reference in some slices", READ, ""),
        ("another frame of reference in two slices", "mixed-series", "1.2"),
    ):
        yield BadSeries("words", name, ends, partial(each, partial(frame_of_reference, uid)))
    yield BadSeries("words", "a scout that does not say so", READ, with_scout)
    yield BadSeries(
        "words", "neither slope nor intercept", "lost-rescale",
        partial(everywhere, {"RescaleSlope": None, "RescaleIntercept": None}),
    )  # fmt: skip
    yield BadSeries("words", "an intercept of 0, air at 0", "lost-rescale", not_rescaled)


def each(edit: Callable[[Dataset, int], None], folder: Path) -> list[Path]:
    """All slices, each changed by its place."""
    stack = sound()
    for index, dataset in enumerate(stack):
        edit(dataset, index)
    return put(folder, map(file_of, stack))


def frame_of_reference(uid: str, dataset: Dataset, index: int) -> None:
    """One for each slice where `uid` has a place for its number, else in the first two."""
    if "{}" in uid or index < 2:
        dataset.FrameOfReferenceUID = uid.format(index)


def with_scout(folder: Path) -> list[Path]:
    stack = sound()
    scout = ct_slice(
        orientation=CORONAL,
        ImageType=["ORIGINAL", "PRIMARY"],
        RescaleSlope=None,
        **{key: stack[0][key].value for key in ("PatientName", "PatientID", "AccessionNumber")},
    )
    return put(folder, map(file_of, [*stack, scout]))


def not_rescaled(folder: Path) -> list[Path]:
    values = np.zeros(SHAPE)
    values[8:24, 8:40] = 1064.0
    plain = sound()[0]
    stack = ct_stack(
        hu=values,
        intercept=0.0,
        **{key: plain[key].value for key in ("PatientName", "PatientID", "AccessionNumber")},
    )
    return put(folder, map(file_of, stack))
