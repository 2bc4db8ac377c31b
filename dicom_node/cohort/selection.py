"""Which cases go into a table: by date, bundle, verdict, sender and state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from dicom_node.cohort.records import CaseRecord


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases that are wanted; what is left empty leaves none out.

    since: analysed at that moment or later.
    first_day, last_day: of the study; a case without a Study Date is then left out.
    bundles: by name, or name and version.
    verdicts: of the case.
    states: "reported", "refused" or "failed".
    """

    since: datetime | None = None
    first_day: date | None = None
    last_day: date | None = None
    bundles: frozenset[str] = frozenset()
    verdicts: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()

    def takes(self, case: CaseRecord) -> bool:
        """True if a case is among them."""
        return (
            self._is_in_time(case)
            and _among(self.bundles, *_names_of_bundle(case))
            and _among(self.verdicts, str(case.verdict or ""))
            and _among(self.senders, case.source.sender)
            and _among(self.states, case.state)
        )

    def _is_in_time(self, case: CaseRecord) -> bool:
        analysed, studied = case.source.analysed_at, case.source.study_date
        if self.since is not None and (analysed is None or analysed < self.since):
            return False
        if self.first_day is None and self.last_day is None:
            return True
        if studied is None:
            return False
        return (self.first_day or date.min) <= studied <= (self.last_day or date.max)


def _names_of_bundle(case: CaseRecord) -> tuple[str, ...]:
    model = case.model
    return () if model is None else (model.name, f"{model.name} {model.version}")


def _among(wanted: frozenset[str], *names: str) -> bool:
    return not wanted or not wanted.isdisjoint(names)
