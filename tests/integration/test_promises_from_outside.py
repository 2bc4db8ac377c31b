"""Claims that README and docs make about commands beside a node, tried with the commands alone.

`msk-node serve` with a `node.toml`, its own analysis and a bundle that knows nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cases import source_datasets
from support.ct import SERIES_UID, save
from support.installed_node import PATIENCE_S, InstalledNode, free_port
from support.pacs import Pacs
from support.postgres import running_postgres
from support.small_node import result_pacs, write_small_bundle
from support.tls_calls import make_pki
from support.waiting import wait_until

from dicom_node.settings.loading import load_config

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "240", "NO_COLOR": "1"}
NOWHERE = "postgresql://msk@127.0.0.1:1/msk"


@dataclass(slots=True)
class Site:
    """A folder with a `node.toml`, and the node that was started on it."""

    folder: Path
    node: InstalledNode

    def run(self, *command: str) -> tuple[int, str]:
        """The exit code of a command, and all that it says, on one line."""
        done = subprocess.run(
            [MSK_NODE, *command],
            check=False,
            cwd=self.folder,
            capture_output=True,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def status(self) -> str:
        """What `msk-node status` says."""
        code, said = self.run("status", "--config", "node.toml")
        assert code == 0, said
        return said

    def serve(self, *options: str) -> None:
        """`msk-node serve`, until it answers."""
        self.start(*options)
        wait_until(self.node.answers, PATIENCE_S, f"the node answers ({self.node.log})")

    def start(self, *options: str) -> None:
        """`msk-node serve`, and no more."""
        with self.node.log.open("ab") as log:
            self.node.process = subprocess.Popen(
                [MSK_NODE, "serve", "--config", "node.toml", *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )

    def said(self, event: str) -> list[dict[str, Any]]:
        """What the node's log says under one name."""
        return [each for each in self.node.events() if each["event"] == event]


def site_of(folder: Path, pacs_port: int, **words: str) -> Site:
    """A site with these words of settings beside the usual ones, by their tables."""
    write_small_bundle(folder / "bundle")
    tables: Mapping[str, str] = {
        "node": f"port = {free_port()}\n{words.get('node', '')}",
        "receive": "free_reserve_mb = 0",
        "completion": "quiet_s = 1.5\ngive_up_s = 3.0",
        "analysis": 'bundle = "./bundle"\ndevice = "cpu"\nsamples = 1',
        "delivery": "first_wait_s = 0.2\nmax_wait_s = 1.0\nhold_after = 1",
        "logging": 'format = "json"',
        "[destinations]": 'name = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\n'
        f"port = {pacs_port}",
    }
    text = "".join(f"[{name}]\n{table}\n" for name, table in tables.items())
    (folder / "node.toml").write_text(text + words.get("more", ""))
    return Site(folder, InstalledNode(folder, load_config(folder / "node.toml")))


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """An archive that refuses the first object for its class (0x0122)."""
    with result_pacs(statuses=[0x0122]).running() as pacs:
        yield pacs


@pytest.fixture
def running(tmp_path: Path, pacs: Pacs) -> Iterator[Site]:
    site = site_of(tmp_path, pacs.port, more='[[senders]]\nae_title = "CT1"\n')
    site.serve()
    yield site
    site.node.kill()


def test_status_tells_what_is_held_and_who_was_turned_away_and_release_lets_it_go_on(
    running: Site, pacs: Pacs, tmp_path: Path
) -> None:
    """README: "series, deliveries, and what is held, with the reason"; docs/security.md."""
    address = f"MSKNODE@127.0.0.1:{running.node.config.node.port}"
    series = str(save(source_datasets(), tmp_path / "series")[0].parent)
    turned_away = running.run("send", address, series, "--calling", "NOBODY")
    taken = running.run("send", address, series, "--calling", "CT1")
    wait_until(
        lambda: "Held deliveries" in running.status(), PATIENCE_S, "status tells", every_s=1.0
    )
    said = running.status()

    assert turned_away[0] == 5
    assert taken[0] == 0
    assert SERIES_UID in said
    assert "0x0122" in said or "SOP class" in said
    assert "calling AE title not known" in said
    assert "NOBODY" in said
    before = len(pacs.received)
    code, words = running.run("release", "--config", "node.toml", "--series", SERIES_UID)
    assert code == 0
    assert "held objects released" in words
    wait_until(lambda: len(pacs.received) > before, PATIENCE_S, "a running node takes it up")
    wait_until(
        lambda: "Held deliveries" not in running.status(), PATIENCE_S, "none", every_s=1.0
    )


def test_a_node_that_only_receives_needs_no_database(tmp_path: Path) -> None:
    """docs/several-machines.md: "Storage SCP only; needs no database to receive"."""
    site = site_of(tmp_path, 1, node=f'database = "{NOWHERE}"')
    site.serve("--role", "receive")
    try:
        address = f"MSKNODE@127.0.0.1:{site.node.config.node.port}"
        save(source_datasets(), tmp_path / "series")
        code, said = site.run("send", address, "series")

        assert (code, said) == (0, "12 of 12 stored")
        assert site.node.process is not None
        site.node.process.terminate()
        assert site.node.process.wait(PATIENCE_S) == 0
    finally:
        site.node.kill()


def test_check_opens_no_database(tmp_path: Path) -> None:
    """docs/versions.md."""
    site = site_of(tmp_path, 1, node=f'database = "{NOWHERE}"')

    assert site.run("check", "--config", "node.toml")[0] == 0


def test_a_certificate_that_expires_soon_is_told_by_check_status_and_the_node(
    tmp_path: Path,
) -> None:
    """docs/security.md: "warns 30 days before; the node logs the same warning"."""
    pki = make_pki(tmp_path)
    soon = pki.ours.issue("soon", days=(-20, 5.5))
    tls = f'ca = "{pki.ours.path}"\ncertificate = "{soon.path}"\nkey = "{soon.key}"'
    site = site_of(tmp_path, 1, more=f"[destinations.tls]\n{tls}\n")

    assert "expires in 5 days" in site.run("check", "--config", "node.toml")[1]
    assert "expires in 5 days" in site.status()
    site.start("--role", "receive")
    try:
        wait_until(lambda: site.said("tls.concern"), PATIENCE_S, "the node says so")
        assert "expires in 5 days" in site.said("tls.concern")[0]["reason"]
    finally:
        site.node.kill()


def test_a_second_worker_of_a_name_that_is_alive_is_refused_with_3(tmp_path: Path) -> None:
    """docs/several-machines.md, "Names"; on machines of their own, with one database."""
    with running_postgres() as server:
        words = f'database = "{server.url}"\nname = "alpha"\nlease_s = 2.0'
        sites = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            sites.append(site_of(tmp_path / name, 1, node=words))
        first, second = sites
        try:
            first.start("--role", "work")
            wait_until(lambda: first.said("engine.started"), PATIENCE_S, "the first works")
            second.start("--role", "work")
            assert second.node.process is not None

            assert second.node.process.wait(PATIENCE_S) == 3
            assert "another worker called 'alpha' works" in second.node.log.read_text()
            assert first.said("lease.lost") == []
        finally:
            for site in sites:
                site.node.kill()
