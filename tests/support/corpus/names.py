"""Names and UIDs that are made to hurt."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from support.corpus.sound import (
    PATIENT,
    READ,
    BadSeries,
    file_of,
    put,
    raw_element,
    sound,
    with_raw,
)


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
        yield BadSeries(
            "UIDs", f"SOP Class UID {words.replace(PATIENT, 'DOE')!r}", "unidentified",
            partial(raw_uid, 0x00080016, uid),
        )  # fmt: skip
        yield BadSeries(
            "UIDs", f"Study Instance UID {words.replace(PATIENT, 'DOE')!r}",
            "unidentified" if uid else READ, partial(raw_uid, 0x0020000D, uid),
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
