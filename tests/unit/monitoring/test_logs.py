"""Claims about the fences that keep patient data out of the log."""

from __future__ import annotations

import ast
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from dicom_node.errors import PixelDataError
from dicom_node.monitoring.logs import ALLOWED_KEYS, configure_logging
from dicom_node.settings.node import Logging

PACKAGES = [Path(__file__).parents[3] / name for name in ("dicom_node", "inference")]

LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log as JSON lines, and everybody's loggers as they were afterwards."""
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    stream = io.StringIO()
    configure_logging(Logging(format="json", level="debug"), stream)
    yield stream
    root.handlers = handlers
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_key_that_is_not_on_the_list_is_dropped_and_named(lines: io.StringIO) -> None:
    structlog.get_logger().info("store.kept", patient_name="Yamada", bytes=7)

    assert "Yamada" not in lines.getvalue()
    assert (events(lines)[0]["dropped"], events(lines)[0]["bytes"]) == ("patient_name", 7)


def test_an_exception_is_its_type_and_place_and_not_its_words(lines: io.StringIO) -> None:
    try:
        fail(ValueError("invalid value for PatientName: Yamada"))
    except ValueError:
        structlog.get_logger().exception("job.failed", job="publish")

    assert "Yamada" not in lines.getvalue()
    assert events(lines)[0]["error"] == "ValueError"
    assert events(lines)[0]["where"].startswith("test_logs.py:")


def test_the_words_of_our_own_errors_are_kept(lines: io.StringIO) -> None:
    try:
        fail(PixelDataError("instance 1.2.3: 3 bytes are missing"))
    except PixelDataError:
        structlog.get_logger().exception("job.failed")

    assert events(lines)[0]["reason"] == "instance 1.2.3: 3 bytes are missing"


def test_what_a_library_logs_is_told_without_its_words(lines: io.StringIO) -> None:
    logging.getLogger("pydicom").warning("Invalid value for VR PN: Yamada")

    assert "Yamada" not in lines.getvalue()
    assert events(lines)[0]["event"] == "library.logged"
    assert events(lines)[0]["logger"] == "pydicom"


def test_what_a_library_warns_of_is_told_without_its_words(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("Invalid value for VR PN: Yamada", UserWarning, stacklevel=1)

    assert "Yamada" not in lines.getvalue()
    assert [event["logger"] for event in events(lines)] == ["py.warnings"]


def test_the_console_shows_the_same_events() -> None:
    stream = io.StringIO()
    configure_logging(Logging(format="console", level="warning"), stream)
    structlog.get_logger().info("store.kept")
    structlog.get_logger().warning("store.refused", code="x")
    structlog.reset_defaults()
    logging.getLogger().handlers = []
    logging.captureWarnings(capture=False)

    assert "store.kept" not in stream.getvalue()
    assert "store.refused" in stream.getvalue()


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a method of `log` in the code, with its place."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "log"
                    and node.func.attr in LEVELS
                ):
                    yield f"{path.name}:{node.lineno}", node


def test_every_key_that_the_code_logs_is_on_the_list() -> None:
    """A key that is dropped at run time is a mistake in the code or in the list."""
    unknown = [
        (place, keyword.arg)
        for place, call in log_calls()
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in ALLOWED_KEYS
    ]

    assert unknown == []


def test_every_event_is_called_noun_dot_verb() -> None:
    names = [
        (place, call.args[0].value)
        for place, call in log_calls()
        if call.args and isinstance(call.args[0], ast.Constant)
    ]
    odd = [
        (place, name)
        for place, name in names
        if name.count(".") != 1 or not name.replace(".", "").replace("_", "").islower()
    ]

    assert names
    assert odd == []
