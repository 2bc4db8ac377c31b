"""`msk-node calibrate BUNDLE CASES`: the quality gate's limits from a user's labelled cases.

Each case is segmented as it is, with a scanner's usual noise, and spoiled on purpose, so that
segmentations fail. Every n-th case is kept out of the fit: on those the gate is tried.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

import numpy as np

from dicom_node.case_files.labelled_cases import ListedCase, listed_cases, read_case
from dicom_node.errors import ConfigurationError, SeriesError
from inference.errors import LabelTableError
from inference.measurement.sample_range import FEWEST_SAMPLES
from inference.models.bundle import Bundle
from inference.models.bundle_writing import write_calibration
from inference.results import Score, Uncertainty
from inference.structures import STRUCTURES
from inference.training.calibrate import (
    by_bundle,
    fit,
    graded,
    provided_labels,
    stacked_scores,
)
from inference.training.detection import Detection, detection
from inference.training.scoring import LabelledImage, Scored, score_images
from inference.training.synthesis.stream import labels_of

OnMessage = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A bundle with its new limits, and how the gate does on the cases kept out of the fit.

    held_out: None where no case was kept out.
    by_score: the same by each score that has limits.
    left_out: names of cases that could not be read, with the reason.
    without_limits: structures of the model that got none, so that no flag comes of a score.
    not_provided: structures that the model was not made to find.
    """

    bundle: Bundle
    held_out: Detection | None
    by_score: Mapping[Score, Detection]
    left_out: tuple[str, ...]
    without_limits: tuple[str, ...]
    not_provided: tuple[str, ...]


def calibrate(  # noqa: PLR0913 - the command's options
    bundle: Bundle,
    source: Path,
    data_set: str,
    *,
    version: str = "",
    table: Path | None = None,
    hold_out_every: int = 4,
    device: str = "auto",
    on_message: OnMessage = lambda _: None,
) -> Fitted:
    """Fit the limits and write them into the bundle.

    Args:
        bundle: its folder is written; the weights stay as they are.
        source: labelled cases, as `msk-node evaluate` takes them.
        data_set: what the cases are, as text.
        version: of the bundle from now on; its own where empty.
        table: label table, if not said there.
        hold_out_every: each n-th case is kept out of the fit; 0: none.
        device: for the network.
        on_message: told a line for every segmentation.

    Raises:
        ConfigurationError: the cases cannot be listed, or are too few for any limit, or the
            model has no score; then the bundle is left as it was.
    """
    _check_scores(bundle)
    cases = listed_cases(source, table)
    kept = [hold_out_every > 0 and n % hold_out_every == 0 for n in range(1, len(cases) + 1)]
    left_out: list[str] = []

    def scored(held: bool) -> list[Scored]:  # noqa: FBT001 - one of two halves
        chosen = [case for case, out in zip(cases, kept, strict=True) if out is held]
        images = graded(_images(chosen, left_out))
        scoring = score_images(images, by_bundle(bundle, device), provided_labels(bundle))
        return list(_telling(scoring, on_message))

    fitted_on = scored(held=False)
    calibration = fit(
        fitted_on,
        data_set,
        dt.datetime.now(dt.UTC).date(),
        script=f"msk-node {version_of('msk-node')} calibrate",
    )
    if not calibration.structures and calibration.average is None:
        words = f"{len(fitted_on)} segmentations of {source} give no limit"
        raise ConfigurationError(f"{words}: three readable cases and failures are needed")
    held_out = scored(held=True) if any(kept) else []
    done = write_calibration(bundle, calibration, version or bundle.version)
    provided = provided_labels(bundle)
    return Fitted(
        bundle=done,
        held_out=detection(calibration, held_out) if held_out else None,
        by_score={
            score: detection(calibration, held_out, score)
            for score in (stacked_scores(held_out) if held_out else ())
        },
        left_out=tuple(left_out),
        without_limits=tuple(
            one.abbreviation
            for one in STRUCTURES
            if one.label in provided and one.abbreviation not in calibration.structures
        ),
        not_provided=tuple(one.abbreviation for one in STRUCTURES if one.label not in provided),
    )


def _check_scores(bundle: Bundle) -> None:
    """Refuse a model that has no score to set limits to.

    Raises:
        ConfigurationError: it has none.
    """
    kind = bundle.model.uncertainty
    if kind is Uncertainty.NONE:
        words = (
            "its model has no measure of uncertainty: there is nothing to set limits to; "
            "another program's network gets one by its import with --members variations"
        )
        raise ConfigurationError(f"{bundle.name}: {words}")
    if kind is Uncertainty.VARIANCE and bundle.sample_count() < FEWEST_SAMPLES:
        words = "a single sample varies by nothing: set samples to 2 or more in bundle.toml"
        if bundle.model.most_samples == 1:
            words = (
                "its model has one member, which varies by nothing: there is no limit to set"
            )
        raise ConfigurationError(f"{bundle.name}: {words}")


def _images(cases: Sequence[ListedCase], left_out: list[str]) -> Iterator[LabelledImage]:
    """The cases one after the other; those that cannot be read are named in `left_out`."""
    for listed in cases:
        try:
            case = read_case(listed)
        except (SeriesError, LabelTableError) as error:
            left_out.append(f"{listed.name}: {error}")
            continue
        geometry = case.volume.geometry
        # Slices are segmented one by one: their mean distance serves where it varies.
        step_mm = float(np.mean(geometry.extents_mm))
        yield LabelledImage(
            np.asarray(case.volume.hu, np.int16),
            labels_of(case.truth),
            (step_mm, *geometry.spacing_mm),
            listed.name,
        )


def _telling(scored: Iterator[Scored], on_message: OnMessage) -> Iterator[Scored]:
    for one in scored:
        known = one.dice[np.isfinite(one.dice)]
        mean = f"{known.mean():.3f}" if len(known) else "none: nothing is annotated"
        on_message(f"{one.name}: mean Dice {mean}")
        yield one
