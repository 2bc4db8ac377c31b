"""Datasets without preamble, file meta information or transfer syntax."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import RLELossless

from support.corpus.sound import (
    READ,
    BadSeries,
    encoded,
    file_of,
    in_order,
    put,
    sound,
    with_file,
)

LAST_OF_META = b"\x02\0\x10\0UI"
PREFIX = b"\0" * 128 + b"DICM"

SMALL_ENDS: dict[str, tuple[str, bytes]] = {
    "the first element alone": ("incomplete-series", b"\x08\0\x08\0CS\x08\0ORIGINAL"),
    "an image of ACR-NEMA": ("incomplete-series", b"\x08\0\x10\0\x0c\0\0\0ACR-NEMA 2.0"),
    "a SOP class of 64 KB": ("incomplete-series", b"\x08\0\x16\0UI\xff\xff" + b"1" * 65535),
    "a length of 4 GB": ("incomplete-series", b"\x08\0\x16\0\xf0\xff\xff\xff" + b"1" * 90),
}
"""Files that begin like a dataset and prove nothing."""


def bare() -> Iterator[BadSeries]:
    """Every way of leaving them out that tools have, and what cannot be told any more."""
    for form, write in FORMS.items():
        yield BadSeries("bare datasets", form, READ, partial(all_written, write))
    yield BadSeries(
        "bare datasets", "big endian in one file", "incomplete-series",
        partial(with_file, make=lambda one: written(one, implicit=False, little=False)),
    )  # fmt: skip
    yield BadSeries(
        "bare datasets", "compressed pixels", "pixel-data", partial(with_file, make=compressed)
    )
    for name, (ends, content) in SMALL_ENDS.items():
        yield BadSeries(
            "bare datasets", name, ends, partial(with_file, make=partial(instead, content))
        )


def written(dataset: Dataset, *, implicit: bool, little: bool = True) -> bytes:
    """A dataset alone, in one of the uncompressed transfer syntaxes."""
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, little
    plain = Dataset({element.tag: element for element in dataset})
    plain["PixelData"].VR = "OW"
    write_dataset(stream, plain, ["iso8859"])
    return stream.getvalue()


def without_syntax(dataset: Dataset) -> bytes:
    """A file whose meta information says everything but the transfer syntax."""
    whole = file_of(dataset)
    start = whole.index(LAST_OF_META)
    end = start + 8 + int.from_bytes(whole[start + 6 : start + 8], "little")
    return whole[:start] + whole[end:]


def compressed(dataset: Dataset) -> bytes:
    """A dataset alone, its pixels in RLE, which nobody says."""
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset["PixelData"].VR = "OB"
    return in_order(encoded(dataset))


def instead(content: bytes, _dataset: Dataset) -> bytes:
    return content


FORMS: dict[str, Callable[[Dataset], bytes]] = {
    "implicit VR": lambda one: written(one, implicit=True),
    "explicit VR": lambda one: in_order(encoded(one)),
    "meta, but no preamble": lambda one: file_of(one)[len(PREFIX) :],
    "DICM at its start": lambda one: file_of(one)[128:],
    "preamble, but no meta": lambda one: PREFIX + in_order(encoded(one)),
    "no transfer syntax": without_syntax,
}


def all_written(write: Callable[[Dataset], bytes], folder: Path) -> list[Path]:
    return put(folder, map(write, sound()))
