"""What is being fetched is not analysed before it is whole, and what rules refuse not at all.

The watcher of the spool asks here before it hands a series over. It is held back while a
schedule has asked for it and still wants it; that ends by itself (`states.py`). What a
schedule with rules has decided of it then is not decided once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dicom_node.archive.asking import Asking
from dicom_node.archive.states import is_over
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState
from dicom_node.spool.completeness import Expectation

Ask = Callable[[str, str, str], Expectation | None]

UNTIL_IT_IS_ENDED: Final = timedelta(minutes=5)
"""What is over is ended within seconds, the rules being asked; here nobody waits for more."""

TAKEN: Final = (ArchiveState.FETCHED, ArchiveState.INCOMPLETE)
"""States of series that a schedule took, whatever came of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a schedule decided of a series that it fetched.

    rules_digest: of the rules that it decided by.
    against: why it is left out; empty where it is taken.
    """

    schedule: str
    rules_digest: str
    against: str = ""


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

    def choice(self, series_instance_uid: str, calling_ae_title: str) -> Choice | None:
        """What a schedule has decided of a series that it fetched.

        None where that is for the node's own rules: of a series that somebody else sent, that
        was fetched without rules, or that another schedule did not refuse.
        """
        rows = self._rows(series_instance_uid)
        own = [
            row
            for row in rows
            if row.asked_at is not None and self._sends_as(row) == calling_ae_title
        ]
        for row in own:
            if row.state in TAKEN and (found := self._with_rules(row)) is not None:
                return found
        if own and all(row.state is ArchiveState.REFUSED for row in rows):
            return self._choice(own[0])
        return None

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
                if row.state in (ArchiveState.FETCHED, ArchiveState.REFUSED):
                    return Expectation(row.instances, row.archive)
                if row.state is ArchiveState.INCOMPLETE:
                    listed = row.listed or 0
                    lacks = listed > row.instances
                    return Expectation(listed, row.archive) if lacks else None
            return otherwise(calling_ae_title, study, series)

        return ask

    def _with_rules(self, row: ArchiveSeriesRow) -> Choice | None:
        """What a schedule decided by rules of its own; None where it names none."""
        schedule = self.asking.config.schedule(row.schedule)
        return self._choice(row) if schedule is not None and schedule.rules else None

    def _choice(self, row: ArchiveSeriesRow) -> Choice | None:
        """What a schedule decided; None where the settings have it no more."""
        schedule = self.asking.config.schedule(row.schedule)
        if schedule is None:
            return None
        digest = self.asking.selection(schedule).rules.digest
        against = row.reason if row.state is ArchiveState.REFUSED else ""
        return Choice(row.schedule, digest, against)

    def _is_fetching(self, row: ArchiveSeriesRow, now: datetime) -> bool:
        """True if a series was asked for, and is wanted still."""
        settings = self.asking.of(row.schedule)
        return (
            row.state is ArchiveState.WANTED
            and row.asked_at is not None
            and settings is not None
            and not is_over(row, settings[0], now - UNTIL_IT_IS_ENDED)
        )

    def _sends_as(self, row: ArchiveSeriesRow) -> str:
        settings = self.asking.of(row.schedule)
        return self.asking.title(settings[1]) if settings is not None else ""

    def _rows(self, series_instance_uid: str) -> tuple[ArchiveSeriesRow, ...]:
        if not self.asking.config.schedules:
            return ()  # a node that asks nobody need not wait for its database here
        return self.asking.ledger.series_of_uids([series_instance_uid])
