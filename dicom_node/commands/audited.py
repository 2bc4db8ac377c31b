"""What a command leaves in the audit trail of the node whose data it gave out."""

from __future__ import annotations

import getpass
from pathlib import Path


def note_export(config: Path | None, out: Path, count: int, what: str) -> None:
    """Note that cases were written to a file, where the settings have an audit trail.

    Args:
        config: The node's settings; without them there is no trail.
        out: The file.
        count: How many cases.
        what: The command.
    """
    if config is None:
        return
    from dicom_node.monitoring.audit import AuditEvent, AuditKind, open_trail
    from dicom_node.settings.loading import load_config

    trail = open_trail(load_config(config), what)
    trail.record(
        AuditEvent(
            AuditKind.DATA_EXPORTED,
            user=getpass.getuser(),
            peer=str(out.absolute()),
            words=f"{what}: {count} cases",
        )
    )
    trail.close()
