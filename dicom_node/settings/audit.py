"""The table of the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dicom_node.settings.tls import DestinationTls
from dicom_node.settings.values import Port, Section


class Syslog(Section):
    """A server that gets a copy of every message, by syslog over TLS (RFC 5425)."""

    host: str = Field(min_length=1)
    """Its address or name."""
    port: Port = 6514
    """Its TCP port."""
    tls: DestinationTls
    """How it proves who it is, and with which certificate we do."""


class Audit(Section):
    """The audit trail (PS3.15 A.5). Without this table there is none."""

    file: Path = Path("msk-node-data/audit.jsonl")
    """The file that every message is appended to."""
    rotate_mb: int = Field(default=64, ge=1, le=4096)
    """From which size on it is put aside, to be read only, and a new one begun."""
    patient: Literal["no", "digest", "id"] = "no"
    """Whether a message says whose images they were: not at all (their studies are named all
    the same), by a digest under the spool's secret, or by Patient ID as PS3.15 has it."""
    site: str | None = Field(default=None, min_length=1, max_length=64)
    """The Audit Enterprise Site ID of its messages; without it, none."""
    syslog: Syslog | None = None
    """The server that gets a copy of every message; without it, none does."""
