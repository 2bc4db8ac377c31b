"""A model that answers a phantom with its own truth, as far as it was made to find it.

What follows a network (sides, coverage, metal, words, verdicts) is then looked at with a
model that provides some structures only, and with nothing that a network would get wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.models.bundle import Bundle
from inference.models.model import Progress, check_counts
from inference.pipeline import analyse
from inference.prediction import Prediction, SampleProfiles
from inference.results import CaseResult, SampleKind, Uncertainty
from inference.structures import LABEL_COUNT, SEGMENTS, Group, Segment
from inference.volume import Volume

ALL: Final = frozenset(SEGMENTS)
BONES: Final = frozenset(s for s in SEGMENTS if s.structure.group is Group.BONE)
MUSCLES: Final = ALL - BONES
TOTAL: Final = frozenset(
    s
    for s in SEGMENTS
    if s.structure.abbreviation in {"PELVIS", "FEMUR", "SACRUM", "GMAX", "GMED", "GMIN"}
)
"""What TotalSegmentator's `total` shares with this method."""

LABEL_OF: Final = np.array([0, *(s.structure.label for s in SEGMENTS)], dtype=np.uint8)


def without(*abbreviations: str) -> frozenset[Segment]:
    """All segments but those of some structures."""
    return frozenset(s for s in SEGMENTS if s.structure.abbreviation not in abbreviations)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The model, and its own predictor.

    truth: segment numbers `[slice, row, column]` of the volumes that it will see.
    members: they all agree; one has no measure of doubt.
    """

    truth: NDArray[np.uint8]
    segments: frozenset[Segment] = ALL
    members: int = 2
    samples_of: SampleKind = SampleKind.FOLDS
    slice_by_slice: bool = False

    @property
    def uncertainty(self) -> Uncertainty:
        """None of one member."""
        return Uncertainty.VARIANCE if self.members > 1 else Uncertainty.NONE

    @property
    def most_samples(self) -> int:
        """Its members."""
        return self.members

    def load(self, device: str) -> Truth:
        """Nothing to read."""
        del device
        return self

    def predict(
        self,
        volume: Volume,
        *,
        counts: Sequence[int],
        seed: int,
        progress: Progress | None = None,
    ) -> tuple[Prediction, ...]:
        """The labels of the slices with those heights."""
        del seed, progress
        check_counts(counts, self.members)
        labels = self._labels(volume)
        return tuple(self._prediction(labels, count) for count in counts)

    def _labels(self, volume: Volume) -> NDArray[np.uint8]:
        first = len(self.truth) - len(volume.hu)
        known = np.isin(self.truth, [s.number for s in self.segments])
        found = np.where(known, LABEL_OF[self.truth], 0).astype(np.uint8)
        return found[first:]

    def _prediction(self, labels: NDArray[np.uint8], count: int) -> Prediction:
        if self.members == 1:
            return Prediction(labels, None, None, "truth")
        counted = [np.bincount(image.ravel(), minlength=LABEL_COUNT) for image in labels]
        of_mean = np.stack(counted)[:, :, None].astype(np.int32)
        voxels = np.repeat(of_mean[None], count, axis=0)
        hu = voxels.astype(np.float32) * 50
        pairs = of_mean.astype(np.int64) * (count * (count - 1) // 2)
        edges = np.array([-0.5, labels.shape[2] - 0.5])
        profiles = SampleProfiles(voxels, hu, of_mean, hu[0], pairs, edges, 1.0)
        doubt = np.full(labels.shape, 1e-4, np.float32)
        return Prediction(labels, doubt, profiles, "truth")


def truth_bundle(model: Truth, **facts: Any) -> Bundle:
    """A bundle around it that lies in no folder."""
    told: dict[str, Any] = {
        "name": "truth",
        "version": "1",
        "kind": "truth",
        "samples": model.members,
        "folder": Path("nowhere"),
        "sha256": "0" * 64,
        "weights_sha256": "0" * 64,
        "training": {},
    }
    return Bundle(model=model, **told | facts)


def answered(
    volume: Volume,
    truth: NDArray[np.uint8],
    segments: Collection[Segment] = ALL,
    *,
    members: int = 2,
) -> CaseResult:
    """What the node makes of a volume with a model that knows these segments."""
    model = Truth(truth, frozenset(segments), members)
    return analyse(volume, truth_bundle(model), seed=1)


def of_structures(*abbreviations: str) -> frozenset[Segment]:
    """Both sides of some structures."""
    return ALL - without(*abbreviations)
