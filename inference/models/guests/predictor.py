"""The members' opinions of a volume put together: labels of their mean, and their variance.

The label of a voxel is the guest's class with the largest mean logit over the members, as the
original programs average; cleaned as the original does it, and then ours. The uncertainty is
the mean over our classes (the structures that the guest knows, and the rest) of the population
variance of the members' softmax, the guest's classes of a structure added up: what
`Uncertainty.VARIANCE` is of our own networks.

Each member's logits stay on the network's own grid; on the volume's there is one slice of them
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.errors import DeviceMemoryError, VolumeError
from inference.models.guests.combining import Combined, Combiner, best_classes
from inference.models.guests.even import EvenVolume, made_even
from inference.models.guests.labels import GuestLabels
from inference.models.guests.members import Member, Members
from inference.models.guests.network import GuestLogits, GuestNetwork
from inference.models.guests.profiles import ProfileTables
from inference.models.guests.variation import AS_IT_IS, Unvaried
from inference.models.model import Progress, check_counts
from inference.prediction import Prediction
from inference.volume import Volume

LOGITS_SHARE: Final = 0.8
"""Of the progress that is told, before the slices are put together."""


@dataclass(frozen=True, slots=True, eq=False)
class GuestPredictor:
    """A guest ready on its device; see `inference.models.model.Predictor`.

    Nothing is drawn: the seed is ignored.
    """

    network: GuestNetwork
    labels: GuestLabels
    members: Members

    def predict(
        self,
        volume: Volume,
        *,
        counts: Sequence[int],
        seed: int,  # noqa: ARG002 - of nothing
        progress: Progress | None = None,
    ) -> tuple[Prediction, ...]:
        """Member by member, then slice by slice; `counts` are the first so many members."""
        each = self.members.each
        check_counts(counts, len(each))
        _check_finite(volume)
        even = made_even(volume)
        told = _Told(progress, len(volume.hu))
        with torch.inference_mode():
            opinions = [
                self._opinion(even.volume, member, told.part(number, counts[-1]))
                for number, member in enumerate(each[: counts[-1]])
            ]
            means = [self._mean(opinions[:count]) for count in counts]
            task = _Task(self.network, self.labels, volume, even, opinions, counts, means)
            return task.run(told)

    def _opinion(self, even: Volume, member: Member, progress: Progress) -> GuestLogits:
        """One member's logits for the even volume."""
        varied = member.variation.of(even)
        passes = len(member.networks)
        each = (
            self.network.logits(varied, network, _within(progress, number, passes))
            for number, network in enumerate(member.networks)
        )
        logits = next(each) if passes == 1 else self.network.mean(each) or _Mean(tuple(each))
        if member.variation == AS_IT_IS:
            return logits
        return Unvaried(logits, member.variation, self.labels.exchanged)

    def _mean(self, opinions: Sequence[GuestLogits]) -> GuestLogits | None:
        """The original's own mean of members that are networks; see `GuestNetwork.mean`."""
        alone = len(opinions) == 1 or self.members.kind == "variations"
        return None if alone else self.network.mean(opinions)


def _check_finite(volume: Volume) -> None:
    """One such value in a mean or deviation would turn all that it is taken of to nothing."""
    if volume.hu.dtype != np.float32:
        return
    for place, image in enumerate(volume.hu):
        if not np.isfinite(image).all():
            raise VolumeError(f"slice {place} of the scan has values that are no numbers")


@dataclass(frozen=True, slots=True, eq=False)
class _Mean:
    """The mean of several networks' logits; a `GuestLogits`."""

    each: Sequence[GuestLogits]

    def at(self, place: int) -> Tensor:
        first, *others = self.each
        total = first.at(place)
        for one in others:
            total = total + one.at(place)
        return total / len(self.each)


@dataclass(slots=True, eq=False)
class _Told:
    """Progress in slices of the volume, growing, of work that comes in two parts.

    A network that tells nothing while its logits are asked for makes them slice by slice: all
    progress is then that of the slices.
    """

    progress: Progress | None
    slices: int
    share: float = 0.0
    done: int = 0

    def part(self, number: int, parts: int) -> Progress:
        """For one member of several."""

        def tell(done: int, in_all: int) -> None:
            self.share = LOGITS_SHARE
            self.tell(LOGITS_SHARE * (number + done / max(1, in_all)) / parts)

        return tell

    def tell(self, share: float) -> None:
        """That so much of the whole is done; the last slice only where all is."""
        done = self.slices if share >= 1 else min(int(share * self.slices), self.slices - 1)
        self.done = max(self.done, done)
        if self.progress is not None:
            self.progress(self.done, self.slices)


def _within(progress: Progress, number: int, passes: int) -> Progress:
    """Of one network's pass among several of a member."""

    def tell(done: int, in_all: int) -> None:
        progress(number * in_all + done, passes * in_all)

    return tell


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One volume and its members' opinions.

    counts: numbers of members, growing.
    means: for each of them, the original's own mean of so many; None for that of slices.
    """

    network: GuestNetwork
    labels: GuestLabels
    volume: Volume
    even: EvenVolume
    opinions: Sequence[GuestLogits]
    counts: Sequence[int]
    means: Sequence[GuestLogits | None]
    notes: list[str] = field(default_factory=list)

    def run(self, told: _Told) -> tuple[Prediction, ...]:
        """Go through all slices and put the answers together, one for each count."""
        places, shape = len(self.even.volume.hu), self.volume.hu.shape
        classes = np.zeros((len(self.counts), places, *shape[1:]), dtype=np.uint8)
        uncertainty = np.zeros((len(self.counts), *shape), dtype=np.float32)
        tables = ProfileTables.empty(tuple(self.counts), shape)
        with Combiner.of(tuple(self.counts), self.labels.structure_of) as combiner:
            for place in range(places):
                own = np.flatnonzero(self.even.place_of == place).tolist()
                doubt = bool(own) and self.counts[-1] > 1
                found = self._combined(combiner, place, doubt=doubt)
                classes[:, place] = found.labels
                for slice_ in own if doubt else ():
                    uncertainty[:, slice_] = found.uncertainty
                    of_mean = [self.labels.structure_of[one] for one in found.labels]
                    tables.add(slice_, self.volume.hu[slice_], found.drawn, of_mean)
                told.tell(told.share + (1 - told.share) * (place + 1) / (places + 1))
        predictions = tuple(self._predictions(classes, uncertainty, tables))
        told.tell(1.0)
        return predictions

    def _predictions(
        self,
        classes: NDArray[np.uint8],
        uncertainty: NDArray[np.float32],
        tables: ProfileTables,
    ) -> Iterator[Prediction]:
        words = (self.network.description, self.even.words, *self.notes)
        device = "; ".join(filter(None, words))
        for at, count in enumerate(self.counts):
            cleaned = self.network.cleaned(classes[at], self.even.volume)
            labels = self.labels.structure_of[cleaned[self.even.place_of]]
            alone = count == 1
            yield Prediction(
                labels,
                None if alone else uncertainty[at],
                None if alone else tables.profiles(at),
                device,
            )

    def _combined(self, combiner: Combiner, place: int, *, doubt: bool) -> Combined:
        """A slice of the even volume, put together on the networks' device.

        From where its memory ends, on the CPU.
        """
        if not self.notes:
            try:
                return self._put_together(combiner, place, doubt=doubt)
            except torch.OutOfMemoryError:
                self.notes.append(
                    f"out of memory, put together on the cpu from slice {place + 1}"
                )
            # The error is gone by now, and with it the failed slice's tensors.
            torch.cuda.empty_cache()
        try:
            return self._put_together(combiner, place, doubt=doubt, on=torch.device("cpu"))
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(place) from error

    def _put_together(
        self, combiner: Combiner, place: int, *, doubt: bool, on: torch.device | None = None
    ) -> Combined:
        """A slice, on a device or where its logits are; members' logits one after the other."""
        each = (opinion.at(place).to(device=on) for opinion in self.opinions)
        found = combiner.combined(each, doubt=doubt)
        for at, mean in enumerate(self.means):
            if mean is not None:
                found.labels[at] = best_classes(mean.at(place).to(device=on))
        return found
