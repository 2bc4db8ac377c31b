"""A browser and a program before the application: logged in, with the form's token at hand."""

from __future__ import annotations

import re
import uuid
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.tokens import Token, add_token, ends_after
from dicom_node.web.accounts.users import add_user
from dicom_node.web.app import web_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have another release of httpx
    from fastapi.testclient import TestClient

PASSWORD: Final = "correct horse battery staple"
FORM_TOKEN: Final = re.compile(r'name="csrf_token" value="([^"]*)"')
HOST: Final = "http://localhost:8080"


def web_config(folder: Path, content: dict[str, Any] | None = None) -> NodeConfig:
    """The settings of a node in a folder, with a `[web]` table."""
    tables = {"web": {}, "node": {}, **(content or {})}
    places = {name: str(folder / name) for name in ("spool", "work", "results")} | {
        "database": str(folder / "node.sqlite")
    }
    tables["node"] = places | tables["node"]
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    return parse_config(tables, source="node.toml", folder=folder)


@dataclass
class Browser:
    """A browser before a node's pages."""

    config: NodeConfig
    app: Any = None
    host: str = HOST
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.app = self.app or web_app(self.config)
        self.client = TestClient(
            self.app, base_url=self.host, follow_redirects=False, client=("127.0.0.1", 50000)
        )

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        """Look at a page."""
        return self.client.get(path, **kwargs)

    def form_token(self, path: str = "/login") -> str:
        """The token in the form of a page."""
        found = FORM_TOKEN.search(self.get(path).text)
        assert found, f"{path} has no form"
        return found.group(1)

    def post(self, path: str, fields: dict[str, str], **kwargs: Any) -> httpx.Response:
        """Send a form as a browser does, with its token."""
        return self.client.post(path, data={"csrf_token": self.form_token()} | fields, **kwargs)

    def log_in(
        self, name: str = "anna", password: str = PASSWORD, next_path: str = "/", **kwargs: Any
    ) -> httpx.Response:
        """Log in."""
        fields = {"username": name, "password": password, "next_path": next_path}
        return self.post("/login", fields, **kwargs)


def logged_in(config: NodeConfig, role: Role = Role.OPERATOR, name: str = "anna") -> Browser:
    """A browser of a user who has just been entered and has logged in."""
    assert config.web is not None
    add_user(config.web.users, name, role, PASSWORD)
    browser = Browser(config)
    assert browser.log_in(name).status_code == 303
    return browser


@dataclass(frozen=True)
class Door:
    """One way into the application: a method on a path."""

    method: str
    path: str

    @property
    def filled(self) -> str:
        """The path with something in the place of each parameter."""
        return re.sub(r"\{[^}]*\}", "1.2.3", self.path)


def doors(app: Any) -> list[Door]:
    """Every way in that an application has, but for files under /static."""
    found = [
        Door(method, path)
        for route, path in _routes(app.router, "")
        for method in sorted(getattr(route, "methods", None) or ("GET", "POST"))
    ]
    assert Door("POST", "/logout") in found, "the walk finds no routes any more"
    return found


def _routes(router: Any, prefix: str) -> list[tuple[Any, str]]:
    """The routes of a router and of those that it includes, with their paths."""
    found: list[tuple[Any, str]] = []
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            found += _routes(included, prefix + route.include_context.prefix)
        elif getattr(route, "path", "") != "/static":
            found.append((route, prefix + route.path))
    return found


def token_for(config: NodeConfig, role: Role, *, owner: str = "", days: int = 1) -> str:
    """A new token."""
    assert config.web is not None
    ends_at = ends_after(days, datetime.now(UTC))
    return add_token(config.web.tokens, Token(f"t{uuid.uuid4().hex}", role, ends_at, owner))
