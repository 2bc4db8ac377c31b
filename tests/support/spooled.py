"""Datasets in a spool, as the receiver puts them there."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.settings.node import Completion
from dicom_node.spool.spool import Spool, SpoolEntry
from support.ct import save
from support.pacs import dataset_bytes

SETTINGS = Completion(quiet_s=10, give_up_s=300, resend_s=120)


def keep_instance(
    spool: Spool, series_instance_uid: str, sop_instance_uid: str, meta: bytes, dataset: bytes
) -> SpoolEntry:
    """Put one instance into the spool, given whole."""
    with spool.begin() as incoming:
        incoming.write(meta)
        incoming.dataset_begins()
        incoming.write(dataset)
        return spool.take(series_instance_uid, sop_instance_uid, incoming)


def purge(spool: Spool, series_instance_uid: str) -> int:
    """Delete the images of a series and keep its record, as retention does; how many."""
    entries = spool.entries(series_instance_uid)
    for entry in entries:
        entry.path.unlink()
    return len(entries)


def keep(spool: Spool, datasets: Sequence[Dataset], at_s: float = 1000.0) -> None:
    """Put datasets into the spool as the receiver does, with this arrival time."""
    scratch = spool.folder.parent / "scratch"
    for path, dataset in zip(save(datasets, scratch), datasets, strict=True):
        meta = file_meta_bytes(
            dataset.SOPClassUID,
            dataset.SOPInstanceUID,
            dataset.file_meta.TransferSyntaxUID,
            "SCANNER",
            "MSKNODE",
        )
        uids = (dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        entry = keep_instance(spool, *uids, meta, dataset_bytes(path))
        os.utime(entry.path, (at_s, at_s))
