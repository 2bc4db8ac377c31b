"""The seam for kinds of networks: a volume in, samples of labels and their uncertainty out.

A bundle holds one `Model`, a frozen value that knows its weights' file and how it is fed.
`Model.load` makes it a `Predictor`, which is ready on a device. What stands above (the
pipeline, scoring, calibration, the node) uses these two and the bundle's general facts, and
nothing else of a network. A kind of network is a package beside this file with a reader of
its part of `bundle.toml`, and one line in `bundle.KINDS`.

Nothing is guessed: a model says which segments it can find, which uncertainty it has, and
how many samples it can draw. What it cannot find is not absent, and what it has no
uncertainty of is not judged, and so never accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

from inference.prediction import Prediction
from inference.results import SampleKind, Uncertainty
from inference.structures import Segment
from inference.volume import Volume

Progress = Callable[[int, int], None]
"""Told how many slices of how many are done."""


class Predictor(Protocol):
    """A model with its weights read and ready on a device; it serves any number of volumes.

    It holds the device's memory until it is let go of.
    """

    def predict(
        self,
        volume: Volume,
        *,
        counts: Sequence[int],
        seed: int,
        progress: Progress | None = None,
    ) -> tuple[Prediction, ...]:
        """A prediction for each of several numbers of samples, for the time of the largest.

        Deterministic: the same volume, number of samples, seed, device and weights give the
        same prediction, in this process or another, whatever was predicted before. Samples
        are independent of how many there are: the first five of twenty are those that five
        by themselves would be, but for rounding.

        Memory: of the samples no more is kept than running sums and `Prediction.profiles`;
        what comes back are labels (1 byte) and uncertainty (4 bytes a voxel) for each
        number. The volume is read, not copied. Where a GPU's memory ends, the predictor
        goes on in smaller parts or on the CPU, and the prediction's `device` says so.

        Args:
            volume: HU `[slice, row, column]` in the patient frame, read-only. Slices may be
                unevenly spaced: `volume.geometry` knows each one's place and extent. It may
                be a part of a scan, without the chest or the lower legs.
            counts: numbers of samples, growing, from 1 to the model's `most_samples`.
            seed: of whatever is drawn, any whole number from 0. A model that draws nothing
                ignores it.
            progress: called from this thread with (slices done, slices in all); the last
                call says that all are done.

        Returns:
            One for each number, in their order, on the volume's own grid: labels uint8
            `[slice, row, column]`, 0 for background, 1 to 22 as in `STRUCTURES`, right and
            left in one; they are told apart afterwards, for all models alike. Uncertainty
            float32 of the same shape and never negative, in the unit of the model's kind of
            uncertainty; None of a model that has none. Profiles of the samples, by which
            volumes and HU get a range; None where there are none.

        Raises:
            ValueError: `counts` are none, do not grow, or are more than there can be.
            DeviceError: the device cannot compute even the smallest part.
        """


class Model(Protocol):
    """A trained network and how it is used: a frozen value, checked against its file."""

    @property
    def uncertainty(self) -> Uncertainty:
        """Meaning of a voxel's uncertainty, on which a calibration must rest too.

        `Uncertainty.NONE` of one that answers once and has no measure of doubt: its
        structures are then not judged by uncertainty, and its predictions carry no map.
        """

    @property
    def samples_of(self) -> SampleKind:
        """What samples differ by; `SampleKind.NONE` of one that answers once."""

    @property
    def most_samples(self) -> int | None:
        """Largest number of samples that there can be; None for as many as are asked for.

        1 of a model that answers once, the number of its members of an ensemble.
        """

    @property
    def segments(self) -> frozenset[Segment]:
        """Those of the 43 segments that it was made to find, whatever the scan shows.

        All others are "not provided": never labelled, never absent.
        """

    @property
    def slice_by_slice(self) -> bool:
        """True if each slice is labelled by itself.

        Only then can some slices be asked about without those between them.
        """

    def load(self, device: str) -> Predictor:
        """Read the weights, and make ready.

        Args:
            device: `cpu`, `cuda`, `cuda:1`, or `auto`: the first GPU, or the CPU without one.

        Raises:
            BundleError: the weights have values that are no numbers.
            DeviceError: the device is not there. One without memory for the weights hands
                over to the CPU, as the prediction's `device` then says.
        """


def predict(  # noqa: PLR0913 - a prediction depends on this much
    volume: Volume,
    model: Model,
    *,
    samples: int,
    seed: int,
    device: str = "auto",
    progress: Progress | None = None,
) -> Prediction:
    """One volume with one number of samples; see `Predictor.predict`."""
    predictor = model.load(device)
    (found,) = predictor.predict(volume, counts=(samples,), seed=seed, progress=progress)
    return found


def check_counts(counts: Sequence[int], most: int | None) -> None:
    """Numbers of samples grow from at least 1 to what a model can draw.

    Raises:
        ValueError: they do not.
    """
    if not counts or counts[0] < 1 or any(b <= a for a, b in pairwise(counts)):
        raise ValueError(f"numbers of samples must grow from at least 1: {list(counts)}")
    if most is not None and counts[-1] > most:
        raise ValueError(f"this model has {most} samples at most, not {counts[-1]}")
