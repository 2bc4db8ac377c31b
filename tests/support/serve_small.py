"""A node with the fast analysis, as a process: `python serve_small.py node.json [OPTION...]`.

With `--role receive|work` only that part of one. From a node.toml it serves with the file, to
be read again.

Prints the message of an error that keeps it from starting, and ends with code 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dicom_node.errors import NodeError
from dicom_node.node.supervisor import ROLE_NAMES, serve
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import NodeConfig

ROLE = "--role"
COMMAND = (sys.executable, str(Path(__file__).with_name("fast_analysis.py")))
"""Not imported from there: the supervisor would load all that an analysis needs."""


def main(arguments: list[str]) -> int:
    """Serve until told to stop."""
    roles_here = ROLE_NAMES
    if ROLE in arguments:
        at = arguments.index(ROLE)
        roles_here = (arguments[at + 1],)
        del arguments[at : at + 2]
    path = Path(arguments[0])
    is_toml = path.suffix == ".toml"
    try:
        if is_toml:
            config = load_config(path)
        else:
            config = NodeConfig.model_validate_json(path.read_bytes())
        serve(config, [*COMMAND, *arguments[1:]], roles_here, path if is_toml else None)
    except NodeError as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201 - its one answer
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
