"""The quality gate's thresholds, fitted on labelled cases as the study fitted them.

Cases are segmented with the bundle's own Monte Carlo samples; some are corrupted on purpose
and by degrees, so that segmentations fail. Per structure: the Dice limits are those of the
study, median + 1.4826 k MAD over the uncorrupted cases; the regression line of Dice on
uncertainty, over all cases, turns them into limits of the uncertainty (Soufi et al. 2025,
Methods, "failure detection").
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.calibration import (
    Calibration,
    PlausibleRange,
    StructureCalibration,
    dice_limits,
)
from inference.evaluation.metrics import auroc, dice_of_counts
from inference.geometry import Geometry
from inference.sampling import predict
from inference.structures import LABEL_COUNT, STRUCTURES, Group
from inference.training.dataset import Sources, make_body
from inference.training.synthesis import Body
from inference.training.synthesis_fields import Draw, blur
from inference.training.synthesis_scanner import with_metal, with_noise
from inference.volume import Volume

WEAK_AUROC: Final = 0.7
"""Below this the uncertainty of a structure hardly tells good from bad (the study: OE, OI)."""

FEWEST_VOXELS: Final = 200
"""Truth smaller than this in a case is no case of that structure."""

FOUND_SHARE: Final = 0.1
"""Where less than this is found, the plausible range of the volume catches it: what little is
left says nothing of the uncertainty of what is missing."""

MINIMUM_MAD: Final = 0.005
"""Synthetic cases resemble each other more than patients do: a spread of Dice below half a
percent would call every patient inaccurate."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One segmented case: (22,) Dice and mean uncertainty, nan where there is nothing."""

    name: str
    corrupted: bool
    dice: NDArray[np.float64]
    uncertainty: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to spoil a scan, by a degree that `apply` knows how to read."""

    name: str
    apply: Callable[[torch.Tensor, torch.Tensor, Draw], torch.Tensor]


CORRUPTIONS: Final = (
    Corruption("noise 30 HU", lambda hu, _, draw: with_noise(hu, draw, 30.0)),
    Corruption("noise 60 HU", lambda hu, _, draw: with_noise(hu, draw, 60.0)),
    Corruption("noise 100 HU", lambda hu, _, draw: with_noise(hu, draw, 100.0)),
    Corruption("blur 4 mm", lambda hu, _, __: blur(hu, (2.0, 2.0))),
    Corruption("blur 6 mm", lambda hu, _, __: blur(hu, (3.0, 3.0))),
    Corruption("calibration off by 50 HU", lambda hu, _, __: hu + 50.0),
    Corruption("contrast of 70 %", lambda hu, _, __: hu * 0.7),
    Corruption("metal", with_metal),
)


def synthetic_cases(
    bundle: Bundle, sources: Sources, *, seed: int, bodies: int, every: int
) -> Iterator[Scored]:
    """Score held-out synthetic bodies: each as it is, then spoiled in two ways.

    Args:
        bundle: what to calibrate.
        sources: label maps and phantoms to draw bodies from.
        seed: not the one of the training, so that no body was seen before.
        bodies: how many to draw.
        every: only each n-th slice is segmented.
    """
    for number in range(bodies):
        body = thinned(make_body(sources, seed, number), every)
        usual = Corruption("", lambda hu, _, draw: with_noise(hu, draw, 12.0))
        yield score(bundle, corrupt(body, usual, number), seed=number)
        for k in range(2):
            corruption = CORRUPTIONS[(2 * number + k) % len(CORRUPTIONS)]
            spoiled = corrupt(body, corruption, number)
            yield score(bundle, spoiled, seed=number, corrupted=corruption.name)


def thinned(body: Body, every: int) -> Body:
    """Each n-th slice of a body, standing for as much of it as before."""
    spacing_mm = (body.spacing_mm[0] * every, *body.spacing_mm[1:])
    return Body(body.hu[::every], body.labels[::every], spacing_mm, body.source)


def score(bundle: Bundle, body: Body, *, seed: int, corrupted: str = "") -> Scored:
    """Segment a body with the bundle's samples and compare.

    Dice and uncertainty are of the whole structure, both sides together.
    """
    truth = body.labels
    geometry = Geometry.regular(body.hu.shape, body.spacing_mm)
    volume = Volume(np.ascontiguousarray(body.hu), geometry)
    found = predict(volume, bundle, samples=bundle.samples, seed=seed, device="cpu")
    dice, uncertainty = np.full(LABEL_COUNT - 1, np.nan), np.full(LABEL_COUNT - 1, np.nan)
    size_found = np.bincount(found.labels.ravel(), minlength=LABEL_COUNT)
    size_true = np.bincount(truth.ravel(), minlength=LABEL_COUNT)
    both = np.bincount(truth[truth == found.labels].ravel(), minlength=LABEL_COUNT)
    wavering = np.bincount(
        found.labels.ravel(), weights=found.uncertainty.ravel(), minlength=LABEL_COUNT
    )
    for k in range(1, LABEL_COUNT):
        if size_true[k] >= FEWEST_VOXELS:
            dice[k - 1] = dice_of_counts(both[k], size_true[k], size_found[k])
            if size_found[k] >= FOUND_SHARE * size_true[k]:
                uncertainty[k - 1] = wavering[k] / size_found[k]
    name = f"{body.source}{', ' if corrupted else ''}{corrupted}"
    return Scored(name, bool(corrupted), dice, uncertainty)


def corrupt(body: Body, corruption: Corruption, seed: int) -> Body:
    """The same body, spoiled slice by slice."""
    draw = Draw(seed)
    slices = [
        corruption.apply(
            torch.from_numpy(hu.astype(np.float32)), torch.from_numpy(labels), draw
        )
        for hu, labels in zip(body.hu, body.labels, strict=True)
    ]
    spoiled = torch.stack(slices).round().clamp(-1024, 3071).to(torch.int16).numpy()
    return Body(spoiled, body.labels, body.spacing_mm, body.source)


def fit(cases: Sequence[Scored], data_set: str, today: dt.date) -> Calibration:
    """Thresholds from scored cases.

    A structure whose uncertainty does not rise as Dice falls gets no thresholds; one whose
    AUROC is below `WEAK_AUROC` is marked weak.
    """
    clean = np.array([not case.corrupted for case in cases])
    dice = np.stack([case.dice for case in cases])
    uncertainty = np.stack([case.uncertainty for case in cases])
    structures = {}
    for k, structure in enumerate(STRUCTURES):
        fitted = fit_line(dice[:, k], uncertainty[:, k], clean)
        if fitted is not None:
            structures[structure.abbreviation] = fitted
    return Calibration(
        data_set=data_set,
        script="inference.training.calibrate",
        fitted_on=today,
        expected_cases=len(cases),
        average=fit_line(_row_means(dice), _row_means(uncertainty), clean),
        structures=structures,
        plausible=plausible_ranges(),
    )


def fit_line(
    dice: NDArray[np.float64], uncertainty: NDArray[np.float64], clean: NDArray[np.bool_]
) -> StructureCalibration | None:
    """One structure's thresholds; None where the line does not fall or cases are too few.

    Args:
        dice: (cases,), nan where a case says nothing.
        uncertainty: (cases,), likewise.
        clean: (cases,) which cases were not corrupted.
    """
    known = np.isfinite(dice) & np.isfinite(uncertainty)
    if known.sum() < 5 or (known & clean).sum() < 3:
        return None
    good = dice[known & clean]
    median = float(np.median(good))
    mad = max(float(np.median(np.abs(good - median))), MINIMUM_MAD)
    b, a = (float(v) for v in np.polyfit(uncertainty[known], dice[known], 1))
    if b >= 0:
        return None
    inaccurate, failed = (
        auroc(uncertainty[known], dice[known] < limit) for limit in dice_limits(median, mad)
    )
    return StructureCalibration.from_line(
        dice_median=median,
        dice_mad=mad,
        a=a,
        b=b,
        auroc_inaccurate=inaccurate,
        auroc_failed=failed,
        weak=min(v for v in (inaccurate, failed, 1.0) if v is not None) < WEAK_AUROC,
    )


REFERENCE_VOLUME_CM3_PER_M2: Final = {
    "GMAX": 255.38, "GMED": 104.32, "GMIN": 22.52, "ILI": 37.95, "OE": 13.37, "OI": 14.72,
    "PE": 11.47, "PI": 9.16, "PSOAS": 21.96, "AD": 210.85, "BF": 76.28, "GRAC": 20.44,
    "RF": 54.33, "SART": 39.28, "SM": 54.53, "ST": 44.03, "TFL": 19.89, "VLVI": 253.34,
    "VM": 113.61, "PELVIS": 121.49, "FEMUR": 169.65, "SACRUM": 94.22,
}  # fmt: skip
"""Means of the study's Table 7, unaffected side."""

SHORT_M, TALL_M = 1.35, 2.0
WASTED_SHARE, STRONG_SHARE = 0.25, 2.2
"""How far below and above the mean a patient's structure may believably lie."""

MUSCLE_HU: Final = (-40.0, 90.0)
BONE_HU: Final = (40.0, 900.0)


def plausible_ranges() -> dict[str, PlausibleRange]:
    """Wide ranges around the study's means: outside them something else was segmented."""
    ranges = {}
    for structure in STRUCTURES:
        mean = REFERENCE_VOLUME_CM3_PER_M2[structure.abbreviation]
        volume = (mean * SHORT_M**2 * WASTED_SHARE, mean * TALL_M**2 * STRONG_SHARE)
        hu = BONE_HU if structure.group is Group.BONE else MUSCLE_HU
        ranges[structure.abbreviation] = PlausibleRange(volume_cm3=volume, mean_hu=hu)
    return ranges


def dice_table(cases: Iterable[Scored]) -> list[tuple[str, float, float, int]]:
    """(abbreviation, median Dice, lowest Dice, cases) of each structure."""
    dice = np.stack([case.dice for case in cases])
    rows = []
    for k, structure in enumerate(STRUCTURES):
        known = dice[np.isfinite(dice[:, k]), k]
        if len(known):
            row = (structure.abbreviation, float(np.median(known)), float(known.min()))
            rows.append((*row, len(known)))
    return rows


def _row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cases,) mean over the structures that a case shows; nan where it shows none."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    counts = known.sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(total, counts, out=means, where=counts > 0)
    return means
