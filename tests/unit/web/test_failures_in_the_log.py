"""Claims about a fault in a page: the log says what and where, and no value of anything."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
import structlog
from fastapi import HTTPException
from support.web_client import web_config
from support.web_served import served

from dicom_node.monitoring.logs import configure_logging
from dicom_node.settings.node import Logging
from dicom_node.web.access import OPEN
from dicom_node.web.app import web_app

SECRET = "Doe^Jane, born 1951"
FORMATS: tuple[Literal["console", "json"], ...] = ("console", "json")


@pytest.fixture
def _own_log() -> Iterator[None]:
    """Give the log back as it was."""
    before = logging.getLogger().handlers
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers = before
    logging.captureWarnings(capture=False)


def fails() -> None:
    """Fail, with a value in a local variable and in the message."""
    patient = {"name": SECRET, "pixels": list(range(500_000))}
    raise LookupError(f"no {patient['name']}")


def fails_oddly() -> None:
    """Fail with what the framework passes on, and with a cause."""
    try:
        fails()
    except LookupError as error:
        raise HTTPException(409, "odd") from error


@pytest.mark.usefixtures("_own_log")
@pytest.mark.parametrize("form", FORMATS)
def test_no_local_variable_and_no_message_of_an_exception_is_logged(
    form: Literal["console", "json"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the web's process has it: behind uvicorn, with what its libraries log at all."""
    stream = io.StringIO()
    configure_logging(Logging(format=form, level="debug"), stream)
    logging.getLogger("uvicorn.error").setLevel(logging.DEBUG)
    config = web_config(tmp_path)
    app = web_app(config)
    app.get("/health/fails")(fails)
    app.get("/health/oddly")(fails_oddly)
    monkeypatch.setattr("dicom_node.web.access.OPEN", {*OPEN, "/health/fails", "/health/oddly"})
    began_s = time.monotonic()
    with served(config, app) as port:
        url = f"http://127.0.0.1:{port}/health"
        answers = [httpx.get(f"{url}/{name}", timeout=10) for name in ("fails", "oddly")]
    logged = stream.getvalue()

    assert [each.status_code for each in answers] == [500, 409]
    assert SECRET not in "".join(each.text for each in answers)
    assert "web.failed" in logged
    assert "LookupError" in logged
    for words in (SECRET, "Doe", "patient", "pixels", "locals", "Traceback"):
        assert words not in logged, words
    assert len(logged) < 5000
    assert time.monotonic() - began_s < 20
