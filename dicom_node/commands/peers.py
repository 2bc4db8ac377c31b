"""Commands that call a peer: `echo` and `send`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dicom_node.commands.console import (
    EXIT_PEER_REFUSED,
    EXIT_REFUSED,
    slices_done,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from dicom_node.peers.transports import Transport
    from dicom_node.settings.destinations import Destination
    from dicom_node.settings.node import NodeConfig


PeerArgument = Annotated[
    str,
    typer.Argument(
        metavar="AETITLE@HOST:PORT|NAME",
        help="A peer, or with --config the name of a destination or archive, with its TLS.",
    ),
]
CallingOption = Annotated[
    str | None,
    typer.Option(
        "--calling", help="Our own AE title; MSKNODE, or a destination's, without it."
    ),
]
PeerConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="node.toml that names the destination."),
]


def echo(
    peer: PeerArgument, calling: CallingOption = None, config: PeerConfigOption = None
) -> None:
    """Ask a peer whether it is there (C-ECHO; QIDO-RS for a destination by DICOMweb)."""
    _transport(peer, calling, config).verify()
    stdout.print(f"{peer} answers", highlight=False)


def send(
    peer: PeerArgument,
    sources: Annotated[list[Path], typer.Argument(help="DICOM files or folders.")],
    calling: CallingOption = None,
    config: PeerConfigOption = None,
) -> None:
    """Send DICOM files to a peer (C-STORE, STOW-RS), and say what became of each."""
    paths = [file for source in sources for file in _files_of(source)]
    with slices_done("sending") as progress:
        outcomes = _transport(peer, calling, config).send(paths, progress)
    others = [outcome for outcome in outcomes if not outcome.stored]
    unreadable = [outcome for outcome in others if not outcome.sop_instance_uid]
    for outcome in others:
        words = ": ".join(part for part in (outcome.reason, outcome.comment) if part)
        stderr.print(f"{outcome.path}: {words}", highlight=False)
    there = sum(outcome.is_there_already for outcome in others)
    already = f", {there} there already" if there else ""
    stored = len(outcomes) - len(others)
    stdout.print(f"{stored} of {len(outcomes)} stored{already}", highlight=False)
    if len(others) > there + len(unreadable):
        raise typer.Exit(EXIT_PEER_REFUSED)
    if unreadable or not outcomes:
        raise typer.Exit(EXIT_REFUSED)


MAX_PORT: Final = 65535
_PEER = re.compile(r"(?P<ae>[^@\\]{1,16})@(?P<host>[^:]+):(?P<port>\d{1,5})")


def _transport(text: str, calling: str | None, config: Path | None = None) -> Transport:
    """The transport to what the command line names: by its name, or `AETITLE@HOST:PORT`."""
    from dicom_node.peers.association import Peer
    from dicom_node.peers.transports import DicomTransport, transport_for
    from dicom_node.settings.loading import load_config
    from dicom_node.settings.values import OWN_AE_TITLE

    settings = load_config(config) if config is not None else None
    destination = _named(settings, text) if settings is not None else None
    if settings is not None and destination is not None:
        return transport_for(
            settings, destination.called_from(calling) if calling else destination
        )
    match = _PEER.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= MAX_PORT:
        known = (
            "" if settings is None else " and no destination or archive of the configuration"
        )
        raise typer.BadParameter(f"{text!r} is not AETITLE@HOST:PORT{known}")
    peer = Peer(
        name=match["ae"],
        ae_title=match["ae"],
        host=match["host"],
        port=int(match["port"]),
        calling_ae_title=calling or OWN_AE_TITLE,
    )
    return DicomTransport(peer)


def _named(settings: NodeConfig, name: str) -> Destination | None:
    """The destination of that name, or where the archive of that name is."""
    archive = settings.archive(name)
    destination = settings.destination(name)
    if destination is not None or archive is None:
        return destination
    return archive.address(settings.destinations)


def _files_of(source: Path) -> list[Path]:
    """The files named by an argument: itself, or everything below a folder."""
    if not source.exists():
        raise typer.BadParameter(f"{source} does not exist")
    if source.is_file():
        return [source]
    return sorted(path for path in source.rglob("*") if path.is_file())
