"""`msk-node segment` over many scans: what is to be done, and how it goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from dicom_node.batch.batch import Limits, Request, run_batch
from dicom_node.batch.cases import TABLE_FILE, Case
from dicom_node.batch.listing import cases_listed, read_list
from dicom_node.batch.messages import Settings
from dicom_node.batch.pace import Pace, duration
from dicom_node.batch.sources import INDEX_FILE, KnownFolders, OnFolder, cases_in
from dicom_node.batch.table import Row, counts
from dicom_node.batch.workers import COMMAND
from dicom_node.case_files.image_files import is_image_file
from dicom_node.commands.console import EXIT_REFUSED, counted, stderr, stdout, titled

EXIT_FAILED: Final = 1
LONGEST_TABLE: Final = 60
"""Of more cases the terminal shows those that are not accepted, as many as these at most."""

SEARCH_EVERY_S: Final = 10.0


def settings_of(
    bundle: str, device: str, samples: int | None, grader: Path | None = None
) -> Settings:
    """What all processes of a batch are started with."""
    return Settings(bundle, device, samples, None if grader is None else str(grader))


def check_grader(grader: Path) -> None:
    """See that a grader can be used as far as that is quickly seen: a search may take hours.

    Raises:
        InferenceError: it cannot.
    """
    from inference.grading.grader_files import grader_sha256, is_table
    from inference.grading.table import read_table_of_grades

    if is_table(grader):
        read_table_of_grades(grader)
    else:
        grader_sha256(grader)


@dataclass(frozen=True, slots=True)
class ToDo:
    """What there is to segment.

    cases: of a batch; none where the source is one scan.
    one: the path of that scan, which is no batch.
    unreadable: whether there are folders that cannot be looked into; they have been named.
    """

    cases: tuple[Case, ...] = ()
    one: Path | None = None
    unreadable: bool = False


def found_cases(
    source: Path | None, listing: Path | None, out: Path, height_m: float | None
) -> ToDo:
    """Look for scans, and name what cannot be looked into.

    Raises:
        ConfigurationError: the list cannot be used.
        NoImagesError: there is nothing like a CT.
    """
    if source is not None and (is_image_file(source) or not source.is_dir()):
        return ToDo(one=source)
    known = KnownFolders.read(out / INDEX_FILE)
    anew = not known.path.exists()
    with _searching() as on_folder:
        if listing is not None:
            found = cases_listed(read_list(listing), known, besides=(out,), on_folder=on_folder)
        else:
            source = source or Path()
            found = cases_in(source, known, besides=(out,), on_folder=on_folder)
    _tell_unreadable(found.unreadable)
    unreadable = bool(found.unreadable)
    if source is not None:
        if len(found.cases) == 1 and not (out / TABLE_FILE).exists():
            (case,) = found.cases
            if anew:
                known.forget()
            # An image file may lie among other things; a series is found among them again.
            return ToDo((), case.source if case.is_image else source, unreadable)
        if found.passed_over:
            words = ", ".join(found.passed_over)
            stderr.print(f"passed over: {words}", highlight=False)
    known.write()
    known.keep_only(found.folders, tuple(found.unreadable))
    cases = (replace(case, height_m=case.height_m or height_m) for case in found.cases)
    return ToDo(tuple(cases), None, unreadable)


def _tell_unreadable(folders: Mapping[Path, str]) -> None:
    """Name the folders that cannot be looked into: what lies there is not segmented."""
    for path, why in islice(folders.items(), LONGEST_TABLE):
        stderr.print(titled("Warning", "yellow", f"{path}: {why}"), soft_wrap=True)
    if folders:
        words = f"{len(folders)} folder(s) cannot be looked into: scans there are left out"
        stderr.print(titled("Warning", "yellow", words), soft_wrap=True)


def run(todo: ToDo, out: Path, settings: Settings, *, again_failed: bool = False) -> int:
    """Run a batch, tell how it goes, print the table of all; the exit code.

    Raises:
        ConfigurationError: another batch writes into the same folder.
        InferenceError: bundle, grader or device cannot be used.
    """
    from inference.grading.grader_files import grader_sha256
    from inference.models.bundle_files import bundle_sha256

    sha256 = bundle_sha256(settings.bundle)
    of_grader = "" if settings.grader is None else grader_sha256(settings.grader)
    limits = Limits.for_cores(len(os.sched_getaffinity(0)))
    request = Request(
        todo.cases, out, settings, sha256, limits, again_failed, COMMAND, of_grader
    )
    shown = _Bar() if stderr.is_terminal else _Lines()
    with shown:
        rows = run_batch(request, shown)
    stdout.print(table_of(rows))
    ended = counts(rows)
    words = ", ".join(f"{number} {outcome}" for outcome, number in ended.items())
    stdout.print(f"{counted(len(rows), 'case')}: {words}; {out / TABLE_FILE}", highlight=False)
    return EXIT_FAILED if todo.unreadable else exit_code(rows)


def exit_code(rows: Sequence[Row]) -> int:
    """1 where a case failed, 4 where every one was refused, else 0."""
    if any(row.outcome == "failed" for row in rows):
        return EXIT_FAILED
    return EXIT_REFUSED if all(row.outcome == "refused" for row in rows) else 0


def table_of(rows: Sequence[Row]) -> Table:
    """A table of all cases for a terminal; of very many, of those to look at."""
    table = Table()
    for name in ("case", "source", "verdict", "words", "seconds"):
        table.add_column(name, overflow="fold")
    shown = list(rows)
    if len(shown) > LONGEST_TABLE:
        shown = [row for row in rows if row.outcome != "analysed"]
        shown += [
            row for row in rows if row.outcome == "analysed" and row.verdict != "accepted"
        ]
    for row in shown[:LONGEST_TABLE]:
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        cells = (row.case, str(row.source), row.verdict or row.outcome, row.words, seconds)
        table.add_row(*map(Text, cells))
    left_out = len(rows) - min(len(shown), LONGEST_TABLE)
    if left_out:
        table.caption = f"and {left_out} more in {TABLE_FILE}"
    return table


@contextmanager
def _searching() -> Iterator[OnFolder]:
    """Tell of a search that takes long."""
    last = time.monotonic()

    def tell(folders: int, files: int) -> None:
        nonlocal last
        if time.monotonic() - last > SEARCH_EVERY_S:
            last = time.monotonic()
            words = f"looking for scans: {files} files in {folders} folders so far"
            stderr.print(words, highlight=False)

    yield tell


class _Lines:
    """Progress where the output is no terminal: a line for every case."""

    def __enter__(self) -> None:
        """Nothing is shown yet."""

    def __exit__(self, *_: object) -> None:
        """Nothing is left to be shown."""

    def begun(self, pace: Pace) -> None:
        """How many there are, and how many were done before."""
        before = f", {pace.before} of them done before" if pace.before else ""
        stderr.print(f"{counted(pace.total, 'case')}{before}", highlight=False)

    def slices(self, case: str, done: int, total: int) -> None:
        """Too much for lines."""

    def finished(self, row: Row, pace: Pace) -> None:
        """A line for the case, with the pace."""
        seconds = "" if row.seconds is None else f", {duration(row.seconds)}"
        words = f"{row.case}: {row.verdict}{seconds}"
        stderr.print(
            f"{pace.done} of {pace.total}: {words}; {pace.words}",
            highlight=False,
            soft_wrap=True,
        )

    def trouble(self, words: str) -> None:
        """A line of its own."""
        stderr.print(titled("Warning", "yellow", words), soft_wrap=True)


class _Bar:
    """Progress on a terminal: one bar for all cases, one for the slices of the present one."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        pace = TextColumn("{task.fields[pace]}")
        self._bar = Progress(*columns, pace, console=stderr)
        self._cases = self._bar.add_task("cases", total=None, pace="")
        self._slices = self._bar.add_task("slices", total=None, pace="")

    def __enter__(self) -> None:
        """Show it."""
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        """Leave it as it is."""
        self._bar.stop()

    def begun(self, pace: Pace) -> None:
        """How many there are, and how many were done before."""
        self._show(pace)

    def slices(self, case: str, done: int, total: int) -> None:
        """The case in the network."""
        self._bar.update(self._slices, completed=done, total=total, pace=case)

    def finished(self, row: Row, pace: Pace) -> None:
        """The bar grows; what did not go well gets a line."""
        self._show(pace)
        if row.outcome != "analysed":
            self._bar.console.print(Text(f"{row.case}: {row.verdict}: {row.words}"))

    def trouble(self, words: str) -> None:
        """A line above the bar."""
        self._bar.console.print(titled("Warning", "yellow", words), soft_wrap=True)

    def _show(self, pace: Pace) -> None:
        self._bar.update(self._cases, completed=pace.done, total=pace.total, pace=pace.words)
