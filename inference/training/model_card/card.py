"""A model card's figures and pictures: scored, fitted, drawn and written by one command.

    python -m inference.training.model_card.card BUNDLE --recipe RECIPE.toml --data FOLDER \
        [--scan real_knee=FILE.nii.gz ...]

    python -m inference.training.model_card.card BUNDLE --cross REPORT --cross REPORT \
        --phantoms REPORT --real REPORT --registered CASES

The first scores held-out synthetic bodies (as they are and spoiled) and two phantoms, fits
the quality gate's limits to them, writes these into the bundle, puts the figures between the
marks in its model card, and draws the pictures. The second writes tables of accuracy from
reports of `msk-node evaluate` (`card_tables`), any of them. What the card says in words
remains a person's work.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray
from PIL import Image

from inference.anatomy.sides import split_sides
from inference.geometry import Geometry
from inference.hounsfield import BODY_ABOVE_HU
from inference.models.bundle import Bundle, load_bundle
from inference.models.bundle_files import MODEL_CARD_FILE
from inference.models.bundle_writing import write_calibration
from inference.models.model import predict
from inference.phantom.render import phantom
from inference.phantom.spec import DEFAULT_PHANTOM, STUDY_PHANTOM
from inference.pictures.panels import overlay_slice
from inference.quality.calibration import Calibration, StructureCalibration
from inference.structures import STRUCTURES
from inference.training.calibrate import (
    as_image,
    dice_table,
    fit,
    score,
    synthetic_cases,
)
from inference.training.detection import Detection, detection
from inference.training.model_card.tables import (
    CROSS,
    PHANTOMS,
    REAL,
    Section,
    cross_words,
    phantom_words,
    read_report,
    real_words,
)
from inference.training.recipe import read_recipe
from inference.training.scoring import Scored
from inference.training.synthesis.body import Body
from inference.training.synthesis.stream import Sources, labels_of
from inference.volume import Volume

FIGURES: Final = (
    "<!-- figures, by inference.training.model_card.card -->",
    "<!-- end of figures -->",
)
"""Marks in the card: what stands between them is replaced."""

SAMPLES_START: Final = "Monte Carlo samples:"

COLUMNS: Final = (
    "structure",
    "held-out, median",
    "held-out, worst",
    "spoiled, median",
    "phantoms, median",
    "AUROC inaccurate",
    "AUROC failed",
    "flag",
)

HELD_OUT_SEED: Final = 990001
TRIED_SEED: Final = 990002
"""Of bodies that neither the training nor the fit of the limits has seen."""
EVERY: Final = 10
"""Only each n-th slice (of 4 mm) of a body is scored."""

PICTURE_SLICES: Final = 6
PICTURE_COLUMNS: Final = 3
PICTURE_WIDTH: Final = 300
"""Slices in a picture, slices beside each other, and the width of each in pixels."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scored cases: held-out bodies, the same spoiled, and phantoms."""

    clean: tuple[Scored, ...]
    spoiled: tuple[Scored, ...]
    phantoms: tuple[Scored, ...]


def evaluate(bundle: Bundle, sources: Sources, bodies: int, device: str = "cpu") -> Evaluation:
    """Score a bundle on bodies that no training has drawn, and on two phantoms."""
    cases = list(
        synthetic_cases(
            bundle, sources, seed=HELD_OUT_SEED, bodies=bodies, every=EVERY, device=device
        )
    )
    return Evaluation(
        clean=tuple(case for case in cases if not case.corrupted),
        spoiled=tuple(case for case in cases if case.corrupted),
        phantoms=score_phantoms(bundle, device),
    )


def score_phantoms(bundle: Bundle, device: str = "cpu") -> tuple[Scored, ...]:
    """Score a bundle on two phantoms."""
    return tuple(score(bundle, as_image(body), device=device) for body in phantoms())


def phantoms() -> tuple[Body, Body]:
    """The demo's phantom and the study's slices, every fourth slice of each."""
    made = []
    for name, spec in (("demo", DEFAULT_PHANTOM), ("study", STUDY_PHANTOM)):
        drawn = phantom(spec)
        hu = np.asarray(drawn.volume.hu[::4]).astype(np.int16)
        spacing_mm = (drawn.volume.geometry.extents_mm[0], *drawn.volume.geometry.spacing_mm)
        made.append(Body(hu, labels_of(drawn.segments[::4]), spacing_mm, name))
    return made[0], made[1]


def figures(found: Evaluation, calibration: Calibration) -> str:
    """The table of Dice and AUROC of each structure, in Markdown, with its means."""
    clean, spoiled, phantom_rows = (
        {row[0]: row for row in dice_table(cases)}
        for cases in (found.clean, found.spoiled, found.phantoms)
    )
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for structure in STRUCTURES:
        name = structure.abbreviation
        numbers = [
            clean[name][1] if name in clean else None,
            clean[name][2] if name in clean else None,
            spoiled[name][1] if name in spoiled else None,
            phantom_rows[name][1] if name in phantom_rows else None,
        ]
        fitted = calibration.structures.get(name)
        judging = fitted.judging if fitted else None
        aurocs = [judging.auroc_inaccurate, judging.auroc_failed] if judging else [None, None]
        cells = [_number(v, 3) for v in numbers] + [_number(v, 2) for v in aurocs]
        lines.append(f"| {name} | {' | '.join(cells)} | {_flag(fitted)} |")
    means = ", ".join(
        f"{words} {np.nanmean([case.dice for case in cases]):.3f}"
        for words, cases in (
            ("held-out", found.clean),
            ("spoiled on purpose", found.spoiled),
            ("phantoms", found.phantoms),
        )
        if cases
    )
    return f"Mean over structures and cases: {means}.\n\n" + "\n".join(lines)


def gate_words(found: Evaluation, calibration: Calibration) -> str:
    """On what the gate was fitted, and how well its average score finds bad cases."""
    average = calibration.average
    words = f"{calibration.data_set}; fitted on {calibration.fitted_on}. "
    if average is None:
        return words + "No average score tells good cases from bad: no limit."
    judging = average.judging
    return words + (
        f"Verdicts rest on the {average.gate.value.replace('_', ' ')}. AUROC of its average "
        f"over {len(found.clean) + len(found.spoiled)} cases: "
        f"{_number(judging.auroc_inaccurate, 3)} (inaccurate), "
        f"{_number(judging.auroc_failed, 3)} (failed)."
    )


def tried_words(tried: Detection, which: str = f"seed {TRIED_SEED}") -> str:
    """Sentence on how the gate does on bodies that it was not fitted on."""
    failures, structures = tried.failures
    return (
        f"Tried on {tried.cases} segmentations of other bodies ({which}): AUROC of "
        f"the average {_number(tried.inaccurate, 3)} (inaccurate), "
        f"{_number(tried.failed, 3)} (failed); of all structures together, a missed one "
        f"counting as worst, {_number(tried.structure_failed, 3)}, where {failures} "
        f"of {structures} failed."
    )


def samples_words(samples: int, table: str) -> str:
    """Line with the number of samples, above the table that `evaluate --samples` wrote."""
    return f"{SAMPLES_START} {samples}, chosen by this table.\n\n{table.strip()}"


def kept_samples(card: str) -> list[str]:
    """What the card says of the number of samples, below its figures; or nothing."""
    _, _, rest = card.partition(FIGURES[0])
    figures, _, _ = rest.partition(FIGURES[1])
    _, found, told = figures.partition(SAMPLES_START)
    return [f"{found}{told}".strip()] if found else []


def with_figures(card: str, words: str) -> str:
    """The card with new words between its marks.

    Raises:
        ValueError: the card has not both marks, in order.
    """
    before, first, rest = card.partition(FIGURES[0])
    _, last, after = rest.partition(FIGURES[1])
    if not first or not last:
        raise ValueError(f"the card lacks {FIGURES[0]} or {FIGURES[1]}")
    return f"{before}{first}\n\n{words}\n\n{last}{after}"


def picture(volume: Volume, bundle: Bundle) -> NDArray[np.uint8]:
    """Slices from the lowest to the highest, as the bundle segments them, side by side."""
    numbers = np.linspace(0, len(volume.hu) - 1, PICTURE_SLICES).round().astype(int)
    thin = _slices(volume, numbers)
    found = predict(thin, bundle.model, samples=bundle.sample_count(), seed=0, device="cpu")
    segments = split_sides(found.labels, thin.geometry)
    drawn = [
        overlay_slice(thin, segments, k, width_px=PICTURE_WIDTH) for k in range(len(numbers))
    ]
    rows = [
        np.concatenate(drawn[k : k + PICTURE_COLUMNS], axis=1)
        for k in range(0, PICTURE_SLICES, PICTURE_COLUMNS)
    ]
    return np.concatenate(rows, axis=0)


def _slices(volume: Volume, numbers: NDArray[np.intp]) -> Volume:
    """Some slices of a volume, far apart, and no more of them than the body takes."""
    body = volume.hu[numbers] > BODY_ABOVE_HU
    rows, columns = (np.flatnonzero(body.any(axis=(0, other))) for other in (2, 1))
    around: NDArray[Any] = volume.hu[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    shown = np.ascontiguousarray(around[numbers])
    spacing_mm = (30.0, *volume.geometry.spacing_mm)
    return Volume(shown, Geometry.regular(shown.shape, spacing_mm))


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate, calibrate, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--bodies", type=int, default=10, help="0: pictures alone")
    parser.add_argument("--device", default="cpu", help="of the scoring; pictures are CPU's")
    parser.add_argument("--samples-table", type=Path, help="Table 9 of `msk-node evaluate`")
    parser.add_argument("--scan", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--cross", action="append", default=[], type=Path, metavar="REPORT")
    parser.add_argument("--phantoms", type=Path, metavar="REPORT")
    parser.add_argument("--real", type=Path, metavar="REPORT")
    parser.add_argument("--registered", type=Path, metavar="CASES", help="needed by --real")
    asked = parser.parse_args(arguments)
    if asked.real and not asked.registered:
        parser.error("--real needs --registered, the folder of the registered cases")
    sections = accuracy_sections(asked.cross, asked.phantoms, asked.real, asked.registered)
    bundle = load_bundle(asked.bundle)
    if sections:
        put_sections(bundle.folder / MODEL_CARD_FILE, sections)
    if not asked.recipe:
        if not sections:
            parser.error("nothing to do: give --recipe, or reports for the tables")
        return
    if asked.bodies:
        sources = Sources.of(read_recipe(asked.recipe), asked.data)
        found = evaluate(bundle, sources, asked.bodies, asked.device)
        others = synthetic_cases(
            bundle,
            sources,
            seed=TRIED_SEED,
            bodies=asked.bodies,
            every=EVERY,
            device=asked.device,
        )
        table = asked.samples_table.read_text(encoding="utf-8") if asked.samples_table else ""
        data_set = (
            f"{len(found.clean)} held-out synthetic bodies (seed {HELD_OUT_SEED}, "
            f"every {EVERY}th slice), each also spoiled in two ways"
        )
        limits = fit([*found.clean, *found.spoiled], data_set, dt.datetime.now(dt.UTC).date())
        tried = tried_words(detection(limits, list(others)))
        bundle = calibrated(bundle, found, data_set, tried, table)
    volumes = {"phantom": phantom(DEFAULT_PHANTOM).volume}
    for scan in asked.scan:
        name, _, file = scan.partition("=")
        volumes[name] = read_volume(Path(file))
    for name, volume in volumes.items():
        Image.fromarray(picture(volume, bundle)).save(bundle.folder / f"{name}.png")


def accuracy_sections(
    cross: Sequence[Path],
    phantoms: Path | None,
    real: Path | None,
    registered: Path | None,
) -> list[tuple[Section, str]]:
    """The card's sections for which there are reports, with their words."""
    sections = []
    if cross:
        sections.append((CROSS, cross_words([read_report(folder) for folder in cross])))
    if phantoms:
        sections.append((PHANTOMS, phantom_words(read_report(phantoms))))
    if real and registered:
        sections.append((REAL, real_words(read_report(real), registered)))
    return sections


def put_sections(card: Path, sections: Sequence[tuple[Section, str]]) -> None:
    """Write sections into a card; the rest of it stays as it is."""
    text = card.read_text(encoding="utf-8")
    for section, words in sections:
        text = section.put(text, words)
    part = card.with_name(f".part-{card.name}")
    part.write_text(text, encoding="utf-8")
    part.replace(card)


def calibrated(  # noqa: PLR0913 - what the card says
    bundle: Bundle,
    found: Evaluation,
    data_set: str,
    tried: str,
    samples_table: str = "",
    *,
    version: str = "",
) -> Bundle:
    """The bundle with limits fitted to an evaluation, and its figures in the card.

    Args:
        bundle: its folder is written.
        found: what the limits are fitted to.
        data_set: what that was, as text.
        tried: words on how limits do on other cases.
        samples_table: for the card, in Markdown; what it has stays without.
        version: of the bundle from now on; its own where empty.
    """
    calibration = fit([*found.clean, *found.spoiled], data_set, dt.datetime.now(dt.UTC).date())
    bundle = write_calibration(bundle, calibration, version or bundle.version)
    card = bundle.folder / MODEL_CARD_FILE
    parts = (
        figures(found, calibration),
        gate_words(found, calibration),
        tried,
        *([samples_words(bundle.samples, samples_table)] if samples_table else []),
    )
    text = card.read_text(encoding="utf-8")
    kept = [] if samples_table else kept_samples(text)
    words = "\n\n".join([*parts, *kept])
    card.write_text(with_figures(text, words), encoding="utf-8")
    return bundle


def read_volume(path: Path) -> Volume:
    """A CT from NIfTI or MetaImage, in the patient frame."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    column_mm, row_mm, step_mm = image.GetSpacing()
    hu = sitk.GetArrayFromImage(image).astype(np.int16)
    return Volume(hu, Geometry.regular(hu.shape, (step_mm, row_mm, column_mm)))


def _flag(fitted: StructureCalibration | None) -> str:
    """Worth of a flag on the structure: `none` without limits, `weak`, or empty."""
    if fitted is None:
        return "none"
    return "weak" if fitted.judging.weak else ""


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
