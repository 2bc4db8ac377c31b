"""Kill trials in short: one round of each kind. `make trials` runs the long form."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import Postgres, running_postgres
from support.waiting import wait_until

sys.path.insert(0, str(Path(__file__).parent))

from kill_trials import (
    LEASE_S,
    PATIENCE_S,
    POSTGRESQL,
    SQLITE,
    Fault,
    Verdict,
    judge,
    run_round,
    trial_of,
)

ALL_WELL = {"lost": 0, "doubled": 0, "overlaps": 0}


def ills(verdict: Verdict) -> dict[str, int]:
    return {name: getattr(verdict, name) for name in ALL_WELL}


@pytest.fixture
def server() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.mark.parametrize("fault", SQLITE.values(), ids=SQLITE)
def test_one_machine_loses_and_doubles_nothing(fault: Fault) -> None:
    verdict, faults = run_round(fault, seed=1)

    assert ills(verdict) == ALL_WELL
    assert verdict.effects == 56
    assert faults.total() == 2


@pytest.mark.parametrize("fault", POSTGRESQL.values(), ids=POSTGRESQL)
def test_two_nodes_lose_and_double_nothing(fault: Fault, server: Postgres) -> None:
    """Both use one device, so that each has to wait for the other."""
    verdict, faults = run_round(fault, seed=1, database=server, shared_device=True)

    assert ills(verdict) == ALL_WELL
    assert verdict.effects == 56
    assert faults.total() == 1


def test_the_work_of_a_frozen_node_is_done_meanwhile_and_it_ends_when_thawed(
    server: Postgres,
) -> None:
    """It is frozen with work begun, and thawed when all is confirmed without it."""
    with trial_of(server.url, {"a": "one", "b": "two"}, 1, server) as trial:
        frozen, other = trial.workers
        trial.put(8)
        wait_until((trial.folder / "device-one.jsonl").exists, PATIENCE_S)
        frozen.freeze()
        wait_until(trial.is_done, PATIENCE_S, "the other node does all", 0.2)
        process = frozen.process
        frozen.thaw()
        assert process is not None
        process.wait(timeout=PATIENCE_S)
        took_over = (trial.folder / f"{other.name}.log").read_text().count('"worker.dead"')
        verdict = judge(trial)

    assert took_over == 1
    assert process.returncode == 1
    assert ills(verdict) == ALL_WELL


def test_the_work_of_a_killed_node_is_done_by_the_other_after_its_lease(
    server: Postgres,
) -> None:
    """It never comes back; its lease lasts for two seconds."""
    with trial_of(server.url, {"a": "one", "b": "two"}, 1, server) as trial:
        killed, other = trial.workers
        trial.put(8)
        wait_until((trial.folder / "device-one.jsonl").exists, PATIENCE_S)
        killed.kill()
        trial.workers = [other]
        wait_until(trial.is_done, PATIENCE_S, "the other node does all", 0.2)
        took_over = (trial.folder / f"{other.name}.log").read_text().count('"worker.dead"')
        verdict = judge(trial)

    assert LEASE_S == 2.0
    assert took_over == 1
    assert ills(verdict) == ALL_WELL
