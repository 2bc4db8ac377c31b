"""Measurements of every member, slice by slice, as `SampleProfiles` on the volume's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from inference.prediction import SampleProfiles
from inference.structures import LABEL_COUNT

BIN_COLUMNS: Final = 8
"""Columns of the volume in one bin."""


@dataclass(frozen=True, slots=True, eq=False)
class ProfileTables:
    """`SampleProfiles` of several numbers of members while they grow.

    counts: numbers of members, growing.
    voxels, hu_sums: `[member, slice, label, bin]`.
    mean_voxels, mean_hu_sums, agreeing_pairs: `[count, slice, label, bin]`.
    """

    counts: tuple[int, ...]
    columns: int
    voxels: NDArray[np.int32]
    hu_sums: NDArray[np.float32]
    mean_voxels: NDArray[np.int32]
    mean_hu_sums: NDArray[np.float32]
    agreeing_pairs: NDArray[np.int64]

    @classmethod
    def empty(cls, counts: tuple[int, ...], shape: tuple[int, ...]) -> Self:
        """Nothing counted yet, of a volume `[slice, row, column]`."""
        slices, _, columns = shape
        each = (slices, LABEL_COUNT, -(-columns // BIN_COLUMNS))
        members, means = (counts[-1], *each), (len(counts), *each)
        return cls(
            counts,
            columns,
            np.zeros(members, dtype=np.int32),
            np.zeros(members, dtype=np.float32),
            np.zeros(means, dtype=np.int32),
            np.zeros(means, dtype=np.float32),
            np.zeros(means, dtype=np.int64),
        )

    def add(
        self,
        slice_: int,
        hu: NDArray[Any],
        drawn: Sequence[NDArray[np.uint8]],
        of_means: Sequence[NDArray[np.uint8]],
    ) -> None:
        """Count a slice: labels `[row, column]` of each member, and of each count's mean."""
        flat_hu = hu.ravel()
        pairs = np.zeros(self.agreeing_pairs.shape[2:], dtype=np.int64)
        for member, labels in enumerate(drawn):
            index = self._index(labels)
            self.voxels[member, slice_] = self._tally(index)
            self.hu_sums[member, slice_] = self._tally(index, flat_hu)
            # A further member makes as many pairs as before it gave the pixel its label.
            alike = np.zeros(labels.shape, dtype=np.uint8)
            for before in drawn[:member]:
                alike += before == labels
            pairs += self._tally(index, alike.ravel()).astype(np.int64)
            if member + 1 in self.counts:
                self.agreeing_pairs[self.counts.index(member + 1), slice_] = pairs
        for at, labels in enumerate(of_means):
            index = self._index(labels)
            self.mean_voxels[at, slice_] = self._tally(index)
            self.mean_hu_sums[at, slice_] = self._tally(index, flat_hu)

    def profiles(self, at: int) -> SampleProfiles:
        """Of the first members, as many as the count at this place says."""
        members, bins = self.counts[at], self.voxels.shape[3]
        return SampleProfiles(
            self.voxels[:members],
            self.hu_sums[:members],
            self.mean_voxels[at],
            self.mean_hu_sums[at],
            self.agreeing_pairs[at],
            np.arange(0.0, bins + 1) * BIN_COLUMNS - 0.5,
            1.0,
        )

    def _index(self, labels: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Place of each pixel, flat, in a table of label and bin."""
        bin_of = np.arange(self.columns) // BIN_COLUMNS
        return np.asarray(labels.astype(np.intp) * self.voxels.shape[3] + bin_of).ravel()

    def _tally(
        self, index: NDArray[np.intp], weights: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Pixels `[label, bin]`, or the sum of a value of them."""
        shape = self.voxels.shape[2:]
        sums = np.bincount(index, weights, minlength=shape[0] * shape[1])
        found: NDArray[Any] = sums.reshape(shape)
        return found
