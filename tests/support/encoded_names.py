"""Patient names as bytes, as the standard's own examples and other sources write them.

The bytes are PS3.5 Annex H (Japanese), I (Korean), J (Unicode, GB18030, GBK) and K (GB 2312),
and of PS3.5 6.2.1.2 for single-byte sets; beside them a few names that only look harmless.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.config import IGNORE, disable_value_validation
from pydicom.dataset import Dataset

from support.ct import save


@dataclass(frozen=True)
class EncodedName:
    """A name in the bytes of a file, and the text that they are."""

    title: str
    declared: str
    raw: bytes
    text: str


def _hex(digits: str) -> bytes:
    return bytes.fromhex(digits)


NAMES = (
    EncodedName("ASCII, nothing declared", "", b"Smith^John", "Smith^John"),
    EncodedName("ASCII, declared", "ISO_IR 6", b"Smith^John", "Smith^John"),
    EncodedName("French", "ISO_IR 100", _hex("4275635e4ae972f46d65"), "Buc^Jérôme"),
    EncodedName("German", "ISO_IR 100", _hex("c46e6561735e52fc6469676572"), "Äneas^Rüdiger"),
    EncodedName("Greek", "ISO_IR 126", _hex("c4e9efedf5f3e9eff2"), "Διονυσιος"),
    EncodedName("Russian", "ISO_IR 144", _hex("bbeeda6365dcd17970d3"), "Люкceмбypг"),  # noqa: RUF001
    EncodedName("Arabic", "ISO_IR 127", _hex("e2c8c7e6ea5ee4e6d2c7d1"), "قباني^لنزار"),
    EncodedName("Hebrew", "ISO_IR 138", _hex("f9f8e5ef5ee3e1e5f8e4"), "שרון^דבורה"),
    EncodedName("Thai", "ISO_IR 166", _hex("b9d2c1caa1d8c55eaad7e8cd"), "นามสกุล^ชื่อ"),
    EncodedName(
        "Japanese, kanji and kana",
        r"\ISO 2022 IR 87",
        _hex(
            "59616d6164615e5461726f753d1b24423b3345441b28425e1b244242404f3a1b28423d"
            "1b24422464245e24401b28425e1b2442243f246d24261b2842"
        ),
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    EncodedName(
        "Japanese, half-width katakana",
        r"ISO 2022 IR 13\ISO 2022 IR 87",
        _hex(
            "d4cfc0de5ec0dbb33d1b24423b3345441b284a5e1b244242404f3a1b284a3d"
            "1b24422464245e24401b284a5e1b2442243f246d24261b284a"
        ),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    # The second byte of 本 is a backslash, the first of 春 an equals sign.
    EncodedName(
        "Japanese, with delimiters for bytes",
        r"\ISO 2022 IR 87",
        _hex(
            "59616d616d6f746f5e486172756b6f3d1b24423b334b5c1b28425e1b24423d553b521b2842"
            "3d1b24422464245e246224481b28425e1b2442244f246b24331b2842"
        ),
        "Yamamoto^Haruko=山本^春子=やまもと^はるこ",
    ),
    EncodedName(
        "Japanese, JIS X 0212",
        r"\ISO 2022 IR 87\ISO 2022 IR 159",
        b"Marui=\x1b$(D\x30\x21\x1b(B^\x1b$BB@O:\x1b(B",
        "Marui=丂^太郎",
    ),
    EncodedName(
        "Korean",
        r"\ISO 2022 IR 149",
        _hex(
            "486f6e675e47696c646f6e673d1b242943fbf35e1b242943d1ced4d73d"
            "1b242943c8ab5e1b242943b1e6b5bf"
        ),
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    EncodedName(
        "Chinese, GB 2312",
        r"\ISO 2022 IR 58",
        _hex("5a68616e675e5869616f446f6e673d1b242941d5c55e1b242941d0a1b6ab3d"),
        "Zhang^XiaoDong=张^小东",
    ),
    EncodedName(
        "Chinese, GB18030",
        "GB18030",
        _hex("57616e675e5869616f446f6e673dcdf55ed0a1b6ab3d"),
        "Wang^XiaoDong=王^小东",
    ),
    EncodedName(
        "Chinese, GBK",
        "GBK",
        _hex("57616e675e5869616f446f6e673dcdf55ed0a1b6ab3d"),
        "Wang^XiaoDong=王^小东",
    ),
    # The second byte of 誠 is a backslash.
    EncodedName("Chinese, with a backslash", "GBK", b"Wang=\xcd\xf5^\xd5\x5c", "Wang=王^誠"),
    EncodedName(
        "Unicode",
        "ISO_IR 192",
        "Wang^XiaoDong=王^小东=".encode(),
        "Wang^XiaoDong=王^小东",
    ),
    EncodedName("Unicode, five components", "ISO_IR 192", "Núñez^Ana^M^Dr^PhD".encode(),
                "Núñez^Ana^M^Dr^PhD"),
    EncodedName("long", "ISO_IR 100", b"L\xfc" * 32 + b"^" + b"A" * 70,
                "Lü" * 32 + "^" + "A" * 70),
    EncodedName("declared with a slip", "ISO-IR 100", b"M\xfcller", "Müller"),
)  # fmt: skip

GARBLED = (
    EncodedName("nothing declared, Latin-1", "", b"M\xfcller^Eva", ""),
    EncodedName("nothing declared, Shift-JIS", "", "山田^太郎".encode("shift_jis"), ""),
    EncodedName("ASCII declared, UTF-8", "ISO_IR 6", "Müller^Eva".encode(), ""),
    EncodedName("Unicode declared, Latin-1", "ISO_IR 192", b"M\xfcller^Eva", ""),
    EncodedName("Latin-1 declared, Windows", "ISO_IR 100", b"\x8aimek^Eva", ""),
    EncodedName("a set that does not exist", "ISO_IR 999", b"M\xfcller^Eva", ""),
    EncodedName(
        "only the first group is plain", "ISO_IR 192", b"Hong^Gildong=\xfb\xf3", "Hong^Gildong"
    ),
    EncodedName(
        "an escape to an undeclared set", "", b"Yamada=\x1b$B;3ED\x1b(B", "Yamada"
    ),
    EncodedName("half a character", "GB18030", b"Wang=\xcd\xf5\xcd", "Wang"),
)  # fmt: skip
"""Bytes that are not in the declared set, and what of them may be believed."""


def save_encoded(
    datasets: list[Dataset], folder: Path, declared: str, raw: Mapping[str, bytes]
) -> list[Path]:
    """Write datasets with bytes of their own for some text, at whatever depth it stands.

    Args:
        datasets: where a text is to be replaced, it is the key of `raw`.
        folder: gets the files.
        declared: the value of Specific Character Set, with backslashes; may be empty.
        raw: from a text in the datasets to the bytes that the file has instead.
    """
    swaps = []
    for number, (text, value) in enumerate(raw.items()):
        even = value + b" " * (len(value) % 2)
        stand_in = f"~{number}".ljust(len(even), "x")
        swaps.append((text, stand_in, even))
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")  # what is wrong here is wrong on purpose
        for dataset in datasets:
            _declare(dataset, declared)
            for element in dataset.iterall():
                for text, stand_in, _ in swaps:
                    if element.VR != "SQ" and str(element.value) == text:
                        element.validation_mode = IGNORE
                        element.value = stand_in
        paths = save(datasets, folder)
    for path in paths:
        content = path.read_bytes()
        for _, stand_in, even in swaps:
            content = content.replace(stand_in.encode(), even)
        path.write_bytes(content)
    return paths


def _declare(dataset: Dataset, declared: str) -> None:
    if declared:
        dataset.SpecificCharacterSet = declared.split("\\")
    else:
        dataset.pop("SpecificCharacterSet", None)
