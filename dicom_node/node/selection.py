"""Selection rules for series that arrive: which are analysed, and what is left out.

A series that comes on a title with rules (`analysis.rules`, `pipelines.rules`) is asked about
in a job of its own. Where the rules choose the best of a study, that job comes again until
nothing has come of the study for `completion.study_quiet_s`, and then compares what is there.
A series that is left out stays in the spool and in the ledger with every reason; `msk-node
release --series` has it analysed after all, and so has sending it to a title without rules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node.errors import NoImagesError, UnknownNameError
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import (
    AGAINST_RULES,
    AWAITS_RULES,
    COMPETING,
    NOT_BEST,
    RELEASED,
    SUPERSEDED,
    SeriesRow,
    SeriesState,
)
from dicom_node.series.candidate_reading import candidate_of
from dicom_node.series.candidates import Candidate, Judgement
from dicom_node.series.eligibility import choose, judge, named_better
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import Completion, NodeConfig
from dicom_node.settings.rules import RuleSet
from dicom_node.spool.arrivals import SeriesArrival, arrival_of, study_of
from dicom_node.spool.pending import read_waiting
from dicom_node.spool.revisions import Revision, read_marker
from dicom_node.spool.spool import Spool
from dicom_node.uids import sources_digest

MOST_REMEMBERED: Final = 128
"""Candidates that are kept in memory; those of a study are asked about together."""


def rules_for(config: NodeConfig, called_ae_title: str) -> RuleSet | None:
    """The rules for series that are sent to a title; None where every one is taken."""
    return config.rule_set(config.for_called(called_ae_title).analysis.rules or "")


@dataclass(frozen=True, slots=True)
class Selection:
    """What rules say of a series, beside the others of its study.

    config: of the node, without the changes of any pipeline.
    read: candidates that have been read, by the names of their files, which tell contents
        apart: each series of a study is compared with all the others.
    """

    config: NodeConfig
    ledger: Ledger
    clock: Callable[[], datetime]
    read: MutableMapping[str, Candidate] = field(default_factory=dict)

    def wait_s(self, arrival: SeriesArrival) -> float:
        """How long to wait before the best of a study can be chosen; 0 when it can be now."""
        rows = self.ledger.of_study(arrival.study_instance_uid)
        return study_wait_s(
            [row.received_at for row in rows],
            list(self._arriving(arrival.study_instance_uid)),
            self.clock(),
            self.config.completion,
        )

    def judgement(self, arrival: SeriesArrival, rules: RuleSet) -> tuple[Judgement, str]:
        """What rules say of a series, and the code for it where they leave it out.

        Raises:
            NoImagesError: none of its files can be read.
        """
        if self._is_superseded(arrival):
            words = "the next revision came before it was decided on"
            return Judgement(is_taken=False, reasons=(words,)), SUPERSEDED
        own = self._candidate(arrival)
        alone = judge(own, rules)
        if alone.is_taken is False or not rules.best:
            return alone, AGAINST_RULES
        rivals = list(self._rivals(arrival, rules))
        return choose([own, *rivals], rules)[own.series_instance_uid], NOT_BEST

    def left_out_for(self, arrival: SeriesArrival) -> list[tuple[SeriesRow, SeriesArrival]]:
        """The series that were left out because this one is better, and whose images are here.

        Also those that await the rules again for that reason.
        """
        named = named_better(arrival.series_instance_uid)
        rows = [
            row
            for row in _latest(self.ledger.of_study(arrival.study_instance_uid))
            if row.code in {NOT_BEST, AWAITS_RULES} and row.reason.startswith(named)
        ]
        found = [(row, arrival_in_spool(self.config.node.spool, row)) for row in rows]
        return [(row, series) for row, series in found if series is not None]

    def _is_superseded(self, arrival: SeriesArrival) -> bool:
        """True if there is a later revision, about which the rules are asked, too."""
        revisions = self.ledger.revisions(arrival.series_instance_uid)
        return any(row.revision > arrival.revision for row in revisions)

    def _rivals(self, arrival: SeriesArrival, rules: RuleSet) -> Iterator[Candidate]:
        """The other series of its study under the same rules whose images are here."""
        for row in _latest(self.ledger.of_study(arrival.study_instance_uid)):
            if row.series_instance_uid == arrival.series_instance_uid:
                continue
            if (
                row.state not in COMPETING
                or rules_for(self.config, row.called_ae_title) != rules
            ):
                continue
            rival = arrival_in_spool(self.config.node.spool, row)
            if rival is not None:
                with contextlib.suppress(NoImagesError):
                    yield self._candidate(rival)

    def _candidate(self, arrival: SeriesArrival) -> Candidate:
        """A series as its headers say, read once."""
        names = sources_digest(path.name for path in arrival.paths)
        key = f"{arrival.series_instance_uid}:{names}"
        found = self.read.get(key)
        if found is None:
            found = candidate_of(arrival.paths)
            if len(self.read) >= MOST_REMEMBERED:
                self.read.clear()
            self.read[key] = found
        return found

    def _arriving(self, study_instance_uid: str) -> Iterator[datetime]:
        """When the last image came of each series of a study that is not complete yet."""
        spool = Spool(self.config.node.spool, only_look=True)
        for each in read_waiting(self.config.node.spool):
            paths = [entry.path for entry in spool.entries(each.series_instance_uid)]
            if study_of(paths) == study_instance_uid:
                yield datetime.fromtimestamp(each.last_received_s, UTC)


def study_wait_s(
    received: Sequence[datetime],
    arriving: Sequence[datetime],
    now: datetime,
    settings: Completion,
) -> float:
    """How long to wait until a study counts as quiet; 0 when it does.

    Args:
        received: when each of its series was complete.
        arriving: when the last image came of each that is not.
        now: the time; one before all that came (a clock that was set) starts the wait anew.
        settings: how long a study has to be quiet, and how long a series with gaps is open.
    """
    open_s = max(settings.study_quiet_s, settings.give_up_s)
    waits = [settings.study_quiet_s - (now - at).total_seconds() for at in received]
    waits += [open_s - (now - at).total_seconds() for at in arriving]
    longest = settings.study_quiet_s if not arriving else open_s
    return min(max([0.0, *waits]), longest)


def arrival_in_spool(spool: Path, row: SeriesRow) -> SeriesArrival | None:
    """A series in the ledger with its images; None where the spool has them no more."""
    folder = spool / row.series_instance_uid
    with contextlib.suppress(OSError, ValueError):
        if revision := _whole_revision(folder):
            arrival = arrival_of(folder, revision)
            return replace(
                arrival,
                revision=row.revision,
                calling_ae_title=row.calling_ae_title,
                called_ae_title=row.called_ae_title,
            )
    return None


def are_images_here(spool: Path, row: SeriesRow) -> bool:
    """True if the spool has the images of a series still; none of them is read."""
    with contextlib.suppress(OSError, ValueError):
        return _whole_revision(spool / row.series_instance_uid) is not None
    return False


def _whole_revision(folder: Path) -> Revision | None:
    """The last revision of a series, if every file of it is there.

    Raises:
        OSError, ValueError: its record cannot be read.
    """
    revisions = read_marker(folder)
    if revisions and set(revisions[-1].files) <= {path.name for path in folder.iterdir()}:
        return revisions[-1]
    return None


def release_left_out(config: Path | None, series_instance_uid: str) -> bool:
    """Have a series analysed that rules left out; False where they did not.

    Only the ledger is changed: the node that runs, or the next one that does, goes on.

    Raises:
        ConfigurationError: the file cannot be used, or the ledger is of another version.
        UnknownNameError: its images are no longer here.
    """
    settings = load_config(config)
    ledger = existing_ledger(settings.node.database_url)
    if ledger is None:
        return False
    try:
        row = next(iter(ledger.revisions(series_instance_uid)[-1:]), None)
        if row is None or row.state is not SeriesState.LEFT_OUT:
            return False
        if arrival_in_spool(settings.node.spool, row) is None:
            raise UnknownNameError(
                f"the images of series {series_instance_uid} are here no more: send it again"
            )
        words = "released by hand"
        now = datetime.now(UTC)
        ledger.save(row.become(SeriesState.RECEIVED, now, code=RELEASED, reason=words))
        return True
    finally:
        ledger.close()


def _latest(rows: Sequence[SeriesRow]) -> list[SeriesRow]:
    """The latest revision of each series."""
    latest = {row.series_instance_uid: row for row in sorted(rows, key=lambda r: r.revision)}
    return [latest[uid] for uid in sorted(latest)]
