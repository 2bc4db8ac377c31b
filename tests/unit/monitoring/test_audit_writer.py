"""Claims about the trail of a process: it keeps nobody waiting, and keeps what it can."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

from dicom_node.monitoring import audit_writer
from dicom_node.monitoring.audit import NO_TRAIL, AuditEvent, AuditKind, open_trail
from dicom_node.monitoring.audit_file import AuditFile, verify
from dicom_node.monitoring.audit_messages import Reporter
from dicom_node.monitoring.audit_writer import Writer
from dicom_node.settings.audit import Audit
from dicom_node.settings.node import NodeConfig

EVENT = AuditEvent(AuditKind.STUDY_ACCESSED, user="ann", study_instance_uids=("1.2",))
US = Reporter("MSKNODE", "host", source="web", file="file:///a")


def writer(tmp_path: Path, **settings: Any) -> Writer:
    audit = Audit(file=tmp_path / "audit.jsonl", **settings)
    return Writer(AuditFile(audit.file), audit, tmp_path, US)


def messages(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


def test_without_a_table_there_is_no_trail() -> None:
    assert open_trail(NodeConfig(), "web") is NO_TRAIL


def test_what_is_recorded_is_there_when_the_trail_is_closed(tmp_path: Path) -> None:
    trail = writer(tmp_path)
    for _ in range(300):
        trail.record(EVENT)
    trail.close()

    assert len(messages(tmp_path)) == 300
    assert verify(trail.file).problems == ()


@pytest.mark.parametrize(("patient", "told"), [("no", 0), ("digest", 1), ("id", 1)])
def test_the_patient_is_told_as_the_settings_say(
    tmp_path: Path, patient: str, told: int
) -> None:
    trail = writer(tmp_path, patient=patient)
    trail.record(replace(EVENT, patient_id="SECRET-4711"))
    trail.close()
    (message,) = messages(tmp_path)

    assert message["xml"].count('originalText="Patient Number"') == told
    assert ("SECRET-4711" in json.dumps(message)) == (patient == "id")


def test_a_message_about_many_studies_is_told_as_several(tmp_path: Path) -> None:
    trail = writer(tmp_path)
    uids = tuple(f"1.2.{number}" for number in range(120))
    trail.record(replace(EVENT, study_instance_uids=uids))
    trail.close()

    assert [uid for each in messages(tmp_path) for uid in each["studies"]] == list(uids)
    assert len(messages(tmp_path)) == 3


def test_a_disk_that_takes_nothing_keeps_nobody_waiting_and_gets_all_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue holds so much; what comes beyond it is counted, and told."""
    monkeypatch.setattr(audit_writer, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(audit_writer, "MAX_WAIT_S", 0.05)
    monkeypatch.setattr(audit_writer, "MOST_WAITING", 10)
    full = [True]
    append = AuditFile.append

    def refuse(file: AuditFile, lines: Any) -> None:
        if full:
            raise OSError(28, os.strerror(28))
        append(file, lines)

    monkeypatch.setattr(AuditFile, "append", refuse)
    trail = writer(tmp_path)
    started_s = time.monotonic()
    trail.record(EVENT)
    trouble = tmp_path / ".audit-unwritten.web"
    wait_until(trouble.exists, 10, "it says that it cannot write")
    for _ in range(25):
        trail.record(EVENT)
    assert time.monotonic() - started_s < 10
    assert json.loads(trouble.read_text())["reason"] == os.strerror(28)
    full.clear()
    trail.close()
    wait_until(lambda: not trouble.exists(), 10, "it says that it can")
    wait_until(lambda: len(messages(tmp_path)) == 12, 10, "all are there, and what was lost")

    told = [each["words"] for each in messages(tmp_path) if each["words"]]
    assert told == ["15 events were lost while the audit trail could not be written"]


def test_a_disk_that_hangs_is_an_alarm_as_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network file system does whose server is gone; here, a pipe that nobody reads."""
    monkeypatch.setattr(audit_writer, "HANGS_AFTER_S", 0.1)
    trail = writer(tmp_path)
    os.mkfifo(trail.file.path)
    trail.record(EVENT)
    wait_until(lambda: trail._began_s is not None, 10, "it is being written")

    def is_told() -> bool:
        trail.record(EVENT)
        return bool(list(tmp_path.glob(".audit-unwritten.*")))

    wait_until(is_told, 10, "a file tells of it")
    trail._closing.set()
    os.close(os.open(trail.file.path, os.O_RDWR | os.O_NONBLOCK))  # lets go of the thread
