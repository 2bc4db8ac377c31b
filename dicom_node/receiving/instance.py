"""One instance on its way from an association into the spool.

Its dataset is written to a temporary file as it comes, without being decoded. Only when all
of it is there are its UIDs looked up, in the first few hundred bytes; then it gets its name
(`spool.py`), and its C-STORE a status. What is refused is read to its end and thrown away, so
that the association continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from dicom_node.durable_files import Incoming
from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.series.bounded_files import SERIES_INSTANCE_UID, uids_at_start
from dicom_node.spool.capacity import SpoolCapacity
from dicom_node.spool.open_associations import Transmissions
from dicom_node.spool.spool import Spool
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
    """An instance that is not kept: the status of its C-STORE, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class InstanceWriter:
    """An instance that is arriving: `write` its dataset as it comes, then `finish`.

    size_bytes: of the dataset, as far as it came.
    """

    def __init__(
        self,
        spool: Spool,
        capacity: SpoolCapacity,
        sent: Transmissions,
        command: StoreCommand,
    ) -> None:
        self._spool, self._capacity, self._sent = spool, capacity, sent
        self._command = command
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
        except OSError:
            log.exception("store.failed", sop_instance_uid=self._command.sop_instance_uid)
            self.give_up()
            return
        if self.size_bytes >= self._look_at:
            self._look_at += LOOK_EVERY_BYTES
            if not self._has_capacity():
                self.give_up()

    def finish(self) -> int:
        """Keep what has arrived; answers the status of its C-STORE."""
        try:
            return self._finish()
        except _RefusedError as refused:
            uid = self._command.sop_instance_uid
            # Logged without an invalid UID: that may be anything, a name too.
            named = {"sop_instance_uid": uid} if is_uid(uid) else {}
            log.warning("store.refused", reason=str(refused), **named)
            return refused.status
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Leave nothing behind of what is not kept."""
        if self._incoming is not None:
            incoming, self._incoming = self._incoming, None
            self._capacity.arrives(-self._counted_bytes)
            incoming.close()

    def _finish(self) -> int:
        uid = self._command.sop_instance_uid
        if not is_uid(uid):
            raise _RefusedError(CANNOT_UNDERSTAND, "invalid SOP Instance UID")
        series_uid = self._series()
        kept = self._is_taken(series_uid)
        self._sent.came(series_uid, kept=kept)
        if not kept:
            return OUT_OF_RESOURCES
        log.info(
            "store.kept",
            sop_instance_uid=uid,
            calling_ae=self._command.calling_ae_title,
            bytes=self.size_bytes,
        )
        return SUCCESS

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
        except OSError:
            log.exception("store.failed", sop_instance_uid=command.sop_instance_uid)
            self.give_up()

    def _has_capacity(self, for_bytes: int = 0) -> bool:
        """True if the spool has the capacity for what came so far, and for so much more."""
        if lack := self._capacity.shortage(for_bytes):
            uid = self._command.sop_instance_uid
            log.error("store.refused", sop_instance_uid=uid, reason=lack)
        return not lack

    def _is_taken(self, series_uid: str) -> bool:
        """Keep the file, where there is one, capacity for it, and a disk that does not fail."""
        uid = self._command.sop_instance_uid
        if self._incoming is None or not self._has_capacity():
            return False
        try:
            self._spool.take(series_uid, uid, self._incoming)
        except OSError:
            log.exception("store.failed", sop_instance_uid=uid)
            return False
        self._capacity.add(self.size_bytes)
        return True

    def _series(self) -> str:
        """The Series Instance UID, once the dataset is what the command says.

        Raises:
            _RefusedError: it cannot be read, names no series, or is another instance.
        """
        try:
            found = self._uids()
        except Exception as error:
            # pydicom lets out a dozen kinds, from struct.error to RecursionError.
            raise _RefusedError(CANNOT_UNDERSTAND, "not a readable dataset") from error
        series_uid = found.get(SERIES_INSTANCE_UID, "")
        if not is_uid(series_uid):
            raise _RefusedError(CANNOT_UNDERSTAND, "missing or invalid Series Instance UID")
        said = (found.get(0x00080016), found.get(0x00080018))
        if said != (self._command.sop_class_uid, self._command.sop_instance_uid):
            raise _RefusedError(DOES_NOT_MATCH, "not what the command says")
        return series_uid

    def _uids(self) -> dict[int, str]:
        """The UIDs at the start of the dataset, or far into it where they are not there."""
        syntax = self._command.transfer_syntax_uid
        found = uids_at_start(self._head, syntax, HEAD_BYTES)
        if SERIES_INSTANCE_UID not in found and self._incoming is not None:
            head = self._incoming.dataset_head(FAR_HEAD_BYTES)
            found = uids_at_start(head, syntax, FAR_HEAD_BYTES)
        return found
