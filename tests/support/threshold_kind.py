"""A second kind of network, small enough to be worked by hand: thresholds of Hounsfield units.

A voxel is the last of the structures whose threshold it exceeds. Each sample shifts all
thresholds by a draw of its own, so that voxels near one waver. It knows a few structures
only, and without a spread it answers once and has no uncertainty. `THRESHOLDS` is all that
`inference.models.bundle.KINDS` needs to read its bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from inference.errors import BundleError
from inference.models.bundle import Bundle, Reader
from inference.models.bundle_files import WEIGHTS_FILE
from inference.models.bundle_writing import write_bundle
from inference.models.model import Progress, check_counts
from inference.models.toml_values import value_of
from inference.prediction import Prediction, SampleProfiles
from inference.results import SampleKind, Uncertainty
from inference.structures import BY_ABBREVIATION, LABEL_COUNT, SEGMENTS, Segment
from inference.volume import Volume

KIND: Final = "thresholds"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The model: structures by growing threshold, which lie in the weights' file."""

    weights_path: Path
    structures: tuple[str, ...]
    spread_hu: float | None = None

    @property
    def uncertainty(self) -> Uncertainty:
        """None without a spread."""
        return Uncertainty.NONE if self.spread_hu is None else Uncertainty.VARIANCE

    @property
    def samples_of(self) -> SampleKind:
        """Shifts of the thresholds, as of the image's HU."""
        return SampleKind.NONE if self.spread_hu is None else SampleKind.VARIATIONS

    @property
    def most_samples(self) -> int | None:
        """One without a spread."""
        return 1 if self.spread_hu is None else None

    @property
    def segments(self) -> frozenset[Segment]:
        """Both sides of its structures."""
        return frozenset(s for s in SEGMENTS if s.structure.abbreviation in self.structures)

    @property
    def slice_by_slice(self) -> bool:
        """It sees one voxel at a time."""
        return True

    def load(self, device: str) -> ThresholdPredictor:
        """Read the thresholds; whatever the device is called."""
        limits_hu = load_file(self.weights_path)["limits_hu"]
        return ThresholdPredictor(self, limits_hu, f"{device} thresholds")


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdPredictor:
    """The model with its thresholds read."""

    model: Thresholds
    limits_hu: NDArray[np.float32]
    device: str

    def predict(
        self,
        volume: Volume,
        *,
        counts: Sequence[int],
        seed: int,
        progress: Progress | None = None,
    ) -> tuple[Prediction, ...]:
        """Slice by slice: the share of the samples that vote for each label."""
        check_counts(counts, self.model.most_samples)
        shape, samples = volume.hu.shape, counts[-1]
        labels = np.zeros((len(counts), *shape), dtype=np.uint8)
        wavering = np.zeros(labels.shape, dtype=np.float32)
        voxels = np.zeros((samples, len(volume.hu), LABEL_COUNT, 1), dtype=np.int32)
        hu_sums = np.zeros(voxels.shape, dtype=np.float32)
        mean_voxels = np.zeros((len(counts), *voxels.shape[1:]), dtype=np.int32)
        mean_hu_sums = np.zeros(mean_voxels.shape, dtype=np.float32)
        agreeing_pairs = np.zeros(mean_voxels.shape, dtype=np.int64)
        for place, hu in enumerate(volume.hu):
            votes = np.zeros((LABEL_COUNT, *hu.shape))
            for sample in range(samples):
                drawn = self._labels(hu, seed, sample)
                votes += np.arange(LABEL_COUNT)[:, None, None] == drawn
                voxels[sample, place, :, 0], hu_sums[sample, place, :, 0] = _tally(drawn, hu)
                if sample + 1 in counts:
                    at, share = counts.index(sample + 1), votes / (sample + 1)
                    labels[at, place] = votes.argmax(axis=0)
                    of_mean = _tally(labels[at, place], hu)
                    mean_voxels[at, place, :, 0], mean_hu_sums[at, place, :, 0] = of_mean
                    wavering[at, place] = (share * (1 - share)).mean(axis=0)
                    pairs = (votes * (votes - 1) / 2).sum(axis=(1, 2))
                    agreeing_pairs[at, place, :, 0] = pairs
            if progress is not None:
                progress(place + 1, len(volume.hu))
        if self.model.spread_hu is None:
            return (Prediction(labels[0], None, None, self.device),)
        edges = np.array([-0.5, shape[2] - 0.5])
        return tuple(
            Prediction(
                labels[at],
                wavering[at],
                SampleProfiles(
                    voxels[:count],
                    hu_sums[:count],
                    mean_voxels[at],
                    mean_hu_sums[at],
                    agreeing_pairs[at],
                    edges,
                    1.0,
                ),
                self.device,
            )
            for at, count in enumerate(counts)
        )

    def _labels(self, hu: NDArray[Any], seed: int, sample: int) -> NDArray[np.uint8]:
        """One sample of a slice; its draw follows from seed and number alone."""
        spread_hu = self.model.spread_hu or 0.0
        shift = np.random.default_rng((seed, sample)).normal(0, spread_hu)
        numbers = [BY_ABBREVIATION[name].label for name in self.model.structures]
        above = np.searchsorted(self.limits_hu + shift, hu)
        return np.array([0, *numbers], dtype=np.uint8)[above]


def _tally(
    labels: NDArray[np.uint8], hu: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Pixels of each label, and the sum of their HU."""
    flat = labels.ravel()
    voxels = np.bincount(flat, minlength=LABEL_COUNT)
    return voxels, np.bincount(flat, hu.ravel(), LABEL_COUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    structures: tuple[str, ...]
    spread_hu: float | None = None


def _read(folder: Path, table: Mapping[str, Any]) -> Thresholds:
    declared = value_of(_Declared, table)
    found = load_file(folder / WEIGHTS_FILE)["limits_hu"].shape
    if found != (len(declared.structures),):
        raise BundleError(f"{folder / WEIGHTS_FILE}: limits_hu is {found}")
    return Thresholds(folder / WEIGHTS_FILE, declared.structures, declared.spread_hu)


THRESHOLDS: Final[Mapping[str, Reader]] = {KIND: _read}


def threshold_bundle(
    folder: Path,
    limits_hu: Mapping[str, float],
    *,
    samples: int = 4,
    spread_hu: float | None = None,
) -> Bundle:
    """Write one; the structures stand in the order of growing thresholds."""
    limits = {"limits_hu": np.array(list(limits_hu.values()), dtype=np.float32)}
    own: dict[str, Any] = {"structures": list(limits_hu)}
    return write_bundle(
        folder,
        kind=KIND,
        own=own if spread_hu is None else own | {"spread_hu": spread_hu},
        save_weights=partial(save_file, limits),
        name="thresholds",
        version="1",
        samples=samples,
        training={"note": "set by hand"},
        model_card="# Thresholds\n",
    )
