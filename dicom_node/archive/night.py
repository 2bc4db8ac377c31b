"""One line a night: what a run found, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import ArchiveState, WindowState
from dicom_node.persistence.rows import ANSWERED, SeriesState
from dicom_node.series.eligibility import group_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Night:
    """What became of the series that a run of a schedule listed for the first time.

    series: how many are in each state.
    refused: how many the rules refused, by what the first reason is about.
    answers: how many of the fetched ones the node has, by their state there; under "" those
        that it was not handed over yet.
    windows: how many of its windows are in each state.
    """

    schedule: str
    run: str
    series: Mapping[ArchiveState, int]
    refused: Mapping[str, int]
    answers: Mapping[str, int]
    windows: Mapping[WindowState, int]

    @property
    def found(self) -> int:
        """How many series were found."""
        return sum(self.series.values())

    @property
    def analysed(self) -> int:
        """How many of them have a report."""
        return self.answers.get(SeriesState.REPORTED, 0)

    @property
    def unanswered(self) -> int:
        """How many that came have no answer yet, and are to have one."""
        answered = sum(
            self.answers.get(state, 0) for state in (*ANSWERED, SeriesState.CANCELLED)
        )
        return sum(self.answers.values()) - answered

    @property
    def is_over(self) -> bool:
        """True if nothing of it is left to be done."""
        open_windows = self.windows.get(WindowState.WAITING, 0)
        return not (open_windows or self.series[ArchiveState.WANTED] or self.unanswered)

    @property
    def reasons(self) -> str:
        """The refusals, by reason: `modality: 12, number of images: 3`."""
        return ", ".join(f"{words}: {count}" for words, count in self.refused.items())


def night_of(ledger: ArchiveLedger, schedule: str, run: str | None) -> Night:
    """What became of a run so far; without one, of all runs of a schedule."""
    refused: Counter[str] = Counter()
    for reason, count in ledger.refusals(schedule, run).items():
        refused[group_of(reason)] += count
    return Night(
        schedule=schedule,
        run=run or "",
        series=ledger.counts(schedule, run),
        refused=dict(refused.most_common()),
        answers=ledger.answers(schedule, run),
        windows=Counter(each.state for each in ledger.windows(schedule, run)),
    )


def log_night(night: Night) -> None:
    """Write the line."""
    states = night.series
    log.info(
        "requery.night",
        schedule=night.schedule,
        run=night.run,
        found=night.found,
        had=states[ArchiveState.HAD],
        wanted=states[ArchiveState.WANTED],
        fetched=states[ArchiveState.FETCHED],
        incomplete=states[ArchiveState.INCOMPLETE],
        analysed=night.analysed,
        refused=states[ArchiveState.REFUSED],
        reason=night.reasons,
        failed=states[ArchiveState.FAILED],
        windows_failed=night.windows.get(WindowState.FAILED, 0),
        windows_cut=night.windows.get(WindowState.CUT, 0),
    )
