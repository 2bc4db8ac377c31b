"""The process that analyses one series: `python -m dicom_node.analysis.child REQUEST.json`.

It is a process of its own so that it can be killed, and so that running out of memory or a
crash of the GPU stays its own. The request is a JSON file (`Request`); the answer is a
folder with `outcome.json` (`Outcome`), written last, and in `case/` beside it the case and all
of its series that results need to know (see `case_store`), so that the files of the series are
read once. Progress goes to standard output, one JSON object a line.

Exit codes:

    0  analysed: the outcome and the case are there
    1  something unexpected; there is no outcome, and another try may help
    3  the model bundle or the device cannot be used; there is no outcome
    4  the series was refused: the outcome says why
    5  a disk is full, the node's or another (/tmp, /dev/shm), or a quota is used up; there is
       no outcome, and the worker finds out which (`node/workflow.py`)
    143  it was told to end (SIGTERM); there is no outcome

The process ends as soon as its standard input closes, so that it never outlives the worker
that started it, however that one died. No signal but SIGTERM and SIGKILL ends it before.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import structlog

from dicom_node.analysis.case_store import save_case
from dicom_node.analysis.request import (
    CASE_FOLDER,
    Outcome,
    Request,
    read_request,
    write_outcome,
)
from dicom_node.analysis.subprocesses import (
    EXIT_NO_ROOM,
    EXIT_TOLD_TO_END,
    end_with_standard_input,
)
from dicom_node.errors import SeriesError
from dicom_node.monitoring.logs import configure_logging, describe
from dicom_node.monitoring.signals import ENDS_A_PART, signals_taken
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from dicom_node.series.subject import subject_of
from dicom_node.uids import seed_for
from inference.errors import InferenceError
from inference.models.bundle_files import calibrated_on
from inference.results import CaseResult

log = structlog.get_logger()

EXIT_ANALYSED: Final = 0
EXIT_UNEXPECTED: Final = 1
EXIT_UNUSABLE: Final = 3
EXIT_REFUSED: Final = 4
ALMOST_NOTHING_BYTES: Final = 16 << 20

Progress = Callable[[int, int], None]
Analyse = Callable[[CtSeries, "Request", Progress], CaseResult]


def answer(request: Request, analyse_series: Analyse) -> int:
    """Do what a request asks, and return the exit code."""
    started = time.monotonic()
    try:
        series = read_series(request.paths)
        case = analyse_series(series, request, report_progress)
        calibrated = calibrated_on(request.bundle)
    except SeriesError as error:
        _conclude(request, "refused", code=error.code, words=str(error))
        return EXIT_REFUSED
    except InferenceError:
        log.exception("analysis.unusable", series_instance_uid=request.series_instance_uid)
        return EXIT_UNUSABLE
    save_case(request.out / CASE_FOLDER, series, case)
    _conclude(request, "analysed", calibrated=calibrated)
    log.info(
        "analysis.done",
        series_instance_uid=request.series_instance_uid,
        slices=len(series.slices),
        verdict=case.verdict.value,
        seconds=round(time.monotonic() - started, 1),
    )
    return EXIT_ANALYSED


def analyse_with_bundle(series: CtSeries, request: Request, progress: Progress) -> CaseResult:
    """The real analysis, seeded by what it is about."""
    # Loading torch takes seconds; a series that is refused is answered without it.
    from inference.models.bundle import load_bundle  # noqa: PLC0415
    from inference.pipeline import analyse  # noqa: PLC0415

    bundle = load_bundle(request.bundle)
    sources = [each.sop_instance_uid for each in series.slices]
    case = analyse(
        series.volume,
        bundle,
        patient=series.patient,
        samples=request.samples,
        seed=seed_for(sources, bundle.weights_sha256, request.seed_settings),
        device=request.device,
        progress=progress,
    )
    return graded(case, series, request)


def graded(case: CaseResult, series: CtSeries, request: Request) -> CaseResult:
    """The case with the grades of the grader that the node has, if it has one."""
    if not request.grader:
        return case
    from inference.grading.grades import with_grades_of  # noqa: PLC0415

    return with_grades_of(
        case, series.volume, request.grader, request.grader_sha256, subject_of(series)
    )


def report_progress(done: int, total: int) -> None:
    """Tell the worker how far the analysis is."""
    print(json.dumps({"done": done, "total": total}), flush=True)  # noqa: T201 - the protocol


def run(arguments: list[str], analyse_series: Analyse = analyse_with_bundle) -> int:
    """The child's main function; returns the exit code."""
    request = read_request(Path(arguments[0]))
    configure_logging(request.logging)
    structlog.contextvars.bind_contextvars(role="analyse")
    end_with_standard_input()
    with signals_taken(lambda: os._exit(EXIT_TOLD_TO_END), ENDS_A_PART):
        try:
            return answer(request, analyse_series)
        except Exception as error:
            if _is_for_want_of_room(error, request.out):
                uid = request.series_instance_uid
                log.warning("analysis.no_room", series_instance_uid=uid, **describe(error))
                return EXIT_NO_ROOM
            log.exception("analysis.died", series_instance_uid=request.series_instance_uid)
            return EXIT_UNEXPECTED


def _is_for_want_of_room(error: Exception, folder: Path) -> bool:
    """True if an analysis ended because a disk is full; numpy does not give the number."""
    if not isinstance(error, OSError):
        return False
    if error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return shutil.disk_usage(folder).free < ALMOST_NOTHING_BYTES


def _conclude(
    request: Request,
    kind: Literal["analysed", "refused"],
    *,
    code: str = "",
    words: str = "",
    calibrated: tuple[str, str] = ("", ""),
) -> None:
    """Write the outcome, which makes the answer count."""
    calibrated_on, calibrated_at = calibrated
    outcome = Outcome(
        kind,
        request.settings_hash,
        datetime.now(UTC),
        code=code,
        words=words,
        calibrated_on=calibrated_on,
        calibrated_at=calibrated_at,
        model_settings=request.model_settings,
    )
    write_outcome(request.out, outcome)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
