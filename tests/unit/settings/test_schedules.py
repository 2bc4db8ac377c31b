"""Claims about the tables of schedules and archives."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.series.candidates import Candidate
from dicom_node.series.eligibility import judge
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

PAGE = Path(__file__).parents[3] / "docs" / "requery.md"
ARCHIVE = {"name": "store", "ae_title": "STORE", "host": "127.0.0.1", "port": 104}
SCHEDULE = {"name": "nightly", "archive": "store", "since": date(2026, 1, 5)}


def parse(of_archive: Any = None, /, **schedule: Any) -> NodeConfig:
    table = {
        "archives": [{**ARCHIVE, **(of_archive or {})}],
        "schedules": [{**SCHEDULE, **schedule}],
    }
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def problem(of_archive: Any = None, /, **schedule: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parse(of_archive, **schedule)
    return str(raised.value).removeprefix("node.toml: ")


def test_a_schedule_with_an_archive_and_a_first_date_is_enough() -> None:
    schedule = parse().schedules[0]

    assert (schedule.window, schedule.until, schedule.rules) == ("day", None, None)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"archive": "other"}, "schedules[0].archive: there is no 'other' in [[archives]]"),
        ({"rules": "hips"}, "schedules[0].rules: there is no 'hips' in [[rules]]"),
        ({"at": "20:00", "every_h": 6}, "schedules[0]: at and every_h both say when a run"),
        ({"until": date(2025, 1, 1)}, "schedules[0]: until is 2025-01-01, before since"),
        ({"filter": {"modalities": ["CT"]}}, "schedules[0].filter: unknown key"),
        ({"at_archive": {"studyDate": "x"}}, "schedules[0].at_archive.studyDate.[key]: "),
        ({"at_archive": {"StudyDate": "x"}}, "schedules[0].at_archive.StudyDate.[key]: "),
        ({"days": "Mon-Fr"}, "schedules[0].days: "),
        ({"at": "24:00"}, "schedules[0].at: "),
    ],
)
def test_what_cannot_be_meant_is_named_by_its_key(keys: dict[str, Any], words: str) -> None:
    assert problem(**keys).startswith(words)


@pytest.mark.parametrize("hours", ["20:00", "Mon-Fr 20:00-06:00", "20:00-20:00", "24:00-06:00"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    assert problem({"hours": [hours]}).startswith("archives[0].hours[0]: ")


def test_two_schedules_of_one_name_are_refused() -> None:
    table = {"archives": [ARCHIVE], "schedules": [SCHEDULE, SCHEDULE]}
    with pytest.raises(ConfigurationError, match="2 of them are called 'nightly'"):
        parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def test_what_is_asked_of_a_list_is_said_in_rules_as_documented() -> None:
    """Number of images, age, thickness, body part and description, whatever the case."""
    table = tomllib.loads(PAGE.read_text().partition("```toml")[2].partition("```")[0])
    config = parse_config(table, source="requery.md", folder=Path("/etc/msk"))
    rules = config.rule_set(config.schedules[0].rules or "")
    wanted = {
        "Modality": "CT",
        "PatientAge": "060Y",
        "SliceThickness": "1.5",
        "BodyPartExamined": "HIP",
        "SeriesDescription": "Hip to knee",
    }
    assert rules is not None

    assert judge(Candidate("1.2", "1.2.3", wanted, 400), rules).is_taken
    for keyword, other in [
        ("Modality", "MR"),
        ("PatientAge", "012Y"),
        ("SliceThickness", "6"),
        ("BodyPartExamined", "HEAD"),
        ("SeriesDescription", "TOPOGRAM 0.6"),
    ]:
        each = Candidate("1.2", "1.2.3", wanted | {keyword: other}, 400)
        assert judge(each, rules).is_taken is False, keyword
    assert judge(Candidate("1.2", "1.2.3", wanted, 99), rules).is_taken is False
