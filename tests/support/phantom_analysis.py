"""An analysis child that knows the phantom: its own segments, measured in the images.

Run as `python phantom_analysis.py [--swapped] REQUEST.json`; swapped: left is called right.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from dicom_node.analysis.child import Progress, graded, run
from dicom_node.analysis.request import Request
from dicom_node.series.ct_series import CtSeries
from inference.phantom.render import phantom
from inference.phantom.spec import SMALL_PHANTOM
from inference.results import CaseResult, Coverage, Metal, Region, StructureResult, Verdict
from inference.structures import BY_KEY, SEGMENTS
from inference.volume import Volume
from support.cases import small_case

COMMAND = (sys.executable, str(Path(__file__)))
SWAPPED = "--swapped"


def main(arguments: list[str]) -> int:
    """Analyse as told by the option before the request."""

    def analyse(series: CtSeries, request: Request, progress: Progress) -> CaseResult:
        progress(1, 1)
        segments = phantom(SMALL_PHANTOM).segments
        if SWAPPED in arguments:
            segments = _other_sides()[segments]
        case = small_case(series.volume.geometry, segments=segments)
        case = replace(
            case,
            structures=tuple(_seen(each, segments, series.volume) for each in case.structures),
            verdict=Verdict.ACCEPTED,
            findings=(),
            coverage=Coverage(Region.HIP_TO_KNEE),
            metal=Metal(),
        )
        return graded(case, series, request)

    return run(arguments[-1:], analyse)


def _seen(
    result: StructureResult, segments: NDArray[np.uint8], volume: Volume
) -> StructureResult:
    """A structure with volume and mean of its own voxels, and accepted."""
    inside = segments == result.segment.number
    volumes_cm3 = volume.geometry.voxel_volumes_mm3 / 1000
    measured = replace(
        result.measured,
        volume_cm3=float(inside.sum(axis=(1, 2)) @ volumes_cm3),
        mean_hu=float(volume.hu[inside].mean()),
        mean_hu_spread=None,
    )
    return replace(result, measured=measured, verdict=Verdict.ACCEPTED, findings=())


def _other_sides() -> NDArray[np.uint8]:
    """Of every segment's number that of the other side."""
    table = np.arange(256, dtype=np.uint8)
    for segment in SEGMENTS:
        if segment.side:
            other = "L" if segment.key.endswith("_R") else "R"
            table[segment.number] = BY_KEY[f"{segment.key[:-1]}{other}"].number
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
