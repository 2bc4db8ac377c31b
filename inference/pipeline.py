"""From a CT volume to the case result. Start reading the science here.

1. Knees with a lower leg below them, and lungs, are sought in the CT (`knees`, `trunk`).
2. The network labels every slice above the lower legs and below the chest, several times with
   other features dropped: labels and voxel-wise uncertainty (`models`).
3. A body that does not lie as the header says (`frame`, `turned_over`) ends here: no side is
   believed. Else right and left are told apart (`sides`), what lies far above the pelvis is
   cut (`trunk`), and each leg below its knee (`lower_legs`), if it has one (`femur_ends`).
4. What the scan shows, what its border cuts, and metal (`coverage`, `metal`).
5. Volumes, HU, composition and uncertainty of the 43 segments (`sample_range`, `measure`).
6. A verdict on each structure and on the case (`quality`). What the model was not made to
   find is "not provided".

The same volume, bundle, patient, samples, seed and device give the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.anatomy.coverage import coverage
from inference.anatomy.femur_ends import femur_ends
from inference.anatomy.frame import Exchanged, exchanged_ends, exchanged_words, unchecked
from inference.anatomy.knees import SeenKnee, find_knees
from inference.anatomy.lower_legs import cut_below_knees, first_to_segment
from inference.anatomy.metal import find_metal
from inference.anatomy.sides import split_sides
from inference.anatomy.trunk import above_lungs, below_lungs, cut_above_pelvis, find_chest
from inference.geometry import Geometry
from inference.measurement.measure import measure
from inference.measurement.sample_range import sample_figures
from inference.models.bundle import Bundle
from inference.models.bundle_facts import origin_words
from inference.models.model import Predictor
from inference.prediction import Prediction
from inference.quality.calibration import Calibration
from inference.quality.gate import (
    average_limits,
    judge_case,
    judge_structure,
    judged_by,
    mean_uncertainty,
)
from inference.quality.turned_over import (
    is_doubted,
    is_surer_turned_over,
    slices_to_turn,
    turned_over,
)
from inference.results import (
    CaseResult,
    Chest,
    Coverage,
    Measurement,
    ModelIdentity,
    Region,
    SampleKind,
    StructureResult,
    Uncertainty,
    Verdict,
)
from inference.structures import SEGMENTS, Segment
from inference.volume import Patient, Volume

UNKNOWN_PATIENT: Final = Patient()


def analyse(  # noqa: PLR0913 - everything a result depends on
    volume: Volume,
    bundle: Bundle,
    *,
    patient: Patient = UNKNOWN_PATIENT,
    samples: int | None = None,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> CaseResult:
    """Segment, measure and judge one volume.

    Args:
        volume: the CT, in the patient frame.
        bundle: the model.
        patient: height, for normalised volumes.
        samples: of the model; the bundle's own number without it. A model that has not so
            many takes as many as it has: one that answers once, 1.
        seed: of the Monte Carlo samples.
        device: `cpu`, `cuda`, `cuda:1` or `auto`.
        progress: called with (slices done, slices in all that the network sees).

    Raises:
        DeviceError: the device is not there or has not enough memory.
    """
    (case,) = analyse_sample_counts(
        volume,
        bundle,
        patient=patient,
        counts=(bundle.sample_count(samples),),
        seed=seed,
        device=device,
        progress=progress,
    )
    return case


def analyse_sample_counts(  # noqa: PLR0913 - see `analyse`
    volume: Volume,
    bundle: Bundle,
    *,
    patient: Patient = UNKNOWN_PATIENT,
    counts: Sequence[int],
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[CaseResult]:
    """`analyse` with each of several numbers of samples, which grow, for the time of one run.

    Each result is that of an `analyse` of its own, but for rounding.
    """
    outline = outline_of(volume)
    predictor = bundle.model.load(device)
    found = label(
        volume, outline, bundle, predictor, counts=counts, seed=seed, progress=progress
    )
    for labelled in found:
        yield measured_and_judged(volume, outline, labelled, bundle, patient)


@dataclass(frozen=True, slots=True)
class Outline:
    """What is seen in the CT before the network: step 1.

    seen: the slices that the network has to see; never none.
    """

    chest: Chest | None
    knees: tuple[SeenKnee, ...]
    seen: range


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The network's answer for all of a volume, and who gave it: steps 2 and 3.

    prediction: empty where the network saw nothing.
    exchanged: how the body lies against its header, if it does.
    """

    prediction: Prediction
    exchanged: tuple[Exchanged, ...]
    model: ModelIdentity


def outline_of(volume: Volume) -> Outline:
    """Knees, lungs, and the slices that the network has to see.

    `outline_of`, `label` and `measured_and_judged` are `analyse` in three steps, for whoever
    has them done beside each other, of several cases.
    """
    chest = find_chest(volume)
    knees = below_lungs(find_knees(volume), chest)
    return Outline(chest, tuple(knees), _to_segment(volume, knees, chest))


def label(  # noqa: PLR0913 - everything a prediction depends on
    volume: Volume,
    outline: Outline,
    bundle: Bundle,
    predictor: Predictor,
    *,
    counts: Sequence[int],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Labelled]:
    """All that needs the network, for each of several numbers of samples, which grow.

    predictor: of the bundle's model.
    """
    seen = outline.seen
    predictions = predictor.predict(
        volume.part(seen), counts=counts, seed=seed, progress=progress
    )
    for samples, prediction in zip(counts, predictions, strict=True):
        model = ModelIdentity(
            name=bundle.name,
            version=bundle.version,
            weights_sha256=bundle.weights_sha256,
            samples=samples,
            seed=seed,
            device=prediction.device,
            uncertainty=_kind_of_uncertainty(prediction, bundle),
            samples_of=bundle.model.samples_of,
            origin=origin_words(bundle.origin),
        )
        whole = prediction.with_empty_around(seen.start, len(volume.hu) - seen.stop)
        exchanged = exchanged_ends(whole.labels, volume.geometry, bundle.model.segments)
        if not exchanged and _may_ask(bundle) and is_doubted(whole, bundle.calibration):
            slices = slices_to_turn(whole.labels)
            part = turned_over(volume, slices)
            (turned,) = predictor.predict(part, counts=(samples,), seed=seed)
            if is_surer_turned_over(volume, whole, slices, turned):
                exchanged = (Exchanged.FRONT_AND_BACK,)
        yield Labelled(whole, exchanged, model)


def _may_ask(bundle: Bundle) -> bool:
    """True if a model's doubt about slices that are turned over is known to mean something.

    Far slices are no body to a model that sees across them; and how doubt changes was measured
    of networks with dropout, not of members that differ otherwise.
    """
    return bundle.model.slice_by_slice and bundle.model.samples_of is SampleKind.DROPOUT


def _kind_of_uncertainty(prediction: Prediction, bundle: Bundle) -> Uncertainty:
    """What a voxel's uncertainty means; a single sample of a variance has none."""
    return Uncertainty.NONE if prediction.uncertainty is None else bundle.model.uncertainty


def measured_and_judged(
    volume: Volume, outline: Outline, labelled: Labelled, bundle: Bundle, patient: Patient
) -> CaseResult:
    """All that follows the network; see `conclude`."""
    return conclude(
        volume,
        labelled.prediction,
        bundle.calibration,
        patient,
        labelled.model,
        knees=outline.knees,
        chest=outline.chest,
        provided=bundle.model.segments,
        exchanged=labelled.exchanged,
    )


def _to_segment(volume: Volume, knees: Sequence[SeenKnee], chest: Chest | None) -> range:
    """The slices that the network has to see; never none."""
    above = above_lungs(volume, chest) if chest else None
    if above is not None:
        return above
    stop = len(volume.hu) - (chest.slices if chest else 0)
    first = first_to_segment(volume, knees)
    return range(first if first < stop else 0, stop)


def conclude(  # noqa: PLR0913 - everything a result depends on
    volume: Volume,
    prediction: Prediction,
    calibration: Calibration | None,
    patient: Patient,
    model: ModelIdentity,
    *,
    knees: Sequence[SeenKnee] = (),
    chest: Chest | None = None,
    provided: Collection[Segment] = SEGMENTS,
    exchanged: Sequence[Exchanged] | None = None,
) -> CaseResult:
    """Everything after the network: sides, coverage, measurements and verdicts.

    The prediction is empty where the network saw nothing; what the model does not provide
    is left out.

    Where the scan shows neither hip nor thigh, what the network labelled is no anatomy of
    this method: the result then has no segments, and the verdict says why. So it has where
    the body does not lie as the header says (`exchanged`; without it the labels tell): what
    a side would be named for may be the other's.
    """
    geometry = volume.geometry
    if exchanged is None:
        exchanged = exchanged_ends(prediction.labels, geometry, provided)
    if exchanged:
        return _against_header(
            volume, prediction, calibration, model, provided=provided, exchanged=exchanged
        )
    sided = _only(provided, split_sides(prediction.labels, geometry, provided))
    whole = cut_above_pelvis(sided, geometry)
    ends = femur_ends(whole, volume)
    cut = cut_below_knees(whole, geometry, knees, ends, provided)
    segments = cut.segments
    # What the labels go on with below a knee hid its end.
    ends = femur_ends(segments, volume) if cut.legs else ends
    shown = coverage(segments, volume, cut.legs, cut.first_slices, chest, ends, provided)
    shown = replace(shown, words=" ".join(filter(None, (shown.words, unchecked(provided)))))
    if shown.region is Region.ELSEWHERE:
        segments = np.zeros_like(segments)
    first = cut.legs.slices if cut.legs else 0
    kept = range(first, len(segments) - (chest.slices if chest else 0))
    metal = find_metal(volume.part(kept), segments[kept.start : kept.stop], provided)
    samples = sample_figures(prediction.profiles, prediction.labels, segments, geometry)
    measured = measure(volume, segments, prediction.uncertainty, patient, samples)
    structures = tuple(
        judge_structure(one, calibration, shown, metal)
        if one.segment in provided
        else StructureResult(Measurement(one.segment, 0), Verdict.NOT_PROVIDED)
        for one in measured
    )
    verdict, findings = judge_case(structures, calibration, shown, metal)
    return CaseResult(
        geometry=geometry,
        segments=segments,
        uncertainty=prediction.uncertainty,
        structures=structures,
        verdict=verdict,
        findings=findings,
        coverage=shown,
        metal=metal,
        model=model,
        mean_uncertainty=mean_uncertainty(structures),
        mean_uncertainty_limits=average_limits(calibration),
        judged_by=judged_by(structures, calibration),
    )


def _against_header(  # noqa: PLR0913 - what a result holds
    volume: Volume,
    prediction: Prediction,
    calibration: Calibration | None,
    model: ModelIdentity,
    *,
    provided: Collection[Segment],
    exchanged: Sequence[Exchanged],
) -> CaseResult:
    """The result of a body that does not lie as the header says: no side, and no number.

    Nor are metal's sides told. What region it is, is seen with its head up again.
    """
    upside_down = Exchanged.HEAD_AND_FEET in exchanged
    labels, upright = prediction.labels, volume
    if upside_down:
        labels = np.ascontiguousarray(labels[::-1])
        upright = Volume(volume.hu[::-1], _mirrored(volume.geometry))
    known = {segment.structure for segment in provided}
    either = [segment for segment in SEGMENTS if segment.structure in known]
    sided = split_sides(labels, upright.geometry, either)
    region = coverage(sided, upright, provided=either).region
    nothing = np.zeros_like(prediction.labels)
    shown = Coverage(region, words=exchanged_words(exchanged), against_header=True)
    metal = replace(find_metal(volume, nothing), sides=())
    structures = tuple(
        judge_structure(Measurement(segment, 0), calibration, shown, metal)
        if segment in provided
        else StructureResult(Measurement(segment, 0), Verdict.NOT_PROVIDED)
        for segment in SEGMENTS
    )
    verdict, findings = judge_case(structures, calibration, shown, metal)
    return CaseResult(
        geometry=volume.geometry,
        segments=nothing,
        uncertainty=prediction.uncertainty,
        structures=structures,
        verdict=verdict,
        findings=findings,
        coverage=shown,
        metal=metal,
        model=model,
        mean_uncertainty_limits=average_limits(calibration),
        judged_by=judged_by(structures, calibration),
    )


def _mirrored(geometry: Geometry) -> Geometry:
    """The grid of the same slices from head to feet."""
    heights = geometry.slice_offsets_mm
    moved = heights[0] + heights[-1] - heights[::-1] - heights
    return replace(
        geometry,
        positions_mm=geometry.positions_mm + moved[:, np.newaxis] * geometry.normal,
        extents_mm=geometry.extents_mm[::-1].copy(),
    )


def _only(provided: Collection[Segment], segments: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Nothing but these segments; the same array where they are all there are."""
    if len(provided) == len(SEGMENTS):
        return segments
    kept = np.zeros(len(SEGMENTS) + 1, dtype=np.uint8)
    for segment in provided:
        kept[segment.number] = segment.number
    return kept[segments]
