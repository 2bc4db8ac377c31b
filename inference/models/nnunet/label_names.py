"""What an nnU-Net's labels stand for, and which change places in a mirrored image."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from inference.errors import LabelTableError
from inference.models.guests.labels import GuestLabels, side_of
from inference.structures import BY_ABBREVIATION, BY_KEY, Side

SHIPPED_TABLE: Final = "totalsegmentator-total.toml"


def guest_labels(names: Sequence[str], table: Path | None) -> GuestLabels:
    """The labels of a bundle.

    Args:
        names: of `dataset.json`, in the order of their numbers; the first is background.
        table: TOML with `[labels]`: by name or by number, what each stands for. None: names
            that TotalSegmentator's `total` has, or that are this project's own, stand for
            those structures, and all others for nothing.

    Raises:
        LabelTableError: the table does not fit the names, or nothing stands for a structure.
    """
    if table is None:
        known = _shipped() | {key: key for key in (*BY_KEY, *BY_ABBREVIATION)}
        stands_for = {name: known[name] for name in names[1:] if name in known}
        if not stands_for:
            raise LabelTableError(
                "no label has a name that is known here, of TotalSegmentator's total or this "
                f"project ({', '.join(names[1:6])} ...): say what they stand for by --labels"
            )
    else:
        stands_for = _named(_read(table), names, str(table))
    try:
        return GuestLabels(
            names=tuple(names), stands_for=stands_for, mirrored=mirror_pairs(names[1:])
        )
    except ValueError as error:
        raise LabelTableError(f"{table or 'labels of dataset.json'}: {error}") from error


def mirror_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names that differ in their side alone: `femur_left` and `femur_right`."""
    sides = {name: side_of(name) for name in names}
    others = {_sideless(name): name for name in names if sides[name] is Side.RIGHT}
    pairs = ((name, others.get(_sideless(name))) for name in names if sides[name] is Side.LEFT)
    return tuple((one, other) for one, other in pairs if other is not None)


def _sideless(name: str) -> tuple[str, ...]:
    words = "".join(c if c.isalnum() else " " for c in name.casefold()).split()
    return tuple("side" if word in {"left", "right", "l", "r"} else word for word in words)


def _named(entries: Mapping[str, Any], names: Sequence[str], words: str) -> dict[str, str]:
    """A table's entries by name, where some may be by number."""
    found: dict[str, str] = {}
    for key, value in entries.items():
        name = key
        if key not in names and key.isdecimal():
            if len(key) > len(str(len(names))) or not 0 < int(key) < len(names):
                raise LabelTableError(
                    f"{words}: no label {key}; there are 1 to {len(names) - 1}"
                )
            name = names[int(key)]
        if name not in names[1:]:
            raise LabelTableError(
                f"{words}: dataset.json has no label {key!r}; it has {', '.join(names[1:])}"
            )
        if not isinstance(value, str):
            raise LabelTableError(f"{words}: {key} is {value!r}, not a text such as 'GMED_L'")
        if name in found:
            raise LabelTableError(f"{words}: {name} stands twice, by name and by number")
        found[name] = value
    return found


def _shipped() -> dict[str, str]:
    text = (files("inference.models.nnunet") / SHIPPED_TABLE).read_text(encoding="utf-8")
    found: dict[str, str] = tomllib.loads(text)["labels"]
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelTableError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LabelTableError(f"{path}: not TOML: {error}") from error
    entries = read.get("labels", read)
    if not isinstance(entries, Mapping):
        raise LabelTableError(f"{path}: labels is no table")
    return entries
