"""Claims about the file descriptors that associations are counted with."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode
from support.ct import ct_slice

from dicom_node.receiving.descriptors import (
    PER_ASSOCIATION,
    associations_within,
    descriptors_for,
)
from dicom_node.receiving.instance import OUT_OF_RESOURCES, InstanceWriter, StoreCommand
from dicom_node.spool.capacity import SpoolCapacity
from dicom_node.spool.open_associations import Transmissions
from dicom_node.spool.refusals import AssociationRefusals, RefusalRecord, Why
from dicom_node.spool.spool import Spool

CONNECTION_AND_ITS_WAKER = 2
FILE_THAT_ARRIVES = 1


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_association_that_sends_many_series_takes_no_more_than_is_counted(
    tmp_path: Path,
) -> None:
    sent = Transmissions(tmp_path)
    before = open_descriptors()
    for number in range(10):
        (tmp_path / f"1.2.{number}").mkdir()
        sent.came(f"1.2.{number}", kept=True)
    marks = open_descriptors() - before
    sent.released()

    assert marks + CONNECTION_AND_ITS_WAKER + FILE_THAT_ARRIVES == PER_ASSOCIATION
    assert associations_within(descriptors_for(10)) == 10
    assert associations_within(64) == 5


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.EMFILE, Why.ROOM), (errno.ENFILE, Why.ROOM), (errno.EIO, Why.DISK)],
)
def test_a_descriptor_that_is_missing_is_no_disk_that_failed(
    number: int, why: Why, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin() -> None:
        raise OSError(number, os.strerror(number))

    spool = Spool(tmp_path)
    monkeypatch.setattr(spool, "begin", begin)
    remembered: list[Why] = []
    refusals = AssociationRefusals(RefusalRecord(tmp_path), remembered.append)
    monkeypatch.setattr(refusals, "refused", lambda _series, _uid, why: remembered.append(why))
    image = ct_slice((0.0, 0.0, 0.0))
    uids = (image.SOPClassUID, image.SOPInstanceUID, ExplicitVRLittleEndian)
    command = StoreCommand(*uids, "ANY", "NODE")
    writer = InstanceWriter(
        spool, SpoolCapacity(spool, 0), Transmissions(tmp_path), refusals, command
    )
    writer.write(memoryview(encoded(image)))

    assert writer.finish() == OUT_OF_RESOURCES
    assert remembered == [why]


def encoded(image: Dataset) -> bytes:
    """The bytes of a dataset as they come on an association."""
    return encode(image, is_implicit_vr=False, is_little_endian=True) or b""
