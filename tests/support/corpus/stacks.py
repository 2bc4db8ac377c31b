"""Stacks that are two, or of which slices are lost, though each slice is sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from support.corpus.sound import PATIENT, READ, SHAPE, BadSeries, change, file_of, put, sound
from support.ct import ct_stack

Stack = Callable[[], Sequence[Dataset]]


def again(shift_mm: float, **changes: Any) -> list[Dataset]:
    """The sound series as other instances, this much higher, with these values."""
    stack = sound()
    for dataset in stack:
        x, y, z = dataset.ImagePositionPatient
        dataset.SOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient = [x, y, z + shift_mm]
        change(dataset, changes)
    return stack


def with_values(**changes: Any) -> list[Dataset]:
    """The sound series with these values."""
    stack = sound()
    for dataset in stack:
        change(dataset, changes)
    return stack


def interleaved(keyword: str, one: Any, other: Any) -> list[Dataset]:
    """Two acquisitions that never share a position."""
    return [
        *with_values(InstanceNumber=None, **{keyword: one}),
        *again(1.0, InstanceNumber=None, **{keyword: other}),
    ]


def passes(keyword: str, one: Any, other: Any) -> list[Dataset]:
    """Two passes of which the second begins where the first ends."""
    stack = sound()
    for index, dataset in enumerate(stack):
        change(dataset, {keyword: one if index < 3 else other})
    return stack


def lost(*indices: int, **elements: Any) -> list[Dataset]:
    """Twenty slices that touch, without these."""
    stack = ct_stack(
        [2.0 * index for index in range(20)],
        shape=SHAPE,
        PatientName=f"{PATIENT}^Mary",
        PatientID=f"{PATIENT}1",
        **{"SliceThickness": 2.0, **elements},
    )
    return [dataset for index, dataset in enumerate(stack) if index not in indices]


def copies(decimals: int) -> list[Dataset]:
    """Every slice twice, once with its position rounded."""
    exact = with_values()
    rounded = again(0.0)
    for one, other in zip(exact, rounded, strict=True):
        position = [float(value) + 0.2468 for value in one.ImagePositionPatient]
        one.ImagePositionPatient = position
        other.ImagePositionPatient = [round(value, decimals) for value in position]
        other.PixelData = one.PixelData
    return [*exact, *rounded]


def jumping() -> list[Dataset]:
    stack = sound()
    for dataset in stack[3:]:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 20, y, z]
    return stack


def written(stack: Stack, folder: Path) -> list[Path]:
    return put(folder, map(file_of, stack()))


def stacks() -> Iterator[BadSeries]:
    """Whole slices that do not make one volume, and some that do."""
    for keyword, one, other in (
        ("AcquisitionNumber", 1, 2),
        ("AcquisitionTime", "101010.5", "101055.5"),
        ("ContentTime", "101010.5", "101055.5"),
        ("TriggerTime", 300, 700),
        ("TemporalPositionIdentifier", 1, 2),
        ("KVP", 80, 140),
        ("ContrastBolusAgent", "NONE", "IOMERON"),
        ("FilterType", "A", "B"),
        ("ScanOptions", "HELICAL", "AXIAL"),
        ("ReconstructionDiameter", 400, 500),
        ("MonoenergeticEnergyEquivalent", 40, 70),
    ):
        yield BadSeries(
            "stacks", f"two lie among each other, told by {keyword}", "mixed-series",
            partial(written, partial(interleaved, keyword, one, other)),
        )  # fmt: skip
    for keyword, one, other in (
        ("AcquisitionNumber", 1, 2),
        ("AcquisitionTime", "101010.5", "101055.5"),
        ("KVP", 80, 140),
    ):
        yield BadSeries(
            "stacks", f"two passes follow each other, told by {keyword}", READ,
            partial(written, partial(passes, keyword, one, other)),
        )  # fmt: skip
    yield BadSeries(
        "stacks", "each is numbered from one", "mixed-series",
        partial(written, lambda: [*sound(), *again(1.0)]),
    )  # fmt: skip
    yield BadSeries(
        "stacks", "one foreign slice", "mixed-series",
        partial(written, lambda: [*with_values(AcquisitionNumber=1),
                                  *again(1.0, AcquisitionNumber=2)[2:3]]),
    )  # fmt: skip
    yield BadSeries("stacks", "a jump in the middle", "mixed-series", partial(written, jumping))
    for name, gone, elements in (
        ("every second slice lost in the middle", (6, 8, 10, 12), {}),
        ("every second slice lost at the end", (13, 15, 17), {}),
        ("every third slice kept", (5, 6, 8, 9, 11, 12), {}),
        ("all but a few slices thinned out", (1, 3, 5, 7, 13, 15, 17), {}),
        ("every second overlapping slice lost", (6, 8, 10, 12), {"SliceThickness": 4.0}),
        ("every second slice lost, no thickness", (6, 8, 10, 12), {"SliceThickness": None}),
    ):
        yield BadSeries(
            "stacks", name, "incomplete-series",
            partial(written, partial(lost, *gone, **elements)),
        )  # fmt: skip
    for decimals in (2, 1):
        yield BadSeries(
            "stacks", f"copies with positions of {decimals} decimals", READ,
            partial(written, partial(copies, decimals)),
        )  # fmt: skip
