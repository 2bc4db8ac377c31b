"""Search for the knees in a scan that goes on below them, from the CT alone.

The fibula is the mark of the lower leg: nowhere between hip and knee does a slender bone run
beside a thicker one. Slice by slice, pairs of a tibia and a fibula are sought among the bones
and followed along the leg; the fibula's tip lies a little below the knee joint. So a scan can
be cut before it is segmented, each leg is found by itself, and a scan that ends at the knee,
or a leg that ends above it, has nothing to be found.

A contrast-filled or calcified artery beside the femur is no fibula: it is smaller, seldom as
dense as cortical bone, and the femur lies deep where the tibia lies under the skin. Forearms
have two bones as well, but they are slender, and no knee widens above them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.hounsfield import BODY_ABOVE_HU
from inference.volume import Volume

PIXEL_MM: Final = 2.0
SLICE_MM: Final = 4.0
"""Bones are sought on every n-th pixel and slice, up to about these distances."""

BONE_ABOVE_HU: Final = 200.0

CORTEX_HU: Final = 500.0
"""The densest voxel of a fibula lies above; a vessel with contrast agent mostly below."""

TIBIA_MM2: Final = (150.0, 3200.0)
FIBULA_MM2: Final = (50.0, 400.0)
FIBULA_SHARE: Final = 0.6
"""Sections with their marrow, from the shaft to the plateau and the fibula's head; a fibula
has at most this share of its tibia."""

APART_MM: Final = (14.0, 65.0)
"""Between the middles of tibia and fibula."""

UNDER_SKIN_MM: Final = 20.0
"""The tibia comes as close to the air; the shaft of a femur does not."""

STEP_MM: Final = 15.0
"""A tibia moves less than this from one slice to the next."""

GAP_MM: Final = 25.0
"""For this far along the leg a pair may be missing: a gap in the scan, a streak."""

SEEK_MM: Final = 250.0
"""No lower leg begins further above the scan's lower end, or another: a foot is lower."""

LENGTH_MM: Final = 80.0
SEEN_SHARE: Final = 0.6
"""A leg's pairs are followed at least this far and seen in this share of its slices."""

WIDENING: Final = 1.6
WIDENS_WITHIN_MM: Final = 60.0
"""Towards the knee the tibia becomes wider than its shaft by this factor."""

TIP_TO_JOINT_MM: Final = 15.0
"""From the fibula's tip up to the knee joint: 10 to 20 mm in adults."""


@dataclass(frozen=True, slots=True)
class SeenKnee:
    """A knee with its lower leg in view.

    height_mm: of the joint along the normal, within about 15 mm.
    across_mm: row and column of the tibia's middle below it, from the first voxel's centre.
    """

    height_mm: float
    across_mm: tuple[float, float]


def find_knees(volume: Volume) -> tuple[SeenKnee, ...]:
    """The knees above whatever lower legs a scan shows, from the patient's right to left."""
    sections = list(_sections(volume))
    legs = [leg for leg in _followed(sections) if leg.is_lower_leg]
    top_mm = float(volume.geometry.slice_offsets_mm[-1])
    knees = [leg.knee for leg in legs if leg.knee.height_mm < top_mm]
    return tuple(sorted(_lowest(knees), key=lambda knee: knee.across_mm[1]))


def only_lower_legs_at(volume: Volume, height_mm: float) -> bool:
    """True if the slice at a height holds no other bones than tibiae and fibulae.

    What is below may then be left out without taking anything of a thigh with it.
    """
    number = int(np.abs(volume.geometry.slice_offsets_mm - height_mm).argmin())
    section = _Slice.of(volume, number)
    bones = section.bones()
    paired = [bone for pair in _pairs(section, bones) for bone in pair]
    return all(bone in paired for bone in bones if bone.area_mm2 >= TIBIA_MM2[0])


@dataclass(frozen=True, slots=True)
class _Bone:
    """A bone's section with what it encloses: its middle, its size, its densest voxel.

    box: rows and columns of the thinned slice that hold it.
    """

    row_mm: float
    column_mm: float
    area_mm2: float
    peak_hu: float
    box: tuple[slice, slice]

    def distance_mm(self, other: _Bone) -> float:
        return float(np.hypot(self.row_mm - other.row_mm, self.column_mm - other.column_mm))


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """A slice, thinned to pixels of about `PIXEL_MM`."""

    hu: NDArray[np.int16] | NDArray[np.float32]
    spacing_mm: tuple[float, float]

    @classmethod
    def of(cls, volume: Volume, number: int) -> _Slice:
        mm = volume.geometry.spacing_mm
        rows, columns = (max(1, int(PIXEL_MM // each)) for each in mm)
        return cls(volume.hu[number, ::rows, ::columns], (rows * mm[0], columns * mm[1]))

    def bones(self) -> list[_Bone]:
        """Dense parts, from the size of a fibula on."""
        dense = self.hu > BONE_ABOVE_HU
        solid = _filled(ndimage.binary_closing(dense, np.ones((3, 3), bool)) | dense)
        parts, count = ndimage.label(solid)
        pixel_mm2 = self.spacing_mm[0] * self.spacing_mm[1]
        areas = np.bincount(parts.ravel(), minlength=count + 1) * pixel_mm2
        kept = [part for part in range(1, count + 1) if areas[part] >= FIBULA_MM2[0]]
        boxes = ndimage.find_objects(parts)
        return [
            self._bone(parts == part, (rows, columns), areas[part])
            for part in kept
            for rows, columns in [boxes[part - 1]]
        ]

    def _bone(self, mask: NDArray[np.bool_], box: tuple[slice, slice], area: float) -> _Bone:
        rows, columns = np.nonzero(mask[box])
        return _Bone(
            row_mm=float(rows.mean() + box[0].start) * self.spacing_mm[0],
            column_mm=float(columns.mean() + box[1].start) * self.spacing_mm[1],
            area_mm2=float(area),
            peak_hu=float(self.hu[box][mask[box]].max()),
            box=box,
        )

    def is_under_skin(self, bone: _Bone) -> bool:
        """True if air, or the edge of the image, is near a bone's box."""
        near = []
        for span, mm, size in zip(bone.box, self.spacing_mm, self.hu.shape, strict=True):
            margin = round(UNDER_SKIN_MM / mm)
            near.append(slice(span.start - margin, span.stop + margin))
            if near[-1].start < 0 or near[-1].stop > size:
                return True
        around = self.hu[tuple(near)] < BODY_ABOVE_HU
        bone_here = np.zeros(around.shape, bool)
        bone_here[
            tuple(
                slice(span.start - whole.start, span.stop - whole.start)
                for span, whole in zip(bone.box, near, strict=True)
            )
        ] = self.hu[bone.box] > BONE_ABOVE_HU
        distance_mm = ndimage.distance_transform_edt(~bone_here, sampling=self.spacing_mm)
        return bool((distance_mm[around] <= UNDER_SKIN_MM).any())


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the holes: all background that does not reach the edge of the image."""
    parts, count = ndimage.label(~mask)
    outside = np.zeros(count + 1, bool)
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        outside[edge] = True
    outside[0] = False
    return np.asarray(~outside[parts])


@dataclass(frozen=True, slots=True)
class _Section:
    """A slice that was looked at, and the tibiae in it that have a fibula."""

    height_mm: float
    tibiae: tuple[_Bone, ...]


def _sections(volume: Volume) -> Iterator[_Section]:
    """Slices about `SLICE_MM` apart, from feet to head, while lower legs may be in view."""
    heights = volume.geometry.slice_offsets_mm
    last, seen = -np.inf, heights[0]
    for number, height in enumerate(heights):
        if height - seen > SEEK_MM:
            return
        if height - last >= SLICE_MM - 0.01:
            last = height
            pairs = _pairs(_Slice.of(volume, number))
            seen = height if pairs else seen
            yield _Section(float(height), tuple(tibia for tibia, _ in pairs))


def _pairs(section: _Slice, bones: Sequence[_Bone] | None = None) -> list[tuple[_Bone, _Bone]]:
    """Tibiae with the fibula beside each, by size, density and distance."""
    bones = section.bones() if bones is None else bones
    pairs = []
    for tibia in bones:
        beside = [bone for bone in bones if _is_fibula_of(bone, tibia)]
        if beside and section.is_under_skin(tibia):
            pairs.append((tibia, min(beside, key=tibia.distance_mm)))
    return pairs


def _is_fibula_of(bone: _Bone, tibia: _Bone) -> bool:
    if not TIBIA_MM2[0] <= tibia.area_mm2 <= TIBIA_MM2[1] or bone.peak_hu < CORTEX_HU:
        return False
    low, high = FIBULA_MM2
    if not low <= bone.area_mm2 <= min(high, FIBULA_SHARE * tibia.area_mm2):
        return False
    return APART_MM[0] <= bone.distance_mm(tibia) <= APART_MM[1]


@dataclass(slots=True)
class _Leg:
    """A tibia with its fibula, followed from slice to slice.

    places: of the sections in which it was seen, among all that were looked at.
    """

    places: list[int]
    heights_mm: list[float]
    tibiae: list[_Bone]

    @property
    def is_lower_leg(self) -> bool:
        """True if long enough, seen often enough, and wider towards its upper end."""
        length = self.heights_mm[-1] - self.heights_mm[0]
        seen = len(self.places) / (self.places[-1] - self.places[0] + 1)
        if length < LENGTH_MM or seen < SEEN_SHARE:
            return False
        areas, heights = np.array([t.area_mm2 for t in self.tibiae]), np.array(self.heights_mm)
        upper = areas[heights >= heights[-1] - WIDENS_WITHIN_MM]
        return bool(upper.max() >= WIDENING * areas.min())

    @property
    def knee(self) -> SeenKnee:
        """The joint above the fibula's tip."""
        tibia = self.tibiae[-1]
        across = tibia.row_mm, tibia.column_mm
        return SeenKnee(self.heights_mm[-1] + TIP_TO_JOINT_MM, across)


def _followed(sections: Sequence[_Section]) -> list[_Leg]:
    """All tibiae, each followed upwards for as long as it is seen with a fibula."""
    legs: list[_Leg] = []
    for place, section in enumerate(sections):
        for tibia in section.tibiae:
            leg = _leg_of(tibia, place, section.height_mm, legs)
            leg.places.append(place)
            leg.heights_mm.append(section.height_mm)
            leg.tibiae.append(tibia)
    return legs


def _leg_of(tibia: _Bone, place: int, height_mm: float, legs: list[_Leg]) -> _Leg:
    """The leg that goes on as this tibia, or a new one."""
    near = [
        leg
        for leg in legs
        if leg.places[-1] < place
        and (height_mm - leg.heights_mm[-1] <= GAP_MM or place - leg.places[-1] <= 2)
        and leg.tibiae[-1].distance_mm(tibia) <= STEP_MM
    ]
    if near:
        return min(near, key=lambda leg: leg.tibiae[-1].distance_mm(tibia))
    legs.append(_Leg([], [], []))
    return legs[-1]


def _lowest(knees: Sequence[SeenKnee]) -> list[SeenKnee]:
    """One knee for each leg: of two above each other the lower one."""
    kept: list[SeenKnee] = []
    for knee in sorted(knees, key=lambda knee: knee.height_mm):
        if all(abs(knee.across_mm[1] - one.across_mm[1]) > APART_MM[1] for one in kept):
            kept.append(knee)
    return kept
