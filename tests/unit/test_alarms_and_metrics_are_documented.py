"""Every alarm has words on what to do, every metric its line; a missing page fails."""

from __future__ import annotations

import re
from pathlib import Path

from dicom_node.monitoring import metrics
from dicom_node.monitoring.alarms import AlarmKind

DOCS = Path(__file__).parents[2] / "docs"


def test_every_alarm_has_its_place_in_the_operating_guide() -> None:
    text = (DOCS / "operating.md").read_text(encoding="utf-8")

    assert list(AlarmKind)
    assert [each.value for each in AlarmKind if each.value not in text] == []


def test_every_metric_that_a_process_notes_has_its_line() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    noted = {each.name for each in vars(metrics).values() if isinstance(each, metrics.Metric)}
    told = {
        name.removesuffix("_total")
        for name in re.findall(r"^\| `msk_node_([a-z_]+)` \|", text, re.MULTILINE)
    }

    assert noted
    assert {each.removesuffix("_total") for each in noted} - told == set()
