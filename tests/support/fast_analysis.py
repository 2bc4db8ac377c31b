"""An analysis child in which only the network is replaced: answers with the boxes at once.

Run as `python fast_analysis.py [--slow SECONDS | --crash | --partial] REQUEST.json`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from dicom_node.analysis.child import Progress, graded, run
from dicom_node.analysis.request import Request
from dicom_node.series.ct_series import CtSeries
from inference.results import CaseResult, Coverage, Region, Verdict
from support.cases import box_labels, small_case

COMMAND = (sys.executable, str(Path(__file__)))
SLOW, CRASH, PARTIAL = "--slow", "--crash", "--partial"


def main(arguments: list[str]) -> int:
    """Analyse as told by the options before the request."""

    def analyse_fast(series: CtSeries, request: Request, progress: Progress) -> CaseResult:
        progress(1, 2)
        if CRASH in arguments:
            raise MemoryError
        if SLOW in arguments:
            time.sleep(float(arguments[arguments.index(SLOW) + 1]))
        geometry = series.volume.geometry
        case = small_case(geometry, segments=boxes_on(geometry.shape))
        if PARTIAL not in arguments:
            whole = Coverage(Region.HIP_TO_KNEE)
            case = replace(case, verdict=Verdict.ACCEPTED, findings=(), coverage=whole)
        return graded(case, series, request)

    return run(arguments[-1:], analyse_fast)


def boxes_on(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The boxes, stretched over any grid."""
    labels = box_labels()
    nearest = [
        np.arange(wanted) * have // wanted
        for wanted, have in zip(shape, labels.shape, strict=True)
    ]
    return labels[np.ix_(*nearest)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
