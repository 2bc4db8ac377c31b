"""What is being fetched is not analysed before it is whole, and what rules refuse not at all.

The watcher of the spool asks here before it hands a series over. It is held back while a
schedule has asked for it and still wants it; that ends by itself (`states.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dicom_node.archive.asking import Asking
from dicom_node.archive.states import is_over
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState
from dicom_node.spool.completeness import Expectation

Ask = Callable[[str, str, str], Expectation | None]


@dataclass(frozen=True, slots=True)
class Holding:
    """What schedules have to say of the series in the spool."""

    asking: Asking

    def why_held(self, series_instance_uid: str) -> str:
        """The reason why a series is not handed over yet; empty where there is none."""
        now = self.asking.clock()
        rows = self._rows(series_instance_uid)
        held = next((row for row in rows if self._is_fetching(row, now)), None)
        if held is None:
            return ""
        words = f": {held.reason}" if held.reason else ""
        return f"being fetched from {held.archive} by schedule {held.schedule}{words}"

    def why_refused(self, series_instance_uid: str, calling_ae_title: str) -> str:
        """The reason why a series is not analysed that came from an archive for a schedule.

        Not of one that somebody else sends: it is none of a schedule's business.
        """
        rows = self._rows(series_instance_uid)
        if not rows or any(row.state is not ArchiveState.REFUSED for row in rows):
            return ""
        for row in rows:
            if row.asked_at is not None and self._sends_as(row) == calling_ae_title:
                return f"schedule {row.schedule}: {row.reason}"
        return ""

    def counts(self, otherwise: Ask) -> Ask:
        """Who says how many images a series has: who fetched it, else whoever is asked.

        Of a whole series that is what is here. Of one that stayed incomplete it is what the
        archive counts, so that it is never taken for whole; nothing, where that is here and
        leaves a gap all the same.
        """

        def ask(calling_ae_title: str, study: str, series: str) -> Expectation | None:
            for row in self._rows(series):
                if row.asked_at is None:
                    continue
                if row.state is ArchiveState.FETCHED:
                    return Expectation(row.instances, row.archive)
                if row.state is ArchiveState.INCOMPLETE:
                    listed = row.listed or 0
                    lacks = listed > row.instances
                    return Expectation(listed, row.archive) if lacks else None
            return otherwise(calling_ae_title, study, series)

        return ask

    def _is_fetching(self, row: ArchiveSeriesRow, now: datetime) -> bool:
        """True if a series was asked for, and is wanted still."""
        settings = self.asking.of(row.schedule)
        return (
            row.state is ArchiveState.WANTED
            and row.asked_at is not None
            and settings is not None
            and not is_over(row, settings[0], now)
        )

    def _sends_as(self, row: ArchiveSeriesRow) -> str:
        settings = self.asking.of(row.schedule)
        return self.asking.title(settings[1]) if settings is not None else ""

    def _rows(self, series_instance_uid: str) -> tuple[ArchiveSeriesRow, ...]:
        return self.asking.ledger.series_of_uids([series_instance_uid])
