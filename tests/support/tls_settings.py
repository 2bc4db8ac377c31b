"""Settings with TLS, and what is found wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.node import tls_checks
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from support.certificates import Certificate


def now() -> datetime:
    """The time, which in a long run is not that of the collection of tests."""
    return datetime.now(UTC)


PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 2762}


def parse(
    receive: dict[str, Any] | None = None, destination: dict[str, Any] | None = None
) -> NodeConfig:
    table: dict[str, Any] = {}
    if receive is not None:
        table["receive"] = {"tls": receive}
    if destination is not None:
        table["destinations"] = [{**PACS, "tls": destination}]
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def refused(**tables: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(**tables)
    return str(caught.value).splitlines()


def shown(certificate: Certificate, **more: str) -> dict[str, str]:
    return {"certificate": str(certificate.path), "key": str(certificate.key), **more}


def found(config: NodeConfig) -> list[str]:
    return list(tls_checks.problems(config, now()))
