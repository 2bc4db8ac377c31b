"""One instance on its way from an association into the spool.

Its dataset is written to a temporary file as it comes, without being decoded. Only when all
of it is there are its UIDs looked up, in the first few hundred bytes; then it gets its name
(`spool.py`), and its C-STORE a status. What is refused is read to its end and thrown away, so
that the association continues.
"""

from __future__ import annotations

import errno
import hashlib
import re
import time
from dataclasses import dataclass
from typing import Final

import structlog

from dicom_node.durable_files import Incoming
from dicom_node.monitoring import metrics
from dicom_node.receiving.audit import AssociationAudit
from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.receiving.rejections import printable
from dicom_node.series.bounded_files import (
    PATIENT_ID,
    SERIES_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    uids_at_start,
)
from dicom_node.spool.capacity import SpoolCapacity
from dicom_node.spool.open_associations import Transmissions
from dicom_node.spool.refusals import AssociationRefusals, Why
from dicom_node.spool.spool import Spool, SpoolEntry
from dicom_node.uids import is_uid

log = structlog.get_logger()

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
"""PS3.4 Table B.2-1."""
DOES_NOT_MATCH: Final = 0xA900
"""PS3.4 Table B.2-1: the dataset is not what the command says."""
CANNOT_UNDERSTAND: Final = 0xC000
"""PS3.4 Table B.2-1."""

HEAD_BYTES: Final = 1 << 16
FAR_HEAD_BYTES: Final = 1 << 24
"""The length of a dataset in which its UIDs are looked for, first and at most."""

_SERIES_ELEMENT: Final = re.compile(
    rb"\x20\x00\x0e\x00(UI..|..\x00\x00)([0-9.]{1,64}\x00?)", re.DOTALL
)
"""Series Instance UID in the bytes of a dataset that cannot be read."""

NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)
"""The disk has nothing to do with it."""

LOOK_EVERY_BYTES: Final = 1 << 24
"""The part of an instance that may come before the spool's capacity is looked at again."""


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """The facts of an instance that are known before its dataset comes."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str


class _RefusedError(Exception):
    """An instance that is not kept: the status of its C-STORE, and the reason.

    series_instance_uid: empty where it cannot be told.
    """

    def __init__(
        self, status: int, why: Why, reason: str, series_instance_uid: str = ""
    ) -> None:
        super().__init__(reason)
        self.status, self.why = status, why
        self.series_instance_uid = series_instance_uid


class InstanceWriter:
    """An instance that is arriving: `write` its dataset as it comes, then `finish`.

    What is not kept is remembered (`refusals.py`) before its C-STORE is answered.

    size_bytes: of the dataset, as far as it came.
    audit: counts it, where there is an audit trail.
    """

    audit: AssociationAudit | None = None

    def __init__(
        self,
        spool: Spool,
        capacity: SpoolCapacity,
        sent: Transmissions,
        refusals: AssociationRefusals,
        command: StoreCommand,
    ) -> None:
        self._spool, self._capacity, self._sent = spool, capacity, sent
        self._refusals, self._command = refusals, command
        self._lack, self._lack_words = Why.ROOM, ""
        self._incoming: Incoming | None = None
        self._head = bytearray()
        self._look_at = LOOK_EVERY_BYTES
        self._counted_bytes = 0
        self.size_bytes = 0
        # What is kept under no name needs no file either.
        if is_uid(command.sop_instance_uid) and self._has_capacity(for_bytes=1):
            self._open()

    def write(self, part: memoryview) -> None:
        """Take the next part of the dataset; where it cannot be kept, only count it."""
        self._head += part[: max(HEAD_BYTES - len(self._head), 0)]
        self.size_bytes += len(part)
        if self._incoming is None:
            return
        self._capacity.arrives(len(part))
        self._counted_bytes += len(part)
        try:
            self._incoming.write(part)
        except OSError as error:
            self._fail(error)
            return
        if self.size_bytes >= self._look_at:
            self._look_at += LOOK_EVERY_BYTES
            if not self._has_capacity():
                self.give_up()

    def finish(self) -> int:
        """Keep what has arrived; answers the status of its C-STORE."""
        started_s = time.monotonic()
        try:
            return self._finish()
        except _RefusedError as refused:
            self._remember(refused.series_instance_uid, refused.why)
            log.warning("store.refused", reason=str(refused), **self.about())
            return refused.status
        finally:
            self.give_up()
            metrics.STORE_SECONDS.observe(time.monotonic() - started_s)

    def refuse(self, why: Why) -> None:
        """Take no more of it: the node ends the association over it."""
        self._remember(self._series_or_nothing(), why)
        self.give_up()

    def about(self) -> dict[str, str]:
        """The instance, its series where that is known, and its sender, for the log."""
        # Without an invalid UID: that may be anything, a name too.
        uids = {
            "sop_instance_uid": self._command.sop_instance_uid,
            "series_instance_uid": self._series_or_nothing(),
        }
        named = {name: uid for name, uid in uids.items() if is_uid(uid)}
        return named | {"calling_ae": printable(self._command.calling_ae_title)}

    def give_up(self) -> None:
        """Leave nothing behind of what is not kept."""
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            self._capacity.arrives(-self._counted_bytes)
            incoming.close()

    def _finish(self) -> int:
        uid = self._command.sop_instance_uid
        if not is_uid(uid):
            series_uid = self._series_or_nothing()
            words = "invalid SOP Instance UID"
            raise _RefusedError(CANNOT_UNDERSTAND, Why.DAMAGED, words, series_uid)
        series_uid = self._series()
        taken = self._taken(series_uid)
        self._refusals.came(series_uid)
        if taken is None:
            self._remember(series_uid, self._lack)
        self._sent.came(series_uid, kept=taken is not None, sop_instance_uid=uid)
        if taken is None:
            # It may stand further on than what is held of the dataset.
            about = self.about() | {"series_instance_uid": series_uid}
            log.error("store.refused", reason=self._lack_words, **about)
            return OUT_OF_RESOURCES
        if self.audit is not None:
            self.audit.came(*self._facts(series_uid))
        self._count(is_repeat=taken.is_repeat)
        log.info(
            "store.repeated" if taken.is_repeat else "store.kept",
            sop_instance_uid=uid,
            series_instance_uid=series_uid,
            calling_ae=self._command.calling_ae_title,
            bytes=self.size_bytes,
        )
        return SUCCESS

    def _facts(self, series_uid: str) -> tuple[str, str, str, str]:
        """Study, series, class and patient of what was kept, for the audit trail."""
        syntax = self._command.transfer_syntax_uid
        try:
            found = uids_at_start(self._head, syntax, HEAD_BYTES, also=(PATIENT_ID,))
        except Exception:  # noqa: BLE001 - as in _series_or_nothing
            found = {}
        study = found.get(STUDY_INSTANCE_UID, "")
        known = study if is_uid(study) else ""
        return known, series_uid, self._command.sop_class_uid, found.get(PATIENT_ID, "")

    def _count(self, *, is_repeat: bool) -> None:
        """Count it as kept."""
        title = self._command.calling_ae_title
        metrics.INSTANCES_RECEIVED.labels(calling_ae=title).inc()
        metrics.BYTES_RECEIVED.labels(calling_ae=title).inc(self.size_bytes)
        if is_repeat:
            metrics.REPEATS_RECEIVED.labels(calling_ae=title).inc()

    def _remember(self, series_uid: str, why: Why) -> None:
        """Remember that it was refused; what has no UID is told apart by its bytes."""
        metrics.INSTANCES_REFUSED.labels(reason=why.value).inc()
        uid = self._command.sop_instance_uid
        if not is_uid(uid):
            uid = f"-{hashlib.sha256(self._head).hexdigest()[:16]}"
        self._refusals.refused(series_uid, uid, why)

    def _fail(self, error: OSError) -> None:
        """Give up what the disk does not take, or what no file descriptor is left for."""
        log.exception("store.failed", **self.about())  # noqa: LOG004 - called in handlers
        self._lack, self._lack_words = Why.DISK, "the disk failed"
        if error.errno in NO_DESCRIPTOR:
            self._lack, self._lack_words = Why.ROOM, "no file descriptor is left"
        self.give_up()

    def _open(self) -> None:
        """Begin the file, with its file meta information."""
        command = self._command
        try:
            self._incoming = self._spool.begin()
            self._incoming.write(
                file_meta_bytes(
                    command.sop_class_uid,
                    command.sop_instance_uid,
                    command.transfer_syntax_uid,
                    command.calling_ae_title,
                    command.called_ae_title,
                )
            )
            self._incoming.dataset_begins()
        except OSError as error:
            self._fail(error)

    def _has_capacity(self, for_bytes: int = 0) -> bool:
        """True if the spool has the capacity for what came so far, and for so much more."""
        lack = self._capacity.shortage(for_bytes)
        if lack:
            self._lack, self._lack_words = Why.ROOM, lack
        return not lack

    def _taken(self, series_uid: str) -> SpoolEntry | None:
        """Keep the file, where there is one, capacity for it, and a disk that does not fail."""
        uid = self._command.sop_instance_uid
        if self._incoming is None or not self._has_capacity():
            return None
        try:
            taken = self._spool.take(series_uid, uid, self._incoming)
        except OSError as error:
            self._fail(error)
            return None
        if not taken.is_repeat:
            self._capacity.add(self.size_bytes)
        return taken

    def _series(self) -> str:
        """The Series Instance UID, once the dataset is what the command says.

        Raises:
            _RefusedError: it cannot be read, names no series, or is another instance.
        """
        try:
            found = self._uids()
        except Exception as error:
            # pydicom lets out a dozen kinds, from struct.error to RecursionError.
            series_uid = self._series_or_nothing()
            words = "not a readable dataset"
            raise _RefusedError(CANNOT_UNDERSTAND, Why.DAMAGED, words, series_uid) from error
        series_uid = found.get(SERIES_INSTANCE_UID, "")
        if not is_uid(series_uid):
            if self._incoming is None and self.size_bytes > HEAD_BYTES:
                # It may stand further on than what is held of an image without a file.
                raise _RefusedError(OUT_OF_RESOURCES, self._lack, self._lack_words)
            words = "missing or invalid Series Instance UID"
            raise _RefusedError(CANNOT_UNDERSTAND, Why.DAMAGED, words)
        said = (found.get(0x00080016), found.get(0x00080018))
        if said != (self._command.sop_class_uid, self._command.sop_instance_uid):
            words = "not what the command says"
            raise _RefusedError(DOES_NOT_MATCH, Why.MISMATCH, words, series_uid)
        return series_uid

    def _series_or_nothing(self) -> str:
        """The Series Instance UID as far as it can be told of what has come; may be empty."""
        try:
            found = uids_at_start(self._head, self._command.transfer_syntax_uid, HEAD_BYTES)
            uid = found.get(SERIES_INSTANCE_UID, "")
        except Exception:  # noqa: BLE001 - whatever pydicom lets out over bytes cut anywhere
            uid = ""
        return uid if is_uid(uid) else _only_series_in(self._head)

    def _uids(self) -> dict[int, str]:
        """The UIDs at the start of the dataset, or far into it where they are not there."""
        syntax = self._command.transfer_syntax_uid
        found = uids_at_start(self._head, syntax, HEAD_BYTES)
        if SERIES_INSTANCE_UID not in found and self._incoming is not None:
            head = self._incoming.dataset_head(FAR_HEAD_BYTES)
            found = uids_at_start(head, syntax, FAR_HEAD_BYTES)
        return found


def _only_series_in(head: bytes | bytearray) -> str:
    """The one Series Instance UID that stands in damaged bytes; empty where there is no one.

    Little endian, with or without its VR (PS3.5 7.1). A second one may be that of a series
    which the image refers to.
    """
    found = {
        value.rstrip(b"\0").decode("ascii")
        for length, value in _SERIES_ELEMENT.findall(head)
        if int.from_bytes(length.removeprefix(b"UI"), "little") in (len(value), len(value) + 1)
    }
    uid = found.pop() if len(found) == 1 else ""
    return uid if is_uid(uid) else ""
