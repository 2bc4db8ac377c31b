"""Parts of a node as processes of their own: receivers and workers that share a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicom_node.settings.node import NodeConfig

SERVE: Final = str(Path(__file__).parent / "serve_small.py")
PORT_OF_NONE: Final = 1
"""Of a part that does not receive."""


@dataclass(slots=True)
class Part:
    """One process tree of a node: a receiver or a worker."""

    name: str
    config: NodeConfig
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, folder: Path, name: str, config: NodeConfig, *options: str) -> Part:
        """Start it, with a log of its own."""
        settings, log = folder / f"{name}.json", folder / f"{name}.log"
        settings.write_text(config.model_dump_json())
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, SERVE, str(settings), *options],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return cls(name, config, process, log)

    def signal(self, number: int) -> None:
        """Send a signal to the whole of it."""
        os.killpg(self.process.pid, number)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name in its log."""
        lines = self.log.read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] == name]
