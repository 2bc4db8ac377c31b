"""Claims about deploy/prometheus and deploy/grafana: they ask for what a node exposes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from support.stopping import stop

from dicom_node.monitoring.alarms import AlarmKind
from dicom_node.monitoring.metrics import MetricType
from dicom_node.node.exposition import metric_rows

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
DOCS: Final = ROOT / "docs"
BOARD: Final = json.loads((DEPLOY / "grafana/msk-node.json").read_text())
RULES: Final = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAME: Final = re.compile(r"msk_node_[a-z_]+")
SELECTOR: Final = re.compile(r"(msk_node_[a-z_]+)\{([^}]*)\}")
MATCHER: Final = re.compile(r"(\w+)\s*[=!]~?\s*\"")
GROUPING: Final = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS: Final = {"instance", "job", "le"}
PARTS: Final = {
    MetricType.HISTOGRAM: ("_bucket", "_sum", "_count"),
    MetricType.SUMMARY: ("_sum", "_count"),
}


def exposed() -> dict[str, set[str]]:
    """Every name that can be asked for, with its labels."""
    return {
        row.name + ending: set(row.label_names)
        for row in metric_rows()
        for ending in PARTS.get(MetricType(row.type), ("",))
    }


def queries() -> Iterator[tuple[str, str]]:
    """Every query of the board and of the rules, with where it stands."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


@pytest.mark.parametrize(("place", "query"), list(queries()))
def test_every_query_asks_for_what_a_node_exposes(place: str, query: str) -> None:
    there = exposed()
    for name in NAME.findall(query):
        assert name in there, f"{place}: no metric {name}"
    for name, matchers in SELECTOR.findall(query):
        assert set(MATCHER.findall(matchers)) <= there[name] | OF_PROMETHEUS, place
    known = set().union(*(there[name] for name in NAME.findall(query))) | OF_PROMETHEUS
    for labels in GROUPING.findall(query):
        assert set(labels.replace(" ", "").split(",")) <= known, place


def test_every_metric_is_asked_for_by_a_rule_or_shown_on_the_board() -> None:
    """What nobody looks at need not be counted; these are for a site's own questions."""
    asked = {name for _, query in queries() for name in NAME.findall(query)}
    for_questions = {
        "msk_node_associations_accepted_total", "msk_node_repeated_instances_total",
        "msk_node_process_open_fds", "msk_node_deliveries_changed_total", "msk_node_disk_short",
        "msk_node_destination_failing", "msk_node_loop_age_seconds", "msk_node_process_moving",
        "msk_node_schedule_next_run_timestamp_seconds", "msk_node_schedule_held_up",
    }  # fmt: skip
    unasked = {
        row.name
        for row in metric_rows()
        if not any(name.startswith(row.name) for name in asked)
    }

    assert unasked == for_questions


def headings(page: Path) -> set[str]:
    """The places of a page that a link can name, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles}


@pytest.mark.parametrize("rule", RULES, ids=[each["alert"] for each in RULES])
def test_every_rule_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical", "{{ $labels.severity }}")
    assert rule["for"]
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")
    page, _, heading = rule["annotations"]["runbook"].partition("#")
    assert heading in headings(ROOT / page), rule["annotations"]["runbook"]


def test_every_alarm_of_the_node_has_its_rule() -> None:
    ruled = re.findall(r'kind="([a-z-]+)"', " ".join(each["expr"] for each in RULES))

    assert sorted(ruled) == sorted(AlarmKind)


def test_the_board_is_one_that_grafana_takes() -> None:
    panels = BOARD["panels"]
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert BOARD["schemaVersion"] >= 36
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(places) == len(set(places)), "panels lie on each other"
    assert max(x for x, _ in places) == 23
    assert all(panel["title"] and panel["type"] for panel in panels)


def test_the_table_of_metrics_is_what_a_node_exposes() -> None:
    text = (DOCS / "metrics.md").read_text()
    table = text.partition("<!-- metrics -->")[2].partition("<!-- /metrics -->")[0]
    rows = [
        f"| `{row.name}` | {row.type} | "
        f"{', '.join(f'`{each}`' for each in row.label_names) or '—'} | {row.words} |"
        for row in metric_rows()
    ]

    assert table.strip().splitlines()[2:] == rows


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
        ("test", "rules", "alerts_drift_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes_rules_and_configuration_and_each_rule_fires(
    arguments: tuple[str, ...],
) -> None:
    if shutil.which("promtool") is None:
        stop("not installed: promtool (make harness-packages)")
    done = subprocess.run(
        ["promtool", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=DEPLOY / "prometheus",
    )

    assert done.returncode == 0, done.stdout + done.stderr
