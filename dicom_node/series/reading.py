"""Files of one CT series to an ordered, checked and oriented volume, or a named refusal.

`read_series` reads top-down: headers, selection, checks that the slices belong together,
order along the normal, duplicates, gaps, and only then pixels, slice by slice into one
array. Each check refuses with its own error, so that a report can name the reason.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import (
    DuplicateSliceError,
    GantryTiltError,
    IncompleteSeriesError,
    MixedSeriesError,
    NoImagesError,
    NotAxialError,
    PixelDataError,
    TooFewSlicesError,
    TooLargeError,
)
from dicom_node.series.acquisitions import (
    differing,
    find_mixture,
    hours_apart,
    seam_slices,
)
from dicom_node.series.bounded_files import read_intact, read_until_pixels, why_not_dicom
from dicom_node.series.ct_series import CtSeries, InstanceReference, SourceSlice
from dicom_node.series.frames_of_reference import (
    check_one_space,
    frame_of_reference,
    frame_of_reference_notes,
)
from dicom_node.series.patient_height import believed_patient, stated_height_m
from dicom_node.series.patient_identity import (
    ImageIdentity,
    check_one_patient,
    identity_of,
    unreadable_notes,
)
from dicom_node.series.pixels import (
    check_air,
    check_one_scale,
    check_rescaled,
    fingerprint,
    hounsfield,
    stored_values,
)
from dicom_node.series.selection import ExcludedImage, derived_notes
from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_headers import (
    MAX_SLICES,
    StatedImage,
    check_identified,
    counted_among,
    images_of,
    read_header,
    slices_of,
    value_of,
)
from dicom_node.series.slice_spacing import (
    LATERAL_JUMP_MM,
    ROUNDED_MM,
    SAME_POSITION_MM,
    SHEAR_DEGREES,
    distinct_steps_mm,
    find_gaps,
    find_jumps,
    lateral_jump_mm,
    shear_degrees,
    sparse_zones,
    steady_lean_degrees,
    thinned_throughout,
)
from dicom_node.series.study_header import TAKEN_OVER, readable_header, reference_of
from dicom_node.uids import is_uid
from inference.geometry import Geometry, Orientation, slice_extents_mm
from inference.volume import Volume

MIN_SLICES: Final = 3
"""Fewer slices are no volume: no step can be compared with another."""

MAX_VOXELS: Final = 1 << 31
"""A volume of more (4 GB of 16 bits) is no scan of a body, and would not fit an analysis."""

OBLIQUE_DEGREES: Final = 15.0
"""A stack may be turned this far against the patient's axes and still be axial."""

SAME_DIRECTION: Final = 1e-3
"""Direction cosines of one stack differ by less (0.06 degrees): rounding in headers."""

SAME_SPACING: Final = 1e-3
"""Pixel spacings of one grid differ by a smaller share: half a millimetre over 500."""

CLOSE: Final = 0.25
"""Slices closer than this share of the mean step may be copies, written more roughly."""

LONG_SCAN_H: Final = 1.0
"""Passes farther apart are told: nobody lies still for so long."""

UIDS: Final = frozenset({"series"})
"""Traits of a slice that are UIDs."""


def read_series(paths: Iterable[Path], *, min_slices: int = MIN_SLICES) -> CtSeries:
    """Read the files of one series into a volume in the patient frame.

    Files may come in any order, with localisers, derived images, exact duplicates and
    files that are not DICOM among them: those are left out, with the reason kept.

    Raises:
        SeriesError: a subclass that names why the series cannot be analysed.
    """
    headers = read_headers(paths)
    stack = stack_of(headers, min_slices=min_slices)
    stated, distinct, orientation = headers.stated, stack.slices, stack.orientation
    patient, height_notes = believed_patient(stated.heights_m)
    # Results take patient and study from the image that says most of them.
    fullest = max(distinct, key=lambda one: stated.identities[one.path].filled)
    header = read_until_pixels(fullest.path, TAKEN_OVER)
    hu, padding_notes = _pixels(distinct, orientation, stack.geometry.shape)
    if stated.is_of_unknown_unit:
        check_air(hu)
    return CtSeries(
        volume=Volume(hu, stack.geometry),
        slices=tuple(SourceSlice(header.path, header.plane) for header in distinct),
        orientation=orientation,
        header=_result_header(header, distinct),
        instances=stated.instances,
        left_out=(*headers.left_out, *stack.seams, *stack.dropped),
        notes=(
            *stack.identity_notes,
            *unreadable_notes(header),
            *stated.notes,
            *_stack_notes(distinct),
            *_pass_notes(distinct, stack.seams),
            *frame_of_reference_notes(distinct),
            *padding_notes,
            *height_notes,
        ),
        patient=patient,
    )


def stack_of(headers: SeriesHeaders, *, min_slices: int = MIN_SLICES) -> Stack:
    """The slices of a series as one stack: everything that can be told without pixels.

    Raises:
        SeriesError: a subclass that names why they are none.
    """
    found = headers.found
    identity_notes = check_one_patient(tuple(headers.stated.identities.values()))
    check_one_space(found)
    _check_alike(found)
    _check_tilt(found)
    orientation = orientation_of(found)
    ordered, seams = _without_seams(ordered_slices(found))
    distinct, dropped = _without_duplicates(ordered)
    _check_one_acquisition(distinct)
    if len(distinct) < min_slices:
        raise TooFewSlicesError(f"{len(distinct)} slice(s), at least {min_slices} are needed")
    _check_whole(distinct)
    geometry = _geometry(distinct, orientation)
    if math.prod(geometry.shape) > MAX_VOXELS:
        listed = " x ".join(map(str, geometry.shape))
        raise TooLargeError(f"a volume of {listed} voxels, more than {MAX_VOXELS}")
    return Stack(
        tuple(distinct), orientation, geometry, tuple(seams), tuple(dropped), identity_notes
    )


def _result_header(header: Dataset, ordered: Sequence[SliceHeader]) -> Dataset:
    """What results take over from one image, with the frame of reference of all of them."""
    result = readable_header(header)
    result.FrameOfReferenceUID = frame_of_reference(ordered)
    return result


def group_by_series(paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Sort files by Series Instance UID; what is not DICOM is passed over.

    A damaged file goes with its series, where its header is whole so far.

    Raises:
        PixelDataError: a damaged file that does not say which series it is of.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            header = read_header(path)
        except PixelDataError:
            header = read_intact(path, ["SeriesInstanceUID"])
            if not value_of(header, "SeriesInstanceUID"):
                raise
        if header is not None:
            groups[str(value_of(header, "SeriesInstanceUID") or "").strip()].append(path)
    return {uid: tuple(members) for uid, members in groups.items()}


@dataclass(frozen=True, slots=True)
class StatedBySeries:
    """The statements of all images on their patient, also of those that do not count.

    notes: on what those that count call themselves.
    is_of_unknown_unit: whether one of those that count does not say in which unit it is.
    """

    identities: Mapping[Path, ImageIdentity]
    heights_m: Sequence[float | None]
    instances: tuple[InstanceReference, ...]
    notes: tuple[str, ...]
    is_of_unknown_unit: bool


@dataclass(frozen=True, slots=True, eq=False)
class SeriesHeaders:
    """The headers of a series' files.

    found: the slices that count; at least one.
    left_out: the images that do not, and the files that are not DICOM.
    stated: what all images state.
    """

    found: Sequence[SliceHeader]
    left_out: Sequence[ExcludedImage]
    stated: StatedBySeries


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The slices of a series as one stack, checked as far as headers go.

    slices: from feet to head, without copies.
    seams: left out where two passes overlap.
    dropped: copies that were left out.
    """

    slices: Sequence[SliceHeader]
    orientation: Orientation
    geometry: Geometry
    seams: Sequence[ExcludedImage]
    dropped: Sequence[ExcludedImage]
    identity_notes: Sequence[str]


def read_headers(paths: Iterable[Path]) -> SeriesHeaders:
    """Read the headers of a series' files.

    Raises:
        SeriesError: there is no slice, or one cannot be used.
    """
    images: list[StatedImage] = []
    slices = 0
    left_out: list[ExcludedImage] = []
    identities: dict[Path, ImageIdentity] = {}
    heights: list[float | None] = []
    instances: dict[InstanceReference, None] = {}
    for path in sorted(paths):
        header = read_header(path)
        if header is None:
            left_out.append(ExcludedImage("", why_not_dicom(path)))
            continue
        identities[path] = identity_of(header)
        heights.append(stated_height_m(header))
        if (reference := reference_of(header)) is not None:
            instances[reference] = None
        for image in images_of(path, header):
            check_identified(image.kind)
            images.append(image)
            slices += image.found is not None
        if slices > MAX_SLICES:
            raise TooLargeError(f"more than {MAX_SLICES} slices in one series")
    counted, excluded = counted_among(images)
    left_out += excluded
    if not counted:
        raise NoImagesError(f"no original axial CT image among the files: {_tally(left_out)}")
    kinds = [image.kind for image in counted]
    stated = StatedBySeries(
        identities,
        heights,
        tuple(instances),
        derived_notes(kinds),
        any(kind.is_of_unknown_unit for kind in kinds),
    )
    return SeriesHeaders(slices_of(counted), left_out, stated)


def _tally(left_out: Sequence[ExcludedImage]) -> str:
    """The numbers of images left out for each reason, commonest first."""
    counts = Counter(out.reason.split(": ", 1)[-1] for out in left_out)
    return "; ".join(f"{count} x {reason}" for reason, count in counts.most_common(5)) or "none"


def _check_alike(found: Sequence[SliceHeader]) -> None:
    """One series, grid, orientation and kernel.

    What some images leave out says nothing against the others.
    """
    traits: tuple[tuple[str, Callable[[SliceHeader], str]], ...] = (
        ("series", lambda one: one.series_instance_uid),
        ("matrix sizes", lambda one: f"{one.rows} x {one.columns}"),
        ("kernels", lambda one: one.kernel),
    )
    for name, trait in traits:
        values = {value for header in found if (value := trait(header))}
        if len(values) > 1:
            # What stands where a UID must may be anything, a name too.
            said = {v if is_uid(v) or name not in UIDS else "(no UID)" for v in values}
            raise MixedSeriesError(f"{len(values)} {name} in one series: {_listed(said)}")
    first = found[0]
    for header in found:
        _check_parallel(first, header)


def _check_parallel(first: SliceHeader, header: SliceHeader) -> None:
    """One direction and one pixel spacing, as far as decimals go."""
    pairs = tuple(zip(first.spacing_mm, header.spacing_mm, strict=True))
    if any(abs(one - other) > SAME_SPACING * one for one, other in pairs):
        listed = {"{:.4g} x {:.4g} mm".format(*one.spacing_mm) for one in (first, header)}
        raise MixedSeriesError(f"different pixel spacings in one series: {_listed(listed)}")
    turned = np.abs(header.row_axis - first.row_axis).max()
    turned = max(turned, np.abs(header.column_axis - first.column_axis).max())
    if turned > SAME_DIRECTION:
        raise MixedSeriesError(
            "the slices are not parallel: orientations of instances "
            f"{first.sop_instance_uid} and {header.sop_instance_uid} differ"
        )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(value or "(none)" for value in sorted(values)[:6])


def _check_tilt(found: Sequence[SliceHeader]) -> None:
    """Refuse stacks that lean against their normal, or jump sideways."""
    ordered = ordered_slices(found)
    positions = np.array([header.position_mm for header in ordered])
    normal = _headward(ordered[0].normal)
    jumps = find_jumps(positions, normal)
    if jumps and steady_lean_degrees(positions, normal) <= SHEAR_DEGREES:
        more = f"; and {len(jumps) - 1} more" if len(jumps) > 1 else ""
        farthest = max(jumps, key=lambda jump: jump.sideways_mm)
        raise MixedSeriesError(f"the slices do not lie on one grid: {farthest}{more}")
    lean = shear_degrees(positions, normal)
    if lean > SHEAR_DEGREES:
        stated = max((header.tilt_degrees for header in found), key=abs)
        says = f"says {stated:g} degrees" if stated else "says nothing of it"
        raise GantryTiltError(
            f"the slices are sheared by {lean:.1f} degrees against each other"
            f" (Gantry/Detector Tilt {says})"
        )
    away = lateral_jump_mm(positions, normal)
    if away > LATERAL_JUMP_MM:
        raise MixedSeriesError(
            f"the slices do not lie on one grid: up to {away:.1f} mm beside the line from the"
            " first to the last"
        )


def orientation_of(found: Sequence[SliceHeader]) -> Orientation:
    """The turn of source pixels into rows front to back and columns right to left.

    The order of slices needs no flip: positions are the patient's own, whatever way the
    patient lay on the table.

    Raises:
        NotAxialError: they are turned too far.
    """
    column_axis, row_axis = found[0].column_axis, found[0].row_axis
    transposed = bool(abs(column_axis[1]) > abs(column_axis[0]))
    if transposed:
        column_axis, row_axis = row_axis, column_axis
    flips = Orientation(
        transposed=transposed,
        rows_flipped=bool(row_axis[1] < 0),
        columns_flipped=bool(column_axis[0] < 0),
    )
    along = (abs(column_axis[0]), abs(row_axis[1]), abs(found[0].normal[2]))
    off_degrees = float(np.degrees(np.arccos(np.clip(min(along), 0, 1))))
    if off_degrees > OBLIQUE_DEGREES + 0.01:
        raise NotAxialError(
            f"the slices are not axial: turned by {off_degrees:.0f} degrees against the"
            f" patient's axes ({OBLIQUE_DEGREES:.0f} are accepted)"
        )
    return flips


def ordered_slices(found: Sequence[SliceHeader]) -> list[SliceHeader]:
    """From feet to head, by position along the normal; ties by UID, so that order is stable."""
    normal = _headward(found[0].normal)
    return sorted(
        found,
        key=lambda one: (
            float(one.position_mm @ normal),
            one.sop_instance_uid,
            one.frame_number or 0,
        ),
    )


def _headward(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal, turned to point along its largest patient axis."""
    return normal if normal[np.abs(normal).argmax()] > 0 else -normal


def _stated(ordered: Sequence[SliceHeader]) -> list[Mapping[str, str]]:
    return [header.acquisition for header in ordered]


def _without_seams(
    ordered: Sequence[SliceHeader],
) -> tuple[list[SliceHeader], list[ExcludedImage]]:
    """Leave out what the pass below has too, where two passes overlap by a few slices."""
    doubled = seam_slices(offsets_mm(ordered), _stated(ordered))
    kept = [header for header, out in zip(ordered, doubled, strict=True) if not out]
    left_out = [
        ExcludedImage(header.sop_instance_uid, "lies where the pass below it still goes on")
        for header, out in zip(ordered, doubled, strict=True)
        if out
    ]
    return kept, left_out


def _check_one_acquisition(ordered: Sequence[SliceHeader], at_least: int = 1) -> None:
    """Refuse two acquisitions of one place; passes that follow each other are one scan."""
    mixture = find_mixture(offsets_mm(ordered), _stated(ordered))
    if mixture and mixture.fewer >= at_least:
        raise MixedSeriesError(f"two acquisitions in one series: {mixture}")


def _without_duplicates(
    ordered: Sequence[SliceHeader],
) -> tuple[list[SliceHeader], list[ExcludedImage]]:
    """Drop copies; refuse different images at one position or with one UID."""
    normal = _headward(ordered[0].normal)
    _check_one_image_per_uid(ordered)
    length_mm = _apart_mm(ordered[0], ordered[-1], normal)
    close_mm = min(ROUNDED_MM, CLOSE * length_mm / max(len(ordered) - 1, 1))
    distinct: list[SliceHeader] = []
    dropped: list[ExcludedImage] = []
    for header in ordered:
        below = distinct[-1] if distinct else None
        apart_mm = math.inf if below is None else _apart_mm(below, header, normal)
        if below is None or apart_mm > max(SAME_POSITION_MM, close_mm):
            distinct.append(header)
        elif _is_same_image(below, header):
            kept, copy = _of_copies(below, header)
            distinct[-1] = kept
            out = ExcludedImage(copy.sop_instance_uid, "exact duplicate of another slice")
            dropped.append(out)
        elif apart_mm > SAME_POSITION_MM:
            distinct.append(header)
        else:
            _refuse_duplicate(below, header, ordered, normal)
    return distinct, dropped


def _of_copies(one: SliceHeader, other: SliceHeader) -> tuple[SliceHeader, SliceHeader]:
    """The copy that says most exactly where it lies, and the other one.

    What they contradict each other in says nothing of how the image was taken.
    """
    kept, copy = (other, one) if _decimals(other) > _decimals(one) else (one, other)
    agreed = dict(kept.acquisition.items() & copy.acquisition.items())
    return replace(kept, acquisition=agreed), copy


def _decimals(header: SliceHeader) -> int:
    """How exactly a header says where its image lies, for comparing copies of one image."""
    return sum(len(number.partition(".")[2]) for number in header.plane.position)


def _is_same_image(one: SliceHeader, other: SliceHeader) -> bool:
    """True if these are copies of one image, whose positions may be rounded differently."""
    apart_mm = float(np.abs(one.position_mm - other.position_mm).max())
    return apart_mm <= ROUNDED_MM and fingerprint(one) == fingerprint(other)


def _check_one_image_per_uid(ordered: Sequence[SliceHeader]) -> None:
    """One SOP Instance UID may come twice, but must name one image."""
    by_image: dict[tuple[str, int | None], list[SliceHeader]] = defaultdict(list)
    for header in ordered:
        by_image[header.sop_instance_uid, header.frame_number].append(header)
    for (uid, _), copies in by_image.items():
        if not all(_is_same_image(copies[0], copy) for copy in copies[1:]):
            raise DuplicateSliceError(f"two different images carry one UID: instance {uid}")


def _apart_mm(one: SliceHeader, other: SliceHeader, normal: NDArray[np.float64]) -> float:
    return float(abs((one.position_mm - other.position_mm) @ normal))


def _refuse_duplicate(
    one: SliceHeader,
    other: SliceHeader,
    ordered: Sequence[SliceHeader],
    normal: NDArray[np.float64],
) -> None:
    """Say whether whole acquisitions lie over each other, or single slices do."""
    _check_one_acquisition(ordered, at_least=2)
    raise DuplicateSliceError(
        f"two different images at {float(other.position_mm @ normal):.1f} mm: instances"
        f" {one.sop_instance_uid} and {other.sop_instance_uid}"
    )


def _check_whole(distinct: Sequence[SliceHeader]) -> None:
    numbers = [header.instance_number for header in distinct]
    gaps = find_gaps(offsets_mm(distinct), _thickness_mm(distinct), numbers)
    if gaps:
        named = "; ".join(str(gap) for gap in gaps[:5])
        more = f"; and {len(gaps) - 5} more" if len(gaps) > 5 else ""
        raise IncompleteSeriesError(f"slices are missing {named}{more}")


def offsets_mm(ordered: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """(slices,) positions along the normal."""
    normal = _headward(ordered[0].normal)
    return np.array([float(header.position_mm @ normal) for header in ordered])


def _thickness_mm(ordered: Sequence[SliceHeader]) -> NDArray[np.float64] | None:
    """(slices,) nominal thickness, or None unless every slice states one."""
    stated = [header.thickness_mm for header in ordered if header.thickness_mm is not None]
    return np.array(stated) if len(stated) == len(ordered) else None


def _geometry(distinct: Sequence[SliceHeader], orientation: Orientation) -> Geometry:
    """The grid in the patient frame, with the true direction cosines."""
    first = distinct[0]
    row_axis, column_axis = first.row_axis, first.column_axis
    row_mm, column_mm = first.spacing_mm
    rows, columns = first.rows, first.columns
    if orientation.transposed:
        row_axis, column_axis = column_axis, row_axis
        row_mm, column_mm = column_mm, row_mm
        rows, columns = columns, rows
    to_first = np.zeros(3)
    if orientation.rows_flipped:
        to_first += row_axis * row_mm * (rows - 1)
        row_axis = -row_axis
    if orientation.columns_flipped:
        to_first += column_axis * column_mm * (columns - 1)
        column_axis = -column_axis
    return Geometry(
        positions_mm=np.array([header.position_mm for header in distinct]) + to_first,
        extents_mm=slice_extents_mm(offsets_mm(distinct), _thickness_mm(distinct)),
        row_axis=row_axis.copy(),
        column_axis=column_axis.copy(),
        spacing_mm=(row_mm, column_mm),
        rows=rows,
        columns=columns,
    )


def _pixels(
    distinct: Sequence[SliceHeader], orientation: Orientation, shape: tuple[int, int, int]
) -> tuple[NDArray[np.int16] | NDArray[np.float32], list[str]]:
    """Decode file by file straight into one array; float32 only once int16 is not exact."""
    hu: NDArray[np.int16] | NDArray[np.float32] | None = None
    place = {(one.path, one.frame_number): index for index, one in enumerate(distinct)}
    by_file: dict[Path, list[SliceHeader]] = defaultdict(list)
    for header in distinct:
        by_file[header.path].append(header)
    ignored = 0
    for path, headers in by_file.items():
        for header, stored in stored_values(path, headers):
            slice_hu, padding_ignored = hounsfield(stored, header)
            if hu is None:
                # Only now, when there are pixels: a header alone may claim any size.
                hu = np.empty(shape, dtype=np.int16)
            if slice_hu.dtype == np.float32 and hu.dtype == np.int16:
                hu = hu.astype(np.float32)
            hu[place[path, header.frame_number]] = orientation.to_patient(slice_hu)
            ignored += padding_ignored
    notes = [f"pixel padding lies among tissue values in {ignored} slice(s): ignored"]
    if hu is None:
        raise PixelDataError("the series has no pixels")
    check_rescaled(hu, distinct)
    check_one_scale(hu, distinct)
    return hu, notes if ignored else []


def _stack_notes(distinct: Sequence[SliceHeader]) -> list[str]:
    notes = []
    thinned = thinned_throughout(
        offsets_mm(distinct),
        _thickness_mm(distinct),
        [header.instance_number for header in distinct],
    )
    if thinned > 1:
        notes.append(f"by thickness and Instance Number only one slice in {thinned} is here")
    notes += [
        f"slices of {thick_mm:g} mm lie {step_mm:g} mm apart, beside others that touch: some"
        " may be missing"
        for thick_mm, step_mm in sparse_zones(offsets_mm(distinct), _thickness_mm(distinct))
    ]
    steps = distinct_steps_mm(offsets_mm(distinct))
    if len(steps) > 1 and steps[-1] - steps[0] > 0.2:
        listed = ", ".join(f"{step:g}" for step in steps[:6])
        notes.append(f"unevenly spaced slices: steps of {listed} mm")
    tilt = max((header.tilt_degrees for header in distinct), key=abs)
    if abs(tilt) > SHEAR_DEGREES:
        notes.append(f"Gantry/Detector Tilt says {tilt:g} degrees, the slices are not sheared")
    return notes


def _pass_notes(distinct: Sequence[SliceHeader], seams: Sequence[ExcludedImage]) -> list[str]:
    notes = []
    if seams:
        notes.append(f"passes overlap where they meet: {len(seams)} slice(s) left out")
    voltages = {one.peak_kilovoltage for one in distinct} - {None}
    if len(voltages) > 1:
        listed = ", ".join(sorted(f"{volts:g}" for volts in voltages)[:6])
        notes.append(f"passes were taken at {listed} kV: Hounsfield units differ between them")
    notes += [f"passes differ in {what}" for what in differing(_stated(distinct))]
    if (hours := hours_apart(_stated(distinct))) > LONG_SCAN_H:
        notes.append(f"passes were taken {hours:.0f} h apart")
    return notes
