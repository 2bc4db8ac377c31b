"""The files that are kept and those that may go: images in the spool, results, by age, state.

Only what has arrived is ever deleted: every object of every revision of the series, at
every destination, confirmed where the destination is to confirm, taken where it is not. Of
a series that rules left out, or a person cancelled, there is nothing to arrive.
That a disk is full is no reason. A series' record in the spool and its rows in the ledger
stay: the same images sent again are known, and neither analysed nor answered again.

Deleting may be cut short anywhere: what is left is found again the next time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import (
    ANSWERED,
    PASSED_OVER,
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesRow,
    SeriesState,
)
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.revisions import gone_from, known_names, read_marker
from dicom_node.spool.spool import Spool, SpoolEntry
from dicom_node.uids import is_uid

log = structlog.get_logger()

ARRIVED = ""
"""The reason to keep what need not be kept."""


@dataclass(frozen=True, slots=True)
class Series:
    """All that the ledger knows of one series: its revisions, results and deliveries."""

    revisions: Sequence[SeriesRow]
    results: Sequence[ResultRow]
    deliveries: Sequence[DeliveryRow]

    @property
    def settled_at(self) -> datetime:
        """The time at which the last thing about it changed."""
        changes = [row.changed_at for row in self.revisions]
        changes += [row.changed_at for row in self.deliveries]
        return max(changes, default=datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Holding:
    """Files of one series that the node keeps.

    what: "images" or "results".
    reason: why they are kept; empty when they may go.
    """

    what: str
    series_instance_uid: str
    paths: tuple[Path, ...]
    megabytes: float
    reason: str


def reason_to_keep(series: Series, confirming: Collection[str]) -> str:
    """The reason why a series' files are needed still; empty when all its results arrived.

    Args:
        series: what the ledger knows of it.
        confirming: the names of destinations that are to confirm what they took.
    """
    if not series.revisions:
        return "not in the ledger"
    taken = [row for row in series.revisions if row.state not in PASSED_OVER]
    if any(row.state not in ANSWERED for row in taken):
        return "not answered yet"
    for row in taken:
        if not any(result.revision == row.revision for result in series.results):
            return "answered with nothing"
        if not any(each.revision == row.revision for each in series.deliveries):
            return "its results went to no destination"
    on_the_way = (_on_the_way(row, confirming) for row in series.deliveries)
    return next((words for words in on_the_way if words), ARRIVED)


def _on_the_way(row: DeliveryRow, confirming: Collection[str]) -> str:
    """The reason why a delivery has not come to its end; empty when it has."""
    match row.state:
        case DeliveryState.WAITING:
            return f"waiting for {row.destination}"
        case DeliveryState.HELD:
            return f"held for {row.destination}"
        case DeliveryState.SENT if row.destination in confirming or row.is_unconfirmed:
            return f"not confirmed by {row.destination}"
        case _:
            return ""


RESULT_SUFFIXES: Final = (".dcm", ".nii.gz", ".json")
"""Objects, and the label map that may lie beside them."""


def survey(config: NodeConfig, ledger: Ledger, now: datetime) -> Iterator[Holding]:
    """The files that the node keeps, by series, with the reason."""
    confirming = {each.name for each in config.destinations if each.confirm != "no"}
    yield from _images(config, ledger, now, confirming)
    yield from _results(config, ledger, now, confirming)


def purge(config: NodeConfig, ledger: Ledger, now: datetime) -> None:
    """Delete what may go; does nothing where the settings name no age."""
    retention = config.retention
    if retention.images_d is None and retention.results_d is None:
        return
    for holding in survey(config, ledger, now):
        if holding.reason == ARRIVED:
            for path in holding.paths:
                path.unlink(missing_ok=True)
            if holding.what == "results":
                _remove_empty({path.parent for path in holding.paths})
            log.info(
                "retention.purged",
                kind=holding.what,
                series_instance_uid=holding.series_instance_uid,
                count=len(holding.paths),
                megabytes=round(holding.megabytes, 1),
            )


def summed(holdings: Iterator[Holding]) -> tuple[tuple[str, str, int, float], ...]:
    """The sums of holdings: what, reason, number of series and megabytes; the largest first."""
    series: dict[tuple[str, str], list[float]] = {}
    for each in holdings:
        series.setdefault((each.what, each.reason), []).append(each.megabytes)
    sums = [(*key, len(sizes), sum(sizes)) for key, sizes in series.items()]
    return tuple(sorted(sums, key=lambda one: one[3], reverse=True))


def _images(
    config: NodeConfig, ledger: Ledger, now: datetime, confirming: Collection[str]
) -> Iterator[Holding]:
    """The images of each series in the spool."""
    if not config.node.spool.is_dir():
        return
    spool = Spool(config.node.spool, only_look=True)
    for uid in spool.series():
        entries = [entry for entry in spool.entries(uid) if entry.is_file]
        if not entries:
            continue
        reason = _settings_keep(config.retention.images_d, "images_d")
        if not reason:
            series = _series(ledger, uid)
            newest = datetime.fromtimestamp(max(one.received_s for one in entries), UTC)
            since = max(newest, series.settled_at)
            reason = (
                _not_handed_over(config.node.spool / uid, entries)
                or reason_to_keep(series, confirming)
                or _failed(series)
                or _too_young(since, config.retention.images_d or 0, now)
            )
        yield _holding("images", uid, [entry.path for entry in entries], reason)


def _results(
    config: NodeConfig, ledger: Ledger, now: datetime, confirming: Collection[str]
) -> Iterator[Holding]:
    """The result files of each series."""
    if not config.node.results.is_dir():
        return
    for folder in sorted(config.node.results.iterdir()):
        files = folder.glob("*/*") if is_uid(folder.name) else ()
        paths = sorted(path for path in files if path.name.endswith(RESULT_SUFFIXES))
        if not paths:
            continue
        reason = _settings_keep(config.retention.results_d, "results_d")
        if not reason:
            series = _series(ledger, folder.name)
            reason = reason_to_keep(series, confirming) or _too_young(
                series.settled_at, config.retention.results_d or 0, now
            )
        yield _holding("results", folder.name, paths, reason)


def _series(ledger: Ledger, uid: str) -> Series:
    revisions = ledger.revisions(uid)
    results = [each for row in revisions for each in ledger.results(uid, row.revision)]
    return Series(revisions, results, ledger.deliveries(series_instance_uid=uid))


def _settings_keep(days: float | None, key: str) -> str:
    return f"retention.{key} is not set" if days is None else ""


def _not_handed_over(folder: Path, entries: Sequence[SpoolEntry]) -> str:
    """The reason why the spool's own record keeps images, if it does."""
    try:
        revisions = read_marker(folder)
    except (OSError, ValueError):
        return "the record of what was handed over cannot be read"
    if not revisions or not revisions[-1].done:
        return "not complete yet"
    names = frozenset(entry.path.name for entry in entries)
    if names <= known_names(revisions):
        return ""
    if gone_from(revisions, names):
        return "came after the others were deleted: the whole series must be sent again"
    return "came later and are part of no revision"


def _failed(series: Series) -> str:
    """Images whose analysis failed last are wanted for another try."""
    latest = series.revisions[-1]
    return "its analysis failed" if latest.state is SeriesState.FAILED else ""


def _too_young(since: datetime, days: float, now: datetime) -> str:
    return f"younger than {days:g} days" if now - since < timedelta(days=days) else ""


def _holding(what: str, uid: str, paths: Sequence[Path], reason: str) -> Holding:
    size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += path.stat().st_size
    return Holding(what, uid, tuple(paths), size / 2**20, reason)


def _remove_empty(folders: Collection[Path]) -> None:
    """Remove the folders of revisions, and of their series, that are empty now."""
    for folder in folders:
        for each in (folder, folder.parent):
            with contextlib.suppress(OSError):
                each.rmdir()
