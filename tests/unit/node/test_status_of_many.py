"""Claims about `msk-node status` on a node that has had many series."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node.commands.status_tables import render
from dicom_node.node import status as module
from dicom_node.node.status import FEW, MOST_SHOWN, NodeStatus, node_status
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

NOW = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
MANY = FEW + 100


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """Of a node that refused every second series, and has a held delivery of the oldest."""
    config = parse_config({}, source="", folder=tmp_path)
    config.node.spool.mkdir(parents=True)
    ledger, rows = Ledger(config.node.database_url), []
    for n in range(MANY):
        at, uid = NOW + timedelta(minutes=n), f"1.2.{n}"
        state = SeriesState.REFUSED if n % 2 else SeriesState.REPORTED
        row = SeriesRow(uid, 1, "1.2", "CT1", "MSKNODE", 120, f"{n:064d}", at, at, state)
        result = ResultRow(f"2.25.{n}", "1.1", "SR", "2.25.9", uid, 1, "a.dcm", "0" * 64, at)
        sent = DeliveryRow(f"2.25.{n}", "pacs", uid, 1, at, state=DeliveryState.SENT)
        held = replace(sent, state=DeliveryState.HELD, reason="no such object")
        rows += [row, result, sent if n else held]
    ledger.save(*rows)
    ledger.close()
    return config


def shown(status: NodeStatus) -> str:
    console = Console(width=200, markup=False)
    with console.capture() as captured:
        console.print(render(status))
    return captured.get()


def test_all_are_counted_and_the_latest_are_named(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATEST", 30)
    status = node_status(config)

    assert status.series[SeriesState.REFUSED] == MANY // 2
    assert status.deliveries[DeliveryState.SENT] == MANY - 1
    assert len(status.unanalysed) == MOST_SHOWN
    assert status.unanalysed[0].series_instance_uid == f"1.2.{MANY - 1}"
    assert [row.objects[DeliveryState.SENT] for row in status.traffic] == [30]
    assert status.kept == ()


def test_what_needs_a_person_is_named_however_old(config: NodeConfig) -> None:
    (held,) = node_status(config).held

    assert (held.series_instance_uid, held.reason) == ("1.2.0", "no such object")


def test_it_says_that_it_does_not_tell_everything_and_how_to_have_that(
    config: NodeConfig,
) -> None:
    whole = node_status(config, everything=True)

    assert "--all tells everything" in shown(node_status(config))
    assert "--all" not in shown(whole)
    assert len(whole.unanalysed) == MANY // 2
    assert sum(n for row in whole.traffic for n in row.objects.values()) == MANY
