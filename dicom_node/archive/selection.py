"""Which series a schedule takes: its rules, asked by what is listed and then by headers.

Rules are three-valued (`series/eligibility.py`): a series is fetched unless something that is
listed is against it, and judged once more when it is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from dicom_node.archive.requests import study_candidates, why_not_asked_for
from dicom_node.peers.archives import Listed
from dicom_node.series.candidates import Candidate
from dicom_node.series.eligibility import choose, judge
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.rules import RuleSet
from dicom_node.settings.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Selection:
    """What a schedule takes.

    rules: its own, or those of one that names none.
    """

    schedule: Schedule
    rules: RuleSet

    def may_take_of(self, study: Listed) -> bool:
        """False if what a study is listed with is against every series that it may have."""
        if why_not_asked_for(study.values, self.schedule):
            return False
        return any(
            judge(each, self.rules).is_taken is not False for each in study_candidates(study)
        )

    def by_listing(self, candidates: Sequence[Candidate]) -> Mapping[str, tuple[str, ...]]:
        """The reasons against each series of a study as it is listed; mostly none."""
        found = {
            each.series_instance_uid: why_not_asked_for(each.values, self.schedule)
            for each in candidates
        }
        left = [each for each in candidates if not found[each.series_instance_uid]]
        return {**found, **self.by_headers(left)}

    def by_headers(self, candidates: Sequence[Candidate]) -> Mapping[str, tuple[str, ...]]:
        """The reasons of the rules alone against each series of a study."""
        return {
            uid: judgement.reasons if judgement.is_taken is False else ()
            for uid, judgement in choose(candidates, self.rules).items()
        }


def selection_of(config: NodeConfig, schedule: Schedule) -> Selection:
    """What a schedule takes, by the settings."""
    return Selection(schedule, config.rule_set(schedule.rules or "") or every_stack_of_ct())


@cache
def every_stack_of_ct() -> RuleSet:
    """The rules of a schedule that names none: CT, and as many images as make a stack."""
    return RuleSet.model_validate(
        {
            "name": "every-ct",
            "take": [{"attribute": "Modality", "equals": ["CT"]}],
            "images": {"at_least": 3},
        }
    )
