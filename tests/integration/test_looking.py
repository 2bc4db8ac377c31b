"""Claims about commands that only look: they change nothing, and need no right to write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ct import ct_stack, save
from support.sent_results import SERIES, Site
from support.stopping import stop

from dicom_node.persistence.ledger import Ledger
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import Completion
from dicom_node.spool.spool import Spool
from dicom_node.spool.watcher import Watcher

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
NOBODY = 65534
WITHOUT_RIGHTS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
"""Takes from root what makes it more than one user among others (capabilities(7))."""
SETTINGS = """\
[node]
spool = "spool"
work = "work"
results = "results"
database = "ledger/db"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 104
"""
Seen = dict[str, tuple[int, int, int, int]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "node.toml").write_text(SETTINGS)
        yield Path(name)


@pytest.fixture
def node(folder: Path) -> Iterator[Ledger]:
    """A node that has answered a series, with its ledger still open."""
    config = load_config(folder / "node.toml")
    for made in (config.node.spool, config.node.work, config.node.results, folder / "ledger"):
        made.mkdir()
    site = Site(config, Ledger(config.node.database_url))
    save(ct_stack(), config.node.spool / SERIES)
    Watcher(Spool(config.node.spool), Completion(), lambda _: None, lambda: 2e9).poll()
    site.answer()
    yield site.ledger
    site.ledger.close()


def give_away(folder: Path) -> None:
    """Have another user own a folder and all that is in it."""
    if os.geteuid() != 0 or shutil.which(WITHOUT_RIGHTS[0]) is None:
        stop("not root, or no setpriv: nothing can be given away")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def look(folder: Path, *command: str) -> tuple[int, str]:
    """What a command in that folder says, and its exit code; run by a mere user."""
    rights = WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*rights, MSK_NODE, *command],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def everything(folder: Path) -> Seen:
    """Every file and folder: its size, owner, mode and time of change."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        seen = path.lstat()
        found[str(path)] = (seen.st_size, seen.st_uid, seen.st_mode, seen.st_mtime_ns)
    return found


@pytest.mark.parametrize("command", ["check", "status"])
def test_looking_at_a_node_that_never_ran_makes_nothing(command: str, folder: Path) -> None:
    before = everything(folder)
    code, words = look(folder, command, "--config", "node.toml")

    assert code == 0
    assert everything(folder) == before
    if command == "status":
        assert words.count("not there yet") == 4


@pytest.mark.parametrize("command", ["check", "status"])
def test_looking_with_the_defaults_makes_nothing_where_one_stands(
    command: str, folder: Path
) -> None:
    (folder / "node.toml").unlink()
    before = everything(folder)
    code, _ = look(folder, command)

    assert code == 0
    assert everything(folder) == before


@pytest.mark.parametrize("of_another", [False, True], ids=["own", "another's"])
@pytest.mark.parametrize("left", ["at work", "killed", "copied", "ended"])
def test_status_reads_the_ledger_as_it_was_left_and_leaves_it_so(
    left: str,
    of_another: bool,
    folder: Path,
    node: Ledger,
) -> None:
    """*copied*: with its log and without the index, as a copy of a database may be."""
    ledger = folder / "ledger"
    assert (ledger / "db-wal").stat().st_size > 0
    if left != "at work":
        shutil.copytree(ledger, folder / "as-left")
        node.close()
    if left in ("killed", "copied"):
        shutil.rmtree(ledger)
        (folder / "as-left").rename(ledger)
    if left == "copied":
        (ledger / "db-shm").unlink()
    if left == "ended":
        assert [path.name for path in ledger.iterdir()] == ["db"]
    if of_another:
        give_away(folder)
    before = everything(folder)
    code, words = look(folder, "status", "--config", "node.toml")

    assert code == 0, words
    assert everything(folder) == before
    assert "waiting" in words
    assert "pacs" in words


def test_check_by_another_user_says_whose_the_folders_are(folder: Path, node: Ledger) -> None:
    give_away(folder)
    before = everything(folder)
    code, words = look(folder, "check", "--config", "node.toml")

    assert code == 0, words
    assert "belongs to nobody, and root cannot write there" in " ".join(words.split())
    assert everything(folder) == before


def test_check_by_who_may_not_make_the_folders_says_so(folder: Path) -> None:
    give_away(folder)
    code, words = look(folder, "check", "--config", "node.toml")

    assert code == 3
    assert "cannot be written: Permission denied" in words


def test_what_may_not_be_read_is_named(folder: Path, node: Ledger) -> None:
    (folder / "ledger").chmod(0o700)
    give_away(folder)
    code, words = look(folder, "status", "--config", "node.toml")

    assert code == 3
    assert "cannot be read: Permission denied" in " ".join(words.split())
    assert "Traceback" not in words


@pytest.mark.parametrize("command", ["status", "release"])
@pytest.mark.parametrize(
    "database", ["ledger/db", "postgresql://nobody@127.0.0.1:1/none"], ids=["file", "server"]
)
def test_a_database_that_is_none_or_away_is_named(
    command: str, database: str, folder: Path
) -> None:
    (folder / "ledger").mkdir()
    (folder / "ledger" / "db").write_bytes(b"no database" * 100)
    (folder / "node.toml").write_text(SETTINGS.replace("ledger/db", database))
    code, words = look(folder, command, "--config", "node.toml")

    assert code == 3
    assert "node.database: cannot be read:" in " ".join(words.split())
    assert "Traceback" not in words
