"""The command `metrics`: what `/metrics` says, without a web process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.console import ConfigOption, room_for

OutOption = Annotated[
    Path | None,
    typer.Option(
        help="Write them to this file, whole or not at all, as node_exporter's textfile"
        " collector wants it; without it, they are printed."
    ),
]


def metrics(config: ConfigOption = None, out: OutOption = None) -> None:
    """Print the node's metrics for Prometheus; works without a running node, and beside one."""
    from dicom_node.node.exposition import NodeMetrics
    from dicom_node.settings.loading import load_config

    text = NodeMetrics(load_config(config)).text()
    if out is None:
        sys.stdout.buffer.write(text)
        return
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with room_for(part):
            part.write_bytes(text)
        part.chmod(0o644)  # node_exporter is another user
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
