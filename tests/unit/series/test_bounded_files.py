"""Claims about reading untrusted files: who may, how much of one, and how far into damage."""

from __future__ import annotations

import ast
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from support.ct import ct_slice, save

from dicom_node.errors import PixelDataError
from dicom_node.series import bounded_files
from dicom_node.series.bounded_files import (
    CHUNK_BYTES,
    NotDicomError,
    read_intact,
    read_meta,
    read_until_pixels,
    read_whole,
)

ROOT = Path(__file__).parents[3]
READERS = frozenset(
    {"data_element_generator", "dcmread", "read_dataset", "read_file_meta_info", "read_partial"}
)
"""What of pydicom parses a file; pixels are decoded from what `opened` gives."""
KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesNumber", "RequestAttributesSequence")


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


def test_only_the_package_of_series_calls_the_readers_of_pydicom():
    """The packages of the node: a file that came from outside is read with bounds, or not."""
    readers = {
        path.relative_to(ROOT).as_posix()
        for package in ("dicom_node", "sr_templates", "inference")
        for path in (ROOT / package).rglob("*.py")
        if READERS.intersection(names_in(path))
    }

    assert readers == {"dicom_node/series/bounded_files.py", "dicom_node/series/pixels.py"}


@pytest.fixture
def dataset() -> Dataset:
    dataset = ct_slice()
    dataset.PatientID = "P1"
    dataset.SeriesNumber = 3
    return dataset


def written(dataset: Dataset, folder: Path) -> Path:
    (path,) = save([dataset], folder)
    return path


def cut_in(path: Path, tag: bytes) -> Path:
    """The file, ended in the middle of the head of an element."""
    content = path.read_bytes()
    path.write_bytes(content[: content.index(tag, 300) + 5])
    return path


def test_a_header_is_read_up_to_its_damage(dataset: Dataset, tmp_path: Path):
    path = cut_in(written(dataset, tmp_path), b"\x20\x00\x11\x00")  # (0020,0011)

    intact = read_intact(path, KEYWORDS)

    assert intact.StudyInstanceUID == dataset.StudyInstanceUID
    assert "SeriesNumber" not in intact
    with pytest.raises(PixelDataError):
        read_until_pixels(path)


def test_an_intact_header_is_read_whole(dataset: Dataset, tmp_path: Path):
    intact = read_intact(written(dataset, tmp_path), KEYWORDS)

    assert (intact.PatientID, intact.SeriesNumber) == ("P1", 3)


def test_no_more_than_a_header_is_read_of_a_file(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is skipped does not count: pixels and private values may be as long as they are."""
    monkeypatch.setattr(bounded_files, "HEADER_BYTES", 1 << 16)
    dataset.TextValue = "x" * 10_000
    assert read_until_pixels(written(dataset, tmp_path / "short")).TextValue

    dataset.TextValue = "x" * 100_000
    path = written(dataset, tmp_path / "long")
    with pytest.raises(PixelDataError, match="HeaderTooLongError"):
        read_until_pixels(path)
    assert read_until_pixels(path, ["PatientID"]).PatientID == "P1"
    assert "TextValue" not in read_intact(path, ["PatientID", "TextValue"])


def test_a_deflated_file_is_read_whole_and_stays_deflated(dataset: Dataset, tmp_path: Path):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    back = read_whole(written(dataset, tmp_path))

    assert back.PixelData == dataset.PixelData
    assert back.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian


def test_a_file_without_its_prefix_is_no_dicom(tmp_path: Path):
    (tmp_path / "note.txt").write_text("no image")

    for read in (read_meta, read_until_pixels, read_whole):
        with pytest.raises(NotDicomError):
            read(tmp_path / "note.txt")


@settings(max_examples=40)
@given(
    over=st.integers(-300, 300),
    body=st.sampled_from([bytes(1), b"\0\1", hashlib.shake_128(b"").digest(4096)]),
    level=st.integers(1, 9),
)
def test_a_deflated_dataset_is_inflated_to_its_last_byte(over: int, body: bytes, level: int):
    """Some output may be held when all its input is read: of blank images, at whole chunks."""
    whole = (body * (bounded_files.CHUNK_BYTES // len(body) + 300))[: CHUNK_BYTES + over]
    deflating = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflating.compress(whole) + deflating.flush()

    head = inflated(b"", most_bytes=1)

    assert inflated(deflated, most_bytes=1 << 30) == head + whole
    assert inflated(deflated, most_bytes=1000) == head + whole[:1000]


def test_what_follows_a_deflated_dataset_is_not_read():
    """A byte a piece costs nothing; all of it, once for every piece, would cost minutes."""
    deflating = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflating.compress(b"dataset") + deflating.flush()
    stream = within(deflated + bytes(20 * CHUNK_BYTES))

    assert bounded_files._inflated(stream, 1 << 30).read().endswith(b"dataset")
    assert stream.tell() <= CHUNK_BYTES


def within(content: bytes) -> bounded_files._Within:
    return bounded_files._Within(cast(io.RawIOBase, bounded_files._Inflated(content)))


def inflated(deflated: bytes, most_bytes: int) -> bytes:
    return bounded_files._inflated(within(deflated), most_bytes).read()
