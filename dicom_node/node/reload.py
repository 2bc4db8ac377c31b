"""Reading the settings again while the node runs: what may change, and asking for it.

SIGHUP to the supervisor, `msk-node reload` and a button in the web ask for the same thing. The
supervisor reads its file again; where that is whole, points only to what is there, and changes
nothing that needs a restart, each role takes the new settings between two pieces of work. Else
nothing is changed at all, and the reasons are told.

A request is a small file in the spool; each supervisor that runs on the spool answers it with
another, whoever asked and from wherever the spool is seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from dicom_node.errors import ConfigurationError
from dicom_node.settings.node import NodeConfig

FOLDER: Final = ".reload"
REQUEST: Final = ".request"
LAST: Final = "last.json"
"""The last answer of each supervisor is in this file, for whoever did not ask."""
PATIENCE_S: Final = 90.0
"""A model bundle that is new is looked at whole."""
FORGOTTEN_S: Final = 3600.0

NEEDS_RESTART: Final = (
    "node.ae_title",
    "node.host",
    "node.port",
    "node.spool",
    "node.work",
    "node.results",
    "node.database",
    "node.name",
    "node.lease_s",
    "receive.max_associations",
    "receive.tls",
    "audit",
)
"""Keys, and tables, that a running node cannot change: with one of them nothing is reloaded."""


@dataclass(frozen=True, slots=True)
class ReloadAnswer:
    """What became of a request.

    is_taken: whether the settings are those of the file now.
    changed: the keys that differ from before, without their values.
    reasons: why nothing was changed; empty where it was.
    """

    is_taken: bool
    changed: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """A request that a supervisor has found.

    key: its name; empty for a signal, which nobody waits for.
    by: who asks.
    """

    key: str
    by: str


def request_reload(
    config: NodeConfig, by: str = "", timeout_s: float = PATIENCE_S
) -> ReloadAnswer:
    """Have the node that runs with these settings read its file again, and wait for the answer.

    Args:
        config: Its settings; only the spool counts.
        by: Who asks, for the audit trail.
        timeout_s: How long to wait.

    Raises:
        ConfigurationError: no node runs on this spool, or it does not answer.
        OSError: the request cannot be written.
    """
    folder = config.node.spool / FOLDER
    expected = supervisors(config.node.spool)
    if not expected:
        raise ConfigurationError(f"no node runs on the spool {config.node.spool}")
    key = uuid.uuid4().hex
    folder.mkdir(exist_ok=True)
    request = folder / f"{key}{REQUEST}"
    part = folder / f"{key}.part"
    part.write_text(json.dumps({"by": by}), encoding="utf-8")
    part.rename(request)
    try:
        answers = _wait(folder, key, expected, timeout_s)
    finally:
        for path in (request, *folder.glob(f"{key}.*")):
            path.unlink(missing_ok=True)
    if len(answers) < len(expected):
        raise ConfigurationError(f"the node did not answer within {timeout_s:g} s")
    return ReloadAnswer(
        all(each.is_taken for each in answers),
        tuple(dict.fromkeys(key for each in answers for key in each.changed)),
        tuple(dict.fromkeys(words for each in answers for words in each.reasons)),
    )


def _wait(
    folder: Path, key: str, expected: Collection[int], timeout_s: float
) -> tuple[ReloadAnswer, ...]:
    """The answers that came in time."""
    until_s = time.monotonic() + timeout_s
    while True:
        found = [_read(folder / f"{key}.{pid}") for pid in expected]
        answers = tuple(each for each in found if each is not None)
        if len(answers) == len(expected) or time.monotonic() > until_s:
            return answers
        time.sleep(0.05)


def supervisors(spool: Path) -> frozenset[int]:
    """The processes that run roles on a spool: they hold its locks."""
    return frozenset(filter(None, map(_holder, spool.glob(".lock.*"))))


def _holder(lock: Path) -> int | None:
    """The process that holds a lock, if one does."""
    with contextlib.suppress(OSError, ValueError), lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read(32).split()[0])
    return None


def find_requests(spool: Path, known: Collection[str]) -> Iterator[ReloadRequest]:
    """The requests that a supervisor has not seen yet; what nobody waits for is removed."""
    folder = spool / FOLDER
    try:
        names = sorted(each.name for each in os.scandir(folder))
    except OSError:
        return
    for name in names:
        path = folder / name
        if name.endswith(REQUEST) and name.removesuffix(REQUEST) not in known:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                by = str(json.loads(path.read_text(encoding="utf-8"))["by"])
                yield ReloadRequest(name.removesuffix(REQUEST), by)
        elif name != LAST:
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > FORGOTTEN_S:
                    path.unlink()


def answer(spool: Path, request: ReloadRequest, found: ReloadAnswer) -> None:
    """Answer a request, and leave that for whoever looks later; a full disk keeps none."""
    folder = spool / FOLDER
    content = json.dumps(asdict(found) | {"at": time.time(), "by": request.by})
    names = [LAST, *([f"{request.key}.{os.getpid()}"] if request.key else [])]
    for name in names:
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            part = folder / f"{name}.{os.getpid()}.part"
            part.write_text(content, encoding="utf-8")
            part.rename(folder / name)


def last_answer(spool: Path) -> ReloadAnswer | None:
    """What became of the last request; None where there never was one."""
    return _read(spool / FOLDER / LAST)


def _read(path: Path) -> ReloadAnswer | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        table = json.loads(path.read_text(encoding="utf-8"))
        return ReloadAnswer(
            bool(table["is_taken"]), tuple(table["changed"]), tuple(table["reasons"])
        )
    return None


def changed_keys(old: NodeConfig, new: NodeConfig) -> tuple[str, ...]:
    """The keys that differ, as a person would write them: `destinations[pacs].port`."""
    before = dict(_flat("", old.model_dump(mode="json")))
    after = dict(_flat("", new.model_dump(mode="json")))
    keys = dict.fromkeys((*before, *after))
    missing = object()
    return tuple(key for key in keys if before.get(key, missing) != after.get(key, missing))


def restart_keys(changed: Collection[str]) -> tuple[str, ...]:
    """Those of changed keys that only a restart can change."""
    return tuple(
        key
        for key in changed
        if any(
            key == each or key.startswith((f"{each}.", f"{each}[")) for each in NEEDS_RESTART
        )
    )


def settings_digest(config: NodeConfig) -> str:
    """A digest of all settings, by which two are told apart without showing them."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value; tables of one name by that, others by their place."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _flat(f"{prefix}.{name}".lstrip("."), each)
        if not value:
            yield prefix, {}
    elif isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        names = [str(each.get("name", place)) for place, each in enumerate(value)]
        # The order of tables counts too: the first route that fits decides.
        yield prefix, names
        for name, each in zip(names, value, strict=True):
            yield from _flat(f"{prefix}[{name}]", each)
    else:
        yield prefix, value
