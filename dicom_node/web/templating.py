"""Pages from templates: everything that is put into one is escaped.

No value of a header, of a file name or of a setting is markup, whatever it looks like. There
is no `safe` in a template, and what is undefined is an error, not an empty place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dicom_node.web.behind import config_of

FOLDER: Final = Path(__file__).parent / "templates"
STATIC: Final = Path(__file__).parent / "static"

Scheme = Literal["auto", "light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("auto", "light", "dark")
SCHEME_COOKIE: Final = "msk-colours"
"""Holds which colours a browser shows, and nothing else."""

environment: Final = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""The one environment: pages add their filters to it."""


def page(
    request: Request, template: str, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A page from a template, with what every page knows.

    That is `user` (None before the login), `csrf_token`, `mark`, `show_patients`, `scheme` and
    `path`.
    """
    config = config_of(request)
    common = {
        "user": getattr(request.state, "user", None),
        "csrf_token": getattr(request.state, "csrf_token", ""),
        "mark": config.web.mark if config.web else "test",
        "show_patients": bool(config.web and config.web.show_patients),
        "scheme": scheme_of(request),
        "path": request.url.path,
    }
    content = environment.get_template(template).render(common | values)
    return HTMLResponse(content, status_code=status_code)


def scheme_of(request: Request) -> Scheme:
    """The colours that this browser wants."""
    wanted = request.cookies.get(SCHEME_COOKIE)
    return next((each for each in SCHEMES if each == wanted), "auto")
