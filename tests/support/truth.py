"""A case without a network: the phantom's own labels, measured as the node measures.

What the viewers and archives of the harness are shown must be known beforehand, structure by
structure and side by side; no model may stand between.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.case_files.phantom_series import (
    DEFAULT_HEADER,
    PhantomHeader,
    write_phantom_series,
)
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from inference.anatomy.coverage import coverage
from inference.anatomy.metal import find_metal
from inference.measurement.measure import measure
from inference.measurement.sample_range import SampleDeviation, SampleFigures
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Zone
from inference.quality.gate import judge_case, judge_structure, mean_uncertainty
from inference.results import CaseResult, ModelIdentity, Spread
from inference.structures import SEGMENTS

VIEWED_PHANTOM = PhantomSpec(zones=(Zone(10.0, 595.0),), pixel_mm=1.6, rows=256, columns=256)
"""61 slices of 256 x 256: fine enough to hit a muscle with one pixel, quick to load."""

MODEL = ModelIdentity(
    name="truth", version="1", weights_sha256="7a" * 32, samples=2, seed=1, device="none"
)


@dataclass(frozen=True, slots=True, eq=False)
class KnownCase:
    """A series of files, the same as the node reads it, and the case that is true of it."""

    paths: list[Path]
    series: CtSeries
    case: CaseResult


def known_case(
    folder: Path,
    spec: PhantomSpec = VIEWED_PHANTOM,
    *,
    header: PhantomHeader = DEFAULT_HEADER,
    keys: Collection[str] = (),
) -> KnownCase:
    """Write a phantom's series into `folder` and answer it with the truth.

    keys: of the only segments to answer with; all of them where it is empty.
    """
    paths = write_phantom_series(folder, spec, header)
    series = read_series(paths)
    kept = [one.number for one in SEGMENTS if not keys or one.key in keys]
    segments = phantom(spec).segments
    return KnownCase(
        paths, series, _case(series, np.where(np.isin(segments, kept), segments, 0))
    )


def _case(series: CtSeries, segments: NDArray[np.uint8]) -> CaseResult:
    volume = series.volume
    uncertainty = _uncertainty(segments)
    shown, metal = coverage(segments, volume), find_metal(volume, segments)
    plain = measure(volume, segments, uncertainty, series.patient)
    scatter = {
        one.segment: _scatter(one.volume_cm3) for one in plain if one.volume_cm3 is not None
    }
    measured = measure(volume, segments, uncertainty, series.patient, scatter)
    structures = tuple(judge_structure(one, None, shown, metal) for one in measured)
    verdict, findings = judge_case(structures, None, shown, metal)
    return CaseResult(
        geometry=volume.geometry,
        segments=segments,
        uncertainty=uncertainty,
        structures=structures,
        verdict=verdict,
        findings=findings,
        coverage=shown,
        metal=metal,
        model=MODEL,
        mean_uncertainty=mean_uncertainty(structures),
    )


def _uncertainty(segments: NDArray[np.uint8]) -> NDArray[np.float32]:
    """High along the structures' borders, as a network's is; smooth, so that it shows."""
    edges = np.zeros(segments.shape, bool)
    for axis in (1, 2):
        edges |= np.diff(segments, axis=axis, prepend=0) != 0
    return (0.02 * ndimage.gaussian_filter(edges.astype(np.float32), (0, 1, 1))).astype(
        np.float32
    )


def _scatter(volume_cm3: float) -> SampleFigures:
    """Two per cent of volume and a HU to either side; samples that agree well."""
    share = 0.02 * volume_cm3
    deviation = SampleDeviation(volume_cm3=Spread(-share, share), mean_hu=Spread(-1, 1))
    return SampleFigures(deviation, pairwise_dice=0.97, volume_cv=0.02)
