"""Claims about a backup: made beside a node with cases in every state, and put back elsewhere.

Receiver, watcher, engine, objects and delivery are real, the analysis is the fast one. The node
is killed and its folder deleted before the other one starts: what that one needs was in the
backup.
"""

from __future__ import annotations

import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.installed_node import InstalledNode, free_port
from support.postgres import running_postgres
from support.small_node import result_pacs, write_small_bundle
from support.under_way import (
    ANALYSED,
    ANALYSING,
    ARRIVING,
    LOOK_S,
    NODE_TOML,
    PATIENCE_S,
    QUEUED,
    Site,
    bring_under_way,
    deliveries,
    installed,
    is_done,
    series_images,
)
from support.waiting import wait_until

from dicom_node.errors import ConfigurationError, EngineBusyError
from dicom_node.node.backup import make_backup, verify_backup
from dicom_node.node.restore import restore_backup
from dicom_node.peers.store import send
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.loading import load_config


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture(scope="module")
def images() -> dict[str, list[Path]]:
    return series_images()


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The database of the node, and an empty one for the restored (as its command takes it)."""
    if request.param == "sqlite":
        yield "data/node.sqlite", ""
        return
    with running_postgres() as one, running_postgres() as other:
        yield one.url, other.url


@pytest.fixture
def site(
    tmp_path: Path, databases: tuple[str, str], bundle: Path, images: dict[str, list[Path]]
) -> Iterator[Site]:
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copytree(bundle, folder / "bundle")
    strict = result_pacs(statuses=[0x0122] * 1000)
    with result_pacs().running() as pacs, strict.running():
        ports = {"port": free_port(), "away": free_port(), "pacs": pacs.port}
        text = NODE_TOML.format(strict=strict.port, database=databases[0], **ports)
        (folder / "node.toml").write_text(text)
        site = Site(installed(folder), pacs, strict, images)
        try:
            site.node.start()
            bring_under_way(site)
            yield site
        finally:
            site.node.kill()


def test_a_node_restored_elsewhere_goes_on_and_delivers_nothing_twice(
    site: Site, tmp_path: Path, databases: tuple[str, str]
) -> None:
    """Half received, queued, in analysis, analysed, delivered, waiting, held: they all end."""
    states = site.states()
    assert states[ANALYSED] is SeriesState.SEGMENTED
    assert states[QUEUED] is states[ANALYSING] is SeriesState.RECEIVED
    backup = tmp_path / "node.tar.zst"
    made = make_backup(site.toml, backup)
    assert verify_backup(backup) == made
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert made.left_out == 12  # of the series that is answered

    second = tmp_path / "second"
    with pytest.raises(EngineBusyError, match="is running"):
        restore_backup(backup, second, database_url=databases[1])
    site.node.kill()
    received_before = {uid for uid, _, _ in site.pacs.received}
    shutil.rmtree(site.node.folder)
    restore_backup(backup, second, database_url=databases[1])

    assert "# What the reading room agreed on." in (second / "node.toml").read_text()
    node = installed(second)
    assert node.config.node.spool == second / "spool"
    away = result_pacs(port=node.config.destinations[1].port)
    try:
        with away.running():
            node.start()
            assert all(each.stored for each in send(node.peer, site.images[ARRIVING][3:-3]))
            wait_until(lambda: is_done(node), PATIENCE_S, f"all is done ({node.log})", LOOK_S)
    finally:
        node.kill()
    wanted = deliveries(node)
    arrived = [uid for uid, _, _ in site.pacs.received]
    assert sorted(arrived) == sorted(wanted["pacs"])  # each once
    assert received_before < set(arrived)
    assert {uid for uid, _, _ in away.received} == wanted["away"]
    contents = {uid: data for uid, _, data in site.pacs.received}
    assert contents == {uid: data for uid, _, data in away.received}


def test_a_backup_is_made_while_images_come_and_results_go(
    tmp_path: Path, bundle: Path, images: dict[str, list[Path]]
) -> None:
    """Every series that was answered with success before the backup began is in it."""
    folder = tmp_path / "first"
    folder.mkdir()
    shutil.copytree(bundle, folder / "bundle")
    with result_pacs().running() as pacs:
        ports = dict.fromkeys(("pacs", "away", "strict"), pacs.port)
        text = NODE_TOML.format(port=free_port(), database="data/node.sqlite", **ports)
        (folder / "node.toml").write_text(text)
        node = installed(folder)
        node.start()
        try:
            stop = threading.Event()
            sending = threading.Thread(target=keep_sending, args=(node, images, stop))
            sending.start()
            backups = [tmp_path / f"backup-{number}" for number in range(6)]
            for backup in backups:
                make_backup(folder / "node.toml", backup, everything=True)
            stop.set()
            sending.join()
        finally:
            node.kill()
    for number, backup in enumerate(backups):
        manifest = verify_backup(backup)
        restore_backup(backup, tmp_path / f"again-{number}")
        names = {each.name for each in manifest.files}
        ledger = Ledger(f"sqlite:///{tmp_path}/again-{number}/node.sqlite")
        try:
            results, series = ledger.all_results(), ledger.all_series()
        finally:
            ledger.close()
        assert all(Path(row.path).is_file() for row in results)
        assert all(str(tmp_path / f"again-{number}") in row.path for row in results)
        for row in series:
            of_it = [
                name for name in names if name.startswith(f"spool/{row.series_instance_uid}/")
            ]
            assert len(of_it) >= row.instances


def keep_sending(
    node: InstalledNode, images: dict[str, list[Path]], stop: threading.Event
) -> None:
    """Send series after series until told to stop."""
    for paths in images.values():
        if stop.is_set():
            return
        send(node.peer, paths)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """A node that never ran, with a secret and a certificate's key of its own."""
    folder = tmp_path_factory.mktemp("idle")
    shutil.copytree(bundle, folder / "bundle")
    ports = {"port": 11112, "pacs": 4242, "away": 4243, "strict": 4244}
    text = NODE_TOML.format(database="data/node.sqlite", **ports)
    text += '\n[web]\nusers = "users.toml"\n'
    (folder / "node.toml").write_text(text)
    (folder / "users.toml").write_text("# nobody yet\n")
    (folder / "users.toml").chmod(0o600)
    (folder / "data" / "spool").mkdir(parents=True)
    (folder / "data" / "spool" / ".digest-key").write_bytes(b"k" * 32)
    (folder / "key").write_bytes(b"p" * 32)
    return folder


@pytest.mark.parametrize("name", ["backup.tar.zst", "backup"])
def test_settings_files_and_secrets_come_back_where_the_settings_say(
    name: str, idle: Path, tmp_path: Path
) -> None:
    backup = tmp_path / name
    make_backup(idle / "node.toml", backup, more=[idle / "key"])
    restore_backup(backup, tmp_path / "again")

    config = load_config(tmp_path / "again" / "node.toml")
    assert config.web is not None
    assert config.web.users.read_text() == "# nobody yet\n"
    assert stat.S_IMODE(config.web.users.stat().st_mode) == 0o600
    assert (config.node.spool / ".digest-key").read_bytes() == b"k" * 32
    assert Path(config.analysis.bundle).is_relative_to(tmp_path / "again")
    names = {path.name for path in Path(config.analysis.bundle).iterdir()}
    assert names == {path.name for path in (idle / "bundle").iterdir()}
    assert (tmp_path / "again" / "files" / "more" / "0" / "key").read_bytes() == b"p" * 32


def test_a_backup_that_was_changed_cut_off_or_added_to_is_refused_by_name(
    idle: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    make_backup(idle / "node.toml", whole)
    changed, added, cut = (tmp_path / name for name in ("changed", "added", "cut.tar.zst"))
    shutil.copytree(whole, changed)
    (changed / "spool" / ".digest-key").write_bytes(b"x" * 32)
    shutil.copytree(whole, added)
    (added / "spool" / "more").write_bytes(b"")
    make_backup(idle / "node.toml", tmp_path / "whole.tar.zst")
    content = (tmp_path / "whole.tar.zst").read_bytes()
    cut.write_bytes(content[: len(content) // 2])

    for backup, words in (
        (changed, r"spool/.digest-key has been changed"),
        (added, "spool/more is too much"),
        (cut, "not whole"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            restore_backup(backup, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_restore_needs_an_empty_folder_and_a_backup_a_new_name(
    idle: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.tar.zst"
    make_backup(idle / "node.toml", backup)

    with pytest.raises(ConfigurationError, match="is there already"):
        make_backup(idle / "node.toml", backup)
    with pytest.raises(ConfigurationError, match="is not empty"):
        restore_backup(backup, tmp_path)
    with pytest.raises(ConfigurationError, match=r"inside node\.spool"):
        make_backup(idle / "node.toml", idle / "data" / "spool" / "backup")
    with pytest.raises(ConfigurationError, match="fills no database"):
        restore_backup(backup, tmp_path / "again", database_url="postgresql:///x")
