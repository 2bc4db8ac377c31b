"""Claims about the leases of workers that share a database, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.postgres import Postgres, running_postgres
from support.waiting import wait_until

from dicom_node.errors import EngineBusyError, LeaseLostError
from dicom_node.persistence.database import is_transient, open_database, retry_until_available
from dicom_node.persistence.job_queue import Engine
from dicom_node.persistence.leases import Leases, may_take_over
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesRow, SeriesState
from dicom_node.persistence.tables import METADATA

NOW = datetime(2026, 11, 27, 20, 0, tzinfo=UTC)
SERIES = SeriesRow("1.2.3", 1, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def database(server: Postgres) -> Iterator[sa.Engine]:
    """Connections to a database without leases."""
    database = open_database(server.url)
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS leases"))
    yield database
    database.dispose()


def held(database: sa.Engine, name: str, lease_s: float = 60.0) -> Leases:
    lease = Leases(database, name, lease_s)
    lease.acquire()
    return lease


def run_out(database: sa.Engine, name: str) -> None:
    """As if its time were over."""
    with database.begin() as connection:
        connection.execute(
            sa.text("UPDATE leases SET expires_s = 0 WHERE executor_id = :name"), {"name": name}
        )


def test_a_name_is_one_workers(database: sa.Engine) -> None:
    first = held(database, "a", lease_s=0.3)
    thread = first.keep(set, lambda _name: None, lambda: None)
    with pytest.raises(EngineBusyError, match="another worker called 'a'"):
        Leases(database, "a", 0.5).acquire()
    first.release()
    thread.join()

    assert Leases(database, "a", 0.5).claim("a")


def test_a_worker_that_was_killed_is_waited_for_by_the_next_of_its_name(
    database: sa.Engine,
) -> None:
    """The dead one's lease has still 0.3 s to go; the next waits for 1.5 of these."""
    held(database, "a", lease_s=0.3)

    assert not Leases(database, "a", 0.3).claim("a")
    assert held(database, "a", lease_s=0.3).renew()


def test_who_is_silent_is_taken_over_from_and_who_is_not_is_not(database: sa.Engine) -> None:
    """C has no lease at all, only work that it began."""
    held(database, "a")
    held(database, "b")
    run_out(database, "b")
    lost, recovered = [], []
    survivor = held(database, "d", lease_s=0.2)
    thread = survivor.keep(lambda: {"a", "c"}, recovered.append, lambda: lost.append("d"))
    wait_until(lambda: {"b", "c"} <= set(recovered))
    survivor.release()
    thread.join()

    assert "a" not in recovered
    assert lost == []


def test_whoever_was_taken_over_from_learns_it(database: sa.Engine) -> None:
    frozen = held(database, "a", lease_s=0.2)
    run_out(database, "a")
    assert Leases(database, "b", 60.0).claim("a")
    lost: list[str] = []
    frozen.keep(set, lambda _name: None, lambda: lost.append("a")).join()

    assert lost == ["a"]


def test_whoever_was_taken_over_from_writes_nothing(
    database: sa.Engine, server: Postgres
) -> None:
    frozen = held(database, "a")
    ledger = Ledger(server.url, fence=frozen.fence)
    ledger.save(SERIES)
    run_out(database, "a")
    assert Leases(database, "b", 60.0).claim("a")
    with pytest.raises(LeaseLostError, match="the work of a was taken over"):
        ledger.save(replace(SERIES, state=SeriesState.FAILED))
    found = ledger.series("1.2.3", 1)
    ledger.close()

    assert found == SERIES


def test_one_of_the_living_does_the_chores(database: sa.Engine) -> None:
    first, second = held(database, "a"), held(database, "b")
    before = (first.is_first(), second.is_first())
    run_out(database, "a")

    assert before == (True, False)
    assert second.is_first()


def test_nobody_is_judged_soon_after_trouble_of_our_own() -> None:
    """A lease of 6 s: 9 s must have passed."""
    assert not may_take_over(now_s=109.0, trouble_s=100.0, lease_s=6.0)
    assert may_take_over(now_s=109.1, trouble_s=100.0, lease_s=6.0)


def test_a_server_that_is_away_is_waited_for(server: Postgres, database: sa.Engine) -> None:
    ledger = Ledger(server.url, patient=True)
    hasty = Ledger(server.url)
    server.stop()
    with pytest.raises(sa.exc.OperationalError) as caught:
        hasty.save(SERIES)
    tried: list[int] = []

    def save_at_the_second_try() -> None:
        tried.append(1)
        if len(tried) == 2:
            server.start()
        hasty.save(SERIES)

    retry_until_available(save_at_the_second_try)
    ledger.save(SERIES)
    for each in (ledger, hasty):
        each.close()

    assert is_transient(caught.value)
    assert len(tried) == 2


def test_an_error_that_does_not_pass_is_raised(database: sa.Engine, tmp_path: Path) -> None:
    for each in (database, sa.create_engine(f"sqlite:///{tmp_path}/db")):

        def wrong(engine: sa.Engine = each) -> None:
            with engine.begin() as connection:
                connection.execute(sa.text("SELECT nothing FROM nowhere"))

        with pytest.raises(sa.exc.DBAPIError) as caught:
            retry_until_available(wrong)
        assert not is_transient(caught.value)
        each.dispose()


def test_an_engine_on_a_server_guards_its_name(server: Postgres, database: sa.Engine) -> None:
    alive = held(database, "a")
    engine = Engine(server.url, "a", {}, {}, leases=Leases(database, "a", 0.1))
    with pytest.raises(EngineBusyError):
        engine.start()

    assert alive.renew()


def test_processes_that_open_a_new_ledger_at_once_all_succeed(
    server: Postgres, database: sa.Engine
) -> None:
    """Then one more opens it while a transaction writes: it locks nothing."""
    with database.begin() as connection:
        for table in (*METADATA.tables, "ledger_version"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
    with ThreadPoolExecutor(8) as threads:
        ledgers = list(threads.map(lambda _number: Ledger(server.url), range(8)))
    with database.begin() as connection:
        connection.execute(sa.text("LOCK TABLE results IN ROW EXCLUSIVE MODE"))
        ledgers.append(Ledger(server.url))
    for ledger in ledgers:
        assert ledger.all_series() == ()
        ledger.close()
