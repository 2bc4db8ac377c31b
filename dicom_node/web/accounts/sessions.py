"""Sessions: a cookie with a random number, and what it stands for kept here.

A file each, in the spool's hidden folder, under the digest of the number: who reads the file
cannot make the cookie. So logins survive a restart of the web process, end at once when they
are ended, and are over when the user's role or password changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dicom_node.durable_files import OWN, write_durably

FOLDER: Final = ".web-sessions"
ID_BYTES: Final = 32
NOTE_EVERY: Final = timedelta(seconds=15)
"""How closely the last request of a session is kept."""
MOST: Final = 10_000
"""Sessions at a time; a login beyond that ends the oldest ones."""


@dataclass(frozen=True, slots=True)
class Session:
    """Someone's login.

    key: the digest of the cookie's number.
    stamp: that of the account at the time.
    """

    key: str
    user: str
    stamp: str
    began_at: datetime
    seen_at: datetime


class Sessions:
    """The sessions of a node."""

    def __init__(self, spool: Path, idle: timedelta, longest: timedelta) -> None:
        self._folder = spool / FOLDER
        self._idle = idle
        self._longest = longest

    def begin(self, user: str, stamp: str, now: datetime) -> str:
        """Begin one; the cookie's value.

        Raises:
            OSError: it cannot be written.
        """
        self._sweep(now)
        number = secrets.token_urlsafe(ID_BYTES)
        record = {"user": user, "stamp": stamp, "began_at": now.isoformat()}
        path = self._path(_key(number))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, json.dumps(record).encode(), mode=OWN)
        _note(path, now)
        return number

    def find(self, number: str, now: datetime) -> Session | None:
        """The session of a cookie, if it still lasts; this is a request of it."""
        key = _key(number)
        session = self._read(key)
        if session is None or not self._lasts(session, now):
            return None
        if now - session.seen_at >= NOTE_EVERY:
            with contextlib.suppress(OSError):  # a full disk: it ends a little earlier
                _note(self._path(key), now)
        return session

    def end(self, number: str) -> None:
        """End one."""
        self._path(_key(number)).unlink(missing_ok=True)

    def _lasts(self, session: Session, now: datetime) -> bool:
        """True if neither of its ends has come."""
        is_idle = now - session.seen_at > self._idle
        return not is_idle and now - session.began_at <= self._longest

    def _sweep(self, now: datetime) -> None:
        """Remove what has ended, and the oldest where there are too many."""
        if not self._folder.is_dir():
            return
        lasting = []
        for path in self._folder.glob("*.json"):
            session = self._read(path.stem)
            if session is not None and self._lasts(session, now):
                lasting.append(session)
            else:
                path.unlink(missing_ok=True)
        lasting.sort(key=lambda each: each.seen_at, reverse=True)
        for session in lasting[MOST:]:
            self._path(session.key).unlink(missing_ok=True)

    def _read(self, key: str) -> Session | None:
        """A session by its digest."""
        path = self._path(key)
        try:
            seen_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            record = json.loads(path.read_bytes())
            began_at = datetime.fromisoformat(record["began_at"])
            return Session(key, record["user"], record["stamp"], began_at, seen_at)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _key(number: str) -> str:
    """The digest of a cookie's number: any text gives a name that is safe."""
    return hashlib.sha256(number.encode(errors="replace")).hexdigest()


def _note(path: Path, now: datetime) -> None:
    """Keep when the last request was."""
    os.utime(path, (now.timestamp(), now.timestamp()))
