"""The command that tries a site's installation with a phantom: `accept`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.commands.console import ConfigOption, room_for, stderr, stdout, titled

if TYPE_CHECKING:
    from dicom_node.results.pdf.protocol import Protocol

EXIT_FAILED = 1


def accept(  # noqa: PLR0913 - a command line has as many options as it has
    config: ConfigOption = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The protocol to sign (PDF); JSON goes beside it.",
            dir_okay=False,
        ),
    ] = Path("protocol.pdf"),
    destination: Annotated[
        str | None, typer.Option(help="Look at this destination only, by its name.")
    ] = None,
    from_peer: Annotated[
        str | None,
        typer.Option(help="AE title of the sender in whose name the phantom is sent."),
    ] = None,
    wait_s: Annotated[
        float, typer.Option(min=1, help="How long to wait for the results.")
    ] = 3600.0,
    keep_in: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the phantom and what came back; without it, none is kept."
        ),
    ] = None,
    *,
    with_images: Annotated[
        bool,
        typer.Option("--with-images", help="Send the phantom's images to destinations too."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Reject nothing of it in the archives.")
    ] = False,
) -> None:
    """Try the site: a phantom to the running node, its results back, a protocol to sign."""
    from dicom_node.node.acceptance.run import AcceptanceOptions, accept, protocol_json
    from dicom_node.results.pdf.protocol import protocol_pdf
    from dicom_node.settings.loading import load_config

    settings = load_config(config)
    options = AcceptanceOptions(
        destination, from_peer, wait_s, with_images=with_images, keep=keep
    )
    with _folder(keep_in) as folder:
        protocol = accept(settings, options, folder, _tell)
    with room_for(out):
        out.write_bytes(protocol_pdf(protocol))
        out.with_suffix(".json").write_text(protocol_json(protocol), encoding="utf-8")
    _show(protocol)
    stdout.print(f"the protocol: {out}", highlight=False, soft_wrap=True)
    if not protocol.passed:
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Where the phantom and what comes back lie: until the end, or for good."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="msk-node-accept-") as folder:
            yield Path(folder)
    else:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept


_told: list[str] = []


def _tell(words: str) -> None:
    """Say what is done now, each thing once."""
    if _told[-1:] != [words]:
        _told.append(words)
        stderr.print(words, highlight=False)


def _show(protocol: Protocol) -> None:
    """The checks on the terminal, and the outcome."""
    for each in protocol.checks:
        style = {"passed": "green", "failed": "bold red"}.get(each.outcome.value, "yellow")
        line = f"{each.subject}: {each.claim}: {each.found}"
        stdout.print(titled(each.outcome.value, style, line), soft_wrap=True)
    stdout.print(protocol.words, highlight=False, style="bold")
