"""A claim about a node with rules, as processes: killed while it waits for a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.ct import save
from support.installed_node import PATIENCE_S, InstalledNode, free_port
from support.routed import BONE, SOFT, series_datasets, series_uid
from support.small_node import result_pacs, small_config
from support.waiting import wait_until
from typer.testing import CliRunner

from dicom_node.commands.cli import app
from dicom_node.node.status import node_status
from dicom_node.peers.store import send
from dicom_node.persistence.rows import DeliveryState, SeriesState

QUIET_S = 4.0
SETTINGS = """
[node]
spool = 'spool'
work = 'work'
results = 'results'
database = 'db'

[[rules]]
name = 'best'
best = ['soft_kernel']
"""


def run(*words: str) -> str:
    """What a command prints, once it has done its work."""
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_node_killed_while_it_waits_for_a_study_chooses_its_best_all_the_same(
    tmp_path: Path,
) -> None:
    """Bone first, then soft; then the one that was left out is released by hand."""
    (tmp_path / "node.toml").write_text(SETTINGS)
    settings = str(tmp_path / "node.toml")
    with result_pacs().running() as pacs:
        config = small_config(
            tmp_path,
            pacs.port,
            node={"port": free_port()},
            completion={"quiet_s": 0.5, "study_quiet_s": QUIET_S},
            rules=[{"name": "best", "best": ["soft_kernel"]}],
            analysis={"rules": "best"},
        )
        node = InstalledNode(tmp_path, config)

        def counts(state: SeriesState, objects: int) -> tuple[int, bool]:
            status = node_status(config)
            is_sent = status.deliveries[DeliveryState.SENT] == objects
            return status.series[state], is_sent

        try:
            node.start()
            for number, kernel in enumerate((BONE, SOFT), 1):
                files = save(series_datasets(number, kernel), tmp_path / kernel)
                assert all(outcome.stored for outcome in send(node.peer, files))
            wait_until(lambda: len(node_status(config).undecided) == 2, PATIENCE_S, "both wait")
            node.kill()
            before = node_status(config)
            node.start()
            wait_until(
                lambda: counts(SeriesState.REPORTED, 2) == (1, True), PATIENCE_S, "soft is done"
            )
            wait_until(
                lambda: counts(SeriesState.LEFT_OUT, 2) == (1, True), PATIENCE_S, "bone is out"
            )
            left_out = node_status(config).left_out
            tried = json.loads(run("rules", "test", "-c", settings, "--json", left_out_study()))
            said = run("release", "-c", settings, "--series", series_uid(1))
            wait_until(
                lambda: counts(SeriesState.REPORTED, 4) == (2, True), PATIENCE_S, "bone is done"
            )
        finally:
            node.kill()

    assert before.series[SeriesState.REPORTED] == before.series[SeriesState.LEFT_OUT] == 0
    assert [each.series_instance_uid for each in left_out] == [series_uid(1)]
    assert verdicts(tried) == {series_uid(1): False, series_uid(2): True}
    assert said.splitlines() == [
        "1 series released that rules had left out",
        "0 held objects released",
    ]
    assert len({uid for uid, _, _ in pacs.received}) == len(pacs.received) == 4


def left_out_study() -> str:
    """The study that both series are of."""
    return str(series_datasets(1)[0].StudyInstanceUID)


def verdicts(tried: dict[str, Any]) -> dict[str, bool]:
    """What `rules test` says of each series."""
    return {
        series["series_instance_uid"]: series["taken"]
        for study in tried["studies"]
        for series in study["series"]
    }
