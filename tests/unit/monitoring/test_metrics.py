"""Claims about what processes count: what it costs, what bounds it, what a restart keeps."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.counted import counting_anew, forget

from dicom_node.monitoring import metrics
from dicom_node.monitoring.metrics import METRICS, Metric, MetricType, OpenLabel
from dicom_node.monitoring.metrics_files import (
    ABANDONED_S,
    added_up,
    metrics_folder,
    metrics_kept,
    read_snapshots,
    watch,
)
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return parse_config({"node": {"spool": "spool"}}, source="", folder=tmp_path)


@pytest.fixture(autouse=True)
def _a_new_process() -> Iterator[None]:
    """Each test counts from nothing, and leaves nothing to others of its process."""
    with counting_anew():
        yield


def counted(config: NodeConfig, metric: Metric) -> dict[tuple[str, ...], list[float]]:
    return added_up(read_snapshots(metrics_folder(config)), metric.name)


def test_a_count_goes_on_over_restarts_of_its_role_and_leaves_one_file(
    config: NodeConfig,
) -> None:
    for _ in range(3):
        with metrics_kept(config, "work", "node"):
            metrics.SERIES_ACCEPTED.inc()
        forget()

    assert counted(config, metrics.SERIES_ACCEPTED) == {(): [3.0]}
    assert [path.name for path in metrics_folder(config).iterdir()] == ["work@node.json"]


def test_a_kill_takes_nothing_back_that_was_shown(config: NodeConfig) -> None:
    with metrics_kept(config, "work", "node", every_s=0.01):
        metrics.SERIES_ACCEPTED.inc(5)
        deadline = time.monotonic() + 10
        while counted(config, metrics.SERIES_ACCEPTED) != {(): [5.0]}:
            assert time.monotonic() < deadline
        shown = (metrics_folder(config) / "work@node.json").read_bytes()
        metrics.SERIES_ACCEPTED.inc(2)
    forget()
    (metrics_folder(config) / "work@node.json").write_bytes(shown)  # the last two were lost
    with metrics_kept(config, "work", "node"):
        metrics.SERIES_ACCEPTED.inc()

    assert counted(config, metrics.SERIES_ACCEPTED) == {(): [6.0]}


def test_roles_count_beside_each_other_and_are_added_up(config: NodeConfig) -> None:
    for role in ("receive", "work"):
        with metrics_kept(config, role, "node"):
            metrics.STEP_SECONDS.labels(step="wait").observe(3.0)
        forget()

    ((count, total, *buckets),) = counted(config, metrics.STEP_SECONDS).values()
    assert (count, total) == (2.0, 6.0)
    assert sum(buckets) == 2
    assert buckets[metrics.STEP_SECONDS.buckets.index(5.0)] == 2


def test_gauges_of_a_process_before_are_not_taken_over(config: NodeConfig) -> None:
    with metrics_kept(config, "receive", "node"):
        metrics.ASSOCIATIONS_LIMIT.set(64)
    forget()
    with metrics_kept(config, "receive", "node"):
        pass

    assert counted(config, metrics.ASSOCIATIONS_LIMIT) == {}
    assert counted(config, metrics.MEMORY)[()][0] > 1e6


def test_a_gauge_that_is_watched_is_as_it_is_when_the_file_is_written(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_node.monitoring.metrics_files._watched", {})
    with metrics_kept(config, "receive", "node"):
        watch(metrics.ASSOCIATIONS_OPEN, lambda: 7)

    assert counted(config, metrics.ASSOCIATIONS_OPEN) == {(): [7.0]}


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0" * 100, b"[]", b'{"version": 1}', b'{"version": 99}', b'{"version": 1, "role":'],
)
def test_a_damaged_file_is_begun_anew(config: NodeConfig, damage: bytes) -> None:
    folder = metrics_folder(config)
    folder.mkdir(parents=True)
    (folder / "work@node.json").write_bytes(damage)
    with metrics_kept(config, "work", "node"):
        metrics.SERIES_ACCEPTED.inc()

    assert counted(config, metrics.SERIES_ACCEPTED) == {(): [1.0]}


def test_series_of_another_form_in_a_file_are_left_out(config: NodeConfig) -> None:
    with metrics_kept(config, "work", "node"):
        metrics.SERIES_ACCEPTED.inc(4)
    path = metrics_folder(config) / "work@node.json"
    table = json.loads(path.read_text())
    table["series"]["step_seconds"] = [[["wait"], [1.0, 2.0]], [[], [1.0]]]
    table["series"]["gone_total"] = [[[], [1.0]]]
    path.write_text(json.dumps(table))
    forget()
    with metrics_kept(config, "work", "node"):
        pass

    assert counted(config, metrics.STEP_SECONDS) == {}
    assert counted(config, metrics.SERIES_ACCEPTED) == {(): [4.0]}


def test_a_disk_that_takes_no_file_ends_nobodys_work(tmp_path: Path) -> None:
    config = parse_config({"node": {"spool": "spool"}}, source="", folder=tmp_path)
    config.node.spool.write_text("a file where the folder should be")
    with metrics_kept(config, "work", "node", every_s=0.01):
        metrics.SERIES_ACCEPTED.inc()
        time.sleep(0.05)

    assert metrics.SERIES_ACCEPTED.copied() == {(): [1.0]}


def test_the_file_of_a_machine_that_has_gone_is_taken_over_after_a_week(
    config: NodeConfig,
) -> None:
    with metrics_kept(config, "work", "old-container"):
        metrics.SERIES_ACCEPTED.inc(10)
    forget()
    with metrics_kept(config, "work", "new-container"):
        metrics.SERIES_ACCEPTED.inc()
    forget()
    assert len(read_snapshots(metrics_folder(config))) == 2
    old = metrics_folder(config) / "work@old-container.json"
    long_ago_s = time.time() - ABANDONED_S - 60
    os.utime(old, (long_ago_s, long_ago_s))
    with metrics_kept(config, "work", "new-container"):
        metrics.SERIES_ACCEPTED.inc()

    assert counted(config, metrics.SERIES_ACCEPTED) == {(): [12.0]}
    assert [each.node for each in read_snapshots(metrics_folder(config))] == ["new-container"]


def test_a_takeover_that_was_killed_is_finished_by_the_next_start(config: NodeConfig) -> None:
    with metrics_kept(config, "work", "old"):
        metrics.SERIES_ACCEPTED.inc(10)
    forget()
    folder = metrics_folder(config)
    (folder / "work@old.json").rename(folder / "work@node.taken-work@old")
    with metrics_kept(config, "work", "node"):
        pass

    assert counted(config, metrics.SERIES_ACCEPTED) == {(): [10.0]}
    assert [path.name for path in folder.iterdir()] == ["work@node.json"]


def test_strangers_make_no_series_without_end() -> None:
    label = OpenLabel(most=3)
    label.know(["CT1"])
    told = [label.of(f"X{n}", admits=True) for n in range(100)]

    assert set(told) == {"X0", "X1", "X2", "other"}
    assert label.of("CT1") == "CT1"
    assert label.of("never seen") == "other"


def test_whoever_only_calls_takes_no_place() -> None:
    for n in range(100):
        metrics.ASSOCIATIONS_ACCEPTED.labels(calling_ae=f"STRANGER{n}").inc()

    assert metrics.ASSOCIATIONS_ACCEPTED.copied() == {("other",): [100.0]}


def test_values_from_outside_are_one_line_of_ascii() -> None:
    label = OpenLabel(most=3)

    assert label.of('a"\n{b}\0é' + "x" * 100, admits=True) == 'a"?{b}??' + "x" * 56
    assert label.of("  ", admits=True) == "other"


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    metrics.STEP_SECONDS.labels(step="wait").observe(-5.0)

    assert metrics.STEP_SECONDS.copied()["wait",][1] == 0.0


@pytest.mark.parametrize("metric", list(METRICS.values()), ids=list(METRICS))
def test_names_follow_the_conventions_of_prometheus(metric: Metric) -> None:
    if metric.type is MetricType.COUNTER:
        assert metric.name.endswith("_total")
    if metric.type is MetricType.HISTOGRAM:
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.words.endswith((".", "confirmation)."))
    assert "ms" not in metric.name.split("_")


def test_counting_costs_microseconds() -> None:
    """Some 2 us on an idle core; a limit that a slow and busy one meets too."""
    started_s = time.process_time()
    for _ in range(20_000):
        metrics.INSTANCES_RECEIVED.labels(calling_ae="CT1").inc()
    each_us = (time.process_time() - started_s) / 20_000 * 1e6

    assert each_us < 50
