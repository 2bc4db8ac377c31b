"""The settings as they are: each key with its value, its default and what it means.

They are changed in the file alone; a button has the node read it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import SecretStr

from dicom_node.errors import ConfigurationError
from dicom_node.node.reload import ReloadAnswer, request_reload
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.reference import SettingEntry, sections_reference, settings_reference
from dicom_node.settings.values import Section
from dicom_node.web.access import require_operator, require_viewer
from dicom_node.web.accounts.roles import User
from dicom_node.web.behind import config_of
from dicom_node.web.pages.shown import show

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

HIDDEN: Final = "(not shown)"
SECRET: Final = re.compile(r"(^|_)(password|secret|token|webhook)(_url)?$")
"""Keys whose values are secrets themselves; `..._file` and `..._variable` only say where."""
SHOWN_WITHIN_S: Final = 45.0
"""A page is answered within a minute; a reload that takes longer is waited for without one."""
STILL: Final = (
    "it is still looking at what the file points to, and goes on doing so: look at the settings"
    " again in a minute, or at the log (settings.reloaded, settings.refused)"
)
IN_ADDRESS: Final = re.compile(r"(?<=://)[^/@\s]*@")
IN_QUERY: Final = re.compile(r"\?\S+")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A key of the file with its value, or with one for each table that has it.

    values: (name of the table, value); the name is empty where there is one table only.
    is_changed: whether any value is another than the default.
    """

    entry: SettingEntry
    values: tuple[tuple[str, str], ...]
    is_changed: bool


@router.get("/settings")
def settings_page(request: Request) -> HTMLResponse:
    """Every setting."""
    return _page(request, None)


@router.post("/settings/reload")
def reload(request: Request, user: Annotated[User, Depends(require_operator)]) -> HTMLResponse:
    """Have the node read its file again; what has changed, or every reason why nothing did.

    The answer is this page itself: the pages' own process starts anew with other settings, and
    an address to go to might find nobody there for a second.
    """
    return _page(request, _reloaded(config_of(request), user.name))


def _reloaded(config: NodeConfig, by: str) -> ReloadAnswer:
    """What became of a reload, as far as a page can wait for it."""
    found: Future[ReloadAnswer] = Future()
    Thread(target=_reload, args=(config, by, found), name="reload", daemon=True).start()
    try:
        return found.result(timeout=SHOWN_WITHIN_S)
    except TimeoutError:
        return ReloadAnswer(is_taken=False, reasons=(STILL,))


def _reload(config: NodeConfig, by: str, found: Future[ReloadAnswer]) -> None:
    try:
        answer = request_reload(config, by)
    except ConfigurationError as error:
        answer = ReloadAnswer(is_taken=False, reasons=(str(error),))
    except OSError as error:
        words = f"the spool does not take the request: {error.strerror or error}"
        answer = ReloadAnswer(is_taken=False, reasons=(words,))
    found.set_result(answer)


def _page(request: Request, answer: ReloadAnswer | None) -> HTMLResponse:
    """The page, with what became of a reload where there was one."""
    shown = [_shown(config_of(request), entry) for entry in settings_reference()]
    tables: dict[str, list[ShownSetting]] = {}
    for one in shown:
        tables.setdefault(one.entry.section, []).append(one)
    meanings = {each.key: each.meaning for each in sections_reference()}
    is_taken = answer is not None and answer.is_taken
    return show(
        request,
        "settings.html",
        sections=list(tables.items()),
        meanings=meanings,
        answer=answer,
        title="The file was read again" if is_taken else "The file was not taken",
    )


def _shown(config: NodeConfig, entry: SettingEntry) -> ShownSetting:
    found = tuple(_values(config, entry.key.split("."), ""))
    key = entry.key.rpartition(".")[2]
    told = tuple((name, text_of(key, value)) for name, value in found)
    default = _plain_default(entry.default)
    return ShownSetting(entry, told, any(text != default for _, text in told))


def _values(table: Any, parts: list[str], name: str) -> Iterator[tuple[str, Any]]:
    """The values of a key; of lists of tables one for each that has it."""
    if not parts:
        yield name, table
        return
    first, rest = parts[0], parts[1:]
    key = first.removesuffix("[]")
    if not isinstance(table, Section) or key not in type(table).model_fields:
        return
    value = getattr(table, key)
    if first.endswith("[]") and rest:
        for number, each in enumerate(value, start=1):
            yield from _values(each, rest, f"{name} {_name_of(each, number)}".strip())
    else:
        yield from _values(value, rest, name)


def _name_of(table: Any, number: int) -> str:
    """How a table of a list is called."""
    for key in ("name", "ae_title", "called_ae_title"):
        found = getattr(table, key, None)
        if isinstance(found, str) and found:
            return found
    return f"no. {number}"


def text_of(key: str, value: Any) -> str:
    """A value as text, without any secret in it."""
    if isinstance(value, SecretStr) or (SECRET.search(key) and value not in (None, "", ())):
        return HIDDEN
    match value:
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ", ".join(text_of(key, each) for each in value)
        case Mapping() | Section():
            pairs = value.items() if isinstance(value, Mapping) else iter(value)
            told = ((str(name), each) for name, each in pairs if each is not None)
            return ", ".join(f"{name} = {text_of(name, each)}" for name, each in told)
        case float():
            return f"{value:g}"
        case _:
            return "" if value is None else _without_credentials(str(value))


def _without_credentials(text: str) -> str:
    """An address without user, password and query, where it has any."""
    if "://" not in text:
        return text
    return IN_QUERY.sub(f"?{HIDDEN}", IN_ADDRESS.sub(f"{HIDDEN}@", text))


def _plain_default(text: str) -> str:
    """A default of the reference as the page tells values."""
    plain = text.strip('"')
    if plain.startswith("["):
        return plain.strip("[]").replace('"', "")
    return plain.removesuffix(".0")
