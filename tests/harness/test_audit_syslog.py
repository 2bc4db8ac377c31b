"""Claims about the audit trail's copy, made against a real rsyslog that listens by TLS."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.audit_schema import problems
from support.certificates import make_authority
from support.installed_node import free_port
from support.stopping import stop
from support.waiting import wait_until

from dicom_node.monitoring.audit import AuditEvent, AuditKind
from dicom_node.monitoring.audit_file import AuditFile
from dicom_node.monitoring.audit_messages import Reporter
from dicom_node.monitoring.audit_syslog import Forwarder, read_sent
from dicom_node.monitoring.audit_writer import envelope
from dicom_node.settings.audit import Syslog
from dicom_node.settings.tls import DestinationTls

RSYSLOGD = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
GNUTLS = tuple(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so"))
PATIENCE_S = 40.0
US = Reporter("MSKNODE", "ct-node", source="receive", file="file:///a")
SETTINGS = """\
global(workDirectory="{folder}" maxMessageSize="64k"
  defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1"
  streamDriver.authMode="x509/certvalid")
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="audit")
template(name="whole" type="list") {{
  property(name="pri") constant(value=" ") property(name="app-name") constant(value=" ")
  property(name="msgid") constant(value=" ") property(name="hostname") constant(value=" ")
  property(name="msg") constant(value="\\n")
}}
ruleset(name="audit") {{ action(type="omfile" file="{folder}/got" template="whole") }}
"""


@dataclass(slots=True)
class Rsyslog:
    """An rsyslog, and what it has got."""

    folder: Path
    port: int

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it for a while."""
        assert RSYSLOGD is not None
        command = [RSYSLOGD, "-n", "-f", str(self.folder / "conf"), "-i", "NONE"]
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)

    def got(self) -> list[str]:
        """The lines it has got."""
        path = self.folder / "got"
        return path.read_text().splitlines() if path.exists() else []


@dataclass(slots=True)
class Scene:
    """A trail, its server, and how that is called."""

    server: Rsyslog
    trail: AuditFile
    syslog: Syslog

    def write(self, count: int) -> None:
        """Write so many messages."""
        for number in range(count):
            event = AuditEvent(
                AuditKind.INSTANCES_RECEIVED,
                user="CT1",
                study_instance_uids=(f"1.2.{number}",),
                instances=number,
            )
            self.trail.append([envelope(event, datetime.now(UTC), US)])

    @contextmanager
    def forwarding(self) -> Iterator[Forwarder]:
        """Send the trail for a while."""
        forwarder, ending = Forwarder(self.trail, self.syslog, "ct-node"), threading.Event()
        thread = threading.Thread(target=forwarder.run, args=(ending,))
        thread.start()
        try:
            yield forwarder
        finally:
            ending.set()
            thread.join()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    if RSYSLOGD is None or not GNUTLS:
        stop("not installed: rsyslog rsyslog-gnutls (make harness-packages)")
    authority = make_authority(tmp_path / "ca")
    theirs, ours = authority.issue("logs"), authority.issue("node")
    port, folder = free_port(), tmp_path / "rsyslog"
    folder.mkdir()
    settings = SETTINGS.format(
        folder=folder, ca=authority.path, certificate=theirs.path, key=theirs.key, port=port
    )
    (folder / "conf").write_text(settings)
    tls = DestinationTls(ca=authority.path, certificate=ours.path, key=ours.key)
    syslog = Syslog(host="127.0.0.1", port=port, tls=tls)
    return Scene(Rsyslog(folder, port), AuditFile(tmp_path / "audit.jsonl"), syslog)


def test_every_message_comes_whole_and_in_order(scene: Scene) -> None:
    scene.write(150)
    with scene.server.running(), scene.forwarding():
        wait_until(lambda: len(scene.server.got()) >= 150, PATIENCE_S, "all came")
        scene.write(3)
        wait_until(lambda: len(scene.server.got()) >= 153, PATIENCE_S, "and what followed")
    lines = scene.server.got()
    xml = [line.partition("<AuditMessage")[1] + line.partition("<AuditMessage")[2]
           for line in lines]  # fmt: skip

    assert {line.partition("<AuditMessage")[0].rstrip("\ufeff ") for line in lines} == {
        "85 msk-node DICOM+RFC3881 ct-node"
    }
    assert problems(xml[0]) == []
    assert [f'ParticipantObjectID="1.2.{n % 150}"' in xml[n] for n in range(153)] == [
        True
    ] * 153


def test_a_server_that_is_away_gets_all_when_it_is_back(scene: Scene) -> None:
    scene.write(2)
    with scene.forwarding():
        wait_until(
            lambda: read_sent(scene.trail).failing_since, PATIENCE_S, "it says that it fails"
        )
        assert read_sent(scene.trail).reason == "Connection refused"
        with scene.server.running():
            wait_until(lambda: len(scene.server.got()) >= 2, PATIENCE_S, "both came")
            wait_until(
                lambda: not read_sent(scene.trail).failing_since, PATIENCE_S, "all is well"
            )
        scene.write(2)
        wait_until(lambda: read_sent(scene.trail).failing_since, PATIENCE_S, "it went away")
        with scene.server.running():
            wait_until(lambda: read_sent(scene.trail).number == 4, PATIENCE_S, "they were sent")
            wait_until(lambda: len(scene.server.got()) >= 4, PATIENCE_S, "and came")


def test_a_restart_goes_on_where_it_was(scene: Scene) -> None:
    with scene.server.running():
        scene.write(3)
        with scene.forwarding():
            wait_until(lambda: len(scene.server.got()) >= 3, PATIENCE_S, "they came")
        scene.write(2)
        with scene.forwarding():
            wait_until(lambda: len(scene.server.got()) >= 5, PATIENCE_S, "the rest came")

    assert len(scene.server.got()) == 5


def test_a_server_that_nobody_vouches_for_gets_nothing(scene: Scene, tmp_path: Path) -> None:
    other = make_authority(tmp_path / "other")
    tls = DestinationTls(ca=other.path)
    scene.syslog = scene.syslog.model_copy(update={"tls": tls})
    scene.write(1)
    with scene.server.running(), scene.forwarding():
        wait_until(
            lambda: (
                "certificate" in read_sent(scene.trail).reason
                or "issuer" in read_sent(scene.trail).reason
            ),
            PATIENCE_S,
            "it is not believed",
        )

    assert scene.server.got() == []
