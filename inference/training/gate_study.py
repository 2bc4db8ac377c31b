r"""Which score tells bad segmentations best: a study on bodies that no gate was fitted on.

    python -m inference.training.gate_study BUNDLE --recipe RECIPE.toml --data FOLDER \
        --scores FOLDER [--bodies 16] [--still 6] [--every 20] [--write VERSION]

Scores held-out synthetic bodies of two seeds, and label maps that are not deformed, each as
it is and spoiled in two ways, once: a body whose scores lie in `--scores` is not scored
again. Then, in seconds, fits every gate on one part and tries it on the other, and prints a
table: other draws of the same label maps, and bodies of the one label map when the limits
were fitted without it. Intervals are by resampling bodies, since the structures and the
spoiled copies of one body are not independent. `--write` fits the bundle's own gate on the
first seed, and writes it and the card's figures into the bundle.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.metrics import aurc, auroc
from inference.models.bundle import Bundle, load_bundle
from inference.quality.calibration import Calibration
from inference.results import Score
from inference.structures import STRUCTURES
from inference.training.calibrate import (
    CASES_PER_BODY,
    as_image,
    by_bundle,
    fit,
    graded_one,
    provided_labels,
    row_means,
    stacked_scores,
    thinned,
)
from inference.training.recipe import read_recipe
from inference.training.scoring import Scored, score_image
from inference.training.synthesis.stream import Sources, make_body

if TYPE_CHECKING:
    from inference.training.synthesis.body import Body

Values = NDArray[np.float64]

FIT, TRIED, STILL = "fit", "tried", "still"
SEEDS: Final = {FIT: 990001, TRIED: 990002, STILL: 990005}
"""Of bodies that no training has drawn; the first two are the model card's."""

RESAMPLINGS: Final = 1000
INTERVAL: Final = (2.5, 97.5)
"""Percentiles of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class StudyCase:
    """One scored case: of which part, of which body, and that body's label map."""

    part: str
    body: str
    source: str
    scored: Scored


def score_bodies(  # noqa: PLR0913 - what scores depend on
    bundle: Bundle,
    sources: Sources,
    folder: Path,
    *,
    bodies: int,
    still: int,
    every: int,
    device: str = "cpu",
) -> list[StudyCase]:
    """Score what is not scored yet, body by body, and read all scores."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [(part, n) for n in range(bodies) for part in (FIT, TRIED)]
    numbers += [(STILL, n) for n in range(still)]
    waiting = [one for one in numbers if not _path(folder, *one, CASES_PER_BODY - 1).exists()]
    if waiting:
        segment, labels = by_bundle(bundle, device), provided_labels(bundle)
        for part, number in waiting:
            image = thinned(as_image(_body(sources, part, number)), every)
            for k, one in enumerate(graded_one(image, number)):
                scored = score_image(one, segment, CASES_PER_BODY * number + k, labels)
                write_scored(_path(folder, part, number, k), scored, image.name)
    return [case for one in numbers for case in _read_body(folder, *one)]


def _body(sources: Sources, part: str, number: int) -> Body:
    if part != STILL:
        return make_body(sources, SEEDS[part], number)
    # Writes images for others, and so needs a library that scoring does not.
    from inference.training.model_card.held_out_bodies import still_body  # noqa: PLC0415

    maps = sources.label_maps
    return still_body(maps[number % len(maps)], SEEDS[STILL], number, grid=sources.grid)


def _path(folder: Path, part: str, number: int, which: int) -> Path:
    return folder / f"{part}{number:02d}_{which}.npz"


def write_scored(path: Path, scored: Scored, source: str) -> None:
    """The scores of one case as a file; whole or not there."""
    scores: dict[str, Any] = {
        f"score_{score.value}": values for score, values in scored.scores.items()
    }
    part = path.with_name(f".part-{path.name}")
    facts: dict[str, Any] = {
        "dice": scored.dice,
        "source": source,
        "name": scored.name,
        "corrupted": scored.corrupted,
    }
    np.savez(part, **facts, **scores)
    part.replace(path)


def _read_body(folder: Path, part: str, number: int) -> Iterator[StudyCase]:
    for which in range(CASES_PER_BODY):
        with np.load(_path(folder, part, number, which)) as arrays:
            scores = {
                score: arrays[f"score_{score.value}"]
                for score in Score
                if f"score_{score.value}" in arrays
            }
            scored = Scored(
                str(arrays["name"]), bool(arrays["corrupted"]), arrays["dice"], scores
            )
            yield StudyCase(part, f"{part}{number:02d}", str(arrays["source"]), scored)


Gate = Callable[[dict[Score, Values]], Values]
"""One number of each structure of each case, (cases, 22), from the scores relative to their
limits for failed: the higher, the worse."""


def _with_others(relative: dict[Score, Values]) -> Values:
    """Disagreement times the root of the median of the other structures' of the case."""
    own = relative[Score.DISAGREEMENT]
    others = np.full_like(own, np.nan)
    for k in range(own.shape[1]):
        rest = np.delete(own, k, axis=1)
        some = np.isfinite(rest).any(axis=1)
        others[some, k] = np.nanmedian(rest[some], axis=1)
    return np.asarray(own * np.sqrt(others))


GATES: Final[dict[str, Gate]] = {
    "uncertainty (the study's)": lambda relative: relative[Score.UNCERTAINTY],
    "volume CV": lambda relative: relative[Score.VOLUME_CV],
    "disagreement": lambda relative: relative[Score.DISAGREEMENT],
    "worst of disagreement and uncertainty": lambda relative: np.fmax(
        relative[Score.DISAGREEMENT], relative[Score.UNCERTAINTY]
    ),
    "worst of disagreement and volume CV": lambda relative: np.fmax(
        relative[Score.DISAGREEMENT], relative[Score.VOLUME_CV]
    ),
    "disagreement with that of the other structures": _with_others,
}


@dataclass(frozen=True, slots=True)
class Split:
    """On what gates are fitted, and on what they are tried."""

    name: str
    fitted: tuple[StudyCase, ...]
    tried: tuple[StudyCase, ...]


def splits(cases: Sequence[StudyCase]) -> tuple[Split, ...]:
    """Other draws, both ways; and each label map's bodies, fitted on all others."""

    def those(wanted: Callable[[StudyCase], bool]) -> tuple[StudyCase, ...]:
        return tuple(case for case in cases if wanted(case))

    fit_on, tried = those(lambda c: c.part == FIT), those(lambda c: c.part == TRIED)
    drawn = fit_on, tried
    made = [Split("other draws", *drawn), Split("other draws, the other way", *drawn[::-1])]
    for source in sorted({case.source for case in cases}):
        without = those(lambda c, s=source: c.source != s)  # type: ignore[misc]
        made.append(Split(f"{source}, fitted without it", without, those(_of(source))))
    still = those(lambda c: c.part == STILL)
    if still:
        made.append(Split("label maps as they are", fit_on, still))
    return tuple(made)


def _of(source: str) -> Callable[[StudyCase], bool]:
    return lambda case: case.source == source


@dataclass(frozen=True, slots=True)
class Found:
    """How one gate does on one split.

    interval: 95 %, of the AUROC, over resampled bodies; None where none could be had.
    average: AUROC of the cases' averages against failed averages.
    """

    split: str
    gate: str
    cases: int
    structures: int
    failed: int
    auroc: float | None
    interval: tuple[float, float] | None
    aurc: float | None
    average: float | None


def study(cases: Sequence[StudyCase], seed: int = 1) -> Iterator[Found]:
    """Every gate on every split."""
    for split in splits(cases):
        calibration = fit([case.scored for case in split.fitted], "", dt.date(2000, 1, 1))
        tried = [case.scored for case in split.tried]
        dice, relative = np.stack([one.dice for one in tried]), _relative(calibration, tried)
        limits = np.array([_failed_below(calibration, s.abbreviation) for s in STRUCTURES])
        # The same structures for every gate: those that have a disagreement's limit.
        judged = np.isfinite(dice) & np.isfinite(limits)
        body = np.array([case.body for case in split.tried])
        average = calibration.average
        below = average.dice_limits[1] if average else np.nan
        for name, gate in GATES.items():
            signal = np.where(np.isfinite(gate(relative)), gate(relative), np.inf)
            rows = _Rows.of(signal, dice, limits, judged, body, below)
            yield _found(split.name, name, rows, seed)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Structures of cases in one row, and the averages of the cases."""

    signal: Values
    dice: Values
    failed: NDArray[np.bool_]
    body: NDArray[np.str_]
    case_signal: Values
    case_failed: NDArray[np.bool_]

    @classmethod
    def of(  # noqa: PLR0913, PLR0917 - a row's parts
        cls,
        signal: Values,
        dice: Values,
        limits: Values,
        judged: NDArray[np.bool_],
        body: NDArray[np.str_],
        average_limit: float,
    ) -> _Rows:
        failed = dice < limits
        average = row_means(dice)
        bodies = np.broadcast_to(body[:, np.newaxis], dice.shape)
        found = np.where(judged & np.isfinite(signal), signal, np.nan)
        return cls(
            signal[judged],
            dice[judged],
            failed[judged],
            bodies[judged],
            np.nan_to_num(row_means(found), nan=np.inf),
            average < average_limit,
        )


def _found(split: str, gate: str, rows: _Rows, seed: int) -> Found:
    return Found(
        split,
        gate,
        len(rows.case_signal),
        len(rows.failed),
        int(rows.failed.sum()),
        auroc(rows.signal, rows.failed),
        _interval(rows, seed),
        aurc(rows.signal, 1 - rows.dice),
        auroc(rows.case_signal, rows.case_failed),
    )


def _interval(rows: _Rows, seed: int) -> tuple[float, float] | None:
    """Percentiles of the AUROC over bodies drawn with replacement."""
    rng = np.random.default_rng(seed)
    names = np.unique(rows.body)
    places = [np.flatnonzero(rows.body == name) for name in names]
    found = []
    for _ in range(RESAMPLINGS):
        drawn = np.concatenate([places[k] for k in rng.integers(len(names), size=len(names))])
        area = auroc(rows.signal[drawn], rows.failed[drawn])
        if area is not None:
            found.append(area)
    if not found:
        return None
    low, high = (float(v) for v in np.percentile(found, INTERVAL))
    return low, high


def _relative(calibration: Calibration, cases: Sequence[Scored]) -> dict[Score, Values]:
    """(cases, 22) of each score over its limit for failed; nan where there is none."""
    scores = stacked_scores(cases)
    relative = {}
    for score in Score:
        limits = np.full(len(STRUCTURES), np.nan)
        for k, structure in enumerate(STRUCTURES):
            fitted = calibration.structures.get(structure.abbreviation)
            if fitted is not None and score in fitted.scores:
                limits[k] = fitted.scores[score].limits[1]
        none = np.full((len(cases), len(STRUCTURES)), np.nan)
        relative[score] = scores.get(score, none) / limits
    return relative


def _failed_below(calibration: Calibration, abbreviation: str) -> float:
    fitted = calibration.structures.get(abbreviation)
    if fitted is None or Score.DISAGREEMENT not in fitted.scores:
        return np.nan
    return fitted.dice_limits[1]


HEADINGS: Final = (
    "tried on", "gate", "cases", "structures failed", "AUROC", "95 %", "AURC", "AUROC, cases",
)  # fmt: skip


def table(found: Sequence[Found]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * 2}{' ---: |' * (len(HEADINGS) - 2)}"]
    for one in found:
        interval = f"{one.interval[0]:.3f} to {one.interval[1]:.3f}" if one.interval else "-"
        numbers = ["-" if v is None else f"{v:.3f}" for v in (one.auroc, one.aurc, one.average)]
        cells = (
            one.split, one.gate, str(one.cases), f"{one.failed} of {one.structures}",
            numbers[0], interval, *numbers[1:],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, compare, print; write limits where asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m inference.training.gate_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle")
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path(), help="of the label maps")
    parser.add_argument("--scores", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--bodies", type=int, default=16, help="of each seed")
    parser.add_argument("--still", type=int, default=6, help="label maps as they are")
    parser.add_argument("--every", type=int, default=20, help="only each n-th slice")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", metavar="VERSION", help="of the bundle from now on")
    asked = parser.parse_args(arguments)
    bundle = load_bundle(asked.bundle)
    sources = Sources.of(read_recipe(asked.recipe), asked.data)
    cases = score_bodies(
        bundle,
        sources,
        asked.scores,
        bodies=asked.bodies,
        still=asked.still,
        every=asked.every,
        device=asked.device,
    )
    print(table(list(study(cases))))  # noqa: T201 - the table is the output
    if asked.write:
        _write(bundle, cases, asked.write, asked.every)


def _write(bundle: Bundle, cases: Sequence[StudyCase], version: str, every: int) -> None:
    # The card draws pictures and reads images, which a study by itself does not.
    from inference.training.model_card import card  # noqa: PLC0415

    fitted, tried = (
        [case.scored for case in cases if case.part == part] for part in (FIT, TRIED)
    )
    found = card.Evaluation(
        clean=tuple(case for case in fitted if not case.corrupted),
        spoiled=tuple(case for case in fitted if case.corrupted),
        phantoms=card.score_phantoms(bundle),
    )
    card.calibrated(bundle, found, tried, version=version, every=every)


if __name__ == "__main__":
    main()
