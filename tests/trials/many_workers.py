"""Many machines, one always in trouble: `python tests/trials/many_workers.py [SERIES]`.

Every receiver and worker has a network namespace of its own, joined by a bridge to the one in
which database and archive are; the disk is shared. While series arrive at both receivers,
workers are added, given a newer version, killed, frozen and thawed, and cut off by their
network.
The network that segments is a stand-in of two seconds; the rest is the node's. In the end each
series has one answer, and the archive each of its objects, with one content.

Needs root (for the namespaces), PostgreSQL, and the history of this checkout: one worker and
one receiver begin as the version before notes were left of what comes (`spool/touched.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

from support.ct import ct_stack, save
from support.namespace import Namespace
from support.pacs import Pacs
from support.postgres import USER, Postgres, running_postgres
from support.previous_node import previous_node
from support.small_node import result_pacs, small_config
from support.waiting import wait_until

from dicom_node.errors import PeerError
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import ANSWERED, DeliveryState

WORKER: Final = str(Path(__file__).parents[1] / "support" / "standin_worker.py")
VERSION_BEFORE: Final = "2223ead93b6ae2796ed09e153cc945a676a3fdb9"
NETWORK: Final = "10.77.0"
SERVER: Final = f"{NETWORK}.1"
BRIDGE: Final = "msk-hub"
PORT: Final = 11112
LEASE_S: Final = 4.0
ANALYSIS_S: Final = 2.0
PATIENCE_S: Final = 300.0


def run(*command: str) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


@dataclass(slots=True)
class Machines:
    """The hub, in which database and archive are, and the machines joined to it."""

    hub: Namespace
    names: dict[str, int] = field(default_factory=dict)

    def join(self, name: str) -> None:
        """A machine of its own, with one cable to the hub."""
        number = 10 + len(self.names)
        self.names[name] = number
        space, inside, outside = f"msk-{name}", f"i{number}", f"o{number}"
        run("ip", "netns", "add", space)
        run(
            "ip",
            "link",
            "add",
            outside,
            "netns",
            self.hub.name,
            "type",
            "veth",
            "peer",
            "name",
            inside,
            "netns",
            space,
        )
        run(*self.hub.argv("ip", "link", "set", outside, "master", BRIDGE, "up"))
        there = Namespace(space)
        run(*there.argv("ip", "link", "set", "lo", "up"))
        run(*there.argv("ip", "address", "add", f"{self.address(name)}/24", "dev", inside))
        run(*there.argv("ip", "link", "set", inside, "up"))

    def address(self, name: str) -> str:
        """Where a machine is reached."""
        return f"{NETWORK}.{self.names[name]}"

    def cut(self, name: str, *, off: bool) -> None:
        """Pull a machine's cable out, or put it back."""
        port = f"o{self.names[name]}"
        run(*self.hub.argv("ip", "link", "set", port, "down" if off else "up"))

    def argv(self, name: str, *command: str) -> list[str]:
        """A command as it is run on a machine."""
        return Namespace(f"msk-{name}").argv(*command)


@contextmanager
def machines(*names: str) -> Iterator[Machines]:
    """A hub and its machines; gone at the end."""
    hub = Namespace("msk-hub")
    found = Machines(hub)
    try:
        run("ip", "netns", "add", hub.name)
        run(*hub.argv("ip", "link", "set", "lo", "up"))
        run(*hub.argv("ip", "link", "add", BRIDGE, "type", "bridge"))
        run(*hub.argv("ip", "address", "add", f"{SERVER}/24", "dev", BRIDGE))
        run(*hub.argv("ip", "link", "set", BRIDGE, "up"))
        for name in names:
            found.join(name)
        yield found
    finally:
        for space in (hub.name, *(f"msk-{name}" for name in found.names)):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def listen(server: Postgres) -> None:
    """Have a server answer on the bridge, too."""
    with (Path(server.data) / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}.0/24 trust\n")
    server.stop("fast")
    options = f"-c listen_addresses={SERVER} -c unix_socket_directories={server.folder}"
    server._run(
        "pg_ctl", "-D", server.data, "-o", options, "-l", f"{server.folder}/log", "-w", "start"
    )


@dataclass(slots=True)
class Node:
    """One receiver or worker on its machine; may be of another version's code."""

    machines: Machines
    folder: Path
    name: str
    role: str
    pacs_port: int
    code: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self, code: Path | None = None) -> None:
        """Start it, with the code of another version or our own."""
        node = {
            "spool": "spool",
            "work": "work",
            "results": "results",
            "database": f"postgresql://{USER}@{SERVER}/msk",
            "name": self.name,
            "host": self.machines.address(self.name),
            "port": PORT,
            "lease_s": LEASE_S,
        }
        peer = {"name": "pacs", "ae_title": "PACS", "host": SERVER, "port": self.pacs_port}
        device = f"cuda:{100 + self.machines.names[self.name]}"
        analysis = {"bundle": str(self.folder / "bundle"), "device": device}
        config = small_config(
            self.folder, None, node=node, analysis=analysis, destinations=[peer]
        )
        settings = self.folder / f"{self.name}.json"
        # The version before refuses what it does not know.
        settings.write_text(config.model_dump_json(exclude_defaults=True))
        command = [sys.executable, WORKER, str(settings), str(ANALYSIS_S), self.role]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if code is not None:
            environment["PYTHONPATH"] = str(code)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.machines.argv(self.name, *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )

    @property
    def log(self) -> Path:
        """All that it says."""
        return self.folder / f"{self.name}.log"

    def count(self, event: str) -> int:
        """How often it has logged an event."""
        return self.log.read_text(errors="replace").count(f'"{event}"')

    def tell(self, number: int) -> None:
        """Send a signal to all of it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it, in order or not, and wait for that."""
        self.tell(number)
        if self.process is not None:
            self.process.wait(60)


@dataclass(slots=True)
class Trial:
    """What is put in, and what came of it."""

    url: str
    series: int
    sent: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def answered(self) -> Counter[str]:
        """The answers of each series."""
        ledger = Ledger(self.url, upgrade=False)
        try:
            return Counter(
                row.series_instance_uid for row in ledger.all_series() if row.state in ANSWERED
            )
        finally:
            ledger.close()

    def deliveries(self) -> Counter[DeliveryState]:
        """How many objects are in each state."""
        ledger = Ledger(self.url, upgrade=False)
        try:
            return Counter(row.state for row in ledger.deliveries())
        finally:
            ledger.close()

    def wait(self, more: int, words: str) -> None:
        """Until so many more series have an answer, or all have one."""
        before = len(self.answered())
        goal = min(before + more, self.series)
        wait_until(lambda: len(self.answered()) >= goal, PATIENCE_S, words, 0.5)

    def say(self, words: str) -> None:
        """Tell what is done now."""
        line = f"{len(self.answered())} of {self.series} answered: {words}"
        self.told.append(line)
        print(line, flush=True)  # noqa: T201


def send_all(trial: Trial, hub: Namespace, peers: list[Peer], folder: Path) -> None:
    """Send each series to one of the receivers, one every second and a half."""
    with hub.inside():
        for number in range(trial.series):
            stack = ct_stack()
            uid = f"1.2.826.0.1.3680043.8.498.99.{number}"
            for at, image in enumerate(stack):
                image.SeriesInstanceUID = uid
                image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = (
                    f"{uid}.{at}"
                )
            paths = save(stack, folder / str(number))
            while not is_taken(peers[number % len(peers)], paths):
                time.sleep(1.0)
            trial.sent.add(uid)
            time.sleep(1.5)


def is_taken(peer: Peer, paths: list[Path]) -> bool:
    """Send images; whether all were taken. A receiver that is updated is away for a moment."""
    try:
        return all(each.status == 0 for each in send(peer, paths))
    except PeerError:
        return False


def answers(hub: Namespace, peer: Peer) -> bool:
    """Whether a receiver does."""
    with hub.inside():
        try:
            echo(peer)
        except PeerError:
            return False
    return True


def trouble(trial: Trial, node: Callable[[str], Node]) -> None:
    """Everything that is done to the workers, one after another."""
    trial.wait(2, "the version before works alone")
    trial.say("a worker of this version is added; it changes the ledger under the other")
    node("b").start()
    wait_until(lambda: node("b").count("engine.started"), PATIENCE_S, "b works")
    trial.wait(3, "both versions work")
    trial.say("worker a and receiver y are given this version, one after the other")
    node("a").end()
    node("a").start()
    node("y").end()
    node("y").start()
    trial.wait(2, "they go on")
    trial.say("two more workers are added")
    node("c").start()
    node("d").start()
    wait_until(lambda: node("d").count("engine.started"), PATIENCE_S, "d works")
    trial.wait(3, "four work")
    trial.say("worker b is killed, and stays away")
    node("b").end(signal.SIGKILL)
    trial.wait(4, "three go on")
    trial.say("worker c is frozen for three leases")
    node("c").tell(signal.SIGSTOP)
    time.sleep(3 * LEASE_S)
    node("c").tell(signal.SIGCONT)
    trial.wait(4, "they go on")
    trial.say("worker d is cut off by its network for four leases")
    node("d").machines.cut("d", off=True)
    time.sleep(4 * LEASE_S)
    node("d").machines.cut("d", off=False)
    node("b").start()
    trial.wait(trial.series, "all have an answer")


def judge(trial: Trial, pacs: Pacs, nodes: list[Node]) -> list[str]:
    """What is wrong; empty where all is well."""
    answered = trial.answered()
    wrong = [f"{uid} has no answer" for uid in sorted(trial.sent - set(answered))]
    wrong += [f"{uid} has {n} answers" for uid, n in answered.items() if n != 1]
    ledger = Ledger(trial.url, upgrade=False)
    results = {row.sop_instance_uid for row in ledger.all_results()}
    ledger.close()
    contents: dict[str, set[bytes]] = {}
    for uid, _, data in pacs.received:
        contents.setdefault(uid, set()).add(data)
    wrong += [f"object {uid} did not arrive" for uid in sorted(results - set(contents))]
    wrong += [
        f"object {uid} has {len(n)} contents" for uid, n in contents.items() if len(n) > 1
    ]
    wrong += [f"object {uid} is nobody's" for uid in sorted(set(contents) - results)]
    facts = {
        "series": len(trial.sent),
        "answers": sum(answered.values()),
        "objects": len(results),
        "objects that came": len(pacs.received),
        **{
            name: sum(node.count(name) for node in nodes)
            for name in ("analysis.ended", "worker.dead", "lease.lost", "ledger.upgraded")
        },
    }
    print(json.dumps(facts))  # noqa: T201
    return wrong


def main(series: int) -> int:
    """One trial; the exit code says whether all was well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="msk-many-")))
        found = stack.enter_context(machines("x", "y", "a", "b", "c", "d"))
        server = stack.enter_context(running_postgres())
        with found.hub.inside():
            listen(server)
            pacs = result_pacs(host=SERVER)
            stack.enter_context(pacs.running())
        before = previous_node(folder / "before", VERSION_BEFORE).tree
        roles = {
            "x": "receive",
            "y": "receive",
            "a": "work",
            "b": "work",
            "c": "work",
            "d": "work",
        }
        nodes = {
            name: Node(found, folder, name, role, pacs.port) for name, role in roles.items()
        }
        stack.callback(end_all, list(nodes.values()))
        nodes["x"].start()
        nodes["y"].start(before)
        nodes["a"].start(before)
        peers = [Peer(name, "MSKNODE", found.address(name), PORT, "CT1") for name in "xy"]
        for peer in peers:
            wait_until(lambda peer=peer: answers(found.hub, peer), PATIENCE_S, "it answers")
        wait_until(lambda: nodes["a"].count("engine.started"), PATIENCE_S, "a works")
        trial = Trial(server.url, series)
        began_s = time.monotonic()
        arguments: Any = (trial, found.hub, peers, folder / "sent")
        sending = threading.Thread(target=send_all, args=arguments, daemon=True)
        sending.start()
        trouble(trial, nodes.__getitem__)
        sending.join(PATIENCE_S)
        wait_until(
            lambda: set(trial.deliveries()) == {DeliveryState.SENT},
            PATIENCE_S,
            "all is delivered",
            0.5,
        )
        print(f"{time.monotonic() - began_s:.0f} s")  # noqa: T201
        wrong = judge(trial, pacs, list(nodes.values()))
    print("\n".join(wrong) or "all is well")  # noqa: T201
    return 1 if wrong else 0


def end_all(nodes: list[Node]) -> None:
    """End what still runs, also what is frozen."""
    for node in nodes:
        node.tell(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            node.end(signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int((*sys.argv, "40")[1])))
