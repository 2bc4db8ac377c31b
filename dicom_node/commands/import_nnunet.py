"""The command `import-nnunet`: a results folder of nnU-Net as a model bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.console import MembersOf, stdout


class Orientation(StrEnum):
    """Which way rows and columns of training images ran."""

    LPS = "LPS"
    RAS = "RAS"


def import_nnunet(  # noqa: PLR0913 - a results folder leaves this much to be told
    results: Annotated[
        Path,
        typer.Argument(help="Results folder of nnU-Net 2, or its parent if it has only one."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    configuration: Annotated[
        str | None, typer.Option(help="2d, 3d_fullres or 3d_lowres, where there are several.")
    ] = None,
    folds: Annotated[
        str, typer.Option(help="As 0,1,2; or all, the network trained on all cases.")
    ] = "",
    checkpoint: Annotated[
        str, typer.Option(help="File of each fold.")
    ] = "checkpoint_final.pth",
    labels: Annotated[
        Path | None,
        typer.Option(help="Label table (TOML) by names or numbers of dataset.json."),
    ] = None,
    licence: Annotated[
        Path | None, typer.Option(help="Text of the weights' licence, kept in the bundle.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle; that of its folder.")] = None,
    version: Annotated[str, typer.Option(help="Of the bundle.")] = "1",
    members: Annotated[
        MembersOf | None,
        typer.Option(help="What members differ by; folds where there are several, else none."),
    ] = None,
    orientation: Annotated[
        Orientation | None,
        typer.Option(help="Of the training images; as the plans' reader says."),
    ] = None,
    *,
    is_ct: Annotated[
        bool, typer.Option("--is-ct", help="The channel is CT in HU whatever it is called.")
    ] = False,
    trainer_keeps_network: Annotated[
        bool,
        typer.Option(
            "--trainer-keeps-network", help="An unknown trainer builds what the plans say."
        ),
    ] = False,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="No mirrored copies, fewer tiles, bfloat16 on a CPU: other labels."
        ),
    ] = False,
) -> None:
    """Make a model bundle, not calibrated, of a network that nnU-Net trained."""
    from inference.models.nnunet.importing import Wanted, import_bundle

    wanted = Wanted(
        name=name or out.resolve().name,
        version=version,
        configuration=configuration,
        folds=_folds(folds),
        checkpoint=checkpoint,
        labels=labels,
        licence=licence,
        members=members.value if members else None,
        orientation=orientation.value if orientation else None,
        is_ct=is_ct,
        trainer_keeps_network=trainer_keeps_network,
        fast=fast,
    )
    bundle = import_bundle(results, out, wanted)
    found = sorted(segment.key for segment in bundle.model.segments)
    written = f"bundle written to {bundle.folder}, not calibrated"
    stdout.print(written, highlight=False, soft_wrap=True)
    stdout.print(f"it finds {', '.join(found)}", highlight=False, soft_wrap=True)


def _folds(text: str) -> tuple[str, ...]:
    """Numbers or `all`; none where nothing is said."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if found != ("all",) and not all(part.isdecimal() for part in found):
        raise typer.BadParameter(f"{text!r} is neither numbers such as 0,1 nor all")
    if len(set(found)) != len(found):
        raise typer.BadParameter(f"{text!r}: a fold stands twice")
    return found
