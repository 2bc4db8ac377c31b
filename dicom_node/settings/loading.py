"""Loading `node.toml`: all its problems in one go, its paths from its folder."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from dicom_node.errors import ConfigurationError
from dicom_node.settings.destinations import (
    KINDS,
    AnyDestination,
    DicomDestination,
    WebDestination,
)
from dicom_node.settings.node import Analysis, NodeConfig, Pipeline, Receive
from dicom_node.settings.values import Section

if TYPE_CHECKING:
    pass


def load_config(path: Path | None = None) -> NodeConfig:
    """Read `node.toml`, or take the defaults without one.

    Relative paths in the file are relative to the file's folder; in the defaults, to the
    current one.

    Raises:
        ConfigurationError: with every problem of the file, one a line.
    """
    if path is None:
        return _rooted(NodeConfig(), Path.cwd())
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    return parse_config(table, source=str(path), folder=path.absolute().parent)


def parse_config(table: Mapping[str, Any], *, source: str, folder: Path) -> NodeConfig:
    """The frozen tree of a parsed file; `source` names it in messages.

    Raises:
        ConfigurationError: with every problem, one a line.
    """
    problems: list[str] = []
    config = None
    try:
        config = NodeConfig.model_validate(table)
    except ValidationError as error:
        problems += [
            _in_words(each["loc"], each["msg"], each["type"]) for each in error.errors()
        ]
    problems += _reference_problems(table)
    if problems or config is None:
        raise ConfigurationError("\n".join(f"{source}: {each}" for each in problems))
    return _rooted(_with_whole_profiles(config), folder)


def _with_whole_profiles(config: NodeConfig) -> NodeConfig:
    """The same settings, each destination's profile filled up from the one for all."""
    whole = tuple(
        each.model_copy(
            update={
                "profile": config.profile.model_copy(
                    update=each.profile.model_dump(exclude_unset=True)
                )
            }
        )
        for each in config.destinations
    )
    return config.model_copy(update={"destinations": whole})


def _reference_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Names that stand twice, and routes that lead nowhere (also in a file with errors)."""
    destinations, routes = table.get("destinations", []), table.get("routes", [])
    if not isinstance(destinations, list) or not isinstance(routes, list):
        return
    names = [each.get("name") for each in destinations if isinstance(each, dict)]
    web = [each.get("name") for each in destinations if isinstance(each, dict) if "url" in each]
    for name, count in Counter(map(str, names)).items():
        if count > 1:
            yield f"destinations: {count} of them are called {name!r}"
    for index, route in enumerate(routes):
        wanted = route.get("destinations", []) if isinstance(route, dict) else []
        for name in wanted if isinstance(wanted, list) else []:
            if name not in names:
                yield f"routes[{index}].destinations: there is no destination {name!r}"
    yield from _pipeline_problems(table)
    senders = table.get("senders", [])
    for index, sender in enumerate(senders if isinstance(senders, list) else []):
        asked = sender.get("count_at") if isinstance(sender, dict) else None
        if asked is not None and asked not in names:
            yield f"senders[{index}].count_at: there is no destination {asked!r}"
        elif asked is not None and asked in web:
            yield f"senders[{index}].count_at: {asked!r} has no C-FIND, only DICOMweb"


def _pipeline_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Called AE titles that select two pipelines, or that nobody may use."""
    pipelines, node = table.get("pipelines", []), table.get("node", {})
    if not isinstance(pipelines, list) or not isinstance(node, dict):
        return
    titles = [each.get("called_ae_title") for each in pipelines if isinstance(each, dict)]
    allowed = node.get("called_ae_titles") or titles
    for title, count in Counter(map(str, titles)).items():
        if count > 1:
            yield f"pipelines: {count} of them are for {title!r}"
        if title not in allowed:
            yield f"pipelines: node.called_ae_titles does not let anyone call {title!r}"


def _in_words(location: tuple[int | str, ...], message: str, kind: str) -> str:
    """One problem, with its key as a person would write it: `destinations[0].port: ...`."""
    if location[:1] == ("destinations",) and location[2:3] in [(kind,) for kind in KINDS]:
        location = (*location[:2], *location[3:])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    words = {"extra_forbidden": "unknown key", "missing": "must be given"}
    return (
        f"{key.lstrip('.') or 'file'}: {words.get(kind, message.removeprefix('Value error, '))}"
    )


_WithTls = TypeVar("_WithTls", Receive, DicomDestination, WebDestination)
_WithFiles = TypeVar("_WithFiles", bound=Section)
_WithBundle = TypeVar("_WithBundle", Analysis, Pipeline)


def _rooted(config: NodeConfig, folder: Path) -> NodeConfig:
    """The same settings with paths that no longer depend on the current folder."""
    node = config.node
    database = node.database if "://" in node.database else str(folder / node.database)
    rooted = node.model_copy(
        update={
            "spool": folder / node.spool,
            "work": folder / node.work,
            "results": folder / node.results,
            "database": database,
        }
    )
    analysis = _rooted_bundle(config.analysis, folder)
    return config.model_copy(
        update={
            "node": rooted,
            "analysis": analysis,
            "pipelines": tuple(_rooted_bundle(each, folder) for each in config.pipelines),
            "receive": _rooted_tls(config.receive, folder),
            "destinations": tuple(
                _rooted_destination(each, folder) for each in config.destinations
            ),
        }
    )


def _rooted_bundle(section: _WithBundle, folder: Path) -> _WithBundle:
    """The same section, a bundle's path no longer dependent on the current folder."""
    if section.bundle is None or "/" not in section.bundle:
        return section
    return section.model_copy(update={"bundle": str(folder / section.bundle)})


def _rooted_destination(each: AnyDestination, folder: Path) -> AnyDestination:
    """The same destination with paths that no longer depend on the current folder."""
    if isinstance(each, DicomDestination):
        return _rooted_tls(each, folder)
    credentials = each.credentials and _rooted_files(each.credentials, folder)
    return _rooted_tls(each.model_copy(update={"credentials": credentials}), folder)


def _rooted_tls(section: _WithTls, folder: Path) -> _WithTls:
    """The same section, the files of its TLS no longer dependent on the current folder."""
    if section.tls is None:
        return section
    return section.model_copy(update={"tls": _rooted_files(section.tls, folder)})


def _rooted_files(section: _WithFiles, folder: Path) -> _WithFiles:
    """The same table, the files it names no longer dependent on the current folder."""
    files = {name: folder / value for name, value in section if isinstance(value, Path)}
    return section.model_copy(update=files)
