"""The listing of labelled cases that a command has made, and which command that was."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

LISTING_FILE: Final = "cases.toml"
IMAGE_FILE: Final = "image.nii.gz"
LABELS_FILE: Final = "labels.nii.gz"


def write_listing(
    folder: Path, names: Iterable[str], module: str, arguments: Sequence[str] | None
) -> None:
    """Write `cases.toml` for cases in folders of their own below one folder.

    Args:
        folder: of all cases.
        names: of the cases and of their folders.
        module: whose command made them, as `python -m` takes it.
        arguments: of that command; None: those of this process.
    """
    typed = sys.argv[1:] if arguments is None else list(arguments)
    command = shlex.join(["python", "-m", module, *typed])
    lines = [f"made_by = {json.dumps(command, ensure_ascii=False)}"]
    for name in names:
        lines += [
            "",
            "[[cases]]",
            f"name = {json.dumps(name)}",
            f"image = {json.dumps(f'{name}/{IMAGE_FILE}')}",
            f"labels = {json.dumps(f'{name}/{LABELS_FILE}')}",
        ]
    part = folder / f".part-{LISTING_FILE}"
    part.write_text("\n".join([*lines, ""]), encoding="utf-8")
    part.replace(folder / LISTING_FILE)
