"""One case against its truth: every structure with both sides together, and side by side.

The network labels structures, and the study gives accuracy and uncertainty of structures,
both sides together; volume and mean HU of the affected and the unaffected side it gives
apart (Table 7). So each structure is scored three times: `both`, `R` and `L`; the sacrum,
which has no sides, once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.evaluation.metrics import (
    absolute_volume_error_percent,
    average_surface_distance_mm,
    dice_of_counts,
)
from inference.geometry import Geometry
from inference.measurement.measure import SEGMENT_NUMBERS, Tally, tally
from inference.structures import SEGMENTS, STRUCTURES, Segment, Side, Structure, segment_of
from inference.volume import Volume

Segments = NDArray[np.uint8]


class Scope(StrEnum):
    """Part of a structure that a score is about."""

    BOTH = "both"
    RIGHT = "R"
    LEFT = "L"


@dataclass(frozen=True, slots=True)
class StructureScore:
    """One structure of one case. Numbers are None where there is nothing to compare.

    structure: its abbreviation.
    dice: None where it is not annotated; 0 where it was not found.
    asd_mm: None also where it was not found.
    uncertainty: mean voxel-wise uncertainty inside the predicted label.
    disagreement, volume_cv: of the samples, see `results.Score`; of both sides together the
        mean of the sides, weighted by the volume that was found.
    """

    structure: str
    scope: Scope
    true_voxels: int
    found_voxels: int
    dice: float | None = None
    asd_mm: float | None = None
    true_volume_cm3: float | None = None
    volume_cm3: float | None = None
    true_mean_hu: float | None = None
    mean_hu: float | None = None
    uncertainty: float | None = None
    disagreement: float | None = None
    volume_cv: float | None = None

    @property
    def ave_percent(self) -> float | None:
        """Volume error relative to the truth; 100 % where it was not found."""
        if not self.true_volume_cm3:
            return None
        return absolute_volume_error_percent(self.true_volume_cm3, self.volume_cm3 or 0.0)

    @property
    def aie_hu(self) -> float | None:
        """AIE: absolute error of the mean HU; None where it was not found."""
        if self.true_mean_hu is None or self.mean_hu is None:
            return None
        return abs(self.mean_hu - self.true_mean_hu)


@dataclass(frozen=True, slots=True)
class CaseScore:
    """All scores of one case by one arm (a bundle with a number of samples).

    affected: the side with the disease, if the listing names one.
    height_m: for normalised volumes.
    words: what a reader should know of the case.
    """

    case: str
    structures: tuple[StructureScore, ...]
    data_set: str = ""
    affected: Side | None = None
    height_m: float | None = None
    words: str = ""

    def of(self, structure: str, scope: Scope = Scope.BOTH) -> StructureScore | None:
        """One structure's score, if it was annotated."""
        for one in self.structures:
            if one.structure == structure and one.scope is scope:
                return one if one.true_voxels else None
        return None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much the samples agree in a segment; see `results.Measurement`."""

    pairwise_dice: float | None
    volume_cv: float | None


def score_structures(  # noqa: PLR0913, PLR0917 - a segmentation has this many parts
    volume: Volume,
    truth: Segments,
    segments: Segments,
    uncertainty: NDArray[np.float32] | None,
    not_provided: Collection[Segment] = (),
    agreements: Mapping[Segment, Agreement] = MappingProxyType({}),
) -> tuple[StructureScore, ...]:
    """Compare a segmentation with the truth, both as segment numbers on the volume's grid.

    Args:
        volume: the CT.
        truth: as annotated.
        segments: as segmented.
        uncertainty: of the voxels; None of a model that has none.
        not_provided: what the model was not made to find: neither good nor bad there.
        agreements: of the samples, in the segments for which it is known.
    """
    unknown = frozenset(segment.number for segment in not_provided)
    tallies = tally(volume, truth, uncertainty), tally(volume, segments, uncertainty)
    boxes = _boxes(truth, segments)
    compared = _Compared(truth, segments, *tallies, boxes, volume.geometry, agreements)
    return tuple(
        _score(structure, scope, numbers, compared, provided=unknown.isdisjoint(numbers))
        for structure in STRUCTURES
        for scope, numbers in _scopes(structure)
    )


Box = tuple[slice, ...]
"""Three slices: a part of a volume."""

EMPTY_BOX: Final = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """Both label maps, their sums, and where each segment lies in either."""

    truth: Segments
    segments: Segments
    true_sums: Tally
    found_sums: Tally
    boxes: dict[int, Box]
    geometry: Geometry
    agreements: Mapping[Segment, Agreement]


def _scopes(structure: Structure) -> Iterator[tuple[Scope, tuple[int, ...]]]:
    """Scopes in which a structure is scored, each with its segment numbers."""
    numbers = {side: segment_of(structure, side).number for side in Side}
    yield Scope.BOTH, tuple(dict.fromkeys(numbers.values()))
    if structure.paired:
        yield Scope.RIGHT, (numbers[Side.RIGHT],)
        yield Scope.LEFT, (numbers[Side.LEFT],)


def _score(
    structure: Structure,
    scope: Scope,
    numbers: tuple[int, ...],
    compared: _Compared,
    *,
    provided: bool,
) -> StructureScore:
    true, found = (
        _Sums.of(sums, numbers, compared.geometry)
        for sums in (compared.true_sums, compared.found_sums)
    )
    comparable = provided and true.voxels
    dice, asd_mm = _overlap(numbers, compared) if comparable else (None, None)
    return StructureScore(
        structure=structure.abbreviation,
        scope=scope,
        true_voxels=true.voxels,
        found_voxels=found.voxels,
        dice=dice,
        asd_mm=asd_mm,
        true_volume_cm3=true.volume_cm3,
        volume_cm3=found.volume_cm3,
        true_mean_hu=true.mean_hu,
        mean_hu=found.mean_hu,
        uncertainty=found.uncertainty,
        **_agreement(numbers, compared),
    )


def _agreement(numbers: tuple[int, ...], compared: _Compared) -> dict[str, float | None]:
    """Disagreement and variation of the volume of some segments, weighted by their volumes."""
    sides = [SEGMENTS[number - 1] for number in numbers]
    told = [compared.agreements.get(side, Agreement(None, None)) for side in sides]
    volumes = [
        _Sums.of(compared.found_sums, (number,), compared.geometry).volume_cm3 or 0.0
        for number in numbers
    ]
    dice = _weighed([one.pairwise_dice for one in told], volumes)
    return {
        "disagreement": None if dice is None else 1 - dice,
        "volume_cv": _weighed([one.volume_cv for one in told], volumes),
    }


def _weighed(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Mean of the values that are known; None where none is, or none weighs anything."""
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None and w]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


@dataclass(frozen=True, slots=True)
class _Sums:
    """Figures of some segments together, from the tally; None where there is no voxel."""

    voxels: int
    volume_cm3: float | None = None
    mean_hu: float | None = None
    uncertainty: float | None = None

    @classmethod
    def of(cls, sums: Tally, numbers: tuple[int, ...], geometry: Geometry) -> _Sums:
        columns = list(numbers)
        voxels = int(sums.voxels[:, columns].sum())
        if not voxels:
            return cls(0)

        def weighed(part: NDArray[Any]) -> float:
            return float(geometry.voxel_volumes_mm3 @ part[:, columns].sum(axis=1))

        volume_mm3, uncertainties = weighed(sums.voxels), sums.uncertainty
        return cls(
            voxels,
            volume_mm3 / 1000,
            weighed(sums.hu) / volume_mm3,
            None if uncertainties is None else weighed(uncertainties) / volume_mm3,
        )


def _overlap(
    numbers: tuple[int, ...], compared: _Compared
) -> tuple[float | None, float | None]:
    """Dice (by volume: slices may be unevenly thick) and ASD in the box of the segments."""
    box = _joined([compared.boxes[number] for number in numbers])
    true, found = (np.isin(part[box], numbers) for part in (compared.truth, compared.segments))
    weight_mm3 = compared.geometry.voxel_volumes_mm3[box[0]]
    common, of_true, of_found = (
        float(weight_mm3 @ mask.sum(axis=(1, 2))) for mask in (true & found, true, found)
    )
    dice = dice_of_counts(common, of_true, of_found)
    return dice, average_surface_distance_mm(true, found, _part(compared.geometry, box))


def _part(geometry: Geometry, box: Box) -> Geometry:
    """The slices of a box, with rows and columns counted from its corner."""
    return Geometry(
        positions_mm=geometry.positions_mm[box[0]].copy(),
        extents_mm=geometry.extents_mm[box[0]].copy(),
        row_axis=geometry.row_axis,
        column_axis=geometry.column_axis,
        spacing_mm=geometry.spacing_mm,
        rows=box[1].stop - box[1].start,
        columns=box[2].stop - box[2].start,
    )


def _boxes(truth: Segments, segments: Segments) -> dict[int, Box]:
    """Box around each segment in both label maps together."""
    here, there = (
        ndimage.find_objects(labels, max_label=SEGMENT_NUMBERS - 1)
        for labels in (truth, segments)
    )
    return {
        number: _joined([box for box in pair if box is not None])
        for number, pair in enumerate(zip(here, there, strict=True), start=1)
    }


def _joined(boxes: list[Box]) -> Box:
    """The box around boxes."""
    known = [box for box in boxes if box != EMPTY_BOX]
    if not known:
        return EMPTY_BOX
    spans = [
        slice(min(box[axis].start for box in known), max(box[axis].stop for box in known))
        for axis in range(3)
    ]
    return tuple(spans)
