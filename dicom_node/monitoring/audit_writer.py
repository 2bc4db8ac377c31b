"""The thread of a process that writes what it has recorded to the audit trail.

Recording puts an event into a queue and comes back at once. The thread takes what is there
and appends it in one write, synced; where the disk takes nothing it tries again, later and
later, for as long as it takes. Meanwhile work goes on: the queue holds so many events, and
what comes beyond them is counted, told in the log, and in the trail itself once it can be
written again. That the trail cannot be written is an alarm (`audit-unwritten`).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from dicom_node.monitoring.audit_events import AuditEvent, AuditKind, AuditOutcome
from dicom_node.monitoring.audit_file import AuditFile
from dicom_node.monitoring.audit_messages import Reporter, message_of
from dicom_node.settings.audit import Audit
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.digest_key import digest_key

log = structlog.get_logger()

MOST_WAITING: Final = 10_000
"""Events that a process holds while the trail cannot be written."""
BATCH: Final = 200
MOST_STUDIES: Final = 50
"""A message about more studies is told as several: syslog servers cut long ones."""
FIRST_WAIT_S: Final = 1.0
MAX_WAIT_S: Final = 30.0
CLOSE_WITHIN_S: Final = 5.0
HANGS_AFTER_S: Final = 60.0
"""A write that neither ends nor fails for so long is told of as one that fails."""
TROUBLE: Final = ".audit-unwritten."
"""The beginning of the name of a small file in the spool, while a process cannot write."""

Recorded = tuple[AuditEvent, datetime]


@dataclass(slots=True)
class Writer:
    """The trail of one process.

    lost: how many events could not even be kept in memory.
    """

    file: AuditFile
    settings: Audit
    spool: Path
    reporter: Reporter
    lost: int = 0
    _waiting: queue.Queue[Recorded] = field(init=False)
    _closing: threading.Event = field(default_factory=threading.Event, init=False)
    _counting: threading.Lock = field(default_factory=threading.Lock, init=False)
    _is_in_trouble: bool = field(default=False, init=False)
    _began_s: float | None = field(default=None, init=False)
    """When the write that is under way began."""

    def __post_init__(self) -> None:
        """Begin the thread."""
        self._waiting = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._run, name="audit", daemon=True).start()

    def record(self, event: AuditEvent) -> None:
        """Have an event written soon; never raises, and waits for nothing."""
        began_s = self._began_s
        if began_s is not None and time.monotonic() - began_s > HANGS_AFTER_S:
            self._trouble(TimeoutError(errno.ETIMEDOUT, "a write does not end"))
        try:
            self._waiting.put_nowait((event, datetime.now(UTC)))
        except queue.Full:
            with self._counting:
                self.lost += 1

    def close(self) -> None:
        """Wait until all is written, or cannot be within seconds."""
        until_s = time.monotonic() + CLOSE_WITHIN_S
        while self._waiting.unfinished_tasks and time.monotonic() < until_s:
            time.sleep(0.01)
        self._closing.set()

    def _run(self) -> None:
        """Write until the process ends."""
        while True:
            events = self._next()
            self._write(events)
            if self.lost and not self._is_in_trouble:
                with self._counting:
                    lost, self.lost = self.lost, 0
                self._write([(_lost(lost), datetime.now(UTC))])
            for _ in events:
                self._waiting.task_done()

    def _next(self) -> list[Recorded]:
        """What waits, and at least one."""
        found = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while len(found) < BATCH:
                found.append(self._waiting.get_nowait())
        return found

    def _write(self, events: Sequence[Recorded]) -> None:
        """Write events, however long the disk does not take them."""
        messages = self._messages(events)
        wait_s = FIRST_WAIT_S
        while True:
            try:
                self._began_s = time.monotonic()
                self.file.append(messages)
            except OSError as error:
                self._began_s = None
                self._trouble(error)
                if self._closing.wait(wait_s):
                    return
                wait_s = min(2 * wait_s, MAX_WAIT_S)
            else:
                self._began_s = None
                self._well()
                return

    def _messages(self, events: Sequence[Recorded]) -> list[dict[str, Any]]:
        """Events as the trail has them; one that makes no message is told of in the log."""
        found = []
        for event, at in events:
            for each in parts_of(event):
                try:
                    found.append(envelope(self._known(each), at, self.reporter))
                except Exception:
                    log.exception("audit.no_message", kind=each.kind.value)
        return found

    def _known(self, event: AuditEvent) -> AuditEvent:
        """An event with as much of the patient as the settings let it tell."""
        if not event.patient_id or self.settings.patient == "id":
            return event
        if self.settings.patient == "no":
            return replace(event, patient_id="")
        key = digest_key(self.spool)
        return replace(event, patient_id=key.patient_key("", event.patient_id))

    def _trouble(self, error: OSError) -> None:
        """Tell, once, that the trail cannot be written."""
        if not self._is_in_trouble:
            self._is_in_trouble = True
            reason = error.strerror or type(error).__name__
            log.error("audit.unwritten", path=str(self.file.path), reason=reason)
            table = {
                "pid": os.getpid(),
                "since": datetime.now(UTC).isoformat(),
                "reason": reason,
            }
            with contextlib.suppress(OSError):
                self._trouble_path.write_text(json.dumps(table), encoding="utf-8")

    def _well(self) -> None:
        if self._is_in_trouble:
            self._is_in_trouble = False
            log.info("audit.written", path=str(self.file.path), count=self._waiting.qsize())
            with contextlib.suppress(OSError):
                self._trouble_path.unlink(missing_ok=True)

    @property
    def _trouble_path(self) -> Path:
        return self.spool / f"{TROUBLE}{self.reporter.source}"


def _lost(count: int) -> AuditEvent:
    """That some events are not in the trail."""
    words = f"{count} events were lost while the audit trail could not be written"
    return AuditEvent(AuditKind.LOG_USED, AuditOutcome.SERIOUS_FAILURE, words=words)


def parts_of(event: AuditEvent) -> Iterator[AuditEvent]:
    """An event about so many studies that one message holds them, or several of those."""
    studies = event.study_instance_uids
    if len(studies) <= MOST_STUDIES:
        yield event
        return
    for start in range(0, len(studies), MOST_STUDIES):
        yield replace(event, study_instance_uids=studies[start : start + MOST_STUDIES])


def envelope(event: AuditEvent, at: datetime, reporter: Reporter) -> dict[str, Any]:
    """An event as a line has it: what is looked for in plain words, and the message."""
    return {
        "at": at.isoformat(timespec="milliseconds"),
        "source": reporter.source,
        "kind": event.kind.value,
        "outcome": event.outcome.value,
        "user": event.user,
        "host": event.host,
        "peer": event.peer,
        "peer_host": event.peer_host,
        "studies": list(event.study_instance_uids),
        "series": list(event.series_instance_uids[:MOST_STUDIES]),
        "instances": event.instances,
        "words": event.words,
        "xml": message_of(event, at, reporter),
    }


_trails: dict[tuple[Path, str], Writer] = {}
_lock = threading.Lock()


def trail_of(config: NodeConfig, source: str) -> Writer:
    """The trail of this process for a source: made when it is first asked for."""
    audit = config.audit
    if audit is None:
        raise ValueError("there is no [audit]")
    with _lock:
        found = _trails.get((audit.file, source))
        if found is None:
            found = Writer(
                AuditFile(audit.file, audit.rotate_mb << 20),
                audit,
                config.node.spool,
                Reporter(
                    ae_title=config.node.ae_title,
                    host=socket.gethostname(),
                    site=audit.site or "",
                    source=source,
                    pid=os.getpid(),
                    file=audit.file.absolute().as_uri(),
                ),
            )
            _trails[audit.file, source] = found
            atexit.register(found.close)
    return found
