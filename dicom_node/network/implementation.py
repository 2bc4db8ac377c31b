"""The name of this software in associations and files (PS3.7 D.3.3.2)."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

MAX_PDU_BYTES: Final = 131072
"""Largest PDU that we offer and use: eight times the default, much cheaper per byte."""


@cache
def implementation_version() -> str:
    """Implementation Version Name, at most 16 characters: `MSKNODE_0.1.0`."""
    try:
        found = version("msk-node")
    except PackageNotFoundError:
        found = "0"
    return f"MSKNODE_{found}"[:16]
