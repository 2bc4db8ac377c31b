"""The audit trail as people read it: filtered, a page at a time, as CSV; and its alarms.

Who reads it leaves a message in it ("Audit Log Used", PS3.15 A.5.3.2): that is the caller's
to record, once for one look.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.monitoring.audit_file import AuditFile, Verified, verify
from dicom_node.monitoring.audit_syslog import read_sent
from dicom_node.monitoring.audit_writer import TROUBLE
from dicom_node.settings.node import NodeConfig

MOST_ON_A_PAGE: Final = 200
CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One message of the trail.

    number: its place in the chain.
    at: when it happened.
    source: the role or command that told.
    kind, outcome: by `AuditKind` and `AuditOutcome`.
    xml: the message by the schema of PS3.15.
    """

    number: int
    at: datetime
    source: str
    kind: str
    outcome: str
    user: str
    host: str
    peer: str
    peer_host: str
    studies: tuple[str, ...]
    series: tuple[str, ...]
    instances: int | None
    words: str
    xml: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What is looked for; what is left out fits anything.

    since, until: from when to when.
    kinds: any of these.
    user: who, or the other side; a part of the name is enough, and capitals do not count.
    study: a Study or Series Instance UID.
    outcomes: any of these.
    before: only messages with a lower number, for the next page.
    """

    since: datetime | None = None
    until: datetime | None = None
    kinds: frozenset[str] = frozenset()
    user: str = ""
    study: str = ""
    outcomes: frozenset[str] = frozenset()
    before: int | None = None

    def takes(self, entry: AuditEntry) -> bool:
        """True if a message is looked for."""
        named = f"{entry.user}\n{entry.peer}".lower()
        return (
            (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
            and (not self.kinds or entry.kind in self.kinds)
            and self.user.lower() in named
            and (not self.study or self.study in (*entry.studies, *entry.series))
            and (not self.outcomes or entry.outcome in self.outcomes)
            and (self.before is None or entry.number < self.before)
        )


def audit_file(config: NodeConfig) -> AuditFile:
    """The files of a node's trail.

    Raises:
        ConfigurationError: it has none.
    """
    if config.audit is None:
        raise ConfigurationError("audit: there is no such table, so there is no audit trail")
    return AuditFile(config.audit.file, config.audit.rotate_mb << 20)


def read_audit(config: NodeConfig, wanted: AuditFilter | None = None) -> Iterator[AuditEntry]:
    """The messages that are looked for, the latest first; read as far as they are asked for.

    Raises:
        ConfigurationError: there is no trail.
    """
    return _taken(reversed(audit_file(config).paths()), wanted or AuditFilter())


def _taken(paths: Iterable[Path], chosen: AuditFilter) -> Iterator[AuditEntry]:
    for path in paths:
        for line in _lines_backwards(path):
            entry = _entry(line)
            if entry is None:
                continue
            if (
                chosen.since is not None
                and entry.at < chosen.since
                and not _is_near(entry.at, chosen.since)
            ):
                return
            if chosen.takes(entry):
                yield entry


def _is_near(at: datetime, since: datetime) -> bool:
    """True within the minutes by which messages of several processes are out of order."""
    return (since - at).total_seconds() < 600


def audit_page(
    config: NodeConfig, wanted: AuditFilter | None = None, most: int = MOST_ON_A_PAGE
) -> tuple[AuditEntry, ...]:
    """The latest messages that are looked for, so many at most.

    The next page is the one before the last one's number (`AuditFilter.before`).
    """
    found = []
    for entry in read_audit(config, wanted):
        found.append(entry)
        if len(found) >= min(most, MOST_ON_A_PAGE):
            break
    return tuple(found)


COLUMNS: Final = tuple(each.name for each in fields(AuditEntry) if each.name != "xml")


def csv_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """Messages as CSV, the columns' names first; no cell is a formula to a spreadsheet."""
    yield _csv_line(COLUMNS)
    for entry in entries:
        yield _csv_line([_cell(getattr(entry, name)) for name in COLUMNS])


def _csv_line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()


def _cell(value: Any) -> str:
    """A value as a cell; one that a spreadsheet would take for a formula gets an apostrophe."""
    match value:
        case None:
            text = ""
        case datetime():
            text = value.isoformat(timespec="milliseconds")
        case tuple():
            text = " ".join(value)
        case _:
            text = str(value)
    return f"'{text}" if text[:1] in set("=+-@\t\r\n") else text


def verify_audit(config: NodeConfig) -> Verified:
    """Go through the whole trail, and say whether it is as it was written.

    Raises:
        ConfigurationError: there is no trail.
        OSError: a file cannot be read.
    """
    return verify(audit_file(config))


def audit_alarms(config: NodeConfig) -> tuple[Alarm, ...]:
    """Whether the trail can be written, and its copy sent."""
    if config.audit is None:
        return ()
    return (*_unwritten(config), *_unsent(config))


def _unwritten(config: NodeConfig) -> Iterator[Alarm]:
    """What processes say that cannot write; and the disk, that may have no room to say so."""
    file = audit_file(config)
    for path in sorted(config.node.spool.glob(f"{TROUBLE}*")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            table = json.loads(path.read_text(encoding="utf-8"))
            if _is_alive(int(table["pid"])):
                since = datetime.fromisoformat(table["since"])
                yield _alarm(file, f"{table['reason']}; work goes on", since)
                return
    folder = file.path.parent
    with contextlib.suppress(OSError):
        if os.statvfs(folder).f_bavail == 0:
            yield _alarm(file, "its disk is full; work goes on", None)


def _unsent(config: NodeConfig) -> Iterator[Alarm]:
    """Whether its syslog server is away."""
    if config.audit is None or config.audit.syslog is None:
        return
    sent, file = read_sent(audit_file(config)), audit_file(config)
    if sent.failing_since:
        waiting = max(file.head().number - sent.number, 0)
        server = f"{config.audit.syslog.host}:{config.audit.syslog.port}"
        words = f"{waiting} messages wait for the syslog server {server}: {sent.reason}"
        since = datetime.fromisoformat(sent.failing_since)
        yield Alarm(AlarmKind.AUDIT_UNWRITTEN, Severity.WARNING, server, words, since)


def _alarm(file: AuditFile, reason: str, since: datetime | None) -> Alarm:
    words = f"{file.path}: {reason}"
    return Alarm(AlarmKind.AUDIT_UNWRITTEN, Severity.CRITICAL, "audit trail", words, since)


def _is_alive(pid: int) -> bool:
    """True if a process is there, or may be one of another's that we cannot see."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _entry(line: bytes) -> AuditEntry | None:
    """A line as a message; None where it is none, whatever it is."""
    try:
        table = json.loads(line)
        return AuditEntry(
            number=int(table["n"]),
            at=datetime.fromisoformat(table["at"]).astimezone(UTC),
            **{name: str(table[name]) for name in _TEXTS},
            studies=tuple(map(str, table["studies"])),
            series=tuple(map(str, table["series"])),
            instances=None if table["instances"] is None else int(table["instances"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


_TEXTS: Final = (
    "source",
    "kind",
    "outcome",
    "user",
    "host",
    "peer",
    "peer_host",
    "words",
    "xml",
)


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file from its end, a piece of it in memory at a time."""
    with path.open("rb") as file:
        place = file.seek(0, os.SEEK_END)
        rest = b""
        while place > 0:
            size = min(CHUNK_BYTES, place)
            place -= size
            file.seek(place)
            parts = (file.read(size) + rest).split(b"\n")
            rest = parts[0]
            yield from (each for each in reversed(parts[1:]) if each)
        if rest:
            yield rest
