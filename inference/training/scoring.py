"""Labelled images, segmented and compared: what the quality gate is fitted on.

Only numpy, scipy and torch are needed, so that a machine that has just trained a network can
score it at once; images may come from anywhere, also from a generator on the same GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import dice_of_counts
from inference.geometry import Geometry
from inference.measurement.sample_range import whole_figures
from inference.models.bayesian_unet.model import UNetPredictor
from inference.models.bayesian_unet.network import BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.model import Predictor
from inference.prediction import Prediction
from inference.results import Score
from inference.structures import LABEL_COUNT
from inference.volume import Volume

FEWEST_VOXELS: Final = 200
"""Truth smaller than this in a case is no case of that structure."""

FOUND_SHARE: Final = 0.1
"""Where less than this is found, the plausible range of the volume catches it: what little is
left says nothing of the uncertainty of what is missing."""

Segment = Callable[[Volume, int], Prediction]
"""Segments a volume; the number is the seed."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image and its truth.

    hu: int16 `[slice, row, column]`.
    labels: uint8, same shape, 0 to 22.
    spacing_mm: of slices, rows and columns.
    corrupted: how it was spoiled, in words; empty where it was not.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    name: str = ""
    corrupted: str = ""

    def __post_init__(self) -> None:
        """Refuse an image and labels that do not lie on each other."""
        if self.hu.shape != self.labels.shape or self.hu.ndim != 3:
            raise ValueError(f"image {self.hu.shape} and labels {self.labels.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One segmented case against its truth; nan where there is nothing.

    dice: (22,).
    scores: (22,) each; those alone that the model has.
    """

    name: str
    corrupted: bool
    dice: NDArray[np.float64]
    scores: Mapping[Score, NDArray[np.float64]]


def monte_carlo(  # noqa: PLR0913 - what a bundle says, without the bundle
    network: BayesianUNet,
    window: Window,
    grid: PixelGrid,
    *,
    samples: int,
    device: str = "auto",
    precision: Precision | None = None,
) -> Segment:
    """Segment with a U-Net in memory, prepared once for its device."""
    predictor = UNetPredictor.of(
        network, window, grid, device=device, precision=precision or Precision()
    )
    return segment_with(predictor, samples)


def segment_with(predictor: Predictor, samples: int) -> Segment:
    """Segment with whatever is ready on a device."""

    def segment(volume: Volume, seed: int) -> Prediction:
        (found,) = predictor.predict(volume, counts=(samples,), seed=seed)
        return found

    return segment


def score_images(
    images: Iterable[LabelledImage],
    segment: Segment,
    labels: Collection[int] = range(1, LABEL_COUNT),
) -> Iterator[Scored]:
    """Segment and compare one image after the other; the seed is the image's place.

    `labels`: those that the model provides on both sides; of others nothing is said.
    """
    for seed, image in enumerate(images):
        yield score_image(image, segment, seed, labels)


def score_image(
    image: LabelledImage,
    segment: Segment,
    seed: int,
    labels: Collection[int] = range(1, LABEL_COUNT),
) -> Scored:
    """Segment and compare one image; `labels` as in `score_images`."""
    geometry = Geometry.regular(image.hu.shape, image.spacing_mm)
    found = segment(Volume(np.ascontiguousarray(image.hu), geometry), seed)
    return compare(image, found, geometry, labels)


def compare(
    image: LabelledImage,
    prediction: Prediction,
    geometry: Geometry,
    provided: Collection[int] = range(1, LABEL_COUNT),
) -> Scored:
    """Dice and scores of the whole structures, both sides together."""
    truth, labels = image.labels, prediction.labels
    found = np.bincount(labels.ravel(), minlength=LABEL_COUNT)
    true = np.bincount(truth.ravel(), minlength=LABEL_COUNT)
    both = np.bincount(truth[truth == labels].ravel(), minlength=LABEL_COUNT)
    enough = [
        k for k in provided if true[k] >= FEWEST_VOXELS and found[k] >= FOUND_SHARE * true[k]
    ]
    dice = np.full(LABEL_COUNT - 1, np.nan)
    for k in provided:
        if true[k] >= FEWEST_VOXELS:
            dice[k - 1] = dice_of_counts(both[k], true[k], found[k])
    name = ", ".join(part for part in (image.name, image.corrupted) if part)
    return Scored(name, bool(image.corrupted), dice, _scores(prediction, geometry, enough))


def _scores(
    prediction: Prediction, geometry: Geometry, wanted: Collection[int]
) -> dict[Score, NDArray[np.float64]]:
    """(22,) of each score that the prediction has, nan but for the wanted labels."""
    labels, uncertainty = prediction.labels, prediction.uncertainty
    kept = np.isin(np.arange(1, LABEL_COUNT), list(wanted))
    found: dict[Score, NDArray[np.float64]] = {}
    if uncertainty is not None:
        sums = np.bincount(labels.ravel(), uncertainty.ravel(), minlength=LABEL_COUNT)[1:]
        counts = np.bincount(labels.ravel(), minlength=LABEL_COUNT)[1:]
        found[Score.UNCERTAINTY] = np.where(kept, sums / np.maximum(counts, 1), np.nan)
    figures = whole_figures(prediction.profiles, labels, geometry)
    if figures:
        for score in (Score.DISAGREEMENT, Score.VOLUME_CV):
            found[score] = np.full(LABEL_COUNT - 1, np.nan)
        for k in set(figures) & set(wanted):
            found[Score.DISAGREEMENT][k - 1] = 1 - figures[k].pairwise_dice
            found[Score.VOLUME_CV][k - 1] = figures[k].volume_cv
    return found
