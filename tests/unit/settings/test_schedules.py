"""Claims about the tables of schedules and archives."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

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
