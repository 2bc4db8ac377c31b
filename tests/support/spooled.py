"""Datasets in a spool, as the receiver puts them there."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_node.receiving.file_meta import file_meta_bytes
from dicom_node.settings.node import Completion
from dicom_node.spool.spool import Spool
from support.ct import save
from support.pacs import dataset_bytes

SETTINGS = Completion(quiet_s=10, give_up_s=300, resend_s=120)


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
        entry = spool.keep(
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID, (meta, dataset_bytes(path))
        )
        os.utime(entry.path, (at_s, at_s))
