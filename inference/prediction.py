"""Prediction of a network for a volume, and the measurements of its Monte Carlo samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SampleProfiles:
    """Measurements that every Monte Carlo sample gives by itself, without its label map.

    Enough to give each segment's volume and mean HU a range over the samples: sides can be
    split afterwards, by bins of columns. The labels of the samples' mean are measured beside
    them, in the same pixels: on other pixels a structure has another volume, and at its edge
    other HU, and what the samples differ by would drown in that.

    voxels: int32 `[sample, slice, label, bin]`, network pixels of a label (0 is background).
    hu_sums: float32, same shape, sum of the HU of those pixels.
    mean_voxels, mean_hu_sums: `[slice, label, bin]`, the same of the labels of the mean.
    agreeing_pairs: int64 `[slice, label, bin]`, in how many pairs of samples both gave a
        pixel this label, summed over the pixels: n (n - 1) / 2 where n of them did. With
        `voxels` it makes the Dice between the samples.
    bin_edges: (bins + 1,) outer edges of the bins on the source's column axis, where column
        c reaches from c - 1/2 to c + 1/2. They may lie beyond the image.
    source_pixels: how many source pixels one network pixel stands for: voxels times this,
        times a slice's voxel volume, is a volume.
    """

    voxels: NDArray[np.int32]
    hu_sums: NDArray[np.float32]
    mean_voxels: NDArray[np.int32]
    mean_hu_sums: NDArray[np.float32]
    agreeing_pairs: NDArray[np.int64]
    bin_edges: NDArray[np.float64]
    source_pixels: float

    def __post_init__(self) -> None:
        """Check the shapes, and lock the arrays."""
        if self.voxels.shape != self.hu_sums.shape or self.voxels.ndim != 4:
            raise ValueError(f"voxels {self.voxels.shape}, hu_sums {self.hu_sums.shape}")
        of_all = self.mean_voxels.shape, self.mean_hu_sums.shape, self.agreeing_pairs.shape
        if of_all != (self.voxels.shape[1:],) * 3:
            raise ValueError(f"voxels {self.voxels.shape}, of all samples together {of_all}")
        if self.bin_edges.shape != (self.voxels.shape[3] + 1,):
            raise ValueError(f"bin_edges is {self.bin_edges.shape}")
        for array in (
            self.voxels,
            self.hu_sums,
            self.mean_voxels,
            self.mean_hu_sums,
            self.agreeing_pairs,
            self.bin_edges,
        ):
            array.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Labels and uncertainty from the network, on the volume's own grid.

    labels: uint8 `[slice, row, column]`, 0 to 22.
    uncertainty: float32 `[slice, row, column]`; 0 outside the frame the network saw. None
        of a model that has none.
    profiles: of the samples; None where a model has no samples.
    device: what computed it and in which numbers: `cpu bfloat16`.
    """

    labels: NDArray[np.uint8]
    uncertainty: NDArray[np.float32] | None
    profiles: SampleProfiles | None
    device: str

    def __post_init__(self) -> None:
        """Lock the arrays."""
        self.labels.flags.writeable = False
        if self.uncertainty is not None:
            self.uncertainty.flags.writeable = False

    def with_empty_around(self, below: int, above: int) -> Prediction:
        """The same with slices around it in which nothing was sought, and nothing found."""
        if not below and not above:
            return self
        around = ((below, above), (0, 0), (0, 0))
        profiles, uncertainty = self.profiles, self.uncertainty
        if profiles is not None:
            profiles = replace(
                profiles,
                voxels=np.pad(profiles.voxels, ((0, 0), *around)),
                hu_sums=np.pad(profiles.hu_sums, ((0, 0), *around)),
                mean_voxels=np.pad(profiles.mean_voxels, around),
                mean_hu_sums=np.pad(profiles.mean_hu_sums, around),
                agreeing_pairs=np.pad(profiles.agreeing_pairs, around),
            )
        return replace(
            self,
            labels=np.pad(self.labels, around),
            uncertainty=None if uncertainty is None else np.pad(uncertainty, around),
            profiles=profiles,
        )
