"""A case of a batch: one scan on disk, with a name that is its own."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dicom_node.durable_files import PART

LONGEST_NAME_BYTES: Final = 150
"""Longer names are cut: a file system takes 255 bytes, and names get prefixes."""

LONGEST_GIVEN_BYTES: Final = 200
"""Longer ones are not taken from a list, where whoever wrote it can shorten them."""

TABLE_FILE: Final = "cases.csv"
"""Of a batch, beside the folders of its cases."""

UNUSUAL: Final = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True)
class Case:
    """A scan to segment.

    name: of its folder of results; unique in a batch, and the same in the next one.
    source: where it lies, for people: a file, or the folder that all its files are in.
    files: those it is made of; none where nothing was found.
    is_image: an image file (the first of the files), not DICOM.
    height_m: the patient's, where the scan does not say it.
    unreadable: why what is there cannot be read at all; then there are no files.
    """

    name: str
    source: Path
    files: tuple[Path, ...]
    is_image: bool = False
    height_m: float | None = None
    unreadable: str = ""


def case_name(words: str) -> str:
    """A name for a folder made of a path's words: nothing hidden, unusual, or too long."""
    name = UNUSUAL.sub("_", words).lstrip(".-") or "case"
    if name.casefold() == TABLE_FILE:
        name = f"case-{name}"
    return shortened(name, words)


def shortened(name: str, words: str) -> str:
    """A name that a folder can have: of one too long the beginning, and digits of the words."""
    short = cut(name, LONGEST_NAME_BYTES)
    return name if short == name else f"{short}-{_digest(words)}"


def cut(name: str, most_bytes: int) -> str:
    """As much of a name as goes into so many bytes of UTF-8, of which file systems count."""
    whole = name.encode(errors="surrogateescape")
    return name if len(whole) <= most_bytes else whole[:most_bytes].decode(errors="ignore")


def is_usable_name(name: str) -> bool:
    """True of a name that somebody gave a case, if a folder can be called so."""
    if len(name.encode(errors="surrogateescape")) > LONGEST_GIVEN_BYTES:
        return False
    hidden = name.startswith((".", PART))
    if name.casefold() == TABLE_FILE:
        return False
    return bool(name) and not hidden and "/" not in name and "\0" not in name


def with_unique_names(cases: Sequence[Case]) -> list[Case]:
    """Cases whose names are alike all get digits that depend on nothing but their source."""
    counts = Counter(case.name.casefold() for case in cases)
    return [
        replace(case, name=f"{case.name}-{_digest(str(case.source))}")
        if counts[case.name.casefold()] > 1
        else case
        for case in cases
    ]


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()[:8]
