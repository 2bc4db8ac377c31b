"""Claims about reading the audit trail: filters, pages, CSV, and its alarms."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.audit_schema import problems
from support.certificates import make_authority
from support.hostile_values import HOSTILE, MARKER, is_defused

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.alarms import Severity
from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome
from dicom_node.monitoring.audit_messages import Reporter
from dicom_node.monitoring.audit_writer import envelope
from dicom_node.node.audit_log import (
    AuditFilter,
    audit_alarms,
    audit_file,
    audit_page,
    csv_lines,
    read_audit,
    verify_audit,
)
from dicom_node.settings.audit import Audit
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
US = Reporter("MSKNODE", "host", source="receive", file="file:///a")
RECEIVED = AuditEvent(AuditKind.INSTANCES_RECEIVED, user="CT1", study_instance_uids=("1.2",))
REFUSED = AuditEvent(
    AuditKind.ASSOCIATION_REFUSED, AuditOutcome.MINOR_FAILURE, user="EVIL", words="not known"
)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """A trail of 100 messages, every other one a refusal, a minute apart, in several files."""
    audit = Audit(file=tmp_path / "audit.jsonl")
    config = NodeConfig(audit=audit).rooted(tmp_path)
    file = replace(audit_file(config), rotate_bytes=20_000)
    for number in range(100):
        event = REFUSED if number % 2 else RECEIVED
        file.append([envelope(event, AT + timedelta(minutes=number), US)])
    return config


def test_the_latest_come_first_a_page_at_a_time(config: NodeConfig) -> None:
    first = audit_page(config, most=30)
    second = audit_page(config, AuditFilter(before=first[-1].number), most=30)

    assert [each.number for each in first] == list(range(100, 70, -1))
    assert [each.number for each in second] == list(range(70, 40, -1))


def test_a_filter_takes_what_fits_all_of_it(config: NodeConfig) -> None:
    def count(**wanted: object) -> int:
        return sum(1 for _ in read_audit(config, AuditFilter(**wanted)))  # type: ignore[arg-type]

    assert count() == 100
    assert count(kinds=frozenset({REFUSED.kind.value})) == 50
    assert count(user="evil") == 50
    assert count(study="1.2") == 50
    assert count(study="1.2", user="EVIL") == 0
    assert count(outcomes=frozenset({"4"})) == 50
    assert count(since=AT + timedelta(minutes=90)) == 10
    assert count(until=AT + timedelta(minutes=10)) == 10


def test_no_cell_is_a_formula(config: NodeConfig) -> None:
    """A caller's title may begin with an equals sign."""
    event = replace(REFUSED, user='=cmd|" /C calc"!A0', words="@SUM(1+1)\nx")
    audit_file(config).append([envelope(event, AT + timedelta(days=1), US)])
    rows = list(csv.DictReader(io.StringIO("".join(csv_lines(read_audit(config))))))

    assert len(rows) == 101
    assert rows[0]["user"] == '\'=cmd|" /C calc"!A0'
    assert rows[0]["words"] == "'@SUM(1+1)\nx"


def test_no_value_of_the_corpus_is_a_formula_or_breaks_a_message(config: NodeConfig) -> None:
    """As titles, addresses, peers and words; each message still is one by the schema."""
    events = [
        replace(
            REFUSED, user=each, host=each, peer=each, words=each, study_instance_uids=(each,)
        )
        for each in HOSTILE.values()
    ]
    later = AT + timedelta(days=1)
    audit_file(config).append([envelope(each, later, US) for each in events])
    found = list(read_audit(config, AuditFilter(since=later)))
    cells = list(csv.reader(io.StringIO("".join(csv_lines(found)))))

    assert len(found) == len(events)
    assert [each for row in cells for each in row if not is_defused(each)] == []
    assert all(MARKER in each.words for each in found)
    assert [problems(each.xml) for each in found if problems(each.xml)] == []
    assert not verify_audit(config).notes


def test_a_line_that_is_no_message_is_passed_over(config: NodeConfig) -> None:
    with audit_file(config).path.open("a") as file:
        file.write('{"n":"x"}\nrubbish\n[]\n')

    assert audit_page(config, most=1)[0].number == 100
    assert verify_audit(config).notes


def test_without_a_table_there_is_nothing_to_read() -> None:
    with pytest.raises(ConfigurationError, match="audit: there is no such table"):
        audit_page(NodeConfig())


def test_a_process_that_cannot_write_is_an_alarm_until_it_is_gone(config: NodeConfig) -> None:
    config.node.spool.mkdir(parents=True)
    trouble = config.node.spool / ".audit-unwritten.receive"
    table = {"pid": os.getpid(), "since": AT.isoformat(), "reason": "No space left on device"}
    trouble.write_text(json.dumps(table))
    (alarm,) = audit_alarms(config)

    assert (alarm.severity, alarm.since) == (Severity.CRITICAL, AT)
    assert alarm.reason.endswith("audit.jsonl: No space left on device; work goes on")

    trouble.write_text(json.dumps(table | {"pid": 2**22 + 1}))
    assert audit_alarms(config) == ()


def test_a_syslog_server_that_is_away_is_an_alarm(tmp_path: Path, config: NodeConfig) -> None:
    authority = make_authority(tmp_path / "ca")
    table = {
        "audit": {
            "file": str(tmp_path / "audit.jsonl"),
            "syslog": {"host": "logs.example", "tls": {"ca": str(authority.path)}},
        }
    }
    config = parse_config(table, source="a", folder=tmp_path)
    sent = {"n": 40, "failing_since": AT.isoformat(), "reason": "Connection refused"}
    (tmp_path / "audit.jsonl.sent").write_text(json.dumps(sent))
    (alarm,) = audit_alarms(config)

    assert (alarm.severity, alarm.subject) == (Severity.WARNING, "logs.example:6514")
    assert alarm.reason.startswith("60 messages wait for the syslog server")
