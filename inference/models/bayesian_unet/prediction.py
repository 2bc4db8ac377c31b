"""Monte Carlo dropout: the network's opinion of a volume, and how far it wavers.

Every slice is passed T times through the network with other features dropped. Its label is
the argmax of the mean softmax; its voxel-wise uncertainty the mean over the classes of the
variance over the samples (Soufi et al. 2025, Methods; Hiasa et al. 2020, eq. 4 to 6). The
variance is that of the population, divided by T, as in the group's public implementation.

Where several channels are one structure, or none of ours, the label is still that of the
channel with the largest mean, and the variance that of the structures' sums, as of guests
(`inference.models.guests.predictor`).

Only this module and `sampler` know about stochastic passes. Mean and variance are streamed:
what is kept of a slice is two maps per class, never T of them. Each (slice, sample) has a
random state of its own, so the answer does not depend on how slices and samples are batched
or ordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.errors import DeviceMemoryError
from inference.models.bayesian_unet.batches import Batch, in_batches
from inference.models.bayesian_unet.channels import Structures
from inference.models.bayesian_unet.preprocessing import Frame, PixelGrid, Window, frame_of
from inference.models.bayesian_unet.sampler import Sampler
from inference.models.model import Progress, check_counts
from inference.models.moments import Moments
from inference.prediction import Prediction, SampleProfiles
from inference.results import Uncertainty
from inference.structures import LABEL_COUNT
from inference.volume import Volume

PROFILE_BIN_COLUMNS: Final = 8
"""Network columns in one bin of the sample profiles."""

CPU_PIXELS: Final = 160_000
"""Pixels (samples x rows x columns) that one core takes at once, or else one sample: more
leave the caches, fewer spend their time on preparing kernels."""

CUDA_PIXELS: Final = 2**24
"""Pixels (slices x samples x rows x columns) of a first CUDA batch: about 5 GB with the
published networks. It halves when memory runs out."""


def predict_with(  # noqa: PLR0913 - a prediction depends on this much
    sampler: Sampler,
    volume: Volume,
    window: Window,
    grid: PixelGrid,
    *,
    fallback: Callable[[], Sampler],
    counts: Sequence[int],
    seed: int,
    uncertainty: Uncertainty = Uncertainty.VARIANCE,
    structures: Structures | None = None,
    progress: Progress | None = None,
) -> tuple[Prediction, ...]:
    """Segment a volume slice by slice; a prediction for each number of samples.

    Where the sampler's device has no memory left, the one that `fallback` makes goes on. A
    single sample varies from nothing: it has no uncertainty and no range. With the entropy,
    labels and uncertainty are those of one pass without dropout, and the only number of samples
    is 1. `structures` leads from the network's channels to our labels; None where they are the
    same. For the rest see `inference.models.model.Predictor`.
    """
    check_counts(counts, None)
    if uncertainty is Uncertainty.ENTROPY and tuple(counts) != (1,):
        raise ValueError(f"the entropy is that of one pass, not of {counts[-1]} samples")
    frame = frame_of(volume, grid, sampler.network.architecture)
    drawn = tuple(counts), seed, uncertainty, structures
    with torch.inference_mode():
        return _Task(volume, window, frame, sampler, fallback, *drawn).run(progress)


def entropy(softmax: Tensor) -> Tensor:
    """Shannon entropy over the classes in nats: `[slice, class, ...]` to `[slice, ...]`."""
    summands: Tensor = torch.special.entr(softmax)
    return summands.sum(dim=1)


def _counted(moments: Moments | None, sample: Tensor) -> Moments:
    """The moments with one more sample."""
    if moments is None:
        return Moments.starting_with(sample)
    moments.add(sample)
    return moments


@dataclass(slots=True, eq=False)
class _Votes:
    """How many samples gave a pixel each label: `[slice, class, row, column]`."""

    counts: Tensor | None = None

    def add(self, labels: Tensor, classes: int) -> None:
        """One more sample's labels `[slice, row, column]`."""
        if self.counts is None:
            slices, *size = labels.shape
            self.counts = labels.new_zeros((slices, classes, *size), dtype=torch.int32)
        one = torch.ones((), dtype=torch.int32, device=labels.device)
        chosen = labels[:, None]
        self.counts.scatter_add_(1, chosen, one.expand_as(chosen))

    def agreeing_pairs(self, bins: int) -> Tensor:
        """Pairs of samples that agree on a label, `[slice, class, bin]`; see `Prediction`."""
        if self.counts is None:
            raise ValueError("no sample has voted")
        pairs = (self.counts * (self.counts - 1) // 2).sum(dim=2)
        missing = bins * PROFILE_BIN_COLUMNS - pairs.shape[2]
        in_bins = nn.functional.pad(pairs, (0, missing)).view(*pairs.shape[:2], bins, -1)
        return in_bins.sum(dim=3, dtype=torch.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Slices:
    """The answers for some neighbouring slices, on the source's grid inside the frame.

    labels, uncertainty: `[count, slice, row, column]`, one for each number of samples.
    voxels, hu_sums: `[sample, slice, label, bin]`.
    mean_voxels, mean_hu_sums, agreeing_pairs: `[count, slice, label, bin]`.
    """

    places: range
    labels: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]
    voxels: NDArray[np.int32]
    hu_sums: NDArray[np.float32]
    mean_voxels: NDArray[np.int32]
    mean_hu_sums: NDArray[np.float32]
    agreeing_pairs: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One volume, one frame, one sampler; `counts` are numbers of samples, growing."""

    volume: Volume
    window: Window
    frame: Frame
    sampler: Sampler
    fallback: Callable[[], Sampler]
    counts: tuple[int, ...]
    seed: int
    uncertainty: Uncertainty
    structures: Structures | None = None

    @property
    def samples(self) -> int:
        """As many as are drawn."""
        return self.counts[-1]

    def run(self, progress: Progress | None) -> tuple[Prediction, ...]:
        """Go through all slices and put the answers together, one for each count."""
        slices, bins = len(self.volume.hu), self._bins
        labels = np.zeros((len(self.counts), *self.volume.hu.shape), dtype=np.uint8)
        uncertainty = np.zeros(labels.shape, dtype=np.float32)
        voxels = np.zeros((self.samples, slices, LABEL_COUNT, bins), dtype=np.int32)
        hu_sums = np.zeros(voxels.shape, dtype=np.float32)
        mean_voxels = np.zeros((len(self.counts), *voxels.shape[1:]), dtype=np.int32)
        mean_hu_sums = np.zeros(mean_voxels.shape, dtype=np.float32)
        agreeing_pairs = np.zeros(mean_voxels.shape, dtype=np.int64)
        rows, columns = self.frame.source_box
        computed_by = [self.sampler.description]
        done = 0
        for part in self._parts(computed_by):
            at = slice(part.places.start, part.places.stop)
            labels[:, at, rows, columns] = part.labels
            uncertainty[:, at, rows, columns] = part.uncertainty
            voxels[:, at], hu_sums[:, at] = part.voxels, part.hu_sums
            mean_voxels[:, at], mean_hu_sums[:, at] = part.mean_voxels, part.mean_hu_sums
            agreeing_pairs[:, at] = part.agreeing_pairs
            done += len(part.places)
            if progress is not None:
                progress(done, slices)
        edges = self.frame.column_edges(np.arange(0.0, bins + 1) * PROFILE_BIN_COLUMNS)
        device = "; ".join(computed_by)
        return tuple(
            Prediction(
                labels[place],
                None if self._is_alone(count) else uncertainty[place],
                None
                if self._is_alone(count)
                else SampleProfiles(
                    voxels[:count],
                    hu_sums[:count],
                    mean_voxels[place],
                    mean_hu_sums[place],
                    agreeing_pairs[place],
                    edges,
                    self.frame.source_pixels,
                ),
                device,
            )
            for place, count in enumerate(self.counts)
        )

    def _is_alone(self, count: int) -> bool:
        """True of one sample where the doubt is how samples differ."""
        return count == 1 and self.uncertainty is Uncertainty.VARIANCE

    def analyse(self, places: range, samples_at_once: int) -> _Slices:
        """Sample some neighbouring slices, streaming the moments."""
        hu = np.array(self.volume.hu[places.start : places.stop])  # torch wants it writable
        images = self.frame.to_network(torch.from_numpy(hu).to(self.sampler.device))
        profiles, of_means, agreeing, labels, uncertainties = [], [], [], [], []
        moments, doubt, votes = None, None, _Votes()
        own = self.structures
        softmaxes = self._softmaxes(self.window.apply(images), places, samples_at_once)
        for count, softmax in enumerate(softmaxes, start=1):
            moments = _counted(moments, softmax)
            doubt = moments if own is None else _counted(doubt, own.softmax(softmax))
            drawn = self._ours(softmax.argmax(dim=1))
            votes.add(drawn, LABEL_COUNT)
            profiles.append(self._profile(drawn, images[:, 0]))
            if count in self.counts:
                mean = moments.mean(count)
                of_means.append(self._profile(self._ours(mean.argmax(dim=1)), images[:, 0]))
                agreeing.append(votes.agreeing_pairs(self._bins))
                labels.append(self._labels(mean))
                uncertainties.append(self._uncertainty(doubt, mean, count))
        # Transfers wait for the device: they come last, and once for all samples.
        return _Slices(
            places=places,
            labels=torch.stack(labels).cpu().numpy(),
            uncertainty=torch.stack(uncertainties).cpu().numpy(),
            voxels=torch.stack([voxels for voxels, _ in profiles]).cpu().numpy(),
            hu_sums=torch.stack([hu_sums for _, hu_sums in profiles]).cpu().numpy(),
            mean_voxels=torch.stack([voxels for voxels, _ in of_means]).cpu().numpy(),
            mean_hu_sums=torch.stack([hu_sums for _, hu_sums in of_means]).cpu().numpy(),
            agreeing_pairs=torch.stack(agreeing).cpu().numpy(),
        )

    def _uncertainty(self, moments: Moments, mean: Tensor, count: int) -> Tensor:
        """Variance or entropy on the source's grid, `[slice, row, column]`."""
        if self.uncertainty is Uncertainty.VARIANCE:
            found = moments.uncertainty(count)
        else:
            found = entropy(mean if self.structures is None else self.structures.softmax(mean))
        return self.frame.to_source(found[:, None])[:, 0]

    def _ours(self, channels: Tensor) -> Tensor:
        """Labels 0 to 22 of numbers of channels."""
        return channels if self.structures is None else self.structures.labels(channels)

    def _softmaxes(self, images: Tensor, places: range, at_once: int) -> Iterator[Tensor]:
        if self.uncertainty is Uncertainty.VARIANCE:
            return self.sampler.softmaxes(images, places, self.samples, self.seed, at_once)
        return iter([self.sampler.softmax_without_dropout(images)])

    def _labels(self, mean: Tensor) -> Tensor:
        """Of the mean softmax's argmax on the source's grid, uint8 `[slice, row, column]`.

        The winner of a voxel has at least 1 / classes there, so also in some network pixel
        of its slice: classes that never reach that much need no interpolation.
        """
        labels = []
        for one in mean:
            rivals = torch.nonzero(one.amax(dim=(1, 2)) >= 1 / len(one) - 1e-6).flatten()
            maps = self.frame.to_source(one[rivals].contiguous()[None])[0]
            best, winner = maps[0].clone(), torch.zeros_like(maps[0], dtype=torch.uint8)
            for rank in range(1, len(rivals)):
                winner.masked_fill_(maps[rank] > best, rank)
                torch.maximum(best, maps[rank], out=best)
            labels.append(self._ours(rivals).to(torch.uint8)[winner.int()])
        return torch.stack(labels)

    def _profile(self, labels: Tensor, hu: Tensor) -> tuple[Tensor, Tensor]:
        """Voxels and HU sums `[slice, label, bin]` of labels `[slice, row, column]`."""
        slices, _, columns = labels.shape
        classes, bins = LABEL_COUNT, self._bins
        bin_of = torch.arange(columns, device=labels.device) // PROFILE_BIN_COLUMNS
        slice_of = torch.arange(slices, device=labels.device)[:, None, None]
        index = ((slice_of * classes + labels) * bins + bin_of).flatten()
        shape, length = (slices, classes, bins), slices * classes * bins
        voxels = torch.bincount(index, minlength=length)
        hu_sums = torch.bincount(index, hu.flatten(), minlength=length)
        return voxels.view(shape).to(torch.int32), hu_sums.view(shape).float()

    @property
    def _bins(self) -> int:
        return -(-self.frame.size[1] // PROFILE_BIN_COLUMNS)

    def _parts(self, computed_by: list[str]) -> Iterator[_Slices]:
        """All slices; where a GPU's memory ends, the CPU goes on, and `computed_by` says so.

        The CPU drops the same features, so only rounding tells the slices apart.
        """
        if self.sampler.is_on_cpu:
            yield from self._on_cpu(range(len(self.volume.hu)))
            return
        try:
            yield from self._on_gpu()
        except DeviceMemoryError as error:
            rest = range(error.place, len(self.volume.hu))
        else:
            return
        torch.cuda.empty_cache()
        on_cpu = replace(self, sampler=self.fallback())
        computed_by.append(
            f"out of memory, {on_cpu.sampler.description} from slice {rest.start + 1}"
        )
        yield from on_cpu._on_cpu(rest)  # noqa: SLF001 - of this class

    def _on_cpu(self, places: range) -> Iterator[_Slices]:
        """One slice per core at a time; that keeps more of a core busy than sharing one."""
        workers = torch.get_num_threads()
        with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
            pending = deque(pool.submit(self._alone, place) for place in places)
            try:
                while pending:  # a future that is kept keeps its slice
                    yield pending.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _alone(self, place: int) -> _Slices:
        torch.set_num_threads(1)  # of this thread, and of those that begin later
        with torch.inference_mode():  # likewise
            return self.analyse(range(place, place + 1), self._samples_on_cpu)

    @property
    def _samples_on_cpu(self) -> int:
        rows, columns = self.frame.size
        return Batch.within(CPU_PIXELS, rows * columns, self.samples).samples

    def _on_gpu(self) -> Iterator[_Slices]:
        rows, columns = self.frame.size
        batch = Batch.within(CUDA_PIXELS, rows * columns, self.samples)
        return in_batches(len(self.volume.hu), batch, self.analyse)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers of one thread each; the number of threads is put back afterwards."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
