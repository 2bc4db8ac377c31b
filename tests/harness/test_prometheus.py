"""Claims about a real Prometheus before a real node: it scrapes, and its alerts fire and end.

The rules are those of deploy/prometheus with their `for` taken out: a test does not wait for
minutes to see what lasts for minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from support.cases import source_datasets
from support.ct import save
from support.namespace import Namespace
from support.small_node import result_pacs, small_config
from support.stopping import stop
from support.waiting import wait_until

from dicom_node.monitoring.heartbeats import read_beats
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.settings.node import NodeConfig

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
SERVE: Final = Path(__file__).parents[1] / "support" / "serve_small.py"
NODE_PORT, WEB_PORT, PROMETHEUS_PORT = 11119, 8089, 9099
PATIENCE_S: Final = 120.0
CONFIG: Final = f"""\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: msk-node
    static_configs: [{{targets: ["127.0.0.1:{WEB_PORT}"]}}]
"""
COMMANDS: Final = {
    "node": (sys.executable, str(SERVE), "node.json"),
    "prometheus": (
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
    ),
}
WITHOUT_ANSWER: Final = {
    "Alarms that are raised",
    "Associations",
    "Associations rejected, by reason",
    "Images refused, by reason",
    "Latest of each destination",
    "Schedules of archives",
    "Certificates: time left",
    "Sent, and not taken",
    "Answers, by state",
    "From the last image to the results",
}
"""Panels with a query of which there is nothing on this node."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A node, and the Prometheus that watches it."""

    config: NodeConfig

    def asked(self, path: str, **parameters: str) -> Any:
        """What Prometheus answers."""
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/{path}?{query}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        """The one value of a query; None where there is none."""
        found = self.asked("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = self.asked("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def is_up(self) -> bool:
        """Whether the node is scraped."""
        try:
            return self.value('up{job="msk-node"}') == 1
        except OSError:
            return False

    def pid(self, role: str) -> int:
        """The process of a role."""
        return next(
            each.pid for each in read_beats(self.config.node.spool) if each.role == role
        )

    @property
    def peer(self) -> Peer:
        """The node as a scanner sees it."""
        return Peer("node", "MSKNODE", "127.0.0.1", NODE_PORT, "CT1")


@pytest.fixture(scope="module")
def watched(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """A node and a Prometheus, both reached from this machine alone."""
    if shutil.which("prometheus") is None:
        stop("not installed: prometheus (make harness-packages)")
    folder = tmp_path_factory.mktemp("watched")
    rules = (DEPLOY / "prometheus/alerts.yml").read_text()
    (folder / "alerts.yml").write_text(re.sub(r"for: \w+", "for: 0s", rules))
    (folder / "prometheus.yml").write_text(CONFIG)
    running = []
    try:
        with namespace.inside(), result_pacs().running() as pacs:
            site = Watched(_settings(folder, pacs.port))
            running = [_started(folder, name, argv) for name, argv in COMMANDS.items()]
            wait_until(site.is_up, PATIENCE_S, f"the node is scraped ({folder})", every_s=0.5)
            send(site.peer, save(source_datasets(), folder / "sent"))
            sent = 'msk_node_deliveries{destination="pacs",state="sent"} > 0'
            wait_until(lambda: site.value(sent), PATIENCE_S, "results were sent", every_s=0.5)
        yield site
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)


def _settings(folder: Path, pacs_port: int) -> NodeConfig:
    """The settings of the node, also as the file that it reads."""
    config = small_config(
        folder,
        pacs_port,
        node={"port": NODE_PORT},
        web={"port": WEB_PORT},
        alarms={"stuck_s": 5.0},
    )
    (folder / "node.json").write_text(config.model_dump_json())
    return config


def _started(folder: Path, name: str, argv: tuple[str, ...]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )


def test_prometheus_takes_all_that_the_node_tells(watched: Watched) -> None:
    (target,) = watched.asked("targets")["activeTargets"]
    roles = watched.asked("query", query="msk_node_process_resident_memory_bytes")["result"]

    assert target["health"] == "up"
    assert target["lastError"] == ""
    assert {each["metric"]["role"] for each in roles} == {"receive", "work", "web"}
    assert watched.value("msk_node_build_info") == 1
    assert (watched.value("scrape_duration_seconds") or 99) < 5


def test_every_rule_is_loaded_and_can_be_evaluated(watched: Watched) -> None:
    groups = watched.asked("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wait_until(
        lambda: all(
            rule["health"] == "ok"
            for group in watched.asked("rules")["groups"]
            for rule in group["rules"]
        ),
        PATIENCE_S,
        "each rule was evaluated",
    )

    assert len(rules) == (DEPLOY / "prometheus/alerts.yml").read_text().count("- alert:")


def test_every_query_of_the_board_is_one_that_prometheus_understands(watched: Watched) -> None:
    board = json.loads((DEPLOY / "grafana/msk-node.json").read_text())
    queries = [
        (panel["title"], target["expr"].replace("$instance", ".*"))
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
    answers = {
        (title, query): watched.asked("query", query=query)["result"]
        for title, query in queries
    }

    assert len(queries) > 50
    assert {title for (title, _), found in answers.items() if not found} <= WITHOUT_ANSWER


def test_a_frozen_worker_is_an_alert_while_the_receiver_answers_and_ends_when_it_goes_on(
    watched: Watched,
) -> None:
    wait_until(
        lambda: "MskNodeProcessStuck" not in watched.firing(), PATIENCE_S, "the node has begun"
    )
    worker = watched.pid("work")
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_until(
            lambda: "MskNodeProcessStuck" in watched.firing(),
            PATIENCE_S,
            "the alert fires",
            every_s=0.5,
        )
        echo(watched.peer)
        alert = next(
            each
            for each in watched.asked("alerts")["alerts"]
            if each["labels"]["alertname"] == "MskNodeProcessStuck"
        )
    finally:
        os.kill(worker, signal.SIGCONT)
    wait_until(
        lambda: "MskNodeProcessStuck" not in watched.firing(), PATIENCE_S, "the alert ends"
    )

    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["runbook"] == "docs/operating.md#process-stuck"
    assert alert["annotations"]["summary"].endswith(f"(127.0.0.1:{WEB_PORT})")


def test_a_node_whose_metrics_nobody_answers_for_is_an_alert(watched: Watched) -> None:
    web = watched.pid("web")
    os.kill(web, signal.SIGKILL)
    wait_until(lambda: "MskNodeNotScraped" in watched.firing(), PATIENCE_S, "the alert fires")
    wait_until(watched.is_up, PATIENCE_S, "the supervisor has started it again", every_s=0.5)

    assert (watched.value("msk_node_healthy") or 0) in (0, 1)
