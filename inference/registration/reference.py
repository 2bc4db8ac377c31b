"""From a body's label map and a CT of the same body to labels on the CT, and how good they are.

Bones first: each anchor lays one bone, or bones that move as one, rigidly on the CT's own.
The rest of the label map goes along with an anchor; muscles then follow the CT's edges of
muscle and fat by a smooth deformation, and bones become what the CT itself shows as bone
around them. Inner borders between muscles are the label map's, and nothing in the CT can
confirm them: this is a reference, not the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.errors import RegistrationError
from inference.evaluation.metrics import dice_of_counts
from inference.registration.following import Field, followed
from inference.registration.rigid import Points, Rigid, SignedDistance, Spacing, fitted
from inference.registration.tissue import bone_of, disk, midline_mm, muscle_of, surface_of
from inference.structures import STRUCTURES, Group, Side

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BONES: Final = (*(s.label for s in STRUCTURES if s.group is Group.BONE), 101, 102, 103, 104)
"""Labels that are bone: the structures, and the atlases' patella, tibia, fibula, coccyx."""

SACRUM: Final = 3
MUSCLES: Final = tuple(s for s in STRUCTURES if s.group is not Group.BONE)

OWN_SURFACE_MM: Final = 8.0
"""A CT's bone surface farther than this from the registered bone belongs to another bone."""

WELL_INSIDE_MM: Final = 3.0
"""A voxel so deep inside a registered bone may be marrow."""

GROWN_MM: Final = 2.0
"""CT bone so near to a registered bone is the same bone; more would cross narrow joints."""

SEAM_MM: Final = 2.0
"""Seams between labels up to twice this wide are not fat: meshes are drawn apart."""

COMPARED_MM: Final = 6.0
"""How far around the labels the CT's tissue pulls at them: beyond lies what is not labelled."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Bones that are laid on the CT as one rigid body.

    bones: their labels.
    side: of the body, and of what goes along; None: both.
    start_mm: from the CT's first voxel to the label map's `[slice, row, column]`, within
        some 3 cm; None: as the anchor of this side before it.
    above_mm, below_mm: which of the CT's slices show them, from the lowest slice.

    The first anchor of a side takes everything along, a later one its own bones alone.
    """

    bones: tuple[int, ...]
    side: Side | None = None
    start_mm: Spacing | None = None
    above_mm: float = -np.inf
    below_mm: float = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A label map in the patient frame; labels beyond 22 are neighbours (bones: `BONES`)."""

    labels: Labels
    spacing_mm: Spacing

    def side(self, side: Side | None) -> Mask:
        """(columns,) which columns belong to a side; the sacrum is the middle."""
        columns = np.arange(self.labels.shape[2])
        if side is None:
            return np.ones(len(columns), bool)
        middle = np.flatnonzero((self.labels == SACRUM).any(axis=(0, 1))).mean()
        right: Mask = columns < middle
        return right if side is Side.RIGHT else ~right


@dataclass(frozen=True, slots=True)
class BoneFit:
    """Fit of an anchor to the CT.

    mean_mm, p90_mm: distance of the CT's bone surface from the registered bone, of the
        surface voxels within `OWN_SURFACE_MM` of it.
    """

    bones: tuple[int, ...]
    side: Side | None
    mean_mm: float
    p90_mm: float
    voxels: int


@dataclass(frozen=True, slots=True)
class StructureFit:
    """A structure of the label map, as registered, against the CT's own tissue.

    Bones: `dice` and `asd_mm` (slice by slice) of the rigid bone against the CT's bone there.
    Muscles: the share of its voxels that are as dense as muscle, before and after the
    deformation; distance of its outline from the CT's edge between muscle and fat, where it
    faces fat, likewise.
    """

    structure: str
    voxels: int
    dice: float | None = None
    asd_mm: float | None = None
    muscle_share: tuple[float, float] | None = None
    edge_mm: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """Labels 0 to 22 on the CT's grid, and how far they can be trusted."""

    labels: Labels
    bones: tuple[BoneFit, ...]
    structures: tuple[StructureFit, ...]
    moved_mm: tuple[float, float] = field(default=(0.0, 0.0))
    """Median and 90th percentile of the deformation where muscles are."""


def register(
    hu: NDArray[np.int16],
    spacing_mm: Spacing,
    body: Body,
    anchors: tuple[Anchor, ...],
    grown_mm: float = GROWN_MM,
) -> Registered:
    """Lay a label map on a CT of the same body.

    Args:
        hu: `[slice, row, column]` in the patient frame, pixels square.
        spacing_mm: of slices, rows and columns.
        body: the label map.
        anchors: the bones to go by.
        grown_mm: how far from a registered bone the CT's bone may still be that bone.

    Raises:
        RegistrationError: an anchor finds no bone where it looks.
    """
    pixel_mm = spacing_mm[1]
    placing = _Placing(body, hu.shape, spacing_mm, midline_mm(hu, pixel_mm))
    surface_mm = surface_of(bone_of(hu, pixel_mm)) * np.asarray(spacing_mm)
    for anchor in anchors:
        placing.lay(anchor, surface_mm)
    rigid = placing.labels()
    bone = bone_of(hu, pixel_mm, _deep(np.isin(rigid, BONES), spacing_mm))
    muscle = muscle_of(hu, pixel_mm) & ~bone
    shifts = _deformation(rigid, bone, muscle, spacing_mm)
    snapped = _snapped(rigid, bone, round(grown_mm / pixel_mm))
    labels = placing.labels(shifts)
    labels[np.isin(labels, BONES) | bone] = 0
    labels[snapped > 0] = snapped[snapped > 0]
    lies = _Compared(rigid, labels, bone, muscle, spacing_mm)
    moved = np.hypot(*shifts)[(rigid > 0) & ~np.isin(rigid, BONES)]
    return Registered(
        labels=np.where(labels <= len(STRUCTURES), labels, 0).astype(np.uint8),
        bones=tuple(placing.fits),
        structures=tuple(lies.structures()),
        moved_mm=_two(np.percentile(moved, (50, 90))) if len(moved) else (0.0, 0.0),
    )


class _Placing:
    """Anchors laid so far, and the label map as they place it on the CT."""

    def __init__(
        self, body: Body, shape: tuple[int, ...], spacing_mm: Spacing, midline: float
    ) -> None:
        self._body, self._shape, self._spacing_mm = body, shape, spacing_mm
        self._right = np.arange(shape[2]) * spacing_mm[2] < midline
        self._laid: list[tuple[Anchor, Rigid]] = []
        self.fits: list[BoneFit] = []

    def lay(self, anchor: Anchor, surface_mm: Points) -> None:
        """Fit an anchor to the CT's bone surface."""
        on_side = self._columns(anchor.side)[self._index(surface_mm)[:, 2]]
        height = surface_mm[:, 0]
        points = surface_mm[on_side & (height >= anchor.above_mm) & (height <= anchor.below_mm)]
        mask = np.isin(self._body.labels, anchor.bones) & self._body.side(anchor.side)
        if not mask.any():
            raise RegistrationError(f"the label map has no bone {_words(anchor)}")
        bone = SignedDistance.of(mask, self._body.spacing_mm)
        depth_mm = self._spacing_mm[1] / 2
        motion = fitted(points, bone, self._start(anchor), depth_mm)
        if motion is None:
            raise RegistrationError(f"the CT shows no bone near {_words(anchor)}")
        self._laid.append((anchor, motion))
        far = np.abs(bone.at(motion(points)) + depth_mm)
        own = far[far < OWN_SURFACE_MM]
        p90 = float(np.percentile(own, 90))
        fit = BoneFit(anchor.bones, anchor.side, float(own.mean()), p90, len(own))
        self.fits.append(fit)

    def labels(self, shifts: Field | None = None) -> Labels:
        """The label map on the CT's grid, optionally looked up at shifted places."""
        placed = np.zeros(self._shape, np.uint8)
        covered = np.zeros(self._shape[2], bool)
        for anchor, motion in self._laid:
            columns = self._columns(anchor.side)
            found = self._looked_up(motion, columns, shifts)
            part = placed[:, :, columns]
            if (covered & columns).any():
                part[np.isin(part, anchor.bones)] = 0
                own = np.isin(found, anchor.bones)
                part[own] = found[own]
            else:
                part = found
            placed[:, :, columns] = part
            covered |= columns
        return placed

    def _looked_up(self, motion: Rigid, columns: Mask, shifts: Field | None) -> Labels:
        """The label map's voxels for the CT's on some columns, slice by slice."""
        slices, rows, _ = self._shape
        row, column = np.meshgrid(np.arange(rows), np.flatnonzero(columns), indexing="ij")
        found = np.zeros((slices, *row.shape), np.uint8)
        last = np.asarray(self._body.labels.shape) - 1
        for k in range(slices):
            index = np.stack([np.full(row.shape, k), row, column], axis=-1)
            points = index * np.asarray(self._spacing_mm)
            if shifts is not None:
                points[..., 1:] += np.moveaxis(shifts[:, k][..., columns], 0, -1)
            there = np.rint(motion(points.reshape(-1, 3)) / self._body.spacing_mm).astype(int)
            inside = ((there >= 0) & (there <= last)).all(axis=1)
            found[k].reshape(-1)[inside] = self._body.labels[tuple(there[inside].T)]
        return found

    def _start(self, anchor: Anchor) -> Rigid:
        if anchor.start_mm is not None:
            return Rigid.shift(anchor.start_mm)
        for earlier, motion in reversed(self._laid):
            if earlier.side in {anchor.side, None}:
                return motion
        raise RegistrationError(f"nothing says where to look for {_words(anchor)}")

    def _columns(self, side: Side | None) -> Mask:
        if side is None:
            return np.ones(self._shape[2], bool)
        return self._right if side is Side.RIGHT else ~self._right

    def _index(self, points_mm: Points) -> NDArray[np.intp]:
        return np.rint(points_mm / self._spacing_mm).astype(np.intp)


def _words(anchor: Anchor) -> str:
    side = f", {anchor.side.value}" if anchor.side else ""
    return f"{', '.join(str(label) for label in anchor.bones)}{side}"


def _deep(mask: Mask, spacing_mm: Spacing) -> Mask:
    """Pixels that lie well inside a mask, slice by slice."""
    around = disk(WELL_INSIDE_MM / spacing_mm[1])
    return np.stack([ndimage.binary_erosion(one, around) for one in mask])


def _deformation(rigid: Labels, bone: Mask, muscle: Mask, spacing_mm: Spacing) -> Field:
    """Deformation of the labels that lets their muscles fill the CT's.

    Nothing pulls where the label map and the CT do not speak of the same: where the CT shows
    a bone that is not labelled, or none where one is (the atlases' bones have errors of
    their own), or far from any label.
    """
    labelled_bone = np.isin(rigid, BONES)
    closed = [ndimage.binary_closing(one > 0, disk(SEAM_MM / spacing_mm[1])) for one in rigid]
    moving = np.where(labelled_bone, 2, np.stack(closed) | (rigid > 0)).astype(np.float32)
    fixed = np.where(bone, 2, muscle).astype(np.float32)
    valid = np.stack(
        [
            np.asarray(ndimage.distance_transform_edt(one == 0, sampling=spacing_mm[1:]))
            < COMPARED_MM
            if one.any()
            else np.zeros(one.shape, bool)
            for one in rigid
        ]
    )
    box = _around(valid)
    shifts = np.zeros((2, *rigid.shape), np.float32)
    if box is not None:
        valid &= labelled_bone == bone
        shifts[(slice(None), *box)] = followed(moving[box], fixed[box], valid[box], spacing_mm)
    return shifts


def _around(mask: Mask) -> tuple[slice, ...] | None:
    found: tuple[slice, ...] | None
    (found,) = ndimage.find_objects(mask.astype(np.uint8)) or (None,)
    return found


def _snapped(rigid: Labels, bone: Mask, steps: int) -> Labels:
    """Bones as the CT shows them: what of it lies on, or grows from, a registered bone."""
    labelled = np.where(np.isin(rigid, BONES), rigid, 0)
    snapped = np.zeros_like(rigid)
    for k, one in enumerate(labelled):
        if not one.any():
            continue
        nearest = ndimage.distance_transform_edt(
            one == 0, return_distances=False, return_indices=True
        )
        grown = ndimage.binary_dilation(
            (one > 0) & bone[k], disk(1), iterations=steps, mask=bone[k]
        )
        for label in np.unique(one[one > 0]):
            own = ndimage.binary_fill_holes(grown & (one[tuple(nearest)] == label))
            snapped[k][own & bone[k]] = label
    return snapped


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """Labels before and after the deformation, beside the CT's tissue."""

    rigid: Labels
    labels: Labels
    bone: Mask
    muscle: Mask
    spacing_mm: Spacing

    def structures(self) -> list[StructureFit]:
        """Those that the CT shows."""
        present = set(np.unique(self.rigid)) | set(np.unique(self.labels))
        edge = self._to_edge_mm()
        return [
            self._bone(s.label, s.abbreviation)
            if s.group is Group.BONE
            else self._muscle(s.label, s.abbreviation, edge)
            for s in STRUCTURES
            if s.label in present
        ]

    def _bone(self, label: int, name: str) -> StructureFit:
        rigid, seen = self.rigid == label, self.labels == label
        both = float((rigid & seen).sum())
        dice = dice_of_counts(both, float(rigid.sum()), float(seen.sum()))
        apart = _in_plane_mm(rigid, seen, self.spacing_mm)
        return StructureFit(name, int(seen.sum()), dice=dice, asd_mm=apart)

    def _muscle(self, label: int, name: str, edge_mm: NDArray[np.float64]) -> StructureFit:
        before, after = self.rigid == label, self.labels == label
        shares = tuple(
            float(self.muscle[one].mean()) if one.any() else 0.0 for one in (before, after)
        )
        edges = [
            self._facing_fat(one, labels)
            for one, labels in ((before, self.rigid), (after, self.labels))
        ]
        apart = (
            _two([float(edge_mm[one].mean()) for one in edges])
            if all(one.any() for one in edges)
            else None
        )
        return StructureFit(name, int(after.sum()), muscle_share=_two(shares), edge_mm=apart)

    def _facing_fat(self, mask: Mask, labels: Labels) -> Mask:
        """The outline of a muscle where nothing labelled and no other muscle is near."""
        reach = disk(COMPARED_MM / self.spacing_mm[1])
        others = (labels > 0) & ~mask | self.bone
        far = np.stack([~ndimage.binary_dilation(one, reach) for one in others])
        outline = np.zeros(mask.shape, bool)
        outline[tuple(surface_of(mask).T)] = True
        found: Mask = outline & far
        return found

    def _to_edge_mm(self) -> NDArray[np.float64]:
        """Distance in the plane of each voxel from the edge of what is dense as muscle."""
        apart = np.zeros(self.muscle.shape)
        for k, one in enumerate(self.muscle | self.bone):
            for mask in (one, ~one):
                away = ndimage.distance_transform_edt(mask, sampling=self.spacing_mm[1:])
                # Half a pixel from the edge on either side of it.
                apart[k][mask] = np.asarray(away)[mask] - self.spacing_mm[1] / 2
        return apart


def _in_plane_mm(one: Mask, other: Mask, spacing_mm: Spacing) -> float | None:
    """Average distance of two outlines, slice by slice; None where no slice has both.

    In three dimensions the first and last slice of a slab would count as surface, all of it.
    """
    apart = []
    for pair in zip(one, other, strict=True):
        if not all(mask.any() for mask in pair):
            continue
        edges = [mask & ~ndimage.binary_erosion(mask) for mask in pair]
        for here, there in (edges, edges[::-1]):
            away = ndimage.distance_transform_edt(~there, sampling=spacing_mm[1:])
            apart.append(np.asarray(away)[here])
    return float(np.concatenate(apart).mean()) if apart else None


def _two(values: NDArray[np.float64] | list[float] | tuple[float, ...]) -> tuple[float, float]:
    first, second = (float(value) for value in values)
    return first, second
