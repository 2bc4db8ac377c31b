"""One role of a node whose analyses are stand-ins: `CONFIG.json SECONDS ROLE`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dicom_node.errors import NodeError
from dicom_node.node.supervisor import serve
from dicom_node.settings.node import NodeConfig
from support.standin_analysis import COMMAND


def main(settings: Path, seconds: str, role: str) -> int:
    """Serve until told to stop."""
    config = NodeConfig.model_validate_json(settings.read_bytes())
    try:
        serve(config, [*COMMAND, seconds], [role])
    except NodeError as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201 - its one answer
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
