"""`--pseudonymise KEY` of `export` and `cohort`: the key, seen to before it is used."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import typer

from dicom_node.cohort.pseudonyms import Pseudonyms, pseudonyms_under
from dicom_node.commands.console import room_for, stderr, titled

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def pseudonyms_beside(key: Path, written: Iterable[Path | None]) -> Pseudonyms:
    """Pseudonyms under the key in a file, which is made where there is none.

    Args:
        key: the file; a warning says so if others than its owner may read or write it.
        written: files that the command writes; with the key under them it would be lost.

    Raises:
        BadParameter: the key's file is one of them.
        ConfigurationError: there is something else in it.
        OSError: it cannot be read or written.
    """
    for path in written:
        if path is not None and path.resolve() == key.resolve():
            words = f"{key} would be written over: the key needs a file of its own"
            raise typer.BadParameter(words, param_hint="--pseudonymise")
    with room_for(key):
        pseudonyms = pseudonyms_under(key)
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & OTHERS:
        words = f"{key}: others can read or change this key (mode {mode:04o}; chmod 600)"
        stderr.print(titled("Warning", "bold yellow", words), soft_wrap=True)
    return pseudonyms
