"""The source images as result objects refer to them: instances, and the plane of each slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset

from dicom_node.errors import ResultError
from dicom_node.series.ct_series import (
    CtSeries,
    InstanceReference,
    SourceGrid,
    SourcePlane,
    SourceSlice,
)

PLANE_TAGS: Final = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def read_grid(series: CtSeries) -> SourceGrid:
    """The grid of a series' source pixels, read again from the headers of its files.

    Raises:
        ResultError: a source file is gone, or its header lost its geometry.
    """
    headers: dict[Path, Dataset] = {}
    for source in series.slices:
        if source.path not in headers:
            headers[source.path] = _read_plane_header(source)
    planes = tuple(_plane(headers[source.path], source) for source in series.slices)
    return SourceGrid(planes, series.orientation)


def _read_plane_header(source: SourceSlice) -> Dataset:
    try:
        return pydicom.dcmread(
            source.path, force=True, stop_before_pixels=True, specific_tags=list(PLANE_TAGS)
        )
    except OSError as error:
        raise ResultError(
            f"source image {source.sop_instance_uid} cannot be read again"
        ) from error


def _plane(header: Dataset, source: SourceSlice) -> SourcePlane:
    groups = _functional_groups(header, source.frame_number)
    try:
        return SourcePlane(
            reference=InstanceReference(source.sop_class_uid, source.sop_instance_uid),
            frame_number=source.frame_number,
            position=tuple(_found(groups, "PlanePositionSequence", "ImagePositionPatient")),
            orientation=tuple(
                _found(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
            ),
            pixel_spacing=tuple(_found(groups, "PixelMeasuresSequence", "PixelSpacing")),
            thickness=_found(groups, "PixelMeasuresSequence", "SliceThickness"),
        )
    except TypeError as error:
        raise ResultError(
            f"source image {source.sop_instance_uid} has no position, orientation or spacing"
        ) from error


def _functional_groups(header: Dataset, frame_number: int | None) -> Sequence[Dataset]:
    """Where a frame's geometry may stand, the most specific place first."""
    if frame_number is None or "PerFrameFunctionalGroupsSequence" not in header:
        return (header,)
    own = header.PerFrameFunctionalGroupsSequence[frame_number - 1]
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return (own, shared[0], header)


def _found(groups: Sequence[Dataset], macro: str, keyword: str) -> Any:
    """An attribute from its functional group macro, or from a plain image; or None."""
    for group in groups:
        item = group[macro].value[0] if group.get(macro) else group
        value = item.get(keyword)
        if value is not None:
            return value
    return None
