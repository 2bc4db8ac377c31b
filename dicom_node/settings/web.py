"""The table of the web pages and of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dicom_node.settings.values import Section


class Web(Section):
    """The dashboard and the API. Without this table there is none."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """The address to listen on; the default is reachable from this machine alone."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The TCP port to listen on; 0 takes any free one."""
    users: Path = Path("users.toml")
    """The users with their roles and digests of passwords; `msk-node user` writes it."""
    show_patients: bool = False
    """Whether pages show Patient ID and Accession Number; without it, UIDs only."""
    mark: Literal["test", "clinical"] = "test"
    """What this installation is for: it stands at the head of every page."""
