"""Claims about a node's metrics as text: complete, well-formed, and told whatever is broken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.counted import counting_anew
from support.hostile_values import HOSTILE

from dicom_node.monitoring import metrics
from dicom_node.monitoring.metrics_files import metrics_folder, metrics_kept
from dicom_node.node import exposition
from dicom_node.node.exposition import PREFIX, NodeMetrics, Part, metric_rows
from dicom_node.node.metrics_of_ledger import ledger_samples
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryRow, DeliveryState, ResultRow, SeriesRow
from dicom_node.persistence.rows import SeriesState as State
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
PEER = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    tables = {
        "node": {"spool": "spool", "database": "db", "work": "work", "results": "results"},
        "destinations": [PEER],
    }
    return parse_config(tables, source="", folder=tmp_path)


@pytest.fixture(autouse=True)
def _a_new_process() -> Iterator[None]:
    """A process that has counted nothing yet."""
    with counting_anew():
        yield


def values(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and its labels' values in the order of their names."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def a_ledger(config: NodeConfig) -> Ledger:
    return Ledger(config.node.database_url)


def series(n: int, state: State, hours_ago: float) -> SeriesRow:
    at = NOW - timedelta(hours=hours_ago)
    return SeriesRow(f"1.2.{n}", 1, "1.3", "CT1", "NODE", 9, f"{n:064d}", at, at, state)


def on_its_way(
    n: int, state: DeliveryState, hours_ago: float, destination: str = "pacs"
) -> tuple[ResultRow, DeliveryRow]:
    at, uid = NOW - timedelta(hours=hours_ago), f"2.25.{n}"
    result = ResultRow(uid, "1.1", "SR", "2.25.9", "1.2.0", 1, "a.dcm", "0" * 64, at)
    row = DeliveryRow(uid, destination, "1.2.0", 1, NOW, state=state, next_attempt_at=NOW)
    return result, row


def looked_up(config: NodeConfig) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(each.metric.name, each.key): each.value for each in ledger_samples(config, NOW)}


def test_every_metric_is_told_with_its_help_by_a_node_that_never_ran(
    config: NodeConfig,
) -> None:
    text = NodeMetrics(config).text().decode()

    for row in metric_rows():
        family = row.name.removesuffix("_total") if row.type == "counter" else row.name
        assert f"# HELP {row.name} " in text or f"# HELP {family} " in text
        assert f" {row.type}\n" in text
    assert not list(config.node.spool.parent.iterdir())


def test_a_title_a_scanner_or_a_destination_never_adds_a_sample(config: NodeConfig) -> None:
    """Every value stands in a label, whatever ends one; what is told can be read back."""
    with metrics_kept(config, "receive", "n1"):
        for each in HOSTILE.values():
            metrics.INSTANCES_RECEIVED.labels(calling_ae=each).inc()
            metrics.CASES.labels(scanner=each, bundle=each, verdict="accepted").inc()
            metrics.INSTANCES_SENT.labels(destination=each).inc()
    text = NodeMetrics(config).text()
    found = values(text)

    for name, labels in (("received_instances", 1), ("cases", 3), ("sent_instances", 1)):
        keys = [key for told, key in found if told == f"{PREFIX}{name}_total"]
        assert sum(found[f"{PREFIX}{name}_total", key] for key in keys) == len(HOSTILE)
        assert all(len(key) == labels for key in keys)
    for line in text.decode().removesuffix("\n").split("\n"):
        assert line.startswith(("#", PREFIX)), line


def test_what_processes_counted_is_told_with_what_is_looked_up(config: NodeConfig) -> None:
    with metrics_kept(config, "work", "n1"):
        metrics.STEP_SECONDS.labels(step="wait").observe(45.0)
        metrics.CASES.labels(scanner='A "1"', bundle="b 1", verdict="accepted").inc()
    found = values(NodeMetrics(config).text())

    assert found["msk_node_step_seconds_bucket", ("30.0", "wait")] == 0
    assert found["msk_node_step_seconds_bucket", ("60.0", "wait")] == 1
    assert found["msk_node_step_seconds_bucket", ("+Inf", "wait")] == 1
    assert found["msk_node_step_seconds_sum", ("wait",)] == 45
    assert found["msk_node_cases_total", ("b 1", 'A "1"', "accepted")] == 1
    assert found["msk_node_process_resident_memory_bytes", ("n1", "work")] > 1e6
    assert found["msk_node_metrics_part_up", ("ledger",)] == 1


def test_gauges_of_a_process_that_fell_silent_are_not_told_and_its_counts_are(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with metrics_kept(config, "work", "n1"):
        metrics.SERIES_ACCEPTED.inc()
    later_s = time.time() + exposition.SILENT_S + 1
    monkeypatch.setattr(exposition.time, "time", lambda: later_s)
    found = values(NodeMetrics(config).text())

    assert ("msk_node_process_resident_memory_bytes", ("n1", "work")) not in found
    assert found["msk_node_series_accepted_total", ()] == 1
    assert found["msk_node_metrics_written_timestamp_seconds", ("n1", "work")] < later_s - 100


def test_the_ledger_says_what_is_in_which_state_and_how_old_it_is(config: NodeConfig) -> None:
    ledger = a_ledger(config)
    ledger.save(
        series(0, State.REPORTED, 9),
        series(1, State.RECEIVED, 2),
        series(2, State.RECEIVED, 3),
        *on_its_way(0, DeliveryState.WAITING, 5),
        *on_its_way(1, DeliveryState.HELD, 7),
        *on_its_way(2, DeliveryState.WAITING, 1, "gone"),
    )
    sent = replace(on_its_way(3, DeliveryState.SENT, 4)[1], sent_at=NOW - timedelta(hours=1))
    ledger.save(sent)
    ledger.close()
    found = looked_up(config)

    assert found["series", ("received",)] == 2
    assert found["series_oldest_age_seconds", ("received",)] == 3 * 3600
    assert found["series_oldest_age_seconds", ("segmented",)] == 0
    assert found["deliveries", ("pacs", "held")] == 1
    assert found["delivery_oldest_age_seconds", ("pacs", "waiting")] == 5 * 3600
    assert found["delivery_oldest_age_seconds", ("pacs", "held")] == 7 * 3600
    assert found["delivery_oldest_age_seconds", ("pacs", "unconfirmed")] == 3600
    assert found["deliveries_unconfirmed", ("pacs",)] == 1
    assert found["deliveries", ("gone", "waiting")] == 1


def test_a_destination_that_has_got_nothing_yet_is_told_as_zero(config: NodeConfig) -> None:
    a_ledger(config).close()

    assert looked_up(config)["deliveries", ("pacs", "waiting")] == 0


def test_a_database_that_cannot_be_read_leaves_the_rest(config: NodeConfig) -> None:
    config.node.spool.mkdir()
    Path(config.node.database_path or "").write_bytes(b"no database at all, but long enough")
    with metrics_kept(config, "work", "n1"):
        metrics.SERIES_ACCEPTED.inc()
    found = values(NodeMetrics(config).text())

    assert found["msk_node_database_up", ()] == 0
    assert found["msk_node_metrics_part_up", ("ledger",)] == 0
    assert found["msk_node_metrics_part_up", ("health",)] == 1
    assert found["msk_node_series_accepted_total", ()] == 1
    assert found["msk_node_alarm", ("database-unreachable", "critical")] == 1


def test_what_takes_long_to_look_up_is_told_again_for_longer(config: NodeConfig) -> None:
    asked: list[datetime] = []

    def slow(_config: NodeConfig, now: datetime) -> list[exposition.Sample]:
        asked.append(now)
        time.sleep(0.6)
        return []

    part = Part("slow", slow)
    started_s = time.monotonic()
    part.look(config)
    part.look(config)

    assert len(asked) == 1
    assert part.fresh_until_s - started_s > 0.6 / exposition.SHARE_OF_TIME


def test_files_of_other_programs_beside_the_counts_are_passed_over(config: NodeConfig) -> None:
    folder = metrics_folder(config)
    folder.mkdir(parents=True)
    (folder / "work@n1.json").write_text('{"version": 1, "role": "work"}')
    (folder / "a@b.json").mkdir()

    assert values(NodeMetrics(config).text())["msk_node_metrics_part_up", ("health",)] == 1


def test_all_names_begin_alike() -> None:
    assert all(row.name.startswith(PREFIX) for row in metric_rows())
    assert len({row.name for row in metric_rows()}) == len(metric_rows())
