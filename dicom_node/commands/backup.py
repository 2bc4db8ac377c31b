"""Commands that keep a node: `backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.commands.console import ConfigOption, counted, stdout

if TYPE_CHECKING:
    from dicom_node.node.backup_files import Manifest


def backup(
    config: ConfigOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The backup: a file that ends in .tar.zst, or a folder; a new one."),
    ] = None,
    *,
    images: Annotated[
        bool, typer.Option("--images", help="The images of answered series too.")
    ] = False,
    more: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Another file, as a key of pseudonyms; may be repeated."),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(help="Make none, and see whether this one is whole.")
    ] = None,
) -> None:
    """Back up a node while it runs, or see whether a backup is whole."""
    from dicom_node.node.backup import make_backup, verify_backup

    if (out is None) == (verify is None):
        raise typer.BadParameter("either --out or --verify")
    if verify is not None:
        _say(verify, "is whole", verify_backup(verify))
    elif out is not None:
        _say(out, "made", make_backup(config, out, everything=images, more=more or ()))


def restore(
    backup: Annotated[Path, typer.Argument(help="A file or folder that `backup` made.")],
    into: Annotated[Path, typer.Option(help="The folder for all of it: empty, or a new one.")],
    database: Annotated[
        str, typer.Option(help="Of a backup of PostgreSQL: the URL of an empty database.")
    ] = "",
) -> None:
    """Put a node back from a backup, into a folder of its own."""
    from dicom_node.node.restore import restore_backup

    _say(into, "restored", restore_backup(backup, into, database_url=database))
    words = f"look at {into / 'node.toml'}, then: msk-node serve --config {into / 'node.toml'}"
    stdout.print(words, highlight=False, soft_wrap=True)


def _say(path: Path, what: str, manifest: Manifest) -> None:
    """Print what a backup holds, and what not."""
    size_mb = sum(each.size for each in manifest.files) / 1e6
    words = f"{path}: {what}: {counted(len(manifest.files), 'file')}, {size_mb:.1f} MB"
    words += f", of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"
    stdout.print(words, highlight=False, soft_wrap=True)
    if manifest.left_out:
        left = f"{counted(manifest.left_out, 'image')} of answered series left out (--images)"
        stdout.print(left, highlight=False)
