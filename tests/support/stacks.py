"""Segmentations of stacks that readers trip over: uneven slices, a prone patient feet first.

What three readers make of each goes into a table of `docs/conformance.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
import SimpleITK as sitk  # noqa: N813 - as its own manual has it
from numpy.typing import NDArray

from dicom_node.case_files.phantom_series import PatientPosition, PhantomHeader
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results
from inference.geometry import Geometry
from inference.phantom.spec import PhantomSpec, Zone
from inference.structures import BY_KEY
from support.cases import CONTEXT
from support.dcmqi_readers import on_grid, read_segments
from support.truth import KnownCase, known_case

THIGH: Final = PhantomSpec(
    lower_mm=300.0, zones=(Zone(1.0, 480.0),), pixel_mm=3.2, rows=128, columns=128
)
"""180 slices of 1 mm: where readers' voxels are looked up."""


class Stack(StrEnum):
    """A series of the same 180 mm."""

    UNEVEN = "20 slices of 6, 20 of 2 and 20 of 1 mm"
    PRONE = "36 slices of 5 mm, feet first and prone"

    @property
    def spec(self) -> PhantomSpec:
        """Its phantom."""
        if self is Stack.PRONE:
            return replace(THIGH, zones=(Zone(5.0, 480.0),))
        return replace(THIGH, zones=(Zone(6.0, 420.0), Zone(2.0, 460.0), Zone(1.0, 480.0)))

    @property
    def header(self) -> PhantomHeader:
        """How the patient lies."""
        if self is Stack.PRONE:
            return PhantomHeader(position=PatientPosition.FEET_FIRST_PRONE)
        return PhantomHeader()


class Reader(StrEnum):
    """Who is asked; the columns of the table."""

    DCIODVFY = "dciodvfy"
    DCMQI = "dcmqi"
    HIGHDICOM = "highdicom's `get_volume`"


TITLES: Final = {
    ResultKind.SEG: "BINARY",
    ResultKind.SEG_LABELMAP: "LABELMAP",
    ResultKind.SEG_EVEN: "BINARY on even slices",
}


@dataclass(frozen=True, slots=True)
class StackRow:
    """One line of the table: a stack, and the form of its segmentation."""

    stack: Stack
    kind: ResultKind

    def __str__(self) -> str:
        """Short, for the names of tests."""
        return f"{self.stack.name.lower()}-{self.kind.value}"


STACK_ROWS: Final = (
    *(StackRow(Stack.UNEVEN, kind) for kind in TITLES),
    *(StackRow(Stack.PRONE, kind) for kind in (ResultKind.SEG, ResultKind.SEG_LABELMAP)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """A stack's case, and its segmentations in files."""

    known: KnownCase
    files: dict[ResultKind, Path]

    @property
    def expected(self) -> NDArray[np.uint8]:
        """The case's segments on the slices of `THIGH`; extents are whole millimetres."""
        case = self.known.case
        return np.repeat(case.segments, case.geometry.extents_mm.astype(int), axis=0)

    def misplaced(self, read: NDArray[np.uint8]) -> float:
        """The share of labelled voxels that are elsewhere, or something else, as read."""
        expected = self.expected
        labelled = (expected > 0) | (read > 0)
        return float((read != expected)[labelled].mean())


def stacked(folder: Path, stack: Stack) -> Stacked:
    """Write a stack and its segmentations into a folder."""
    known = known_case(folder / "ct", stack.spec, header=stack.header)
    objects = publish_case(known.series, known.case, CONTEXT, frozenset(TITLES))
    files = write_results(objects, folder / "seg")
    return Stacked(known, {one.kind: path for one, path in zip(objects, files, strict=True)})


def by_dcmqi(path: Path, folder: Path) -> NDArray[np.uint8]:
    """A segmentation as dcmqi reads it, on the slices of `THIGH`."""
    return read_segments(path, THIGH.geometry(), folder)


def by_highdicom(path: Path) -> NDArray[np.uint8]:
    """The same as highdicom reads it.

    Raises:
        RuntimeError: it does not read it as a volume.
    """
    segmentation = hd.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True)
    table = np.zeros(256, dtype=np.uint8)
    for number in segmentation.segment_numbers:
        item = segmentation.get_segment_description(number)
        if item.SegmentDescription in BY_KEY:  # the background of a label map has none
            table[number] = BY_KEY[item.SegmentDescription].number
    return _on_thigh(table[volume.array], volume, THIGH.geometry())


def _on_thigh(
    labels: NDArray[np.uint8], volume: hd.Volume, geometry: Geometry
) -> NDArray[np.uint8]:
    image = sitk.GetImageFromArray(labels)
    image.SetOrigin(volume.position)
    image.SetSpacing(volume.spacing[::-1])
    # Both hold directions in columns; highdicom's are of slices, rows and columns.
    image.SetDirection(np.array(volume.direction)[:, ::-1].ravel().tolist())
    return sitk.GetArrayFromImage(on_grid(image, geometry))
