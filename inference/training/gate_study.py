r"""Which score tells bad segmentations best: a study on bodies that no gate was fitted on.

    python -m inference.training.gate_study BUNDLE --recipe RECIPE.toml --data FOLDER \
        --scores FOLDER [--bodies 16] [--still 6] [--every 20] [--write VERSION]

Scores held-out synthetic bodies of two seeds, and label maps that are not deformed, each as
it is and spoiled in two ways, once: a body whose scores lie in `--scores` is not scored
again. Then, in seconds, fits every gate on one part and tries it on the other, and prints a
table: other draws of the same label maps, and bodies of the one label map when the limits
were fitted without it. Intervals are by resampling bodies, since the structures and the
spoiled copies of one body are not independent. `--write` fits the bundle's own gate on the
bodies of both seeds, and writes it and the card's figures into the bundle.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from inference.models.bundle import Bundle, load_bundle
from inference.results import Score
from inference.training.calibrate import (
    CASES_PER_BODY,
    as_image,
    by_bundle,
    fit,
    graded_one,
    provided_labels,
    thinned,
)
from inference.training.detection import detection
from inference.training.gate_comparison import FIT, STILL, TRIED, StudyCase, study, table
from inference.training.recipe import read_recipe
from inference.training.scoring import Scored, score_image
from inference.training.synthesis.stream import Sources, make_body

if TYPE_CHECKING:
    from inference.training.synthesis.body import Body

SEEDS: Final = {FIT: 990001, TRIED: 990002, STILL: 990005}
"""Of bodies that no training has drawn; the first two are the model card's."""


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

    of_part = {
        part: [case.scored for case in cases if case.part == part] for part in (FIT, TRIED)
    }
    drawn = [*of_part[FIT], *of_part[TRIED]]
    found = card.Evaluation(
        clean=tuple(case for case in drawn if not case.corrupted),
        spoiled=tuple(case for case in drawn if case.corrupted),
        phantoms=card.score_phantoms(bundle),
    )
    tried = detection(fit(of_part[FIT], "", dt.date(2000, 1, 1)), of_part[TRIED])
    data_set = (
        f"{len(found.clean)} held-out synthetic bodies (seeds {SEEDS[FIT]} and {SEEDS[TRIED]}, "
        f"every {every}th slice), each also spoiled in two ways"
    )
    words = card.tried_words(tried, f"seed {SEEDS[TRIED]}, limits fitted on the other alone")
    card.calibrated(bundle, found, data_set, words, version=version)


if __name__ == "__main__":
    main()
