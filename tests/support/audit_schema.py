"""The schema of PS3.15 A.5.1 for audit messages, and what it says of one."""

from __future__ import annotations

import functools
from pathlib import Path

from lxml import etree

SCHEMA = Path(__file__).parent / "dicom-audit-message.rnc"


@functools.cache
def schema() -> etree.RelaxNG:
    """The schema, read once."""
    return etree.RelaxNG.from_rnc_string(SCHEMA.read_text())


def problems(xml: str) -> list[str]:
    """What the schema has against a message; nothing, where it is a valid one."""
    checked = schema()
    checked.validate(etree.fromstring(xml.encode()))
    return [str(each) for each in checked.error_log]
