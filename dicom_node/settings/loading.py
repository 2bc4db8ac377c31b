"""Loading `node.toml`: all its problems in one go, its paths from its folder."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dicom_node.errors import ConfigurationError
from dicom_node.settings.archives import address_problem
from dicom_node.settings.destinations import Destination, kind_of
from dicom_node.settings.node import NodeConfig


def load_config(path: Path | None = None) -> NodeConfig:
    """Read `node.toml`, or take the defaults without one.

    Relative paths in the file are relative to the file's folder; in the defaults, to the
    current one.

    Raises:
        ConfigurationError: with every problem of the file, one a line.
    """
    if path is None:
        return NodeConfig().rooted(Path.cwd())
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
    if config is not None:
        problems += _archive_problems(config)
    problems += _rule_problems(table)
    if problems or config is None:
        raise ConfigurationError("\n".join(f"{source}: {each}" for each in problems))
    return _with_whole_profiles(config).rooted(folder)


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
    tables, routes = table.get("destinations", []), table.get("routes", [])
    if not isinstance(tables, list) or not isinstance(routes, list):
        return
    kinds = [(each.get("name"), kind_of(each)) for each in tables if isinstance(each, dict)]
    names = [name for name, _ in kinds]
    for name, count in Counter(map(str, names)).items():
        if count > 1:
            yield f"destinations: {count} of them are called {name!r}"
    for index, route in enumerate(routes):
        wanted = route.get("destinations", []) if isinstance(route, dict) else []
        for name in wanted if isinstance(wanted, list) else []:
            if name not in names:
                yield f"routes[{index}].destinations: there is no destination {name!r}"
    yield from _pipeline_problems(table)
    yield from _sender_problems(table, kinds)
    yield from _schedule_problems(table)


def _schedule_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Schedules of one name, and those of an archive or a rule set that is not there."""
    schedules = [each for each in _tables(table, "schedules") if isinstance(each, dict)]
    for name, count in Counter(str(each.get("name")) for each in schedules).items():
        if count > 1:
            yield f"schedules: {count} of them are called {name!r}"
    for key, section in (("archive", "archives"), ("rules", "rules")):
        there = [each.get("name") for each in _tables(table, section) if isinstance(each, dict)]
        for index, schedule in enumerate(schedules):
            wanted = schedule.get(key)
            if wanted is not None and wanted not in there:
                yield f"schedules[{index}].{key}: there is no {wanted!r} in [[{section}]]"


def _tables(table: Mapping[str, Any], section: str) -> Sequence[Any]:
    found = table.get(section, [])
    return found if isinstance(found, list) else []


def _archive_problems(config: NodeConfig) -> Iterator[str]:
    """Archives of one name, and those that are no destination or not of its kind."""
    for name, count in Counter(each.name for each in config.archives).items():
        if count > 1:
            yield f"archives: {count} of them are called {name!r}"
    for index, each in enumerate(config.archives):
        problem = address_problem(each, config.destinations)
        if problem is not None:
            yield f"archives[{index}]: {problem}"


def _sender_problems(
    table: Mapping[str, Any], kinds: Sequence[tuple[Any, type[Destination]]]
) -> Iterator[str]:
    """Senders whose images are to be counted by nobody, or by one that cannot count."""
    senders = table.get("senders", [])
    for index, sender in enumerate(senders if isinstance(senders, list) else []):
        asked = sender.get("count_at") if isinstance(sender, dict) else None
        named = [kind for name, kind in kinds if name == asked]
        unable = [kind.standard for kind in named if not kind.counts_images]
        if asked is not None and not named:
            yield f"senders[{index}].count_at: there is no destination {asked!r}"
        elif asked is not None and unable:
            yield f"senders[{index}].count_at: {asked!r} has no C-FIND, only {unable[0]}"


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


def _rule_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Rule sets of one name, and names of none."""
    sets = table.get("rules", [])
    if not isinstance(sets, list):
        return
    names = [each.get("name") for each in sets if isinstance(each, dict)]
    for name, count in Counter(map(str, names)).items():
        if count > 1:
            yield f"rules: {count} of them are called {name!r}"
    pipelines = table.get("pipelines", [])
    users = {"analysis": table.get("analysis", {})}
    if isinstance(pipelines, list):
        users |= {f"pipelines[{index}]": each for index, each in enumerate(pipelines)}
    for key, user in users.items():
        wanted = user.get("rules") if isinstance(user, dict) else None
        if isinstance(wanted, str) and wanted and wanted not in names:
            yield f"{key}.rules: there are no rules {wanted!r}"


def _in_words(location: tuple[int | str, ...], message: str, kind: str) -> str:
    """One problem, with its key as a person would write it: `destinations[0].port: ...`."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    words = {"extra_forbidden": "unknown key", "missing": "must be given"}
    return (
        f"{key.lstrip('.') or 'file'}: {words.get(kind, message.removeprefix('Value error, '))}"
    )
