"""The quality gate's thresholds, fitted on labelled cases as the study fitted them.

Cases are segmented with the bundle's own Monte Carlo samples; some are corrupted on purpose
and by degrees, so that segmentations fail. Per structure: the Dice limits are those of the
study, median + 1.4826 k MAD over the uncorrupted cases; the regression line of Dice on a
score, over all cases, turns them into limits of the score (Soufi et al. 2025, Methods,
"failure detection", where the score is the uncertainty). Every score that a model has gets
its limits; verdicts rest on one of them (`GATES`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from inference.evaluation.metrics import auroc
from inference.evaluation.study import TABLE_7
from inference.quality.calibration import (
    Calibration,
    PlausibleRange,
    ScoreLimits,
    StructureCalibration,
    dice_limits,
)
from inference.results import Score
from inference.structures import SEGMENTS, STRUCTURES, Group
from inference.training.scoring import (
    LabelledImage,
    Scored,
    Segment,
    score_images,
    segment_with,
)
from inference.training.synthesis.fields import Draw, blur
from inference.training.synthesis.scanner import with_metal, with_noise

if TYPE_CHECKING:
    from inference.models.bundle import Bundle
    from inference.training.synthesis.body import Body
    from inference.training.synthesis.stream import Sources

GATES: Final = (Score.DISAGREEMENT, Score.UNCERTAINTY, Score.VOLUME_CV)
"""Verdicts rest on the first of these that has limits; docs/calibration.md says why."""

WEAK_AUROC: Final = 0.7
"""Below this a score of a structure hardly tells good from bad (the study: OE, OI)."""

FEWEST_CASES, FEWEST_CLEAN = 5, 3
"""Fewer cases, or fewer that were not corrupted, give no line."""

MINIMUM_MAD: Final = 0.005
"""Synthetic cases resemble each other more than patients do: a spread of Dice below half a
percent would call every patient inaccurate."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to spoil a scan: new HU from HU `[slice, row, column]` and labels."""

    name: str
    apply: Callable[[torch.Tensor, torch.Tensor, Draw], torch.Tensor]


USUAL: Final = Corruption("", lambda hu, _, draw: with_noise(hu, draw, 12.0))
"""What every scanner does; such an image counts as not corrupted."""

CORRUPTIONS: Final = (
    Corruption("noise 30 HU", lambda hu, _, draw: with_noise(hu, draw, 30.0)),
    Corruption("noise 60 HU", lambda hu, _, draw: with_noise(hu, draw, 60.0)),
    Corruption("noise 100 HU", lambda hu, _, draw: with_noise(hu, draw, 100.0)),
    Corruption("blur 4 mm", lambda hu, _, __: blur(hu, (0.0, 2.0, 2.0))),
    Corruption("blur 6 mm", lambda hu, _, __: blur(hu, (0.0, 3.0, 3.0))),
    Corruption("calibration off by 50 HU", lambda hu, _, __: hu + 50.0),
    Corruption("contrast of 70 %", lambda hu, _, __: hu * 0.7),
    Corruption("metal", with_metal),
)


def synthetic_cases(  # noqa: PLR0913 - what a run of scoring depends on
    bundle: Bundle,
    sources: Sources,
    *,
    seed: int,
    bodies: int,
    every: int,
    device: str = "cpu",
) -> Iterator[Scored]:
    """Score held-out synthetic bodies: each as it is, then spoiled in two ways.

    Args:
        bundle: what to calibrate.
        sources: label maps and phantoms to draw bodies from.
        seed: not the one of the training, so that no body was seen before.
        bodies: how many to draw.
        every: only each n-th slice is segmented.
        device: of the network; see `Model.load`.
    """
    # Drawing bodies needs readers of recipes and of label maps; fitting does not.
    from inference.training.synthesis.stream import make_body  # noqa: PLC0415

    drawn = (as_image(make_body(sources, seed, number)) for number in range(bodies))
    images = graded(thinned(image, every) for image in drawn)
    return score_images(images, by_bundle(bundle, device), provided_labels(bundle))


def by_bundle(bundle: Bundle, device: str = "cpu") -> Segment:
    """Segment as the bundle does, with its network prepared once."""
    return segment_with(bundle.model.load(device), bundle.sample_count())


def provided_labels(bundle: Bundle) -> tuple[int, ...]:
    """Labels of the structures that the bundle's model finds on every side."""
    missing = {s.structure.label for s in SEGMENTS if s not in bundle.model.segments}
    return tuple(one.label for one in STRUCTURES if one.label not in missing)


def as_image(body: Body) -> LabelledImage:
    """A synthetic body as a labelled image."""
    return LabelledImage(body.hu, body.labels, body.spacing_mm, body.source)


def thinned(image: LabelledImage, every: int) -> LabelledImage:
    """Each n-th slice of an image, standing for as much of it as before."""
    step_mm, *pixel_mm = image.spacing_mm
    return replace(
        image,
        hu=image.hu[::every],
        labels=image.labels[::every],
        spacing_mm=(step_mm * every, pixel_mm[0], pixel_mm[1]),
    )


SPOILINGS: Final = 2
CASES_PER_BODY: Final = 1 + SPOILINGS
"""Each body is scored as it is, and spoiled in so many ways."""


def graded(images: Iterable[LabelledImage]) -> Iterator[LabelledImage]:
    """Each image with a scanner's usual noise, then spoiled, by the corruptions in turn."""
    for number, image in enumerate(images):
        yield from graded_one(image, number)


def graded_one(image: LabelledImage, number: int) -> Iterator[LabelledImage]:
    """Image `number` with a scanner's usual noise, then spoiled; see `graded`."""
    yield corrupt(image, USUAL, number)
    for k in range(SPOILINGS):
        turn = (SPOILINGS * number + k) % len(CORRUPTIONS)
        yield corrupt(image, CORRUPTIONS[turn], number)


def score(bundle: Bundle, image: LabelledImage, *, device: str = "cpu") -> Scored:
    """Segment one image with the bundle's samples and compare."""
    return next(score_images([image], by_bundle(bundle, device), provided_labels(bundle)))


def corrupt(image: LabelledImage, corruption: Corruption, seed: int) -> LabelledImage:
    """The same image, spoiled."""
    hu = torch.from_numpy(image.hu.astype(np.float32))  # a copy: a volume may be read-only
    labels = torch.from_numpy(image.labels)
    spoiled = corruption.apply(hu, labels, Draw(seed)).round().clamp(-1024, 3071)
    return replace(image, hu=spoiled.to(torch.int16).numpy(), corrupted=corruption.name)


def fit(
    cases: Sequence[Scored],
    data_set: str,
    today: dt.date,
    script: str = "inference.training.calibrate",
) -> Calibration:
    """Thresholds from scored cases.

    A structure of which no score rises as Dice falls gets no thresholds; one of whose gate's
    score the AUROC is below `WEAK_AUROC` is marked weak.
    """
    if not cases:
        return Calibration(data_set, script, today, 0)
    clean = np.array([not case.corrupted for case in cases])
    dice = np.stack([case.dice for case in cases])
    scores = stacked_scores(cases)
    structures = {}
    for k, structure in enumerate(STRUCTURES):
        of_one = {score: values[:, k] for score, values in scores.items()}
        fitted = fit_lines(dice[:, k], of_one, clean)
        if fitted is not None:
            structures[structure.abbreviation] = fitted
    averages = {score: row_means(values) for score, values in scores.items()}
    return Calibration(
        data_set=data_set,
        script=script,
        fitted_on=today,
        expected_cases=len(cases),
        average=fit_lines(row_means(dice), averages, clean),
        structures=structures,
        plausible=plausible_ranges(),
    )


def stacked_scores(cases: Sequence[Scored]) -> dict[Score, NDArray[np.float64]]:
    """(cases, 22) of each score that any of the cases has."""
    none = np.full(len(STRUCTURES), np.nan)
    return {
        score: np.stack([case.scores.get(score, none) for case in cases])
        for score in Score
        if any(score in case.scores for case in cases)
    }


def fit_lines(
    dice: NDArray[np.float64],
    scores: Mapping[Score, NDArray[np.float64]],
    clean: NDArray[np.bool_],
) -> StructureCalibration | None:
    """One structure's thresholds; None where no line falls or cases are too few.

    Args:
        dice: (cases,), nan where a case says nothing.
        scores: (cases,) each, likewise.
        clean: (cases,) which cases were not corrupted.
    """
    known = np.isfinite(dice) & np.any([np.isfinite(one) for one in scores.values()], axis=0)
    if known.sum() < FEWEST_CASES or (known & clean).sum() < FEWEST_CLEAN:
        return None
    good = dice[known & clean]
    median = float(np.median(good))
    mad = max(float(np.median(np.abs(good - median))), MINIMUM_MAD)
    limits = dice_limits(median, mad)
    fitted = {score: _line(dice, values, limits) for score, values in scores.items()}
    lines = {score: line for score, line in fitted.items() if line is not None}
    gate = next((score for score in GATES if score in lines), None)
    return StructureCalibration(median, mad, limits, gate, lines) if gate else None


def _line(
    dice: NDArray[np.float64], score: NDArray[np.float64], limits: tuple[float, float]
) -> ScoreLimits | None:
    """The limits on one score; None where its line does not fall."""
    known = np.isfinite(dice) & np.isfinite(score)
    if known.sum() < FEWEST_CASES or not np.ptp(score[known]):
        return None
    b, a = (float(v) for v in np.polyfit(score[known], dice[known], 1))
    if b >= 0:
        return None
    inaccurate, failed = (auroc(score[known], dice[known] < limit) for limit in limits)
    return ScoreLimits.from_line(
        limits,
        a=a,
        b=b,
        auroc_inaccurate=inaccurate,
        auroc_failed=failed,
        weak=min(v for v in (inaccurate, failed, 1.0) if v is not None) < WEAK_AUROC,
    )


SHORT_M, TALL_M = 1.35, 2.0
WASTED_SHARE, STRONG_SHARE = 0.25, 2.2
"""How far below and above the mean a patient's structure may believably lie."""

PLAUSIBLE_MUSCLE_HU: Final = (-40.0, 90.0)
PLAUSIBLE_BONE_HU: Final = (40.0, 900.0)
"""Mean HU of a patient's structure, fatty or enhanced, lies within these."""


def plausible_ranges() -> dict[str, PlausibleRange]:
    """Wide ranges around the study's means: outside them something else was segmented."""
    ranges = {}
    for structure in STRUCTURES:
        mean, _ = TABLE_7[structure.abbreviation]
        volume = (mean * SHORT_M**2 * WASTED_SHARE, mean * TALL_M**2 * STRONG_SHARE)
        hu = PLAUSIBLE_BONE_HU if structure.group is Group.BONE else PLAUSIBLE_MUSCLE_HU
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


def row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cases,) mean over the structures that a case shows; nan where it shows none."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=1)
    counts = known.sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(total, counts, out=means, where=counts > 0)
    return means
