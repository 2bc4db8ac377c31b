"""The supervisor's part of a reload: read, compare, look, hand over, answer; step by step.

Nothing here waits, for the supervisor has processes to look after meanwhile.

    asked      the file is read; the reasons against it end the matter
    looking    where bundles or graders are others, a process of its own looks at them
    handing    the roles have the new settings, and say whether they take them
    done       what is started from now on has them too; or every role gets its old ones back
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import structlog

from dicom_node.errors import ConfigurationError
from dicom_node.monitoring.audit import AuditEvent, AuditKind, AuditOutcome, open_trail
from dicom_node.monitoring.logs import configure_logging
from dicom_node.node import tls_checks
from dicom_node.node.reload import (
    ReloadAnswer,
    ReloadRequest,
    answer,
    changed_keys,
    find_requests,
    restart_keys,
    settings_digest,
)
from dicom_node.peers.credentials import credential_problems
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import NodeConfig

log = structlog.get_logger()

LOOK_EVERY_S: Final = 0.5
TAKE_WITHIN_S: Final = 60.0
"""A role is between two pieces of its work long before."""
MODELS: Final = ("analysis", "pipelines")
SIGNALLED: Final = ReloadRequest("", "SIGHUP")
NO_FILE: Final = "the node was started without a file, so there is none to read again"


class Handed(Protocol):
    """A role as a reload sees it.

    owes: how many answers to settings that it was handed.
    """

    name: str
    owes: int

    def hand(self, config: NodeConfig) -> None:
        """Give it other settings, and have it started with them from now on."""

    def reply(self, digest: str) -> str | None:
        """Why it did not take them; empty where it did, None while it has not said."""


@dataclass(slots=True)
class Reloading:
    """The reloads of one supervisor.

    path: its file.
    config: the settings that count; `done` is told when they are others.
    roles: those that are handed settings.
    """

    path: Path | None
    config: NodeConfig
    roles: Callable[[], Sequence[Handed]]
    done: Callable[[NodeConfig], None]
    _asked: list[ReloadRequest] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)
    _now: _UnderWay | None = None
    _look_at_s: float = 0.0

    def ask(self) -> None:
        """Have the file read again, for a signal; from whatever thread.

        Of several signals before it is begun, one counts: the file is read after all of them.
        """
        if SIGNALLED not in self._asked:
            self._asked.append(SIGNALLED)

    def step(self) -> None:
        """Do what can be done now."""
        self._find()
        if self._now is None and self._asked:
            self._begin(self._asked.pop(0))
        elif self._now is not None and self._now.child is not None:
            self._look(self._now, self._now.child)
        elif self._now is not None:
            self._gather(self._now)

    def _find(self) -> None:
        """Look for requests in the spool."""
        if time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        for request in find_requests(self.config.node.spool, self._known):
            self._known.add(request.key)
            self._asked.append(request)

    def _begin(self, request: ReloadRequest) -> None:
        """Read the file, and compare it with what counts."""
        silent = [role.name for role in self.roles() if role.owes]
        if self.path is None or silent:
            words = f"{', '.join(silent)}: it has not answered the last time"
            self._refuse(request, [words if silent else NO_FILE])
            return
        try:
            config = load_config(self.path)
        except ConfigurationError as error:
            self._refuse(request, str(error).splitlines())
            return
        changed = changed_keys(self.config, config)
        if fixed := restart_keys(changed):
            words = "the node has to be started again for it; nothing was changed"
            self._refuse(request, [f"{key}: {words}" for key in fixed], changed)
            return
        problems = [
            *tls_checks.problems(config, datetime.now(UTC)),
            *credential_problems(config),
        ]
        if problems:
            self._refuse(request, problems, changed)
            return
        self._now = _UnderWay(request, config, changed)
        if any(key.startswith(MODELS) for key in changed):
            self._now.child = _preflight(config)
        else:
            self._hand(self._now)

    def _look(self, now: _UnderWay, child: subprocess.Popen[str]) -> None:
        """See what the process says that looks at bundles and graders."""
        if child.poll() is None:
            return
        words, _ = child.communicate()
        now.child = None
        if child.returncode == 0:
            self._hand(now)
        else:
            said = words.strip().splitlines() or [f"the check ended with {child.returncode}"]
            self._refuse(now.request, said, now.changed)

    def _hand(self, now: _UnderWay) -> None:
        """Give the roles the new settings."""
        now.until_s = time.monotonic() + TAKE_WITHIN_S
        now.waits_for = [*self.roles()]
        for role in now.waits_for:
            role.hand(now.config)

    def _gather(self, now: _UnderWay) -> None:
        """See which roles have taken them."""
        digest = settings_digest(now.config)
        replies = {role.name: role.reply(digest) for role in now.waits_for}
        late = time.monotonic() > now.until_s
        if any(words is None for words in replies.values()) and not late:
            return
        against = [
            f"{name}: {'it does not answer' if words is None else words}"
            for name, words in replies.items()
            if words != ""
        ]
        if against:
            for role in now.waits_for:
                role.hand(self.config)
            self._refuse(now.request, against, now.changed)
        else:
            self._finish(now)

    def _finish(self, now: _UnderWay) -> None:
        """Let the new settings count from now on."""
        before, self.config, self._now = self.config, now.config, None
        configure_logging(now.config.logging)
        keys = ", ".join(now.changed) or "nothing"
        log.info("settings.reloaded", reason=keys, count=len(now.changed))
        self._tell(now.request, before, now.config, f"changed: {keys}")
        answer(
            now.config.node.spool, now.request, ReloadAnswer(is_taken=True, changed=now.changed)
        )
        self.done(now.config)

    def _refuse(
        self, request: ReloadRequest, reasons: Sequence[str], changed: Sequence[str] = ()
    ) -> None:
        """Change nothing, and say why."""
        self._now = None
        for words in reasons:
            log.error("settings.refused", reason=words.strip())
        self._tell(request, self.config, None, f"refused: {len(reasons)} problems")
        answer(
            self.config.node.spool,
            request,
            ReloadAnswer(is_taken=False, changed=tuple(changed), reasons=tuple(reasons)),
        )

    def _tell(
        self, request: ReloadRequest, before: NodeConfig, after: NodeConfig | None, words: str
    ) -> None:
        """Tell the audit trail: keys and digests, never values."""
        digests = settings_digest(before)
        if after is not None:
            digests += f" to {settings_digest(after)}"
        event = AuditEvent(
            AuditKind.CONFIGURATION_CHANGED,
            AuditOutcome.SUCCESS if after is not None else AuditOutcome.MINOR_FAILURE,
            user=request.by,
            words=f"settings {digests}; {words}",
        )
        open_trail(before, "supervise").record(event)


@dataclass(slots=True)
class _UnderWay:
    """A reload that is under way."""

    request: ReloadRequest
    config: NodeConfig
    changed: tuple[str, ...]
    child: subprocess.Popen[str] | None = None
    waits_for: list[Handed] = field(default_factory=list)
    until_s: float = 0.0


def _preflight(config: NodeConfig) -> subprocess.Popen[str]:
    """A process that looks at what settings point to."""
    child = subprocess.Popen(
        [sys.executable, "-m", "dicom_node.node.preflight"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if child.stdin is not None:
        child.stdin.write(config.model_dump_json())
        child.stdin.close()
        child.stdin = None
    return child
