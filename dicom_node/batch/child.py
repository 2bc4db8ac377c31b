"""A process of a batch: `python -m dicom_node.batch.child STEP SOCKET SETTINGS`.

It does one step of one case after the other, so that what a start costs (torch, the bundle)
is paid once, and is a process of its own, so that a crash or the end of memory stays with the
case that brought it about. It ends when its standard input or its socket closes: it never
outlives the batch, however that one died.

    read     the files of a scan, checked, and what is seen in it before the network
    segment  the network; it alone has the device
    write    measurements, verdict, objects, pictures: the folder of results
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dicom_node.analysis.subprocesses import end_with_standard_input
from dicom_node.batch.folders import case_folder
from dicom_node.batch.markers import marker_bytes, marker_of
from dicom_node.batch.messages import (
    SETTINGS,
    Answer,
    Kind,
    ReadTask,
    Settings,
    Step,
    WriteTask,
    receive_parcels,
    send_answer,
)
from dicom_node.batch.parcels import packed, unpacked
from dicom_node.case_files.result_names import MARKER_FILE
from dicom_node.durable_files import write_durably
from dicom_node.errors import NoImagesError, SeriesError
from dicom_node.monitoring.logs import configure_logging, describe
from dicom_node.settings.node import Logging
from inference.errors import BundleError, InferenceError
from inference.grading.subject import Grader

if TYPE_CHECKING:
    from inference.models.bundle import Bundle

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
PROGRESS_S: Final = 0.5
"""So often at most the parent is told how far the network is."""

KILLED_FIRST: Final = "500"
"""Where memory ends, the system ends a process at work before the parent (proc(5))."""

Made = tuple[Answer, Any]
"""An answer, and what goes into its parcel; None for no parcel."""

Tell = Callable[[int, int], None]
Work = Callable[[Sequence[int], Tell], Made]
"""Does one task, given its parcels."""


def reading(_settings: Settings) -> Work:
    """Make ready to read."""
    from dicom_node.case_files.result_folder import (  # noqa: PLC0415 - as all below: by step
        read_dicom_scan,
        read_image_scan,
    )
    from inference.pipeline import outline_of  # noqa: PLC0415

    def read(parcels: Sequence[int], _tell: Tell) -> Made:
        task: ReadTask = unpacked(parcels[0])
        if task.unreadable:
            return Answer(Kind.FAILED, words=(task.unreadable,)), None
        try:
            if not task.files:
                raise NoImagesError("nothing like a scan is there")
            if task.is_image:
                scan = read_image_scan(task.files[0], task.height_m, task.name)
            else:
                scan = read_dicom_scan(task.files, task.height_m, task.name)
        except SeriesError as error:
            return Answer(Kind.REFUSED, error.code, (str(error),)), None
        return Answer(Kind.DONE), (scan, outline_of(scan.volume))

    return read


def segmenting(settings: Settings) -> Work:
    """Load the network."""
    from dicom_node.case_files.result_folder import Analysis  # noqa: PLC0415
    from inference.pipeline import label  # noqa: PLC0415

    bundle = _bundle(settings)
    predictor = bundle.model.load(settings.device)
    analysis = Analysis(bundle, settings.samples)

    def segment(parcels: Sequence[int], tell: Tell) -> Made:
        scan, outline = unpacked(parcels[0])
        (labelled,) = label(
            scan.volume,
            outline,
            bundle,
            predictor,
            counts=(bundle.sample_count(settings.samples),),
            seed=analysis.seed(scan),
            progress=tell,
        )
        return Answer(Kind.DONE), labelled

    return segment


def writing(settings: Settings) -> Work:
    """Make ready to measure and to write."""
    from dicom_node.case_files.result_folder import (  # noqa: PLC0415
        Analysis,
        write_refusal,
        write_results,
    )
    from inference.pipeline import measured_and_judged  # noqa: PLC0415

    bundle = _bundle(settings)
    analysis = Analysis(bundle, settings.samples, _grader(settings))

    def write(parcels: Sequence[int], _tell: Tell) -> Made:
        started = time.monotonic()
        task: WriteTask = unpacked(parcels[0])
        with case_folder(task.folder) as part:
            if task.refusal is not None:
                refusal = task.refusal
                result = write_refusal(
                    part, refusal.code, refusal.words, analysis, refusal.dicom
                )
            else:
                scan, outline = unpacked(parcels[1])
                labelled = unpacked(parcels[2])
                case = measured_and_judged(scan.volume, outline, labelled, bundle, scan.patient)
                result = write_results(scan, analysis.graded(case, scan), analysis, part)
            marker = marker_of(task.marker)
            complete = replace(
                marker,
                outcome="refused" if result.refused else "analysed",
                verdict=result.verdict,
                words=result.words,
                seconds=round(marker.seconds + time.monotonic() - started, 1),
                finished_at=datetime.now(UTC),
            )
            write_durably(part / MARKER_FILE, marker_bytes(complete))
        return Answer(Kind.DONE, result.verdict, result.words), None

    return write


def _bundle(settings: Settings) -> Bundle:
    """The bundle: the one that the batch began with, whenever this process was started.

    Raises:
        BundleError: it cannot be used, or is another one by now.
    """
    from inference.models.bundle import load_bundle  # noqa: PLC0415

    bundle = load_bundle(settings.bundle)
    _check_same(settings.bundle, bundle.sha256, settings.bundle_sha256)
    return bundle


def _grader(settings: Settings) -> Grader | None:
    """What grades the hips, if anything does; likewise the one that the batch began with.

    Raises:
        BundleError: it cannot be used, or is another one by now.
    """
    if settings.grader is None:
        return None
    from inference.grading.grades import open_grader  # noqa: PLC0415

    grader = open_grader(settings.grader)
    _check_same(settings.grader, grader.identity.sha256, settings.grader_sha256)
    return grader


def _check_same(what: str, found_sha256: str, begun_with_sha256: str) -> None:
    """Markers say what results are made of before they are made: it must stay the same."""
    if begun_with_sha256 and found_sha256 != begun_with_sha256:
        raise BundleError(f"{what} has changed since the batch was started; start it again")


WORKS: Final[Mapping[Step, Callable[[Settings], Work]]] = {
    Step.READ: reading,
    Step.SEGMENT: segmenting,
    Step.WRITE: writing,
}


def serve(step: Step, line: socket.socket, settings: Settings, works: Any = None) -> None:
    """Do tasks of one step until there are no more, or one fails."""
    try:
        work = (works or WORKS)[step](settings)
    except InferenceError as error:
        send_answer(line, Answer(Kind.UNUSABLE, type(error).__name__, (str(error),)))
        return
    send_answer(line, Answer(Kind.READY))
    while parcels := receive_parcels(line):
        answer, made = _answered(work, parcels, _teller(line))
        parcel = None
        if made is not None:
            try:
                parcel = packed(made)
            except (MemoryError, OSError):
                answer = _no_memory()
        for each in parcels:
            os.close(each)
        send_answer(line, answer, parcel)
        if answer.kind in (Kind.FAILED, Kind.NO_MEMORY):
            return  # whatever it left behind must not reach the next case
        del made


def _answered(work: Work, parcels: Sequence[int], tell: Tell) -> Made:
    """What became of a task."""
    started = time.monotonic()
    try:
        answer, made = work(parcels, tell)
    except MemoryError:
        return _no_memory(), None
    except Exception as error:  # noqa: BLE001 - one case never stops the rest
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return Answer(Kind.NO_ROOM, words=(error.strerror or "the disk is full",)), None
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return _no_memory(), None
        return Answer(Kind.FAILED, words=(_words(error),)), None
    return replace(answer, seconds=time.monotonic() - started), made


def _no_memory() -> Answer:
    return Answer(Kind.NO_MEMORY, words=("there was not memory enough",))


def _words(error: Exception) -> str:
    """An unexpected error, without values that might be a patient's."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"  # as the table has the path
    facts = describe(error)
    told = f": {facts['reason']}" if "reason" in facts else ""
    return f"unexpected {facts['error']} at {facts.get('where', '?')}{told}"


def _teller(line: socket.socket) -> Tell:
    """Tells the parent how far a step is, not too often."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            send_answer(line, Answer(Kind.PROGRESS, done=done, total=total))

    return tell


def main(arguments: Sequence[str], works: Any = None) -> None:
    """Be a process of a batch."""
    end_with_standard_input()
    configure_logging(Logging(level="error"))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST, encoding="ascii")
    step, descriptor, settings = arguments
    with socket.socket(fileno=int(descriptor)) as line:
        serve(Step(step), line, SETTINGS.validate_json(settings), works)


if __name__ == "__main__":
    main(sys.argv[1:])
