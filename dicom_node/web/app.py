"""The application: pages and API, behind one door."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.audit import open_trail
from dicom_node.node.exposition import NodeMetrics
from dicom_node.settings.node import NodeConfig
from dicom_node.web import health, login, metrics_page
from dicom_node.web.access import guard
from dicom_node.web.accounts.registry import Registry
from dicom_node.web.api import router as api
from dicom_node.web.auditing import Looks
from dicom_node.web.doorway import Doorway
from dicom_node.web.health import HealthLook
from dicom_node.web.pages.router import router as pages
from dicom_node.web.problems import tell_problems
from dicom_node.web.templating import STATIC

ROUTERS: Final[tuple[APIRouter, ...]] = (
    login.router,
    pages,
    health.router,
    metrics_page.router,
    api.router,
)
"""What there is; each is behind the guard."""


def web_app(config: NodeConfig) -> FastAPI:
    """The application of a node with these settings.

    Raises:
        ConfigurationError: there is no `[web]` table.
    """
    if config.web is None:
        raise ConfigurationError("web: there is no such table, so there is nothing to serve")
    app = FastAPI(
        title="msk-node",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(guard)],
    )
    app.state.config = config
    app.state.metrics = NodeMetrics(config)
    app.state.registry = Registry(config, config.web)
    app.state.health = HealthLook(config)
    app.state.trail = open_trail(config, "web")
    app.state.looks = Looks()
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    tell_problems(app)
    app.add_middleware(Doorway, settings=config.web)
    return app
