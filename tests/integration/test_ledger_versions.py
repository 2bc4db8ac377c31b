"""Claims about the versions of the ledger's tables, on a real SQLite file and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from support.postgres import running_postgres

from dicom_node.errors import ConfigurationError
from dicom_node.persistence.database import open_database
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import (
    CANCELLED_CODE,
    DeliveryRow,
    DeliveryState,
    SeriesRow,
    SeriesState,
)
from dicom_node.persistence.schema import MIGRATIONS, VERSION, known_versions
from dicom_node.persistence.tables import METADATA

BEFORE_VERSIONS = (
    Path(__file__).parents[1] / "support" / "ledger_before_versions.sql"
).read_text()
WAY_BACK = Path(__file__).parents[2] / "deploy" / "ledger" / "0005-to-0004.sql"
NOW = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
SERIES = SeriesRow("1.2.3", 1, "1.2", "CT1", "MSKNODE", 120, "f" * 64, NOW, NOW)
SENT = DeliveryRow("2.25.3", "pacs", "1.2.3", 1, NOW, state=DeliveryState.SENT, attempts=2)
KEPT = """
INSERT INTO series VALUES ('1.2.3', 1, '1.2', 'CT1', 'MSKNODE', 120, '{f}', 'received', '', '',
    '{now}', '{now}');
INSERT INTO deliveries (sop_instance_uid, destination, series_instance_uid, revision, state,
    attempts, reason, changed_at) VALUES ('2.25.3', 'pacs', '1.2.3', 1, 'sent', 2, '', '{now}')
"""
ADDED_LATER = ("visit", "status", "sent_at", "losses", "resumes")
BEFORE_SIZES = (
    "series_instance_uid, revision, study_instance_uid, calling_ae_title, called_ae_title, "
    "instances, fingerprint, state, code, reason, received_at, changed_at"
)
OTHER_COMMITMENTS = """
DROP TABLE commitments;
CREATE TABLE commitments (transaction_uid VARCHAR(64), destination VARCHAR(64) PRIMARY KEY,
    series_instance_uid VARCHAR(64), revision INTEGER, asked_at TEXT)
"""
OPEN = "import sys; from dicom_node.persistence.ledger import Ledger; Ledger(sys.argv[1])"


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('ledger')}/db"
        return
    with running_postgres() as postgres:
        yield postgres.url


@pytest.fixture
def url(server: str) -> str:
    """The URL of a database without tables."""
    database = open_database(server)
    everything = sa.MetaData()
    with database.begin() as connection:
        everything.reflect(connection)
        everything.drop_all(connection)
    database.dispose()
    return server


def run(url: str, *statements: str) -> None:
    database = open_database(url)
    with database.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    database.dispose()


def schema(url: str) -> dict[str, set[str]]:
    """Every table's columns."""
    database = open_database(url)
    found = sa.MetaData()
    found.reflect(database)
    database.dispose()
    return {table.name: {column.name for column in table.c} for table in found.sorted_tables}


def make_ledger_before_versions(url: str, *changes: str) -> None:
    """As the last node without versions left it, with two rows; and what is changed in it."""
    tables, now = BEFORE_VERSIONS, "2026-11-29 20:00:00.000000"
    if not url.startswith("sqlite"):
        tables = tables.replace("DATETIME", "TIMESTAMP WITH TIME ZONE")
        tables = tables.replace("BOOLEAN DEFAULT 0", "BOOLEAN DEFAULT false")
        now += "+00:00"
    rows = KEPT.format(f="f" * 64, now=now)
    run(url, *tables.strip().split(";")[:-1], *rows.split(";"), *changes)


def stored_version(url: str) -> str | None:
    database = open_database(url)
    with database.connect() as connection:
        found = connection.execute(sa.select(VERSION.c.version_num)).scalar()
    database.dispose()
    return found


def differences(url: str) -> list[object]:
    """What Alembic would change to make the tables those of `tables.py`."""

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name in METADATA.tables

    database = open_database(url)
    with database.connect() as connection:
        options = {"include_name": ours, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        found = list(compare_metadata(context, METADATA))
    database.dispose()
    return found


def assert_is_current_with_its_rows(url: str) -> None:
    ledger = Ledger(url)
    series, deliveries = ledger.all_series(), ledger.deliveries()
    ledger.close()

    assert stored_version(url) == known_versions()[-1]
    assert differences(url) == []
    assert series == (SERIES,)
    assert deliveries == (SENT,)


def test_the_migrations_are_one_chain_in_the_order_of_their_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    chain = ScriptDirectory.from_config(config).walk_revisions()

    assert tuple(each.revision for each in chain) == known_versions()[::-1]


def test_a_new_database_gets_the_tables_of_the_code(url: str) -> None:
    Ledger(url).close()

    assert stored_version(url) == known_versions()[-1]
    assert differences(url) == []


def test_the_ledger_of_the_last_node_without_versions_is_taken_over(url: str) -> None:
    make_ledger_before_versions(url)

    assert_is_current_with_its_rows(url)


def test_what_an_even_older_node_did_not_know_is_added(url: str) -> None:
    """The tables of the first node of all, and an index less."""
    make_ledger_before_versions(
        url,
        "DROP TABLE commitments",
        "DROP INDEX ix_deliveries_state",
        *(f"ALTER TABLE deliveries DROP COLUMN {name}" for name in ADDED_LATER),
    )

    assert_is_current_with_its_rows(url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE series ADD COLUMN ward TEXT", "series.ward is not known"),
        ("ALTER TABLE results DROP COLUMN sha256", "results.sha256 is missing"),
        (
            "ALTER TABLE deliveries RENAME COLUMN reason TO attempts_made",
            "deliveries.attempts_made is not known; deliveries.reason is missing",
        ),
        (
            "DROP TABLE results; CREATE TABLE results (sop_instance_uid INTEGER PRIMARY KEY)",
            r"results.sop_instance_uid is INTEGER, not VARCHAR\(64\)",
        ),
        (
            OTHER_COMMITMENTS,
            r"commitments.asked_at is TEXT.*commitments has the key \(destination\)",
        ),
    ],
    ids=["more", "less", "renamed", "of another type", "of another key"],
)
def test_tables_that_no_node_made_are_refused_and_left_alone(
    url: str, change: str, words: str
) -> None:
    make_ledger_before_versions(url, *change.split(";"))
    before = schema(url)
    with pytest.raises(ConfigurationError, match=words):
        Ledger(url)

    assert schema(url) == before


def test_nothing_is_made_beside_a_table_of_somebody_else(url: str) -> None:
    run(url, "CREATE TABLE series (title TEXT)")
    with pytest.raises(ConfigurationError, match=r"series\.title is not known"):
        Ledger(url)

    assert schema(url) == {"series": {"title"}}


def test_the_ledger_of_a_newer_node_is_refused_and_left_alone(url: str) -> None:
    Ledger(url).close()
    run(
        url,
        "UPDATE ledger_version SET version_num = '9999'",
        "ALTER TABLE series ADD COLUMN ward TEXT",
    )
    before = schema(url)
    for opened in (Ledger, existing_ledger):
        with pytest.raises(ConfigurationError, match=r"version 9999, made by a newer msk-node"):
            opened(url)

    assert stored_version(url) == "9999"
    assert schema(url) == before


def test_a_command_beside_the_node_reads_what_it_can_and_changes_nothing(url: str) -> None:
    """An empty database, one of this version's tables under an older number, an older one's."""
    assert existing_ledger(url) is None
    assert schema(url) == {}

    ledger = Ledger(url)
    ledger.save(SERIES, SENT)
    ledger.close()
    run(url, "UPDATE ledger_version SET version_num = '0001'")
    before = schema(url)
    old = existing_ledger(url)
    assert old is not None
    assert old.deliveries() == (SENT,)
    old.close()
    assert schema(url) == before

    run(url, "ALTER TABLE deliveries DROP COLUMN visit", "DROP TABLE commitments")
    before = schema(url)
    with pytest.raises(ConfigurationError, match=r"lacks commitments.*, deliveries\.visit;"):
        existing_ledger(url)
    assert schema(url) == before


def test_the_version_before_goes_on_with_the_tables_of_this_one(url: str) -> None:
    """It knows no sizes; its statements name its own columns."""
    Ledger(url).close()
    row = KEPT.split(";", maxsplit=1)[0]
    row = row.replace("series VALUES", f"series ({BEFORE_SIZES}) VALUES")
    now = "2026-11-29 20:00:00.000000" + ("" if url.startswith("sqlite") else "+00:00")
    run(url, row.format(f="f" * 64, now=now))
    ledger = Ledger(url)
    unmeasured, alike = ledger.unmeasured(), ledger.unanswered_alike()
    ledger.close()

    assert unmeasured == (SERIES,)
    assert alike == ()


def test_of_processes_that_start_at_once_one_makes_the_tables(url: str) -> None:
    """Its log, here on standard output, says which."""
    command = [sys.executable, "-c", OPEN, url]
    starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    logs = [process.communicate()[0] for process in starting]

    assert [process.returncode for process in starting] == [0, 0, 0]
    assert sum("ledger.upgraded" in each for each in logs) == 1
    assert differences(url) == []


def test_the_script_of_the_way_back_leaves_the_tables_of_the_version_before(url: str) -> None:
    """To the last index; what a person cancelled is not taken up again, before or after."""
    bring_to(url, "0004")
    before = structure(url)
    cancelled = replace(SERIES, state=SeriesState.CANCELLED, code=CANCELLED_CODE)
    ledger = Ledger(url)
    ledger.save(cancelled)
    ledger.close()
    assert structure(url) != before

    run(url, *statements_of(WAY_BACK))
    assert stored_version(url) == "0004"
    assert structure(url) == before
    database = open_database(url)
    with database.connect() as connection:
        stored = connection.exec_driver_sql("SELECT state FROM series").scalar()
    database.dispose()
    assert stored == SeriesState.REFUSED  # one of the states that the version before knows

    ledger = Ledger(url)
    series = ledger.all_series()
    ledger.close()
    assert series == (cancelled,)
    assert differences(url) == []


def bring_to(url: str, version: str) -> None:
    """Make the tables of an earlier version."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    database = open_database(url)
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    database.dispose()


def structure(url: str) -> dict[str, tuple[set[str], set[tuple[str | None, ...]]]]:
    """Every table's columns, and its indices with theirs."""
    database = open_database(url)
    inspector = sa.inspect(database)
    found = {}
    for table in inspector.get_table_names():
        columns = {each["name"] for each in inspector.get_columns(table)}
        indices = {
            (each["name"], *each["column_names"]) for each in inspector.get_indexes(table)
        }
        found[table] = (columns, indices)
    database.dispose()
    return found


def statements_of(script: Path) -> list[str]:
    """The statements of a script, less those about the transaction, which is the caller's."""
    lines = [line for line in script.read_text().splitlines() if not line.startswith("--")]
    found = [each.strip() for each in "\n".join(lines).split(";")]
    return [each for each in found if each not in {"", "BEGIN", "COMMIT"}]
