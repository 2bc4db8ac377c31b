"""What a MuscleMap network's labels are of ours: a table, laid beside its configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from inference.errors import LabelTableError
from inference.label_table import LabelTable, Meaning
from inference.models.guests.labels import GuestLabels
from inference.models.musclemap.config import Config
from inference.structures import Segment

SHIPPED: Final = "MuscleMap's whole-body labels"
"""Words of the table that comes with this program."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Labels of a network.

    missing: values of the table that the configuration has no label for.
    left_out: structures of which only some parts are there, and which are not provided for
        that reason: a part is not the structure.
    """

    labels: GuestLabels
    table_words: str
    missing: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()


def shipped_table() -> LabelTable:
    """The table of MuscleMap's published whole-body labels."""
    text = files("inference.models.musclemap").joinpath("labels.toml").read_text("utf-8")
    return LabelTable.read(tomllib.loads(text), SHIPPED)


def read_table(path: Path) -> LabelTable:
    """A table from a TOML file, as for `evaluate --labels`.

    Raises:
        LabelTableError: it cannot be read, or an entry stands for no structure.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LabelTableError(f"{path}: {error}") from error
    inner = entries.get("labels")
    return LabelTable.read(inner if isinstance(inner, Mapping) else entries, path.name)


def fitted(table: LabelTable, config: Config) -> Fitted:
    """Lay a table beside the labels of a configuration.

    Raises:
        LabelTableError: they name different sides, or the table is a site's own and names
            values that the configuration does not have.
    """
    _check_sides(table, config)
    meant = {value: one for value, one in table.meanings.items() if one is not None}
    missing = tuple(sorted(set(meant) - set(config.values)))
    if missing and table.words != SHIPPED:
        raise LabelTableError(
            f"{table.words}: the configuration has no label {', '.join(map(str, missing))}"
        )
    absent = {_key(meant[value]) for value in missing}
    partial = absent & {_key(meant[value]) for value in set(meant) - set(missing)}
    names = dict(zip(config.values, config.names[1:], strict=True))
    stands_for = {
        names[value]: _key(one)
        for value, one in meant.items()
        if value in names and _key(one) not in absent
    }
    if not stands_for:
        raise LabelTableError(f"{table.words}: fits no label of the configuration")
    try:
        labels = GuestLabels(
            names=config.names, stands_for=stands_for, mirrored=config.mirrored
        )
    except ValueError as error:
        raise LabelTableError(f"labels of the configuration: {error}") from error
    return Fitted(labels, table.words, missing, tuple(sorted(partial)))


def _check_sides(table: LabelTable, config: Config) -> None:
    for value, side in config.sides.items():
        meaning = table.meanings.get(value)
        told = meaning.side if isinstance(meaning, Segment) else None
        if side is not None and told is not None and side != told:
            raise LabelTableError(
                f"{table.words}: label {value} is {_key(meaning)}, but the configuration says"
                f" {'left' if side == 'L' else 'right'}"
            )


def _key(meaning: Meaning) -> str:
    """As a table has it: `GMED_L`, `GMED`."""
    if isinstance(meaning, Segment):
        return meaning.key
    return meaning.abbreviation if meaning else ""
