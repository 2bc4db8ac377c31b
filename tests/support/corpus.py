"""Bad input: series of CT files that are broken, absurd or hostile, each with its refusal.

A case writes a folder of files and says how reading it must end: with the code of one
`SeriesError`, or with `READ` where the damage may be tolerated and the volume is still true.
Every case starts from the same sound series of five slices (`sound`), so that it is the one
damage that decides.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.receiving.file_meta import file_meta_bytes
from support.ct import ct_stack, enhanced_ct

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


def once(changes: dict[str, Any], folder: Path) -> list[Path]:
    """One slice with these values."""

    def make(dataset: Dataset) -> bytes:
        change(dataset, changes)
        return file_of(dataset)

    return with_file(folder, make)


def change(dataset: Dataset, changes: dict[str, Any]) -> None:
    """Set or (with None) delete elements, valid or not."""
    with pydicom_config.disable_value_validation():
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)


# --- cut off


def boundaries(dataset: Dataset) -> dict[str, int]:
    """Places in its file at which to cut it: in the preamble, and in and around each element.

    They differ from file to file: a new UID is not always as long as the last one.
    """
    start = len(meta(dataset))
    places = {"in the preamble": 64, "in the file meta information": start - 10}
    for tag, data in sorted(encoded(dataset).items()):
        name = str(Tag(tag))
        places[f"before {name}"] = start
        places[f"in the head of {name}"] = start + 5
        places[f"in the value of {name}"] = start + len(data) - 1
        start += len(data)
    return places


def cut(name: str, folder: Path) -> list[Path]:
    return with_file(folder, lambda dataset: file_of(dataset)[: boundaries(dataset)[name]])


def truncated() -> Iterator[BadSeries]:
    """Cut where an element begins the header is whole so far, and what is missing decides."""
    for name in boundaries(sound()[DAMAGED]):
        yield BadSeries("cut off", name, cut_ends(name), partial(cut, name))


def cut_ends(name: str) -> str:
    """Without its head a file is none; without rescale it has no unit."""
    if name == "in the preamble":
        return "incomplete-series"
    return "geometry" if name in {"before (0028,1052)", "before (0028,1053)"} else "pixel-data"


# --- lengths and representations

HUGE: Final = 0xFFFFFFF0
ENDLESS: Final = 0xFFFFFFFF
HUGE_ITEM: Final = b"\xfe\xff\x00\xe0\xf0\xff\xff\xff"
BLACK: Final = b"\0" * FRAME_BYTES


def lengths() -> Iterator[BadSeries]:
    """Values of a wrong size, lengths beyond the file, and ends that never come."""
    rows: tuple[tuple[str, int, tuple[Any, ...], str], ...] = (
        ("Rows of 1 byte", 0x00280010, (b"US", b"\x10"), "geometry"),
        ("Rows of 3 bytes", 0x00280010, (b"US", b"\0\0\0"), "geometry"),
        ("Rows empty", 0x00280010, (b"US", b""), "geometry"),
        ("two Rows", 0x00280010, (b"US", b"\x10\0\x10\0"), "geometry"),
        ("Rows as text", 0x00280010, (b"LO", b"many"), "geometry"),
        ("Rows as a sequence", 0x00280010, (b"SQ", b""), "geometry"),
        ("Bits Stored of 1 byte", 0x00280101, (b"US", b"\x10"), "pixel-data"),
        ("a name of 4 GB", 0x00100010, (b"UT", b"X", HUGE), "pixel-data"),
        ("a position of 4 GB", 0x00200032, (b"UN", b"1", HUGE), "pixel-data"),
        ("a private element of 4 GB", 0x00290010, (b"OB", b"1", HUGE), "pixel-data"),
        ("pixels of 4 GB", 0x7FE00010, (b"OW", BLACK, HUGE), "pixel-data"),
        ("a private value without end", 0x00290010, (b"OB", b"1" * 99, ENDLESS), "pixel-data"),
        ("a sequence without end", 0x00081140, (b"SQ", b"", ENDLESS), "pixel-data"),
        ("a sequence of one item of 4 GB", 0x00081140, (b"SQ", HUGE_ITEM, 8), READ),
        ("native pixels without end", 0x7FE00010, (b"OW", BLACK, ENDLESS), "pixel-data"),
        ("a VR that is none", 0x00180050, (b"QQ", b"1.0 "), READ),
        ("a position that is no number", 0x00200032, (b"DS", b"a\\b\\c "), "geometry"),
        ("Specific Character Set of 64 KB", 0x00080005, (b"CS", b"ISO_IR " * 9000), READ),
        ("Image Type of 32,000 values", 0x00080008, (b"CS", b"\\" * 32000), READ),
        ("private garbage", 0x00291010, (b"UN", bytes(range(256)) * 40), READ),
        ("private garbage as text", 0x00090010, (b"LO", b"\xff\x00\x1b$B" * 99), READ),
    )  # fmt: skip
    for name, tag, stated, ends in rows:
        raw = raw_element(tag, *stated)
        yield BadSeries("lengths", name, ends, partial(with_raw, tag, raw))
    yield BadSeries(
        "lengths", "sequences 1,000 deep", "pixel-data", partial(nested, 0x00081140)
    )  # fmt: skip
    yield BadSeries(
        "lengths", "sequences 1,000 deep in a private element", "pixel-data",
        partial(nested, 0x00291020),
    )  # fmt: skip
    yield BadSeries("lengths", "items 1,000 deep of stated length", READ, stated_depth)
    yield BadSeries("lengths", "nothing but zeros after the prefix", "pixel-data", zeros)


def nested(tag: int, folder: Path) -> list[Path]:
    """Sequences of undefined length, each in the item of another, 1,000 deep."""
    opening = raw_element(tag, b"SQ", b"", ENDLESS) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return with_raw(tag, opening * 1000 + closing * 1000, folder)


def stated_depth(folder: Path) -> list[Path]:
    raw = b""
    for _ in range(1000):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(raw)) + raw
        raw = raw_element(0x00081140, b"SQ", item)
    return with_raw(0x00081140, raw, folder)


def zeros(folder: Path) -> list[Path]:
    return with_file(folder, lambda dataset: meta(dataset) + b"\0" * 2000)


# --- geometry


def geometry() -> Iterator[BadSeries]:
    """Numbers that no scanner means."""
    one_tilted = [1.0, 0.0, 0.0, 0.0, 0.9, 0.4358899]
    for keyword, values in {
        "PixelSpacing": ([0, 0], [-1, 1], [1e-9, 1], [1e9, 1], [1], [1, 1, 1], "", None),
        "ImagePositionPatient": ([0, 0], [1e7, 0, 0], [0, 0, 1e7], "", None),
        "ImageOrientationPatient": (
            [1, 0, 0, 1, 0, 0], [0] * 6, [2, 0, 0, 0, 2, 0], [1, 0, 0, 0.5, 0.866, 0],
            [1, 0, 0], "", None,
        ),
        "RescaleSlope": (0, -1, 1e30, 1e-30, "", None),
        "RescaleIntercept": (1e30, -1e30, "", None),
        "Rows": (0, 65535, None),
        "Columns": (0, 65535, None),
    }.items():  # fmt: skip
        for value in values:
            name = f"{keyword} {'missing' if value is None else value or repr(value)}"
            yield BadSeries("geometry", name, "geometry", partial(everywhere, {keyword: value}))
    for keyword, vr in (
        ("PixelSpacing", b"DS"),
        ("ImagePositionPatient", b"DS"),
        ("RescaleSlope", b"DS"),
        ("RescaleIntercept", b"DS"),
    ):
        tag = int(Tag(keyword))
        for word in (b"NaN", b"inf", b"-inf", b"1e999"):
            count = {"PixelSpacing": 2, "ImagePositionPatient": 3}.get(keyword, 1)
            value = b"\\".join([word] * count)
            raw = raw_element(tag, vr, value + b" " * (len(value) % 2))
            yield BadSeries(
                "geometry",
                f"{keyword} {word.decode()}",
                "geometry",
                partial(with_raw, tag, raw),
            )
    yield BadSeries(
        "geometry", "one slice 10 km away", "geometry",
        partial(once, {"ImagePositionPatient": [-4, -3, 1e7]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "one slice 50 m away", "incomplete-series",
        partial(once, {"ImagePositionPatient": [-4, -3, 5e4]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "one slice tilted", "mixed-series",
        partial(once, {"ImageOrientationPatient": one_tilted}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "two slices at one position", "duplicate-slice",
        partial(once, {"ImagePositionPatient": [-4, -3, 2]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "all slices at one position", "duplicate-slice",
        partial(everywhere, {"ImagePositionPatient": [-4, -3, 2]}),
    )  # fmt: skip
    yield BadSeries(
        "geometry", "slices 1 km thick", READ, partial(everywhere, {"SliceThickness": 1e6})
    )
    yield BadSeries(
        "geometry", "slices of no thickness", READ, partial(everywhere, {"SliceThickness": 0})
    )
    yield BadSeries(
        "geometry", "a gap behind slices 1 km thick", "incomplete-series", gap_of_thick
    )


def gap_of_thick(folder: Path) -> list[Path]:
    stack = ct_stack([0, 2, 4, 6, 12, 14], shape=SHAPE, SliceThickness=1e6)
    return put(folder, map(file_of, stack))


# --- pixels


def pixels() -> Iterator[BadSeries]:
    """Descriptions of pixels that are impossible, or not true."""
    for changes in (
        {"BitsAllocated": 0}, {"BitsAllocated": 12}, {"BitsAllocated": 65535},
        {"BitsAllocated": None}, {"BitsStored": 0}, {"BitsStored": 17}, {"BitsStored": 65535},
        {"BitsStored": None}, {"HighBit": 3}, {"HighBit": 65535}, {"PixelRepresentation": 2},
        {"PixelRepresentation": None}, {"PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": "PALETTE COLOR"}, {"PhotometricInterpretation": None},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, {"PixelData": None},
        {"PixelData": b""}, {"PixelData": BLACK[:-2]}, {"PixelData": BLACK * 2},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, {"NumberOfFrames": 100},
        {"NumberOfFrames": 0}, {"NumberOfFrames": -1}, {"NumberOfFrames": 2147483647},
        {"Rows": 33}, {"Rows": 16}, {"Columns": 24}, {"Rows": 8192, "Columns": 8192},
    ):  # fmt: skip
        words = ", ".join(f"{keyword} {_briefly(value)}" for keyword, value in changes.items())
        yield BadSeries("pixels", words, "pixel-data", partial(everywhere, changes))
    yield BadSeries(
        "pixels", "SamplesPerPixel 3", "no-images", partial(everywhere, {"SamplesPerPixel": 3})
    )
    yield BadSeries(
        "pixels", "SamplesPerPixel 0", "no-images", partial(everywhere, {"SamplesPerPixel": 0})
    )
    yield BadSeries(
        "pixels", "MONOCHROME1, which changes no unit", READ,
        partial(everywhere, {"PhotometricInterpretation": "MONOCHROME1"}),
    )  # fmt: skip
    yield BadSeries(
        "pixels", "padding values of another sign", READ,
        partial(everywhere, {"PixelPaddingValue": 63536, "PixelPaddingRangeLimit": 65535}),
    )  # fmt: skip
    yield BadSeries(
        "pixels", "a transfer syntax that nobody knows", "pixel-data",
        partial(with_file, make=lambda dataset: file_of(dataset, "1.2.3.4.5")),
    )  # fmt: skip


def _briefly(value: Any) -> str:
    if isinstance(value, bytes):
        return f"of {len(value)} bytes"
    return "missing" if value is None else str(value)


# --- names


def names() -> Iterator[BadSeries]:
    """UIDs that are paths, nothing, or anything."""
    for uid in ("../../etc", "/", "1.2/3", "", "1" * 5000, "1.2\x003", f"{PATIENT}^Mary", "."):
        words = uid if len(uid) < 50 and uid.isprintable() else repr(uid[:9]) + "..."
        yield BadSeries(
            "UIDs", f"SOP Instance UID {words.replace(PATIENT, 'DOE')!r}", "unidentified",
            partial(raw_uid, 0x00080018, uid),
        )  # fmt: skip
        yield BadSeries(
            "UIDs", f"Series Instance UID {words.replace(PATIENT, 'DOE')!r}", "unidentified",
            partial(raw_uid, 0x0020000E, uid),
        )  # fmt: skip
    yield BadSeries("UIDs", "one SOP Instance UID, other pixels", "duplicate-slice", same_uid)
    yield BadSeries(
        "UIDs", "a kernel of 64 KB in one slice", "mixed-series",
        partial(with_raw, 0x00181210, raw_element(0x00181210, b"SH", b"x" * 64000)),
    )  # fmt: skip


def raw_uid(tag: int, uid: str, folder: Path) -> list[Path]:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return with_raw(tag, raw_element(tag, b"UI", value), folder)


def same_uid(folder: Path) -> list[Path]:
    stack = sound()
    stack[3].SOPInstanceUID = stack[1].SOPInstanceUID
    return put(folder, map(file_of, stack))


# --- compression


def compressed_by(syntax: UID) -> list[Dataset]:
    """The sound series, its pixels compressed by the library."""
    stack = sound()
    for dataset in stack:
        if syntax == JPEGLosslessSV1:
            dataset.PixelData = encapsulate([LOSSLESS_JPEG])
            dataset["PixelData"].VR = "OB"
        else:
            dataset.compress(syntax, generate_instance_uid=False)
    return stack


def with_codestream(syntax: UID, damage: Callable[[bytes], bytes], folder: Path) -> list[Path]:
    """A compressed series in which one slice's codestream is damaged."""
    stack = compressed_by(syntax)
    files = [file_of(one, syntax) for one in stack]
    whole = next(generate_frames(stack[DAMAGED].PixelData, number_of_frames=1))
    fragment = damage(whole)
    item = b"\xfe\xff\x00\xe0"
    stack[DAMAGED].PixelData = (
        item + b"\0\0\0\0" + item + struct.pack("<I", len(fragment)) + fragment
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )  # fmt: skip
    files[DAMAGED] = file_of(stack[DAMAGED], syntax)
    return put(folder, files)


def resized(codestream: bytes, rows: int, columns: int) -> bytes:
    """A JPEG or JPEG-LS codestream that claims another size."""
    marker = next(
        place
        for place in range(2, len(codestream))
        if codestream[place] == 0xFF and codestream[place + 1] in {0xC0, 0xC1, 0xC3, 0xF7}
    )
    return (
        codestream[: marker + 5] + struct.pack(">HH", rows, columns) + codestream[marker + 9 :]
    )


def resized_2000(codestream: bytes, **fields: int) -> bytes:
    """A JPEG 2000 codestream with other sizes in its SIZ segment."""
    names = ("width", "height", "left", "top", "tile_width", "tile_height")
    values = dict(zip(names, struct.unpack_from(">6I", codestream, 8), strict=True)) | fields
    return codestream[:8] + struct.pack(">6I", *values.values()) + codestream[32:]


def noise(size: int) -> bytes:
    """The same random bytes every time."""
    return np.random.default_rng(7).bytes(size)


def compression() -> Iterator[BadSeries]:
    """Codestreams that are garbage, or claim to be what the header does not say."""
    huge = 65500
    for syntax in (JPEGLSLossless, JPEG2000Lossless, RLELossless):
        damages: dict[str, Callable[[bytes], bytes]] = {
            "garbage": lambda whole: noise(len(whole)),
            "cut in half": lambda whole: whole[: len(whole) // 2],
            "empty": lambda whole: b"",
            "a head and garbage": lambda whole: whole[:64] + noise(400),
        }
        for name, damage in damages.items():
            yield BadSeries(
                "compression", f"{syntax.keyword}: {name}", "pixel-data",
                partial(with_codestream, syntax, damage),
            )  # fmt: skip
    for name, rows, columns in (
        ("of 65,500 x 65,500", huge, huge),
        ("of 0 x 0", 0, 0),
        ("one row larger", SHAPE[0] + 1, SHAPE[1]),
        ("turned", SHAPE[1], SHAPE[0]),
    ):
        yield BadSeries(
            "compression", f"JPEG-LS {name}", "pixel-data",
            partial(
                with_codestream, JPEGLSLossless, partial(resized, rows=rows, columns=columns)
            ),
        )  # fmt: skip
        yield BadSeries(
            "compression", f"JPEG 2000 {name}", "pixel-data",
            partial(
                with_codestream, JPEG2000Lossless,
                partial(resized_2000, width=columns, height=rows),
            ),
        )  # fmt: skip
    yield BadSeries(
        "compression", "JPEG 2000 in tiles of nothing", "pixel-data",
        partial(
            with_codestream, JPEG2000Lossless,
            partial(resized_2000, tile_width=0, tile_height=0),
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "JPEG 2000 of 4 thousand million columns less as many", "pixel-data",
        partial(
            with_codestream, JPEG2000Lossless,
            partial(
                resized_2000, width=0xFFFFFFFF, left=0xFFFFFFFF - SHAPE[1], tile_width=1
            ),
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "RLE of 15 segments", "pixel-data",
        partial(
            with_codestream, RLELossless,
            lambda whole: struct.pack("<16I", 15, *range(64, 79)) + whole[64:],
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "RLE segments beyond the end", "pixel-data",
        partial(
            with_codestream, RLELossless,
            lambda whole: struct.pack("<3I", 2, 64, 1 << 31) + whole[12:],
        ),
    )  # fmt: skip
    yield BadSeries(
        "compression", "a lossless JPEG of 65,500 x 65,500", "pixel-data", huge_jpeg
    )
    yield BadSeries("compression", "an offset table of 4 GB", "pixel-data", offset_table)
    yield BadSeries("compression", "a fragment of 4 GB", "pixel-data", huge_fragment)
    yield BadSeries("compression", "no fragment at all", "pixel-data", no_fragment)
    yield BadSeries("compression", "deflate: a name that inflates to 1 GB", "pixel-data", bomb)
    yield BadSeries(
        "compression", "deflate: pixels that inflate to 1 GB", "pixel-data", bomb_of_pixels
    )
    yield BadSeries(
        "compression", "deflate: garbage", "pixel-data", partial(deflated, noise(900))
    )
    yield BadSeries("compression", "deflate: nothing", "pixel-data", partial(deflated, b""))
    yield BadSeries("compression", "deflate: cut in half", "pixel-data", half_deflated)


LOSSLESS_JPEG: Final = bytes.fromhex(
    "ffd8 ffc3 000b 10 ffdc ffdc 01 01 11 00 ffc4 0014 00 01" + "00" * 15 + "00"
    "ffda 0008 01 01 00 01 00 00 00 ffd9"
)
"""The head of a lossless JPEG of 65,500 x 65,500 pixels, and nothing behind it."""


def huge_jpeg(folder: Path) -> list[Path]:
    return put(
        folder, [file_of(one, JPEGLosslessSV1) for one in compressed_by(JPEGLosslessSV1)]
    )


def encapsulated(raw_items: bytes, folder: Path) -> list[Path]:
    raw = raw_element(0x7FE00010, b"OB", raw_items, ENDLESS)
    elements = [encoded(one) | {0x7FE00010: raw} for one in sound()]
    files = [
        meta(one, JPEGLSLossless) + in_order(e)
        for one, e in zip(sound(), elements, strict=True)
    ]
    return put(folder, files)


def offset_table(folder: Path) -> list[Path]:
    return encapsulated(b"\xfe\xff\x00\xe0\xf0\xff\xff\xff" + b"\0" * 40, folder)


def huge_fragment(folder: Path) -> list[Path]:
    items = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\xf0\xff\xff\xff" + b"\0" * 40
    return encapsulated(items, folder)


def no_fragment(folder: Path) -> list[Path]:
    return encapsulated(b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0", folder)


def zipped(head: bytes, filling: int, tail: bytes = b"") -> bytes:
    """Deflated: a head, so many zeros, a tail; made without deflating all the zeros.

    What stands between two full flushes is a piece of its own (RFC 1951 3.2.4), and can be
    repeated.
    """
    block = 1 << 24
    pieces = [_deflated(head, zlib.Z_FULL_FLUSH)]
    pieces += [_deflated(b"\0" * block, zlib.Z_FULL_FLUSH)] * (filling // block)
    return b"".join([*pieces, _deflated(tail, zlib.Z_FINISH)])


def _deflated(data: bytes, ending: int) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush(ending)


GIGABYTE: Final = 1 << 30


def bomb(folder: Path) -> list[Path]:
    """A megabyte that inflates to a gigabyte before the header ends."""

    def make(dataset: Dataset) -> bytes:
        elements = encoded(dataset)
        before = in_order({tag: raw for tag, raw in elements.items() if tag < 0x00100010})
        after = in_order({tag: raw for tag, raw in elements.items() if tag > 0x00100010})
        head = raw_element(0x00100010, b"UT", b"", GIGABYTE)
        return meta(dataset, DeflatedExplicitVRLittleEndian) + zipped(
            before + head, GIGABYTE, after
        )

    return with_file(folder, make)


def bomb_of_pixels(folder: Path) -> list[Path]:
    """A sound header, and far more pixels than it describes."""

    def make(dataset: Dataset) -> bytes:
        elements = encoded(dataset)
        del elements[0x7FE00010]
        head = in_order(elements) + raw_element(0x7FE00010, b"OW", b"", GIGABYTE)
        return meta(dataset, DeflatedExplicitVRLittleEndian) + zipped(head, GIGABYTE)

    return with_file(folder, make)


def deflated(data: bytes, folder: Path) -> list[Path]:
    return with_file(
        folder, lambda dataset: meta(dataset, DeflatedExplicitVRLittleEndian) + data
    )


def half_deflated(folder: Path) -> list[Path]:
    def make(dataset: Dataset) -> bytes:
        data = zipped(in_order(encoded(dataset)), 0)
        return meta(dataset, DeflatedExplicitVRLittleEndian) + data[: len(data) // 2]

    return with_file(folder, make)


# --- many frames


def frames() -> Iterator[BadSeries]:
    """Enhanced CT whose functional groups and counts do not fit each other."""
    for count in (0, 4, 6, 1_000_000):
        yield BadSeries(
            "frames", f"{count:,} frames stated, 5 described", "pixel-data",
            partial(enhanced, lambda one, count=count: setattr(one, "NumberOfFrames", count)),
        )  # fmt: skip
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        yield BadSeries(
            "frames", f"{keyword} missing", "geometry",
            partial(enhanced, partial(drop_shared, keyword)),
        )  # fmt: skip
    for keyword in ("PlanePositionSequence", "PixelValueTransformationSequence"):
        yield BadSeries(
            "frames", f"{keyword} missing in one frame", "geometry",
            partial(enhanced, partial(drop_in_frame, keyword)),
        )  # fmt: skip
    yield BadSeries(
        "frames", "no per-frame groups", "pixel-data",
        partial(enhanced, lambda one: delattr(one, "PerFrameFunctionalGroupsSequence")),
    )  # fmt: skip
    yield BadSeries(
        "frames", "empty per-frame groups", "pixel-data",
        partial(enhanced, lambda one: setattr(one, "PerFrameFunctionalGroupsSequence", [])),
    )  # fmt: skip
    yield BadSeries(
        "frames",
        "per-frame groups that are text",
        "pixel-data",
        partial(groups_as, b"UT", b"no"),
    )
    yield BadSeries("frames", "20,000 frames", "too-large", partial(many_frames, 20_000))
    yield BadSeries(
        "frames", "4 GB declared: 8,192 x 8,192 x 32 in 400 KB", "pixel-data", four_gigabytes
    )
    yield BadSeries(
        "frames", "pixels of four frames, five described", "pixel-data",
        partial(enhanced, lambda one: setattr(one, "PixelData", BLACK * 4)),
    )  # fmt: skip


def enhanced(damage: Callable[[Dataset], object], folder: Path) -> list[Path]:
    dataset = enhanced_ct(sound())
    damage(dataset)
    return put(folder, [file_of(dataset)])


def drop_shared(keyword: str, dataset: Dataset) -> None:
    delattr(dataset.SharedFunctionalGroupsSequence[0], keyword)


def drop_in_frame(keyword: str, dataset: Dataset) -> None:
    delattr(dataset.PerFrameFunctionalGroupsSequence[3], keyword)


def groups_as(vr: bytes, value: bytes, folder: Path) -> list[Path]:
    dataset = enhanced_ct(sound())
    tag = 0x52009230
    elements = encoded(dataset) | {tag: raw_element(tag, vr, value)}
    return put(folder, [meta(dataset) + in_order(elements)])


def many_frames(count: int, folder: Path) -> list[Path]:
    dataset = enhanced_ct(sound())
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    elements = encoded(dataset) | {0x52009230: raw_element(0x52009230, b"SQ", item * count)}
    elements[0x00280008] = raw_element(0x00280008, b"IS", str(count).encode().ljust(6))
    return put(folder, [meta(dataset) + in_order(elements)])


def four_gigabytes(folder: Path) -> list[Path]:
    stack = ct_stack([2.0 * number for number in range(32)], shape=SHAPE)
    dataset = enhanced_ct(stack)
    dataset.Rows = dataset.Columns = 8192
    return put(folder, [file_of(dataset)])


def bad_series() -> tuple[BadSeries, ...]:
    """The whole corpus."""
    groups = (truncated, lengths, geometry, pixels, names, compression, frames)
    return tuple(case for group in groups for case in group())
