"""What is behind a request of the pages or the API: the node's settings and its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.settings.node import NodeConfig


def config_of(request: Request) -> NodeConfig:
    """The settings that the web was started with, or that were read again since."""
    config: NodeConfig = request.app.state.config
    return config


@contextmanager
def reading(request: Request) -> Iterator[Ledger | None]:
    """The ledger, to be read; None where no node has run yet.

    Raises:
        ConfigurationError: it cannot be read.
    """
    ledger = existing_ledger(config_of(request).node.database_url, only_read=True)
    try:
        yield ledger
    finally:
        if ledger is not None:
            ledger.close()
