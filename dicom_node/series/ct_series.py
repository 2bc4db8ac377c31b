"""A CT series that was read: the volume, and where each of its slices came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_node.series.selection import ExcludedImage
from inference.geometry import Orientation
from inference.volume import Patient, Volume


@dataclass(frozen=True, slots=True)
class InstanceReference:
    """One SOP Instance, as references name it."""

    sop_class_uid: str
    sop_instance_uid: str

    def item(self) -> Dataset:
        """An item of a Referenced SOP Sequence or one of its relatives (PS3.3 10.8)."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class_uid
        item.ReferencedSOPInstanceUID = self.sop_instance_uid
        return item


@dataclass(frozen=True, slots=True)
class SourcePlane:
    """The plane of one source slice in the words of its own header.

    Numbers are the decimal strings they were read from, so that a result lies exactly where
        its source lies; those of more than 16 characters are shortened (`decimal_strings`).
    position, orientation, pixel_spacing, thickness: Image Position and Orientation
        (Patient), Pixel Spacing and Slice Thickness (PS3.3 C.7.6.2); thickness may be None.
    frame_number: within a multi-frame instance, from 1; None for single-frame images.
    """

    reference: InstanceReference
    frame_number: int | None
    position: tuple[str, ...]
    orientation: tuple[str, ...]
    pixel_spacing: tuple[str, ...]
    thickness: str | None


@dataclass(frozen=True, slots=True)
class SourceSlice:
    """The source of one slice of the volume: its file, and its plane."""

    path: Path
    plane: SourcePlane

    @property
    def sop_instance_uid(self) -> str:
        """Of the instance that holds it."""
        return self.plane.reference.sop_instance_uid

    @property
    def frame_number(self) -> int | None:
        """Within a multi-frame instance, from 1."""
        return self.plane.frame_number


def instances_of(slices: Iterable[SourceSlice]) -> tuple[InstanceReference, ...]:
    """The instances that hold the slices, each once, in the order of the slices."""
    return tuple(dict.fromkeys(each.plane.reference for each in slices))


@dataclass(frozen=True, slots=True)
class SourceGrid:
    """The grid of the source pixels, to which results are turned back.

    planes: of each slice, in volume order.
    orientation: how source pixels were turned into the patient frame.
    resampled: True where the planes lie between those of the images that they name.
    """

    planes: tuple[SourcePlane, ...]
    orientation: Orientation
    resampled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CtSeries:
    """A CT series that can be analysed, and all that results need to know of it.

    slices: the source of each slice, in the volume's order (feet to head).
    orientation: how source pixels were turned into the patient frame; turns labels back.
    header: what results take over (`study_header.readable_header`), of the instance that
        says most of the patient; of several the lowest slice's.
    instances: all images among the files, also those that did not count.
    left_out: images that did not count, each with its reason.
    notes: what was noticed and tolerated, as text, without patient data.
    """

    volume: Volume
    slices: tuple[SourceSlice, ...]
    orientation: Orientation
    header: Dataset
    instances: tuple[InstanceReference, ...] = ()
    left_out: tuple[ExcludedImage, ...] = ()
    notes: tuple[str, ...] = ()
    patient: Patient = field(default_factory=Patient)

    @property
    def grid(self) -> SourceGrid:
        """The grid of the source pixels."""
        return SourceGrid(tuple(each.plane for each in self.slices), self.orientation)
