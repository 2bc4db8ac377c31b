"""The sound series that every case starts from, and how it is taken apart and written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

from dicom_node.receiving.file_meta import file_meta_bytes
from support.ct import ct_stack

READ: Final = "read"
SHAPE: Final = (32, 48)
FRAME_BYTES: Final = 2 * 32 * 48
DAMAGED: Final = 2
"""Which of the five slices a case damages, unless it says otherwise: the middle one."""
PATIENT: Final = "ZZCORPUS"
"""In every name and number of the patient; it must be in no message and no log."""
Elements = dict[int, bytes]
"""A dataset as encoded elements by tag."""


@dataclass(frozen=True, slots=True)
class BadSeries:
    """One case: what is wrong, how reading must end, and how to write it.

    group: the kind of damage, for the table in `docs/reliability.md`.
    """

    group: str
    name: str
    ends: str
    write: Callable[[Path], list[Path]]

    def __str__(self) -> str:
        """The name, as pytest shows it."""
        return f"{self.group}: {self.name}"


def sound(**elements: Any) -> list[Dataset]:
    """Five good slices, 2 mm apart."""
    return ct_stack(
        shape=SHAPE,
        PatientName=f"{PATIENT}^Mary",
        PatientID=f"{PATIENT}1",
        AccessionNumber=f"{PATIENT}A",
        **elements,
    )


def encoded(dataset: Dataset) -> Elements:
    """Each element of a dataset as its bytes in Explicit VR Little Endian."""
    found: Elements = {}
    for element in dataset:
        if " or " in element.VR:
            element.VR = "OW" if element.tag == 0x7FE00010 else "US"
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_data_element(stream, element, ["iso8859"])
        found[int(element.tag)] = stream.getvalue()
    return found


def raw_element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element with any VR and any stated length."""
    stated = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"}:
        return head + struct.pack("<HI", 0, stated & 0xFFFFFFFF) + value
    return head + struct.pack("<H", stated & 0xFFFF) + value


def meta(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Preamble and file meta information, as the node writes them."""
    return file_meta_bytes(
        str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), syntax, "SCANNER", "NODE"
    )


def in_order(elements: Elements) -> bytes:
    """A dataset from its elements."""
    return b"".join(elements[tag] for tag in sorted(elements))


def file_of(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A whole file; only the pixels may be encoded otherwise."""
    return meta(dataset, syntax) + in_order(encoded(dataset))


def put(folder: Path, files: Iterable[bytes]) -> list[Path]:
    """Write files as 0.dcm, 1.dcm, ... and answer their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(data)
    return paths


def with_file(folder: Path, make: Callable[[Dataset], bytes]) -> list[Path]:
    """The sound series with one file made otherwise."""
    stack = sound()
    return put(
        folder,
        [make(one) if index == DAMAGED else file_of(one) for index, one in enumerate(stack)],
    )


def with_raw(tag: int, raw: bytes | None, folder: Path) -> list[Path]:
    """The sound series with one element of one file replaced, added or removed."""

    def make(dataset: Dataset) -> bytes:
        elements = encoded(dataset)
        elements.pop(tag, None)
        if raw is not None:
            elements[tag] = raw
        return meta(dataset) + in_order(elements)

    return with_file(folder, make)


def everywhere(changes: dict[str, Any], folder: Path) -> list[Path]:
    """All slices with these values, which are written as they are."""
    stack = sound()
    for dataset in stack:
        change(dataset, changes)
    return put(folder, map(file_of, stack))


def change(dataset: Dataset, changes: dict[str, Any]) -> None:
    """Set or (with None) delete elements, valid or not."""
    with pydicom_config.disable_value_validation():
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)


ENDLESS: Final = 0xFFFFFFFF
BLACK: Final = b"\0" * FRAME_BYTES
