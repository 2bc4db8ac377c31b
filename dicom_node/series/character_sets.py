"""Text of a source header, decoded strictly, or not at all.

Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1) says how the text of a dataset and of its
items is written. The library reads what it can and puts something in place of the rest:
bytes without a declared set become Latin-1, others question marks. For a patient's name
that is garbling. Here a text is what its bytes say by the declared set, or it is nothing.

A second trap lies in the delimiters. In the Japanese sets a character's second byte may look
like a backslash, a caret or an equals sign ("本" is 4B 5C, "春" is 3D 55), so text is decoded
first and taken apart afterwards.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydicom import charset as pydicom_charset
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from dicom_node.series.decimal_strings import decimal_string

Declared: TypeAlias = str | Sequence[str] | None
"""The value of Specific Character Set."""

TEXT_VRS: Final = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})
"""Representations that Specific Character Set governs (PS3.5 6.1.2.3)."""

ONE_VALUE_VRS: Final = frozenset({"ST", "LT", "UT"})
"""Text in which a backslash is a character, not a delimiter (PS3.5 6.2)."""

ASCII: Final = "ascii"

SPECIFIC_CHARACTER_SET: Final = 0x00080005

_RESETTING: Final = {ord(mark) for mark in "\r\n\t\f\\"}
"""Characters after which a text is in its first set again (PS3.5 6.1.2.5.3)."""

_RESETTING_NAMES: Final = _RESETTING | {ord("^"), ord("=")}
"""The same for a name, in which they are delimiters."""

_ILLEGIBLE: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffd]")
"""Control characters that no text may have (PS3.5 6.1.3), and the mark of a lost one."""

_ESCAPES: Final = {
    code: ASCII if name == pydicom_charset.default_encoding else name
    for code, name in pydicom_charset.CODES_TO_ENCODINGS.items()
}
"""Escape sequences and what they switch to (PS3.3 Tables C.12-3 and C.12-4)."""

_ROMAJI: Final = b"\x1b(J"
"""To the Latin half of JIS X 0201, which many write without declaring it."""

_READS_ESCAPES: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Python's codecs that read the escape sequence themselves."""


class UndecodableError(ValueError):
    """A text is not written in the character set that its dataset declares."""


@dataclass(frozen=True, slots=True, eq=False)
class Readable:
    """The readable part of a dataset.

    dataset: text that can be written in any character set, items and all. What is private
        or a group length is not in it, nor is Specific Character Set: it no longer holds.
    lost: keywords of what could not be read, wholly or in part.
    """

    dataset: Dataset
    lost: tuple[str, ...]


def readable(dataset: Dataset, keywords: Iterable[str]) -> Readable:
    """Those of the attributes that are there and can be read.

    Of a name that cannot be decoded the component groups in plain ASCII stay; any other
    value is read as a whole or not at all.
    """
    lost: list[str] = []
    tags = [tag_for_keyword(keyword) for keyword in keywords]
    there = [BaseTag(tag) for tag in tags if tag is not None and tag in dataset]
    # A broken value must not reach a log by way of the library's warning about it.
    with pydicom_config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = _read(dataset, there, dataset.get("SpecificCharacterSet"), lost)
    return Readable(read, tuple(dict.fromkeys(lost)))


def texts_of(dataset: Dataset, keywords: Iterable[str]) -> dict[str, str]:
    """Attributes as text, several values joined by backslashes; empty where unreadable."""
    keywords = tuple(keywords)
    read = readable(dataset, keywords).dataset
    return {keyword: _joined(read.get(keyword)) for keyword in keywords}


def encodings_of(declared: Declared) -> list[str]:
    """Python's names of the declared sets, the first one first; ASCII where none is known.

    The default repertoire is ASCII (PS3.5 6.1.2.1), which the library takes for Latin-1. A
    term that the standard does not define declares nothing.
    """
    terms = [declared] if isinstance(declared, str) else list(declared or [""])
    terms = [_well_spelt(str(term)) for term in terms] or [""]
    if terms[0] in pydicom_charset.STAND_ALONE_ENCODINGS:
        terms = terms[:1]
    return [_python_name(term) for term in terms]


def _well_spelt(term: str) -> str:
    """A defined term without the usual slips: "iso-ir 100" is ISO_IR 100."""
    found = re.fullmatch(r"ISO[ _-](2022[ _-])?IR[ _-](\d+)", term.strip().upper())
    if not found:
        return term.strip().upper()
    return f"{'ISO 2022 IR' if found[1] else 'ISO_IR'} {found[2]}"


def _python_name(term: str) -> str:
    name = pydicom_charset.python_encoding.get(term, pydicom_charset.default_encoding)
    return ASCII if name == pydicom_charset.default_encoding else name


def is_ascii(declared: Declared) -> bool:
    """True if the declared set holds nothing but ASCII."""
    return set(encodings_of(declared)) == {ASCII}


def _read(
    dataset: Dataset, tags: Iterable[BaseTag], declared: Declared, lost: list[str]
) -> Dataset:
    read = Dataset()
    for tag in tags:
        try:
            read.add(_element(dataset, tag, declared, lost))
        except Exception:  # noqa: BLE001 - pydicom takes values apart late, with a dozen errors
            lost.append(keyword_for_tag(tag) or str(tag))
    return read


def _element(
    dataset: Dataset, tag: BaseTag, declared: Declared, lost: list[str]
) -> DataElement:
    """One element, in the representation that the standard gives it."""
    raw = dataset.get_item(tag)
    vr = dictionary_VR(tag)
    if " or " in vr:  # as the pixels are, which the file's own representation knows
        vr = dataset[tag].VR
    if vr in TEXT_VRS and isinstance(raw, RawDataElement):
        value: Any = _values(raw.value or b"", vr, encodings_of(declared))
        if vr == "PN" and not _is_whole_name(raw.value or b"", declared):
            lost.append(keyword_for_tag(tag))
    else:
        value = dataset[tag].value
    if vr == "SQ":
        value = [_item(item, declared, lost) for item in value]
    elif vr == "DS" and value is not None:
        value = [_decimal(one) for one in value] if _is_many(value) else _decimal(value)
    elif vr == "UI" and isinstance(value, str):
        value = value.strip()
    else:
        _check_legible(value, plain=vr not in TEXT_VRS or is_ascii(declared))
    if vr == "PN":
        value = [_name(one) for one in value] if _is_many(value) else _name(value)
    return DataElement(tag, vr, value, validation_mode=pydicom_config.IGNORE)


def _decimal(value: Any) -> str:
    """A decimal string no longer than one may be; readers cut off what is."""
    return decimal_string(value) if str(value).strip() else ""


def _item(item: Dataset, declared: Declared, lost: list[str]) -> Dataset:
    """An item, which inherits its parent's character set (PS3.5 7.5.3)."""
    own = item.get("SpecificCharacterSet")
    public = [
        tag
        for tag in sorted(item.keys())
        if not tag.is_private and tag.element and tag != SPECIFIC_CHARACTER_SET
    ]
    return _read(item, public, declared if own is None else own, lost)


def _values(raw: bytes, vr: str, encodings: list[str]) -> str | list[str]:
    """The values of a text element, less the padding at their ends (PS3.5 6.2)."""
    try:
        text = _decoded(raw, encodings, _RESETTING_NAMES if vr == "PN" else _RESETTING)
    except UndecodableError:
        if vr != "PN":
            raise
        text = _plain_groups(raw)
    if vr in ONE_VALUE_VRS:
        return text.rstrip(" ")
    values = [value.rstrip(" ") for value in text.split("\\")]
    return values if len(values) > 1 else values[0]


def _decoded(raw: bytes, encodings: list[str], resetting: set[int]) -> str:
    """Text by its declared sets and the escape sequences in it (PS3.5 6.1.2.5)."""
    parts = re.findall(rb"\x1b[^\x1b]*|[^\x1b]+", raw.rstrip(b"\0 "))
    try:
        text = "".join(_decoded_part(part, encodings, resetting) for part in parts)
    except (UnicodeError, LookupError) as error:
        raise UndecodableError("the text is not in the declared set") from error
    if _ILLEGIBLE.search(text):
        raise UndecodableError("control characters in a text")
    return text


def _decoded_part(part: bytes, encodings: list[str], resetting: set[int]) -> str:
    """The text after one escape sequence, or before the first."""
    if not part.startswith(b"\x1b"):
        return part.decode(encodings[0])
    escape = next((code for code in _ESCAPES if part.startswith(code)), None)
    if escape is None:
        raise UndecodableError("an escape sequence that the standard does not have")
    encoding, rest = _ESCAPES[escape], part[len(escape) :]
    if encoding == ASCII or (escape == _ROMAJI and encoding not in encodings):
        # It changes the lower half only; the upper one still is the first set's.
        return rest.decode(encodings[0])
    if encoding not in encodings:
        raise UndecodableError("an escape sequence to a set that is not declared")
    if encoding in _READS_ESCAPES:
        return part.decode(encoding)
    end = next((place for place, byte in enumerate(rest) if byte in resetting), len(rest))
    return rest[:end].decode(encoding) + rest[end:].decode(encodings[0])


def _is_whole_name(raw: bytes, declared: Declared) -> bool:
    """True if all of a name can be decoded."""
    try:
        _decoded(raw, encodings_of(declared), _RESETTING_NAMES)
    except UndecodableError:
        return False
    return True


def _plain_groups(raw: bytes) -> str:
    """Of a name that cannot be decoded: its component groups that are plain ASCII.

    Half a name would be another person's, so a group is kept whole or not at all.

    Raises:
        UndecodableError: no group is left.
    """
    groups = [
        group.decode(ASCII) if group.isascii() and b"\x1b" not in group else ""
        for group in raw.rstrip(b"\0 ").split(b"=")
    ]
    kept = "=".join(groups).rstrip("=")
    if not kept or "\\" in kept or _ILLEGIBLE.search(kept):
        raise UndecodableError("no group of the name is in the declared set")
    return kept


def _check_legible(value: Any, *, plain: bool) -> None:
    """Refuse text that was decoded before, but not from what its set allows."""
    for one in value if _is_many(value) else [value]:
        if isinstance(one, (str, PersonName)):
            text = str(one)
            if _ILLEGIBLE.search(text) or (plain and not text.isascii()):
                raise UndecodableError("characters that the declared set does not have")


def _joined(value: Any) -> str:
    if value is None:
        return ""
    return "\\".join(map(str, value)) if _is_many(value) else str(value)


def _is_many(value: Any) -> bool:
    return not isinstance(value, (str, bytes, PersonName)) and hasattr(value, "__iter__")


def _name(value: Any) -> PersonName | str:
    """A name without the bytes it was read from: relabelling those would garble it."""
    return PersonName(str(value)) if value else ""
