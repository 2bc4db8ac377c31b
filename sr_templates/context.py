"""Context of a report beside the case: who observed what in which images, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from inference.structures import Segment


@dataclass(frozen=True, slots=True)
class InstanceInSeries:
    """An instance with the series it belongs to; the study is the report's own."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """Place of a segment: the segmentation object, and its number in it."""

    segmentation: InstanceInSeries
    number: int


@dataclass(frozen=True, slots=True)
class SegmentReferences:
    """Places where a report finds the segments, in one object or in several.

    places: by `Segment.number`; none for what no object holds.
    """

    places: Mapping[int, SegmentPlace]

    @classmethod
    def into(cls, objects: Mapping[InstanceInSeries, Mapping[int, int]]) -> SegmentReferences:
        """From each object's own numbers by `Segment.number` (`segment_numbers`)."""
        return cls(
            {
                segment: SegmentPlace(segmentation, number)
                for segmentation, numbers in objects.items()
                for segment, number in numbers.items()
            }
        )

    def of(self, segment: Segment) -> SegmentPlace | None:
        """Place of a segment, or None where no object holds it."""
        return self.places.get(segment.number)

    @property
    def segmentations(self) -> tuple[InstanceInSeries, ...]:
        """The objects, each once."""
        return tuple(dict.fromkeys(place.segmentation for place in self.places.values()))


@dataclass(frozen=True, slots=True)
class Observer:
    """The device that observed: this installation of this version of the node."""

    uid: str
    name: str
    manufacturer: str
    model_name: str


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Context that a report states beside the case.

    study_instance_uid: of the report and of all that it refers to.
    sources: the instances that were segmented, of one series.
    segments: None where nothing was found, so that there is no segmentation.
    tracking_uids: by `Segment.number`, the same as the segmentation's.
    procedures: the study's own procedure codes; a general CT code stands in for none.
    requests: items of a Referenced Request Sequence.
    predecessor: the report that this one replaces, where late images opened a revision.
    closed_by: the rule that closed the series, in words.
    notes: what was noticed about the images and tolerated, in words.
    """

    study_instance_uid: str
    sources: tuple[InstanceInSeries, ...]
    segments: SegmentReferences | None
    tracking_uids: Mapping[int, str]
    observer: Observer
    procedures: tuple[Code, ...] = ()
    requests: tuple[Dataset, ...] = ()
    predecessor: InstanceInSeries | None = None
    closed_by: str | None = None
    notes: tuple[str, ...] = ()
