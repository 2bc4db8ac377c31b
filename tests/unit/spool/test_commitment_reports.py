"""Claims about reports of storage commitment as files: one is read when it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.durable_files import PART
from dicom_node.spool.commitment_reports import forget_report, keep_report, read_reports


def report(transaction_uid: str) -> Dataset:
    information, item = Dataset(), Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [item]
    return information


@pytest.mark.parametrize(
    "content", [b"", b'{"transaction_uid": "1.9", "committed": [], "failed": {}}']
)
def test_a_report_that_is_being_written_is_left_alone(content: bytes, tmp_path: Path):
    """Half of one, and one that a receiver left that was killed before it named it."""
    part = tmp_path / f"{PART}0123-1.9.json"
    part.write_bytes(content)
    keep_report(report("1.4"), tmp_path)

    (read,) = read_reports(tmp_path)
    forget_report(tmp_path, read)

    assert (read.transaction_uid, read.committed) == ("1.4", ("1.2.3",))
    assert list(read_reports(tmp_path)) == []
    assert part.read_bytes() == content


def test_only_the_node_s_own_user_reads_a_report(tmp_path: Path):
    keep_report(report("1.4"), tmp_path)

    assert (tmp_path / "1.4.json").stat().st_mode & 0o077 == 0
