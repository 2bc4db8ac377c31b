"""What is open, and how each of it ends: since when, what it waits for, what ends it; pure.

Every state that is not final has all three, whatever has it: a series that arrives or waits, a
delivery, an order, a window or a series of an archive, a paused archive. `status`, `health` and
the pages tell them in these words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dicom_node.delivery.attempts import is_slow
from dicom_node.node.observation import Observation
from dicom_node.node.orders import ORDER_LIFE
from dicom_node.persistence.ages import Backlog, Oldest
from dicom_node.persistence.archive_rows import (
    EVERY_ARCHIVE,
    ArchiveSeriesRow,
    ArchiveState,
    PauseRow,
    WindowRow,
    WindowState,
)
from dicom_node.persistence.rows import (
    AWAITS_RULES,
    NOT_CONFIGURED,
    RELEASED,
    DeliveryRow,
    DeliveryState,
    OrderRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.pending import WaitingSeries

ALARM: Final = "ALARM"
"""So begins the reason of a series in the spool that does not go on by itself."""


@dataclass(frozen=True, slots=True)
class Openness:
    """What is open of one thing.

    since: since when.
    waits_for: what it waits for.
    ends: what ends it, or when.
    """

    since: datetime
    waits_for: str
    ends: str


@dataclass(frozen=True, slots=True)
class OpenWork:
    """Things that are open in the same way, told by the one that is for the longest.

    what: of what kind they are, with the destination or schedule.
    """

    what: str
    count: int
    since: datetime
    waits_for: str
    ends: str


def open_work(seen: Observation, config: NodeConfig) -> tuple[OpenWork, ...]:
    """All that is open, in the order of a series' way."""
    return (
        *_incoming(seen.incoming, config),
        *_grouped("series", seen.series, lambda row: open_series(row, config)),
        *(each for backlog in seen.backlogs for each in _deliveries(backlog, config)),
        *_orders(seen.orders),
        *_archives(seen, config),
    )


def open_arrival(row: WaitingSeries, config: NodeConfig) -> Openness:
    """A series that is not handed over yet."""
    since = datetime.fromtimestamp(row.last_received_s, UTC)
    if row.reason.startswith(ALARM):
        words = "a person, or its images again; docs/operating.md: incoming-trouble"
        return Openness(since, row.reason, words)
    limits = config.completion
    ends = (
        f"handed over when it is whole, or when nothing has come for {limits.give_up_s:g} s"
        f" ({limits.resend_s:g} s where a connection broke off)"
    )
    return Openness(since, row.reason, ends)


def open_series(row: SeriesRow, config: NodeConfig) -> Openness | None:
    """A series that the node has taken over; None where it is answered or left out."""
    limits = config.analysis
    match row.state:
        case SeriesState.RECEIVED if row.code == AWAITS_RULES:
            waits = row.reason or "its rules to be asked"
            quiet_s = config.completion.study_quiet_s
            ends = f"decided {quiet_s:g} s after the last image of its study"
        case SeriesState.RECEIVED if row.code == RELEASED:
            waits, ends = "a worker to take it up", "analysed, within seconds of a worker"
        case SeriesState.RECEIVED:
            waits = row.reason or "its analysis: one at a time, the oldest first"
            ends = (
                f"a report or a refusal; a failure after {limits.attempts} attempts of"
                f" {limits.timeout_s:g} s at most"
            )
        case SeriesState.SEGMENTED:
            waits = row.reason or "its objects to be made"
            ends = "objects for its destinations; tried again by itself where that fails"
        case _:
            return None
    return Openness(row.received_at, waits, ends)


def open_delivery(
    row: DeliveryRow, config: NodeConfig, made_at: datetime | None = None
) -> Openness | None:
    """A delivery; None where nothing is left to do.

    made_at: when its object was made.
    """
    name = row.destination
    match row.state:
        case DeliveryState.WAITING:
            waits = row.reason or f"its turn to be sent to {name}"
            ends = f"{_next(row.next_attempt_at)}; tried until {name} takes it"
            if is_slow(row, config.delivery):
                ends = f"{ends}, slowly; `msk-node release --destination {name}`: at once"
            return Openness(made_at or row.changed_at, waits, ends)
        case DeliveryState.HELD:
            waits = f"a person: {row.reason}" if row.reason else "a person"
            ends = f"`msk-node release --destination {name}`"
            if row.reason == NOT_CONFIGURED:
                ends = f"`[[destinations]]` named {name} in the settings again, then {ends}"
            if row.resumes:
                waits, ends = f"{name}'s return: {row.reason}", f"by itself then, or {ends}"
            return Openness(row.changed_at, waits, ends)
        case DeliveryState.SENT if row.is_unconfirmed:
            waits = row.reason or f"{name} to confirm that it has it"
            hours = config.confirmation.alarm_after_h
            ends = f"{_next(row.next_attempt_at)}; an alarm {hours:g} h after it was sent"
            return Openness(row.sent_at or row.changed_at, waits, ends)
        case _:
            return None


def open_order(row: OrderRow) -> Openness | None:
    """An order of a person; None where it was carried out, or was given up."""
    if row.done_at is not None:
        return None
    until = (row.ordered_at + ORDER_LIFE).astimezone()
    ends = f"carried out; without its images by {until:%m-%d %H:%M}, given up"
    return Openness(row.ordered_at, row.outcome or "a worker, which looks every 2 s", ends)


def open_archive_series(row: ArchiveSeriesRow, config: NodeConfig) -> Openness | None:
    """A series that an archive listed; None where its schedule is done with it."""
    schedule = config.schedule(row.schedule)
    match row.state:
        case ArchiveState.FOUND:
            waits = row.reason or "the other series of its study to be listed"
            ends = "the next listing of its study's date"
        case ArchiveState.WANTED:
            waits = row.reason or f"{row.archive} to give it"
            ends = f"{_next(row.next_at)}; fetched, or given up"
            if schedule is not None:
                ends += f" after {schedule.attempts} attempts or {schedule.give_up_h:g} h"
        case _:
            return None
    if schedule is None:
        ends = "by itself: the settings name its schedule no more"
    return Openness(row.asked_at or row.found_at, waits, ends)


def open_window(row: WindowRow, config: NodeConfig) -> Openness | None:
    """A window of study dates; None where it is listed, or was given up."""
    if row.state is not WindowState.WAITING:
        return None
    ends = f"{_next(row.next_at)}; listed, or failed after {row.archive}'s refusals"
    if config.schedule(row.schedule) is None:
        ends = "by itself: the settings name its schedule no more"
    return Openness(row.changed_at, row.reason or f"{row.archive} to list it", ends)


def open_pause(row: PauseRow) -> Openness | None:
    """A paused archive, or all of them; None where it was let go on."""
    if not row.paused:
        return None
    name = "" if row.archive == EVERY_ARCHIVE else f" {row.archive}"
    return Openness(row.changed_at, "a person", f"`msk-node requery resume{name}`")


def _incoming(rows: Sequence[WaitingSeries], config: NodeConfig) -> Iterator[OpenWork]:
    """Those that arrive, and those that do not go on by themselves."""
    for what, is_alarm in (("series arriving", False), ("series not handed over", True)):
        chosen = [row for row in rows if row.reason.startswith(ALARM) is is_alarm]
        if chosen:
            oldest = min(chosen, key=lambda row: row.last_received_s)
            yield _told(what, len(chosen), open_arrival(oldest, config))


def _grouped(
    what: str,
    groups: Sequence[Oldest[SeriesRow]],
    opened: Callable[[SeriesRow], Openness | None],
) -> Iterator[OpenWork]:
    for group in groups:
        if (found := opened(group.row)) is not None:
            kind = f" ({group.row.code})" if group.row.code else ""
            yield _told(f"{what} {group.row.state}{kind}", group.count, found)


def _deliveries(backlog: Backlog, config: NodeConfig) -> Iterator[OpenWork]:
    """What is on its way to one destination, by state."""
    named = (
        ("waiting for", backlog.waiting),
        ("held for", backlog.held),
        ("held by a person for", backlog.held_by_person),
        ("unconfirmed by", backlog.unconfirmed),
    )
    for words, group in named:
        if group is None:
            continue
        row = group.row
        if group is backlog.waiting and backlog.failing is not None:
            row = backlog.failing.row
        if (found := open_delivery(row, config, group.since)) is not None:
            told = Openness(group.since, found.waits_for, found.ends)
            yield _told(f"objects {words} {backlog.destination}", group.count, told)


def _orders(groups: Sequence[Oldest[OrderRow]]) -> Iterator[OpenWork]:
    for group in groups:
        if (found := open_order(group.row)) is not None:
            yield _told(f"orders to {group.row.kind}", group.count, found)


def _archives(seen: Observation, config: NodeConfig) -> Iterator[OpenWork]:
    for window in seen.windows:
        if (found := open_window(window.row, config)) is not None:
            yield _told(f"windows of {window.row.schedule}", window.count, found)
    for series in seen.archive_series:
        if (found := open_archive_series(series.row, config)) is not None:
            words = f"series {series.row.state} by {series.row.schedule}"
            yield _told(words, series.count, found)
    for pause in seen.pauses:
        if (found := open_pause(pause)) is not None:
            name = "all archives" if pause.archive == EVERY_ARCHIVE else pause.archive
            yield _told(f"paused: {name}", 1, found)


def _told(what: str, count: int, found: Openness) -> OpenWork:
    return OpenWork(what, count, found.since, found.waits_for, found.ends)


def _next(at: datetime | None) -> str:
    return f"next attempt {at.astimezone():%m-%d %H:%M:%S}" if at is not None else "at once"
