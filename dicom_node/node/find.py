"""Finding a series: by Accession Number, Patient ID, or any UID, wherever it is by now.

What is looked for has to match exactly. A series that waits in the spool is found by its
headers, one that was taken up by the ledger, one of which images were refused by the record
of that, one that an archive listed by its schedule's rows. What of a series is known by
digests alone (`series_keys.py`) is looked for by the same digest.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_node.errors import NodeError
from dicom_node.node.series_keys import patient_keys, stated_values
from dicom_node.node.work_lists import WorkFilter
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import ArchiveSeriesRow, ArchiveState
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import CaseRow, DeliveryRow, KeyKind, SeriesRow
from dicom_node.persistence.tables import CASES
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import first_titles, study_of
from dicom_node.spool.digest_key import existing_digest_key
from dicom_node.spool.image_index import look_up
from dicom_node.spool.pending import WaitingSeries, read_waiting
from dicom_node.spool.refusals import (
    lost_images,
    read_refusals,
    refused_file,
    refused_series,
)
from dicom_node.spool.revisions import MARKER, read_marker
from dicom_node.spool.spool import Spool
from dicom_node.uids import is_uid

DOTS_OF_AN_IMAGE: Final = 3
"""A number with fewer is a patient's, or an order's, and not an image's."""
MOST_HEADERS: Final = 1000
"""Waiting series of which a header is read; a spool has some dozens of them."""


@dataclass(frozen=True, slots=True)
class Found:
    """One revision of a series that was found, or what is known of one that has none.

    revision: None where it was not taken up.
    matched: what of it is what was looked for.
    state: of the series, or `arriving`, `refused images`, `archive: wanted`.
    words: what became of it, or what it waits for.
    destinations: where it went, each with the state of its objects.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int | None
    matched: str
    state: str
    words: str
    received_at: datetime | None
    changed_at: datetime | None
    calling_ae_title: str
    destinations: tuple[str, ...] = ()


def find(config: NodeConfig, text: str, *, most: int = 50) -> tuple[Found, ...]:
    """What there is of a text: the latest series first.

    Nothing is made or changed; works beside a running node, and without one.

    Raises:
        ConfigurationError: the ledger cannot be read.
    """
    text = text.strip()
    if not text:
        return ()
    ledger = existing_ledger(config.node.database_url, only_read=True)
    try:
        search = _Search(config, ledger, text)
        found = search.found()
    finally:
        if ledger is not None:
            ledger.close()
    ever = datetime.fromtimestamp(0, UTC)
    newest = sorted(
        found, key=lambda each: (each.received_at or ever, each.revision or 0), reverse=True
    )
    return tuple(newest[:most])


def resolved(config: NodeConfig, ledger: Ledger, chosen: WorkFilter) -> WorkFilter:
    """A filter whose search is by all that `find` knows, as one by Series Instance UIDs."""
    if not chosen.search:
        return chosen
    search = _Search(config, ledger, chosen.search.strip())
    uids = search.matches()
    # A UID that there cannot be, where there is none: else it would mean every series.
    series = tuple(sorted(uids)) or ("0",)
    if chosen.series:
        series = tuple(set(series) & set(chosen.series)) or ("0",)
    return replace(chosen, search="", series=series)


@dataclass(slots=True)
class _Search:
    """One search."""

    config: NodeConfig
    ledger: Ledger | None
    text: str
    _matched: dict[str, str] = field(default_factory=dict)

    def found(self) -> list[Found]:
        """All that was found."""
        matches = self.matches()
        found = [each for uid, how in matches.items() for each in self._in_ledger(uid, how)]
        known = {each.series_instance_uid for each in found}
        found += self._arriving(known)
        known |= {each.series_instance_uid for each in found}
        found += self._refused(known)
        known |= {each.series_instance_uid for each in found}
        return [*found, *self._listed(known)]

    def matches(self) -> dict[str, str]:
        """The series in the ledger that match, each with what matched."""
        if self.ledger is not None:
            for uid, how in self._matches(self.ledger):
                self._matched.setdefault(uid, how)
        return self._matched

    def _matches(self, ledger: Ledger) -> Iterator[tuple[str, str]]:
        operation = OperationLedger(ledger)
        yield from self._by_digests(ledger, operation)
        if not is_uid(self.text):
            return
        if ledger.revisions(self.text):
            yield self.text, "Series Instance UID"
        for row in ledger.of_study(self.text):
            yield row.series_instance_uid, "Study Instance UID"
        for result in ledger.results_named([self.text]):
            yield result.series_instance_uid, f"SOP Instance UID of its {result.kind}"
        for result in operation.results_in(self.text):
            yield result.series_instance_uid, f"Series Instance UID of its {result.kind}"
        # Where nothing else is found: it goes through the whole spool.
        may_be_image = not self._matched and self.text.count(".") >= DOTS_OF_AN_IMAGE
        if may_be_image and (uid := image_in_spool(self.config.node.spool, self.text)):
            yield uid, "SOP Instance UID of an image"

    def _by_digests(
        self, ledger: Ledger, operation: OperationLedger
    ) -> Iterator[tuple[str, str]]:
        """Series by what is kept as digests under the spool's secret."""
        key = existing_digest_key(self.config.node.spool)
        if key is None:
            return
        if operation.is_there():
            for kind in KeyKind:
                digest = key.find_key(kind, self.text)
                for uid in sorted(operation.series_with_key(kind, [digest])):
                    yield uid, kind.value
        if ledger.has_table(CASES):
            keys = list(patient_keys(key, self.text))
            for case in ledger.read(CaseRow, CASES.c.patient_key.in_(keys)):
                yield case.series_instance_uid, KeyKind.PATIENT_ID.value

    def _in_ledger(self, uid: str, how: str) -> Iterator[Found]:
        if self.ledger is None:
            return
        deliveries = self.ledger.deliveries(series_instance_uid=uid)
        for row in self.ledger.revisions(uid):
            own = [each for each in deliveries if each.revision == row.revision]
            yield _taken_up(row, how, own)

    def _arriving(self, known: set[str]) -> Iterator[Found]:
        """Series in the spool that are not handed over yet."""
        for waiting in read_waiting(self.config.node.spool)[:MOST_HEADERS]:
            if waiting.series_instance_uid in known:
                continue
            with contextlib.suppress(NodeError, OSError):
                if each := self._if_matching(waiting):
                    yield each

    def _if_matching(self, waiting: WaitingSeries) -> Found | None:
        uid, spool = waiting.series_instance_uid, self.config.node.spool
        entries = Spool(spool, only_look=True).entries(uid)
        paths = [entry.path for entry in entries]
        if not paths:
            return None
        study = study_of(paths)
        facts = {
            uid: "Series Instance UID",
            study: "Study Instance UID",
            **{each.sop_instance_uid: "SOP Instance UID of an image" for each in entries},
        }
        how = facts.get(self.text, "") or next(
            (kind.value for kind, value in stated_values(paths).items() if value == self.text),
            "",
        )
        if not how:
            return None
        count = f"{waiting.instances} images so far"
        return Found(
            series_instance_uid=uid,
            study_instance_uid=study,
            revision=None,
            matched=how,
            state="arriving",
            words=f"{count}: {waiting.reason}",
            received_at=datetime.fromtimestamp(min(each.received_s for each in entries), UTC),
            changed_at=datetime.fromtimestamp(waiting.last_received_s, UTC),
            calling_ae_title=first_titles(paths)[0],
        )

    def _refused(self, known: set[str]) -> Iterator[Found]:
        """Series of which images were refused, and nothing else is known."""
        spool = self.config.node.spool
        if not is_uid(self.text):
            return
        for uid in refused_series(spool):
            path = refused_file(spool, uid)
            refusals = read_refusals(path)
            is_image = any(each.sop_instance_uid == self.text for each in refusals)
            if uid in known or not (uid == self.text or is_image):
                continue
            kept = {each.sop_instance_uid for each in Spool(spool, only_look=True).entries(uid)}
            words = lost_images(refusals, kept).words or "all that was refused came again"
            how = "Series Instance UID" if uid == self.text else "SOP Instance UID of an image"
            at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            yield Found(uid, "", None, how, "refused images", words, at, at, "")

    def _listed(self, known: set[str]) -> Iterator[Found]:
        """Series that an archive listed and that are not here."""
        if self.ledger is None or not is_uid(self.text):
            return
        archive = ArchiveLedger(self.ledger)
        if not archive.is_there():
            return
        rows = list(archive.series_of_uids([self.text]))
        for schedule in self.config.schedules:
            rows += archive.series(schedule.name, study_instance_uid=self.text)
        for row in rows:
            if row.series_instance_uid not in known and row.state is not ArchiveState.HAD:
                yield _listed(row, self.text)


def _taken_up(row: SeriesRow, how: str, deliveries: Iterable[DeliveryRow]) -> Found:
    """A revision in the ledger, with where it went."""
    words = ": ".join(filter(None, (row.code, row.reason)))
    return Found(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        matched=how,
        state=row.state.value,
        words=words,
        received_at=row.received_at,
        changed_at=row.changed_at,
        calling_ae_title=row.calling_ae_title,
        destinations=tuple(destinations_in_words(deliveries)),
    )


def destinations_in_words(deliveries: Iterable[DeliveryRow]) -> Iterator[str]:
    """Each destination with its objects: `pacs: 2 confirmed, 1 held (held by order of x)`."""
    rows = list(deliveries)
    for name in sorted({row.destination for row in rows}):
        own = [row for row in rows if row.destination == name]
        counts = Counter(row.state for row in own)
        words = ", ".join(f"{count} {state}" for state, count in counts.items())
        reasons = "; ".join(sorted({row.reason for row in own if row.reason}))
        yield f"{name}: {words}" + (f" ({reasons})" if reasons else "")


def _listed(row: ArchiveSeriesRow, text: str) -> Found:
    """A series that an archive has, for all that the node knows."""
    is_series = row.series_instance_uid == text
    at_archive = f"listed by {row.archive} for schedule {row.schedule}"
    return Found(
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
        revision=None,
        matched="Series Instance UID" if is_series else "Study Instance UID",
        state=f"archive: {row.state}",
        words=": ".join(filter(None, (at_archive, row.reason))),
        received_at=row.found_at,
        changed_at=row.changed_at,
        calling_ae_title=row.archive,
    )


def image_in_spool(spool: Path, sop_instance_uid: str) -> str:
    """The series that has an image, or had it when it was handed over; empty where none.

    An index says which series may have it (`spool/image_index.py`); those that it does not
    know are looked into, and at last all for one that has come late.
    """
    if not spool.is_dir():
        return ""
    found = look_up(spool, sop_instance_uid)
    for uid in found.candidates:
        if _is_in(spool / uid, sop_instance_uid):
            return uid
    series = Spool(spool, only_look=True).series()
    for uid in series:
        if uid not in found.noted and _is_in(spool / uid, sop_instance_uid):
            return uid
    late = (uid for uid in series if uid in found.noted)
    name = f"{sop_instance_uid}.dcm"
    return next((uid for uid in late if os.path.exists(f"{spool}/{uid}/{name}")), "")  # noqa: PTH110 - a hundred thousand of them


def _is_in(folder: Path, sop_instance_uid: str) -> bool:
    """True if a series has an image, or had it when it was handed over."""
    if (folder / f"{sop_instance_uid}.dcm").exists():
        return True
    with contextlib.suppress(OSError, ValueError):
        if f'"{sop_instance_uid}'.encode() in (folder / MARKER).read_bytes():
            return _handed_over(folder, sop_instance_uid)
    return False


def _handed_over(folder: Path, sop_instance_uid: str) -> bool:
    """True if the record of a series names an image, and not one whose UID begins so."""
    names = (name for each in read_marker(folder) for name in (*each.files, *each.left))
    return any(
        name.partition("~")[0].removesuffix(".dcm") == sop_instance_uid for name in names
    )
