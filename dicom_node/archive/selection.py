"""Which of the series that are here a schedule takes: the seam to the selection rules.

The rules are asked twice: by what an archive lists of a study, and once all that is wanted of
it is here, by its headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.archive.requests import why_not_wanted
from dicom_node.series.candidate_reading import candidate_of
from dicom_node.series.candidates import Candidate, Judgement
from dicom_node.series.eligibility import choose
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.schedules import Schedule

Choose = Callable[[Sequence[Candidate]], Mapping[str, Judgement]]
"""The candidates of one study to the judgement on each, by Series Instance UID."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a schedule takes: its filter, and its rule set where it names one.

    choose: the rules; None where there are none.
    read: a candidate, from the files of a series.
    """

    schedule: Schedule
    choose: Choose | None = None
    read: Callable[[Sequence[Path]], Candidate] | None = None

    @property
    def looks_at_headers(self) -> bool:
        """True if a series is judged once more when it is here."""
        return self.choose is not None and self.read is not None

    def reasons(self, candidates: Sequence[Candidate]) -> Mapping[str, tuple[str, ...]]:
        """The reasons against each series of a study; empty for one that may be taken."""
        found = {
            each.series_instance_uid: why_not_wanted(each, self.schedule) for each in candidates
        }
        if self.choose is None:
            return found
        left = [each for each in candidates if not found[each.series_instance_uid]]
        for uid, judgement in (self.choose(left) if left else {}).items():
            if judgement.is_taken is False:
                found[uid] = judgement.reasons or ("rules: not taken",)
        return found


def selection_of(config: NodeConfig, schedule: Schedule) -> Selection:
    """What a schedule takes, by the settings."""
    rules = config.rule_set(schedule.rules or "")
    if rules is None:
        return Selection(schedule)
    return Selection(schedule, lambda found: choose(found, rules), candidate_of)
