"""A PostgreSQL server of the test's own: in a temporary folder, on a Unix socket alone.

The server refuses to run as root, so root runs it as the user that Debian's package made.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "msk"
DATABASE = "msk"


def find_binaries() -> Path | None:
    """The folder of the newest PostgreSQL here, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def _owner() -> int | None:
    """Whom the server runs as: None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    return None


@dataclass(frozen=True, slots=True)
class Postgres:
    """A cluster in `folder`; survives its server, as a disk does."""

    binaries: Path
    folder: Path

    @property
    def url(self) -> str:
        """Its database, as `node.database` takes it."""
        return f"postgresql://{USER}@/{DATABASE}?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", log, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: at once, as a power cut would, unless told otherwise."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    @property
    def data(self) -> str:
        """The cluster's files."""
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            user=_owner(),
            cwd="/",
        )
        if done.returncode != 0:
            words = (done.stdout or b"").decode(errors="replace")
            raise RuntimeError(f"{program} ended with {done.returncode}: {words[-2000:]}")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A fresh server with an empty database, gone at the end; a skip where there is none."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    # Short: the path of a Unix socket has 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="msk-pg-"))
    owner = _owner()
    if owner is not None:
        os.chown(folder, owner, -1)
    server = Postgres(binaries, folder)
    try:
        server._run("initdb", "-D", server.data, "-U", USER, "-A", "trust", "-N")
        server.start()
        server._run("createdb", "-h", str(folder), "-U", USER, DATABASE)
        yield server
    finally:
        with suppress(RuntimeError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
