"""The table of the audit trail."""

from __future__ import annotations

from pathlib import Path

from dicom_node.settings.values import Section


class Audit(Section):
    """The audit trail (PS3.15 A.5). Without this table there is none."""

    file: Path = Path("msk-node-data/audit.jsonl")
    """The file that every message is appended to."""
