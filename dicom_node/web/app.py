"""The application: pages and API, behind one door."""

from __future__ import annotations

from fastapi import FastAPI

from dicom_node.settings.node import NodeConfig


def web_app(config: NodeConfig) -> FastAPI:
    """The application of a node with these settings."""
    app = FastAPI(title="msk-node", docs_url=None, redoc_url=None)
    app.state.config = config
    return app
