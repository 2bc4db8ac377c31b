"""Claims about a node on a machine without a network: from its start to its answer.

Everything is the product's own: the command line, the network, the web pages. It runs in a
network namespace that holds loopback alone; proxies lead nowhere, and no name is known.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cases import source_datasets
from support.ct import save
from support.installed_node import free_port
from support.namespace import Namespace, make_namespace
from support.small_node import result_pacs, write_small_bundle
from support.waiting import wait_until

MSK_NODE = str(Path(sys.executable).parent / "msk-node")
OUTSIDE = str(Path(__file__).parents[1] / "support" / "outside")
PATIENCE_S = 240.0
NOWHERE = "http://127.0.0.1:9"
NODE_TOML = """\
[node]
port = {port}
spool = "spool"
work = "work"
results = "results"
database = "node.sqlite"

[receive]
free_reserve_mb = 0

[completion]
quiet_s = 1

[analysis]
bundle = "./bundle"
device = "cpu"

[logging]
format = "json"

[web]
port = {web}

[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}
"""


@pytest.fixture
def loopback_only() -> Iterator[Namespace]:
    """A namespace of this test's own; a skip where we may not make one."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a network namespace")
    try:
        namespace = make_namespace(f"msk-no-internet-{os.getpid()}")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no network namespace can be made here (ip netns, CAP_SYS_ADMIN)")
    yield namespace
    namespace.remove()


def environment(folder: Path) -> dict[str, str]:
    """Proxies that lead nowhere, and a file for every call that is not to this machine."""
    proxies = {
        name: NOWHERE
        for each in ("http_proxy", "https_proxy", "all_proxy")
        for name in (each, each.upper())
    }
    return {
        **os.environ,
        **proxies,
        "no_proxy": "",
        "NO_PROXY": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": OUTSIDE,
        "MSK_TEST_OUTSIDE": str(folder / "outside"),
    }


def test_a_node_without_any_network_answers_a_series_and_shows_its_pages(
    tmp_path: Path, loopback_only: Namespace
) -> None:
    write_small_bundle(tmp_path / "bundle")
    images = save(source_datasets(), tmp_path / "images")
    web = free_port()
    with loopback_only.inside(), result_pacs().running() as pacs:
        text = NODE_TOML.format(port=free_port(), web=web, pacs=pacs.port)
        (tmp_path / "node.toml").write_text(text)
        port = re.search(r"port = (\d+)", text)[1]  # type: ignore[index]
        with (tmp_path / "log").open("wb") as log:
            node = subprocess.Popen(
                [MSK_NODE, "serve", "--config", "node.toml"],
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(tmp_path),
            )
        try:
            wait_until(lambda: shows(web), PATIENCE_S, f"the pages are shown ({tmp_path}/log)")
            command = [MSK_NODE, "send", f"MSKNODE@127.0.0.1:{port}", *map(str, images)]
            sent = subprocess.run(
                command, check=False, capture_output=True, env=environment(tmp_path), text=True
            )
            assert sent.returncode == 0, sent.stdout + sent.stderr
            wait_until(lambda: len(pacs.received) >= 2, PATIENCE_S, "results have come back")
            page = read(web)
        finally:
            node.terminate()
            assert node.wait(60) == 0

    outside = tmp_path / "outside"
    assert not outside.exists(), outside.read_text()
    assert not page.startswith("5")
    # Nothing of the page comes from elsewhere.
    assert re.findall(r"""(?:src|href|action)=["'](?:https?:)?//""", page) == []


def shows(port: int) -> bool:
    """Whether the web process answers."""
    try:
        return bool(read(port))
    except OSError:
        return False


def read(port: int) -> str:
    """The first page, or where it leads a stranger."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
