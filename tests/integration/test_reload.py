"""Claims about settings that are read again while a node runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from support.audit_schema import problems
from support.cases import source_datasets
from support.ct import save
from support.installed_node import PATIENCE_S, SERVE, free_port
from support.pacs import Pacs
from support.scanner_association import association
from support.small_node import result_pacs, write_small_bundle
from support.waiting import wait_until
from support.web_client import FORM_TOKEN, PASSWORD

from dicom_node.errors import ConfigurationError, PeerError
from dicom_node.monitoring.audit import AuditKind
from dicom_node.node.audit_log import AuditFilter, read_audit, verify_audit
from dicom_node.node.reload import request_reload, supervisors
from dicom_node.node.status import node_status
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.loading import load_config
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.users import add_user

SETTINGS = """\
[node]
port = {port}
spool = "spool"
work = "work"
results = "results"
database = "db"
[receive]
free_reserve_mb = 0
idle_timeout_s = {idle_s}
[completion]
quiet_s = 3.0
give_up_s = 300.0
[analysis]
bundle = "./bundle"
device = "cpu"
samples = {samples}
[delivery]
first_wait_s = 0.2
max_wait_s = 1.0
[logging]
format = "json"
level = "debug"
[audit]
file = "audit.jsonl"
patient = "id"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}
[[destinations]]
name = "other"
ae_title = "PACS"
host = "127.0.0.1"
port = {other}
[[routes]]
destinations = ["{route}"]
{more}
"""


@dataclass(slots=True)
class Scene:
    """A node with a file of settings, and the two archives that it knows."""

    folder: Path
    values: dict[str, Any]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Its file of settings."""
        return self.folder / "node.toml"

    def settings(self, **changed: Any) -> None:
        """Write the file, with other values from now on."""
        self.values |= changed
        self.path.write_text(SETTINGS.format(**self.values))

    def start(self, *options: str) -> None:
        """Start it, or a role of it."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, SERVE, str(self.path), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)

    def wait(self) -> None:
        """Until it answers, and its worker works."""
        wait_until(self.answers, PATIENCE_S, "it answers")
        wait_until(lambda: self.events("engine.started"), PATIENCE_S, "it works")

    def peer(self, title: str = "CT1") -> Peer:
        """The node as a scanner of a title sees it."""
        return Peer("node", "MSKNODE", "127.0.0.1", self.values["port"], title)

    def answers(self, title: str = "CT1") -> bool:
        """Whether it lets a scanner in."""
        try:
            echo(self.peer(title))
        except PeerError:
            return False
        return True

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says under a name."""
        lines = (self.folder / "log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in found if each["event"] == name]

    def reload(self) -> tuple[str, ...]:
        """Have the file read again; the keys that changed."""
        found = request_reload(load_config(self.path), "tester")
        assert found.is_taken, found.reasons
        return found.changed

    def reported(self) -> int:
        """How many series it has reported."""
        return node_status(load_config(self.path)).series[SeriesState.REPORTED]

    def kill(self) -> None:
        """End it at once."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def archives() -> Iterator[tuple[Pacs, Pacs]]:
    with result_pacs().running() as pacs, result_pacs().running() as other:
        yield pacs, other


@pytest.fixture
def scene(tmp_path: Path, archives: tuple[Pacs, Pacs]) -> Iterator[Scene]:
    write_small_bundle(tmp_path / "bundle")
    scene = Scene(
        tmp_path,
        {
            "port": free_port(),
            "pacs": archives[0].port,
            "other": archives[1].port,
            "route": "pacs",
            "idle_s": 60,
            "samples": 2,
            "more": "",
        },
    )
    scene.settings()
    yield scene
    scene.kill()


def series_files(folder: Path, number: int) -> list[Path]:
    """A series of its own."""
    datasets = source_datasets()
    for dataset in datasets:
        dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.1452.9.{number}"
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{dataset.InstanceNumber}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return save(datasets, folder / str(number))


def test_twenty_reloads_drop_no_association_and_lose_no_series(
    scene: Scene, archives: tuple[Pacs, Pacs]
) -> None:
    """Three scanners send all the while, a series on each association."""
    scene.start()
    scene.wait()
    files = [series_files(scene.folder, number) for number in range(6)]
    ending, outcomes = threading.Event(), list[bool]()

    def scan(mine: list[list[Path]]) -> None:
        while not ending.is_set():
            for paths in mine:
                outcomes.extend(each.stored for each in send(scene.peer(), paths))

    scanners = [threading.Thread(target=scan, args=(files[at::3],)) for at in range(3)]
    for scanner in scanners:
        scanner.start()
    for number in range(20):
        scene.settings(idle_s=60 + number + 1)
        assert scene.reload() == ("receive.idle_timeout_s",)
    ending.set()
    for scanner in scanners:
        scanner.join()
    wait_until(lambda: scene.reported() == 6, PATIENCE_S, "every series is reported")
    wait_until(lambda: len(archives[0].received) >= 12, PATIENCE_S, "all was delivered")

    assert len(outcomes) > 100
    assert all(outcomes)
    assert len(scene.events("settings.reloaded")) == 20
    assert scene.events("association.aborted") == []
    assert scene.events("role.lost") == []
    assert scene.events("analysis.lost") == []


def test_an_analysis_under_way_is_not_lost_and_its_results_go_where_the_file_says_now(
    scene: Scene, archives: tuple[Pacs, Pacs]
) -> None:
    scene.start("--slow", "8")
    scene.wait()
    send(scene.peer(), series_files(scene.folder, 1))
    wait_until(lambda: scene.events("analysis.progress"), PATIENCE_S, "it is analysed")
    scene.settings(route="other")

    assert scene.reload() == ("routes[0].destinations",)
    wait_until(lambda: scene.reported() == 1, PATIENCE_S, "it is reported")
    wait_until(lambda: len(archives[1].received) == 2, PATIENCE_S, "and delivered")
    assert scene.events("analysis.lost") == []
    assert len(scene.events("analysis.ended")) == 1
    assert archives[0].received == []


def test_who_may_send_changes_for_new_associations_only(scene: Scene) -> None:
    scene.start()
    scene.wait()
    (file, *_) = series_files(scene.folder, 1)
    here: Any = SimpleNamespace(port=scene.values["port"])
    with association(here) as scanner:
        scene.settings(more='[[senders]]\nae_title = "CT2"')
        assert scene.reload() == ("senders", "senders[0].ae_title", "senders[0].hosts",
                                  "senders[0].fingerprints", "senders[0].count_at")  # fmt: skip

        assert not scene.answers("CT1")
        assert scene.answers("CT2")
        assert scanner.send_c_store(dcmread(file)).Status == 0x0000
    assert len(scene.events("role.started")) == 2


def test_a_bad_file_changes_nothing_and_says_why(scene: Scene) -> None:
    scene.start()
    scene.wait()
    config = load_config(scene.path)
    scene.settings(more='[[senders]]\nae_title = "CT2"\n[retention]\nimages_d = -1')
    bad = request_reload(config)
    scene.settings(more='[[senders]]\nae_title = "CT2"', port=free_port())
    other_port = request_reload(config)
    scene.values["port"] = config.node.port
    scene.settings(more='[[senders]]\nae_title = "CT2"\n[[pipelines]]\n'
                        'called_ae_title = "X"\nbundle = "none"')  # fmt: skip
    no_bundle = request_reload(config)

    assert [each.is_taken for each in (bad, other_port, no_bundle)] == [False] * 3
    assert "retention.images_d: Input should be greater than" in bad.reasons[0]
    assert other_port.reasons[0].startswith("node.port: the node has to be started again")
    assert no_bundle.reasons == (
        "analysis.bundle: none: no such folder, nor a shipped bundle (compact)",
    )
    assert scene.answers("CT1")
    assert len(scene.events("settings.refused")) == 3

    scene.settings(more='[[senders]]\nae_title = "CT2"')
    os.kill(scene.processes[0].pid, signal.SIGHUP)
    wait_until(lambda: not scene.answers("CT1"), PATIENCE_S, "SIGHUP takes a good one")
    changes = AuditFilter(kinds=frozenset({AuditKind.CONFIGURATION_CHANGED.value}))
    wait_until(lambda: len(list(read_audit(config, changes))) == 4, PATIENCE_S, "all told")
    told = list(read_audit(config, changes))
    assert [entry.outcome for entry in told] == ["0", "4", "4", "4"]
    assert "senders" in told[0].words
    assert "CT2" not in told[0].words
    assert verify_audit(config).problems == ()


def test_roles_that_are_served_apart_take_the_same_file(scene: Scene) -> None:
    """As on one machine with two services, or on two that share a spool's disk."""
    scene.start("--role", "receive")
    scene.start("--role", "work")
    scene.wait()
    scene.settings(idle_s=50)
    config = load_config(scene.path)

    assert supervisors(config.node.spool) == {each.pid for each in scene.processes}
    assert scene.reload() == ("receive.idle_timeout_s",)
    assert len(scene.events("settings.taken")) == 2


def test_the_web_starts_anew_and_a_port_that_is_taken_does_not_end_the_node(
    scene: Scene,
) -> None:
    scene.start()
    scene.wait()
    scene.settings(more=f"[web]\nport = {free_port()}")
    assert "web.port" in scene.reload()
    wait_until(lambda: scene.events("web.started"), PATIENCE_S, "pages are served")
    scene.settings(more=f"[web]\nport = {scene.values['port']}")
    assert scene.reload() == ("web.port",)
    wait_until(lambda: scene.events("role.lost"), PATIENCE_S, "it cannot listen there")

    lost = scene.events("role.lost")[0]
    assert (lost["key"], lost["exit_code"]) == ("web", 3)
    assert "web.port: cannot listen" in lost["reason"]
    assert scene.answers()
    assert scene.processes[0].poll() is None


def test_a_node_is_not_reloaded_by_a_request_to_another(scene: Scene, tmp_path: Path) -> None:
    other = replace(scene, folder=tmp_path / "other", processes=[], values=dict(scene.values))
    other.folder.mkdir()
    write_small_bundle(other.folder / "bundle")
    with ExitStack() as stack:
        stack.callback(other.kill)
        other.settings(port=free_port())
        scene.start()
        other.start()
        scene.wait()
        other.wait()
        scene.settings(idle_s=50)
        other.settings(idle_s=50)
        scene.reload()

        assert other.events("settings.reloaded") == []
        assert len(scene.events("settings.reloaded")) == 1


def test_a_spool_without_a_node_has_nobody_to_ask(scene: Scene) -> None:
    scene.folder.joinpath("spool").mkdir()

    with pytest.raises(ConfigurationError, match="no node runs on the spool"):
        request_reload(load_config(scene.path))


def test_what_happens_to_a_series_is_in_the_audit_trail(scene: Scene) -> None:
    scene.start()
    scene.wait()
    send(scene.peer(), series_files(scene.folder, 1))
    wait_until(lambda: scene.reported() == 1, PATIENCE_S, "it is reported")
    scene.settings(more='[[senders]]\nae_title = "CT2"')
    scene.reload()
    assert not scene.answers("CT1")
    config = load_config(scene.path)

    def told(kind: AuditKind) -> list[Any]:
        return list(read_audit(config, AuditFilter(kinds=frozenset({kind.value}))))

    for kind in (AuditKind.INSTANCES_SENT, AuditKind.ASSOCIATION_REFUSED):
        wait_until(lambda kind=kind: told(kind), PATIENCE_S, f"{kind.value} is written")
    (received,) = told(AuditKind.INSTANCES_RECEIVED)
    sent, refused = told(AuditKind.INSTANCES_SENT)[-1], told(AuditKind.ASSOCIATION_REFUSED)[0]

    assert (received.user, received.instances, len(received.studies)) == ("CT1", 12, 1)
    patient = source_datasets()[0].PatientID
    assert f'ParticipantObjectID="{patient}"' in received.xml
    assert problems(received.xml) == problems(sent.xml) == problems(refused.xml) == []
    assert (sent.peer, sent.instances, sent.studies) == ("pacs", 2, received.studies)
    assert (refused.user, refused.host) == ("CT1", "127.0.0.1")
    assert "calling AE title not known" in refused.words
    assert len(told(AuditKind.APPLICATION_STARTED)) == 3


SCHEDULE = """
[[archives]]
name = "vna"
destination = "pacs"
retrieve = "get"
[[schedules]]
name = "nightly"
archive = "vna"
at = "01:30"
since = "2026-01-01"
"""


def test_the_settings_page_has_the_file_read_again_and_its_user_stays_logged_in(
    scene: Scene,
) -> None:
    """By a real browser's requests; the pages' own process starts anew meanwhile."""
    port = free_port()
    web = f"[web]\nport = {port}\n"
    scene.settings(more=web)
    config = load_config(scene.path)
    assert config.web is not None
    add_user(config.web.users, "anna", Role.OPERATOR, PASSWORD)
    scene.start()
    scene.wait()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as browser:

        def page(path: str) -> str:
            try:
                answer = browser.get(path)
            except httpx.TransportError:
                return ""
            return answer.text if answer.status_code == 200 else ""

        def send_form(path: str, **fields: str) -> str:
            wait_until(lambda: FORM_TOKEN.search(page(path)), PATIENCE_S, f"{path} is there")
            token = FORM_TOKEN.findall(page(path))[-1]
            action = {"/login": "/login", "/settings": "/settings/reload"}[path]
            return browser.post(action, data={"csrf_token": token, **fields}).text

        send_form("/login", username="anna", password=PASSWORD)
        assert "no archive is asked" in page("/schedules")
        scene.settings(more=web + "[retention]\nimages_d = -1\nresults_d = -2\n")
        refused = send_form("/settings")
        scene.settings(more=web + SCHEDULE)
        taken = send_form("/settings")

        assert "Nothing was changed" in refused
        assert "retention.images_d" in refused
        assert "retention.results_d" in refused
        assert "<code>schedules" in taken
        wait_until(lambda: "nightly" in page("/schedules"), PATIENCE_S, "they started anew")
        assert "anna" in page("/schedules")
        assert "nothing has changed" in send_form("/settings")
    filter_ = AuditFilter(kinds=frozenset({AuditKind.CONFIGURATION_CHANGED.value}))
    told = [each.user for each in read_audit(config, filter_)]
    assert told[:3] == ["anna"] * 3
