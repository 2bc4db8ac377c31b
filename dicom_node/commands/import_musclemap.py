"""`import-musclemap`: a network of MuscleMap becomes a model bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from dicom_node.commands.console import MembersOf, stdout

WHOLE: Final = "all"


class MonaiVersion(StrEnum):
    """MONAI's versions that treat the crop's margin differently."""

    BEFORE = "1.3"
    SINCE = "1.5"


def _slices(text: str) -> int:
    """Slices of a chunk; 0 for all of a scan."""
    if text == WHOLE:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is no number of slices, nor {WHOLE!r}")
    return int(text)


def import_musclemap(  # noqa: PLR0913 - a command line has as many options as it has
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="WEIGHTS.pth... CONFIG.json",
            help="Weights, one file or several of the same network, and the JSON beside them.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Label table (TOML), if they are not MuscleMap's whole-body labels."),
    ] = None,
    licence: Annotated[
        Path | None, typer.Option(help="Text of the weights' licence, kept in the bundle.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle; that of its folder.")] = None,
    version: Annotated[str, typer.Option(help="Of the bundle.")] = "1",
    chunk: Annotated[
        str, typer.Option(help="Slices that share mean, deviation and crop, or `all`.")
    ] = "25",
    overlap: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=99,
            help="Of windows, in percent; 90, or 25 with --fast.",
            show_default=False,
        ),
    ] = None,
    members: Annotated[
        MembersOf | None,
        typer.Option(
            help="What samples differ by; checkpoints for several files, none for one.",
            show_default=False,
        ),
    ] = None,
    monai: Annotated[
        MonaiVersion,
        typer.Option(help="Do as MuscleMap with MONAI from this version on."),
    ] = MonaiVersion.SINCE,
    fast: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--fast", help="Our faster setting; labels are no longer the same.")
    ] = False,
) -> None:
    """Make a model bundle, not calibrated, of a network of MuscleMap."""
    from inference.models.musclemap.importing import Asked, import_bundle

    *weights, config = files
    if not weights or config.suffix.lower() != ".json":
        raise typer.BadParameter("needs one or more files of weights, and then the JSON file")
    asked = Asked(
        name=name or out.resolve().name,
        version=version,
        labels=labels,
        licence=licence,
        chunk_slices=_slices(chunk),
        overlap=None if overlap is None else overlap / 100,
        members=None if members is None else members.value,
        margin_beyond_image=monai is MonaiVersion.SINCE,
        fast=fast,
    )
    made = import_bundle(weights, config, out, asked)
    found = len(made.bundle.model.segments)
    stdout.print(
        f"bundle written to {made.bundle.folder}, not calibrated; {found} of 43 structures",
        highlight=False,
    )
    if made.fitted.missing:
        values = ", ".join(map(str, made.fitted.missing))
        stdout.print(f"labels that the network does not have: {values}", highlight=False)
    if made.fitted.left_out:
        stdout.print(
            f"not provided, for parts are missing: {', '.join(made.fitted.left_out)}",
            highlight=False,
        )
