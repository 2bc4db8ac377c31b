"""Files that are cut off."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from support.corpus.sound import (
    DAMAGED,
    BadSeries,
    encoded,
    file_of,
    meta,
    sound,
    with_file,
)


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
