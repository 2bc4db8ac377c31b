"""The room that the cases in the ledger need which are not answered yet.

Cases of the same size stand for one another, however many there are; of those whose size the
ledger does not know, the files in the spool tell it.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime

from dicom_node.node.room import (
    ANALYSIS,
    STEPS,
    Need,
    Step,
    Waiting,
    disks,
    keep_for_next,
    need_of_case,
    need_of_voxels,
)
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import Alike, SeriesRow, SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.spool import Spool


@dataclass(frozen=True, slots=True)
class CaseRoom:
    """What the cases that wait need, against what the disks have.

    needs: of cases whose size the ledger does not know, by series and revision, so that none
        is estimated twice.
    """

    config: NodeConfig
    ledger: Ledger
    clock: Callable[[], datetime]
    needs: MutableMapping[tuple[str, int], Need]

    def keep(self) -> None:
        """Have the receiver leave room for the cases that wait, as the ledger has them now."""
        keep_for_next(self.config, self._waiting)

    def is_short(self, arrival: SeriesArrival, step: Step) -> bool:
        """True if a disk of the node's has no room for what a step writes of a case."""
        need = need_of_case(arrival.paths, self.config)
        return bool(step.shortages(disks(self.config), need))

    def is_in_the_way(self, own: SeriesRow) -> bool:
        """True if a case without room keeps one waiting that has some."""
        self.keep()
        found = disks(self.config)
        needs = [
            self._need_of(each)
            for each in self.ledger.unanswered_alike()
            if each.state is SeriesState.RECEIVED and each.count > _is_among(own, each)
        ]
        needs += [
            self._need(row)
            for row in self.ledger.unmeasured()
            if row.state is SeriesState.RECEIVED and _key(row) != _key(own)
        ]
        return any(not ANALYSIS.shortages(found, need) for need in needs)

    def _waiting(self) -> tuple[Waiting, ...]:
        """The cases that are not answered; those that are alike stand for one another."""
        now, rows = self.clock(), self.ledger.unmeasured()
        for answered in set(self.needs) - set(map(_key, rows)):
            self.needs.pop(answered, None)
        found = [
            (each.state, self._need_of(each), each.latest_at)
            for each in self.ledger.unanswered_alike()
        ]
        found += [(row.state, self._need(row), row.received_at) for row in rows]
        return tuple(
            Waiting(STEPS[state].own(need), (now - received_at).total_seconds())
            for state, need, received_at in found
        )

    def _need_of(self, cases: Alike) -> Need:
        """The need of each of some cases, by the size in the ledger."""
        return need_of_voxels(cases.voxels, self.config.for_called(cases.called_ae_title))

    def _need(self, row: SeriesRow) -> Need:
        """The need of a case in the ledger, by the files that the spool has of its series."""
        need = self.needs.get(_key(row))
        if need is None:
            spool = Spool(self.config.node.spool, only_look=True)
            paths = [entry.path for entry in spool.entries(row.series_instance_uid)]
            need = need_of_case(paths, self.config.for_called(row.called_ae_title))
            self.needs[_key(row)] = need
        return need


def _is_among(row: SeriesRow, cases: Alike) -> bool:
    """True if a row is one of those that are counted."""
    facts = (row.state, row.called_ae_title, row.voxels)
    return facts == (cases.state, cases.called_ae_title, cases.voxels)


def _key(row: SeriesRow) -> tuple[str, int]:
    """The name of a case."""
    return (row.series_instance_uid, row.revision)
