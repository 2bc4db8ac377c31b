"""Keeping what an archive gives by C-GET or WADO-RS, as if it had been sent to the receiver.

It goes the receiver's own way into the spool (`receiving/instance.py`): as durable, with the
same limits, the same statuses and the same marks, by which the watcher knows that a series is
still coming. What a C-MOVE brings comes to the receiver itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog

from dicom_node.network.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.peers.archives import Archive, Retrieval, RetrievalEnd, Wanted
from dicom_node.receiving.instance import (
    HEAD_BYTES,
    OUT_OF_RESOURCES,
    InstanceWriter,
    StoreCommand,
)
from dicom_node.series.selection import CT_SOP_CLASSES
from dicom_node.settings.archives import ArchiveSettings, sender_title
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.capacity import SpoolCapacity
from dicom_node.spool.open_associations import Transmissions
from dicom_node.spool.refusals import AssociationRefusals, RefusalRecord, Why
from dicom_node.spool.spool import Spool

log = structlog.get_logger()

FEW_IMAGES_BYTES: Final = 4 << 20
NOT_SUPPORTED: Final = 0x0122
"""SOP class not supported (PS3.7 C.5.8): no CT image, or not as one is kept."""


class Keeping:
    """Takes from archives into the spool; one for a process, for it knows what is arriving.

    Its spool's size is measured by itself, once a minute, beside the receiver's.
    """

    def __init__(self, config: NodeConfig) -> None:
        limits = config.receive
        spool = Spool(config.node.spool)
        self._config = config
        self._capacity = SpoolCapacity(
            spool,
            limits.free_reserve_mb << 20,
            limits.max_spool_mb and limits.max_spool_mb << 20,
        )
        self._store = _Store(
            spool,
            self._capacity,
            RefusalRecord(config.node.spool),
            limits.max_object_mb << 20,
        )

    def no_room(self) -> str:
        """The reason why nothing more can be kept; empty where a few images can."""
        return self._capacity.shortage(FEW_IMAGES_BYTES)

    def retrieve(
        self, archive: Archive, settings: ArchiveSettings, wanted: Collection[Wanted]
    ) -> Mapping[Wanted, Retrieval]:
        """Have an archive give what is wanted; what each retrieval came to.

        The files bear the archive's AE title, or its name, and the title that a C-MOVE would
        have gone to. Where not all was given, the series count as interrupted: their sender
        may come again (`completion.resend_s`).
        """
        address = settings.address(self._config.destinations)
        calling = sender_title(settings, address)
        called = settings.move_to or self._config.node.ae_title
        with _Keeper(self._store, calling, called) as keeper:
            ends = archive.retrieve(wanted, keeper)
            if all(each.end is RetrievalEnd.DONE for each in ends.values()):
                keeper.all_came()
        return ends

    def __enter__(self) -> Self:
        self._capacity.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._capacity.stop()


@dataclass(frozen=True, slots=True)
class _Store:
    """All that takes what is given, the same for every retrieval."""

    spool: Spool
    capacity: SpoolCapacity
    refusals: RefusalRecord
    max_object_bytes: int


class _Keeper:
    """A `KeepInstance` for one retrieval, which is what an association is to the receiver."""

    def __init__(self, store: _Store, calling_ae_title: str, called_ae_title: str) -> None:
        self._store = store
        self._sent = Transmissions(store.spool.folder)
        self._refusals = AssociationRefusals(store.refusals, self._tell)
        self._calling, self._called = calling_ae_title, called_ae_title

    def __call__(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data_set: bytes,
    ) -> int:
        """Keep an encoded data set; the DIMSE status that a sender would get."""
        if sop_class_uid not in CT_SOP_CLASSES or transfer_syntax_uid not in TRANSFER_SYNTAXES:
            return NOT_SUPPORTED
        command = StoreCommand(
            sop_class_uid, sop_instance_uid, transfer_syntax_uid, self._calling, self._called
        )
        store = self._store
        writer = InstanceWriter(
            store.spool, store.capacity, self._sent, self._refusals, command
        )
        if len(data_set) > store.max_object_bytes:
            writer.write(memoryview(data_set)[:HEAD_BYTES])
            writer.refuse(Why.SIZE)
            return OUT_OF_RESOURCES
        writer.write(memoryview(data_set))
        return writer.finish()

    def all_came(self) -> None:
        """Note that nothing is missing of what was asked for."""
        self._sent.released()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sent.broke_off()
        self._refusals.end()

    def _tell(self, why: Why) -> None:
        """Tell of an image for which no series was found."""
        log.warning("archive.image_refused", reason=why.value, calling_ae=self._calling)
