"""Which alarms are raised just now: the one place that everybody who tells of them asks.

What an alarm is, is decided by one look at the node (`observation.py`) and the settings; since
when some of them last, no table says: it is remembered by whoever tells of them
(`monitoring/alarm_memory.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from dicom_node.monitoring.alarm_memory import first_seen, untold
from dicom_node.monitoring.alarms import Alarm, AlarmKind, Severity
from dicom_node.node.audit_log import audit_alarms
from dicom_node.node.observation import Observation, observe
from dicom_node.node.open_work import ALARM
from dicom_node.persistence.ages import Backlog, Oldest
from dicom_node.persistence.rows import DeliveryRow
from dicom_node.settings.node import NodeConfig

DATABASE_MADE_WITHIN: Final = timedelta(seconds=60)
"""So long after its first start a worker may take to make its database."""
NAMED: Final = 3
"""So many callers, or series, of an alarm are named."""


def current_alarms(config: NodeConfig, now: datetime) -> tuple[Alarm, ...]:
    """The alarms of a node, as they are now; works beside it and without one."""
    return remembered(alarms_of(observe(config, now), config, now), config)


def alarms_of(seen: Observation, config: NodeConfig, now: datetime) -> tuple[Alarm, ...]:
    """The alarms of what a look saw, those that need a person at once first."""
    found = (
        *seen.processes.alarms,
        *_database(seen, now),
        *_disks(seen),
        *_incoming(seen),
        *_queue(seen, config, now),
        *_failures(seen, config),
        *(each for backlog in seen.backlogs for each in _deliveries(backlog, config, now)),
        *_certificates(seen, config, now),
        *_rejections(seen, config, now),
        *_archives(seen, config),
        *audit_alarms(config),
        *_untold(config),
    )
    return tuple(sorted(found, key=lambda each: each.severity is not Severity.CRITICAL))


def remembered(alarms: Sequence[Alarm], config: NodeConfig) -> tuple[Alarm, ...]:
    """The same alarms; where no table says since when, since when they have been seen."""
    known = first_seen(config.node.spool)
    return tuple(
        each if each.since is not None else replace(each, since=known.get(each.key))
        for each in alarms
    )


def _database(seen: Observation, now: datetime) -> Iterator[Alarm]:
    """The database, if it cannot be read or is not there any more."""
    words = seen.database
    workers = [each for each in seen.processes.processes if each.role == "work"]
    if not words and not seen.has_ledger:
        began = min((each.started_at for each in workers), default=now)
        if now - began > DATABASE_MADE_WITHIN:
            words = "there is none, although a worker has been started"
    if words:
        yield Alarm(AlarmKind.DATABASE_UNREACHABLE, Severity.CRITICAL, "database", words)


def _disks(seen: Observation) -> Iterator[Alarm]:
    for disk in seen.disks:
        if disk.below_reserve:
            subject = ", ".join(disk.folders)
            words = disk.below_reserve.removeprefix(f"{subject}: ")
            yield Alarm(AlarmKind.DISK_SHORT, Severity.CRITICAL, subject, words)


def _incoming(seen: Observation) -> Iterator[Alarm]:
    """Series in the spool that do not go on by themselves."""
    rows = sorted(
        (row for row in seen.incoming if row.reason.startswith(ALARM)),
        key=lambda row: row.last_received_s,
    )
    if rows:
        words = f"{_counted(len(rows), 'series', 'series')} not handed over as sent"
        yield Alarm(
            AlarmKind.INCOMING_TROUBLE,
            Severity.WARNING,
            "spool",
            f"{words}; the oldest: {rows[0].reason.removeprefix(f'{ALARM}: ')}",
            datetime.fromtimestamp(rows[0].last_received_s, UTC),
            tuple(row.series_instance_uid for row in rows[:NAMED]),
        )


def _queue(seen: Observation, config: NodeConfig, now: datetime) -> Iterator[Alarm]:
    """What has waited for too long for a worker."""
    limit = timedelta(hours=config.alarms.queue_h)
    old = [group for group in seen.series if now - group.since > limit]
    if old:
        since = min(group.since for group in old)
        states = ", ".join(sorted({group.row.state.value for group in old}))
        words = (
            f"{_counted(sum(group.count for group in seen.series), 'series', 'series')}"
            f" unanswered, the oldest for {_long(now - since)} ({states})"
        )
        uids = tuple(group.row.series_instance_uid for group in old[:NAMED])
        yield Alarm(
            AlarmKind.QUEUE_OLD, Severity.CRITICAL, "series", words, since + limit, uids
        )
    due = [each.due_since for each in seen.backlogs if each.due_since is not None]
    if due and now - min(due) > limit:
        words = f"deliveries are due for {_long(now - min(due))}, and nobody sends them"
        yield Alarm(
            AlarmKind.QUEUE_OLD, Severity.CRITICAL, "deliveries", words, min(due) + limit
        )


def _failures(seen: Observation, config: NodeConfig) -> Iterator[Alarm]:
    found = seen.failures
    if found.count >= config.alarms.failures:
        code = f", the last with {found.code}" if found.code else ""
        words = f"{found.count} analyses failed one after another{code}"
        yield Alarm(AlarmKind.ANALYSES_FAIL, Severity.CRITICAL, "analysis", words, found.since)


def _deliveries(backlog: Backlog, config: NodeConfig, now: datetime) -> Iterator[Alarm]:
    """What is wrong with one destination."""
    name, warning = backlog.destination, Severity.WARNING
    yield from _down(backlog, config, now)
    if (slow := backlog.slow) is not None:
        words = f"{_objects(slow)} not taken after {slow.row.attempts} attempts: "
        yield _of(AlarmKind.DELIVERY_STALLED, warning, name, words + slow.row.reason, slow)
    if (held := backlog.held) is not None:
        words = f"{_objects(held)} held until a person lets them go: {held.row.reason}"
        yield _of(AlarmKind.DELIVERY_HELD, warning, name, words, held)
    if (overdue := backlog.overdue) is not None:
        hours = config.confirmation.alarm_after_h
        words = f"{_objects(overdue)} sent and not confirmed for {hours:g} h"
        reason = f": {overdue.row.reason}" if overdue.row.reason else ""
        since = overdue.since + timedelta(hours=hours)
        yield replace(
            _of(AlarmKind.DELIVERY_UNCONFIRMED, warning, name, words + reason, overdue),
            since=since,
        )


def failing_since(backlog: Backlog) -> datetime | None:
    """Since when a destination has taken nothing of what it was sent; None where it takes it.

    That is since it last took something, or since the first was made that it has not got.
    """
    failing, last = backlog.failing, backlog.last_sent_at
    if failing is None or (last is not None and last > failing.row.changed_at):
        return None
    return failing.since if last is None else max(last, failing.since)


def _down(backlog: Backlog, config: NodeConfig, now: datetime) -> Iterator[Alarm]:
    """A destination that takes nothing of what it is sent."""
    since, failing = failing_since(backlog), backlog.failing
    if since is None or failing is None:
        return
    if (now - since).total_seconds() > config.alarms.down_s:
        words = f"takes nothing, {_objects(failing)} wait: {failing.row.reason}"
        kind, severity = AlarmKind.DESTINATION_DOWN, Severity.CRITICAL
        yield replace(_of(kind, severity, backlog.destination, words, failing), since=since)


def _of(
    kind: AlarmKind,
    severity: Severity,
    subject: str,
    words: str,
    group: Oldest[DeliveryRow],
) -> Alarm:
    return Alarm(kind, severity, subject, words, group.since, (group.row.series_instance_uid,))


def _certificates(seen: Observation, config: NodeConfig, now: datetime) -> Iterator[Alarm]:
    before = timedelta(days=config.alarms.expires_d)
    for key, path, until in seen.certificates:
        if until < now + before:
            is_over = until < now
            said = "expired" if is_over else "expires"
            yield Alarm(
                AlarmKind.CERTIFICATE_EXPIRES,
                Severity.CRITICAL if is_over else Severity.WARNING,
                f"{key} {path.name}",
                f"{said} on {until:%Y-%m-%d}",
                until if is_over else until - before,
            )


def _rejections(seen: Observation, config: NodeConfig, now: datetime) -> Iterator[Alarm]:
    """Who was turned away of late."""
    after = now - timedelta(hours=config.alarms.rejected_h)
    rows = sorted(
        (each for each in seen.turned_away if datetime.fromisoformat(each.last_at) > after),
        key=lambda each: each.last_at,
        reverse=True,
    )
    if rows:
        said = [
            f"{each.calling_ae_title or '(no title)'} from {each.host or 'several'}:"
            f" {each.reason} ({_counted(each.count, 'time', 'times')})"
            for each in rows[:NAMED]
        ]
        more = f"; and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        words = "; ".join(said) + more
        yield Alarm(AlarmKind.SENDERS_REJECTED, Severity.WARNING, "senders", words)


def _archives(seen: Observation, config: NodeConfig) -> Iterator[Alarm]:
    """Archives that fail again and again."""
    asked = {each.archive for each in config.schedules}
    for row in seen.troubles:
        if row.archive in asked and row.failures >= config.alarms.failures:
            words = f"failed {row.failures} times in a row: {row.reason}"
            yield Alarm(AlarmKind.ARCHIVE_TROUBLE, Severity.WARNING, row.archive, words)


def _untold(config: NodeConfig) -> Iterator[Alarm]:
    """Ways to tell of alarms that do not work."""
    for channel, (since, reason) in sorted(untold(config.node.spool).items()):
        yield Alarm(AlarmKind.ALARM_UNTOLD, Severity.WARNING, channel, reason, since)


def _objects(group: Oldest[DeliveryRow]) -> str:
    return _counted(group.count, "object", "objects")


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _long(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} h"
