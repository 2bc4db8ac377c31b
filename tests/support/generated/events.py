"""The events that the program writes into its log, by their names in its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from dicom_node.persistence.archive_rows import ArchiveState

ROOT = Path(__file__).parents[3]
PACKAGES = ("dicom_node", "sr_templates", "inference")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
EVENT = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*")
MADE_UP = {f"requery.{each}" for each in ArchiveState}
"""Events whose names are made of a state; `MAKERS` are the modules that may do so."""
MAKERS = {
    "archive/retrieve_jobs.py",
    "delivery/jobs.py",
    "node/maintenance.py",
    "web/accounts/records.py",
    "web/connections.py",
}
HANDED_ON = {"_raise"}
"""Functions of the program whose first argument is an event that they write."""


def log_events() -> frozenset[str]:
    """Every event, also of those that are chosen between or handed on to a function."""
    written = {
        event
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for event in _events_of(ast.parse(path.read_text(encoding="utf-8")))
    }
    return frozenset(written | MADE_UP)


def unreadable_events() -> tuple[str, ...]:
    """Calls of a logger whose event is no text in the source, outside the known modules."""
    return tuple(
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for call in _calls(ast.parse(path.read_text(encoding="utf-8")))
        if _is_of_logger(call) and not _is_text(_event_of(call)) and not _may_make(path)
    )


def _events_of(tree: ast.AST) -> Iterator[str]:
    """The events of a module; where levels are chosen as it runs, every text that is like one."""
    if any(map(_chooses_level, _calls(tree))):
        yield from _texts(tree)
    for call in _calls(tree):
        if _is_of_logger(call) or _name(call.func) in HANDED_ON:
            yield from _texts(_event_of(call))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (each for each in ast.walk(tree) if isinstance(each, ast.Call) and each.args)


def _is_of_logger(call: ast.Call) -> bool:
    """True for `log.info(...)`, `self._log.info(...)`, `structlog.get_logger().log(...)`."""
    if isinstance(call.func, ast.Call):
        return _chooses_level(call.func)
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
        return False
    owner = ast.unparse(call.func.value)
    return bool(re.fullmatch(r"(self\.)?_?log(ger)?|structlog\.get_logger\(.*\)", owner))


def _chooses_level(call: ast.Call) -> bool:
    """True for `getattr(log, level)`."""
    return ast.unparse(call.func) == "getattr" and ast.unparse(call.args[0]) == "log"


def _event_of(call: ast.Call) -> ast.expr:
    of_any_level = isinstance(call.func, ast.Attribute) and call.func.attr == "log"
    return call.args[1] if of_any_level and len(call.args) > 1 else call.args[0]


def _is_text(event: ast.expr) -> bool:
    return bool(list(_texts(event))) and not isinstance(event, ast.JoinedStr)


def _may_make(path: Path) -> bool:
    return any(str(path).endswith(each) for each in MAKERS)


def _texts(value: ast.AST) -> Iterator[str]:
    for each in ast.walk(value):
        if not isinstance(each, ast.Constant) or not isinstance(each.value, str):
            continue
        if EVENT.fullmatch(each.value):
            yield each.value


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else ""
