"""Kill trials of the durable engine: `python tests/trials/kill_trials.py [ROUNDS [WORDS]]`.

Each round gives a few series, of eight effects each, to workers that are then killed, frozen
and thawed, or whose database is killed, at random moments. At its end every effect must be
there, none twice, and no device may have done two segmentations at once. The seed of every
random choice is printed; the table at the end is the one in docs/several-machines.md. With
words, only the kinds of fault that contain them are tried.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support.postgres import Postgres, running_postgres
from support.waiting import wait_until

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState

WORKER = str(Path(__file__).parent / "trial_worker.py")
OBJECTS = ("seg", "sr", "qc")
EFFECTS = 1 + len(OBJECTS) + len(OBJECTS) + 1
LEASE_S = 2.0
PATIENCE_S = 600.0
"""What is not done by then counts as lost; a busy machine is slow, and that is no loss."""


@dataclass(slots=True)
class Worker:
    """One worker process of a name; started again after every kill, as a supervisor does."""

    url: str
    name: str
    folder: Path
    device: str
    process: subprocess.Popen[bytes] | None = None
    is_frozen: bool = False

    def start(self) -> None:
        """Start it; its log goes on in one file."""
        command = [sys.executable, WORKER, self.url, self.name, str(self.folder), self.device]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(LEASE_S)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        """Whether it has begun to take work."""
        return '"engine.started"' in (self.folder / f"{self.name}.log").read_text()

    def tend(self) -> None:
        """Start it again if it ended by itself: it may have lost its lease."""
        if self.process is not None and not self.is_frozen and self.process.poll() is not None:
            self.start()

    def kill(self) -> None:
        """SIGKILL to it and its children, as a power cut would."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.process, self.is_frozen = None, False

    def freeze(self) -> None:
        """Stop it, as a machine that hangs."""
        self.is_frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self._signal(signal.SIGCONT)
        self.is_frozen = False

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)


@dataclass(slots=True)
class Trial:
    """One round: its workers, its database, and what was put.

    faults: how often each fault was done.
    """

    folder: Path
    workers: list[Worker]
    chance: random.Random
    database: Postgres | None = None
    series: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    def put(self, count: int) -> None:
        """Give series to whoever works."""
        inbox = self.folder / "inbox"
        inbox.mkdir(exist_ok=True)
        for number in range(count):
            name = f"s{len(self.series)}-{number}"
            self.series.append(name)
            (inbox / f"{name}.new").touch()

    def pause(self, least_s: float, most_s: float) -> None:
        """A random moment later; workers that ended are started again meanwhile."""
        deadline = time.monotonic() + self.chance.uniform(least_s, most_s)
        while time.monotonic() < deadline:
            self.tend()
            time.sleep(0.02)

    def tend(self) -> None:
        """Do as the supervisors do."""
        for worker in self.workers:
            worker.tend()

    def is_up(self) -> bool:
        """Whether every worker has begun to take work."""
        self.tend()
        return all(worker.is_up() for worker in self.workers)

    def is_done(self) -> bool:
        """Whether every row of the ledger says confirmed."""
        self.tend()
        ledger = Ledger(self.workers[0].url)
        try:
            rows = ledger.deliveries(states=[DeliveryState.CONFIRMED])
        finally:
            ledger.close()
        return len(rows) == len(self.series) * len(OBJECTS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a round came to. All counts of what should not be are of effects.

    lost: not there.  doubled: a second content under one name, at the peer or kept.
    repeated: came again at the peer, the same bytes under the same name: no harm.
    overlaps: segmentations begun on a device before the one before had ended or died.
    """

    effects: int
    lost: int
    doubled: int
    repeated: int
    overlaps: int


def judge(trial: Trial) -> Verdict:
    """Compare what there is with what should be."""
    wanted = {f"{series}.{name}" for series in trial.series for name in OBJECTS}
    kept = {
        path.name for path in (trial.folder / "results").glob("*") if "part" not in path.name
    }
    (trial.folder / "arrivals").touch()
    arrivals = [line.split() for line in (trial.folder / "arrivals").read_text().splitlines()]
    contents: dict[str, set[str]] = {}
    for name, content in arrivals:
        contents.setdefault(name, set()).add(content)
    segmented, overlaps = _segmentations(trial.folder)
    ledger = Ledger(trial.workers[0].url)
    confirmed = {row.series_instance_uid for row in ledger.deliveries() if not _open(row.state)}
    ledger.close()
    lost = len(set(trial.series) - segmented) + len(wanted - kept) + len(wanted - set(contents))
    return Verdict(
        effects=EFFECTS * len(trial.series),
        lost=lost + len(set(trial.series) - confirmed),
        doubled=sum(len(each) - 1 for each in contents.values()) + len(kept - wanted),
        repeated=len(arrivals) - len({tuple(each) for each in arrivals}),
        overlaps=overlaps,
    )


def _open(state: DeliveryState) -> bool:
    return state is not DeliveryState.CONFIRMED


def _segmentations(folder: Path) -> tuple[set[str], int]:
    """The series that were segmented to the end, and how often two ran on one device.

    A child that was killed notes no end: the lock is given on when the kernel has ended it,
    so the next beginning is its end. One that began, then saw another begin, and still went
    on to its own end, had company.
    """
    done: set[str] = set()
    overlaps = 0
    for path in folder.glob("device-*.jsonl"):
        running: set[int] = set()
        replaced: set[int] = set()
        for line in path.read_text().splitlines():
            event = json.loads(line)
            if event["what"] == "begin":
                replaced |= running
                running = {event["pid"]}
            else:
                done.add(event["series"])
                overlaps += event["pid"] in replaced
                running.discard(event["pid"])
    return done, overlaps


def kill_alone(trial: Trial) -> None:
    """SQLite, one worker: killed and started again."""
    (worker,) = trial.workers
    for _ in range(2):
        trial.pause(0.3, 3.0)
        worker.kill()
        trial.faults["kill"] += 1
        worker.start()


def kill_one(trial: Trial) -> None:
    """One of two is killed and stays away until the other has done its work."""
    trial.pause(0.3, 3.0)
    victim = trial.chance.choice(trial.workers)
    victim.kill()
    trial.faults["kill"] += 1
    trial.pause(1.5 * LEASE_S, 3 * LEASE_S)
    victim.start()


def freeze_one(trial: Trial) -> None:
    """One of two is frozen for longer than its lease, and goes on as if nothing had been."""
    trial.pause(0.3, 3.0)
    victim = trial.chance.choice(trial.workers)
    victim.freeze()
    trial.faults["freeze"] += 1
    trial.pause(1.5 * LEASE_S, 4 * LEASE_S)
    victim.thaw()


def restart_database(trial: Trial) -> None:
    """The server is killed, and started again at once."""
    _away(trial, 0.0, 0.2)
    trial.faults["database restarted"] += 1


def stop_database(trial: Trial) -> None:
    """The server is killed, and away for longer than a lease."""
    _away(trial, 1.5 * LEASE_S, 3 * LEASE_S)
    trial.faults["database stopped"] += 1


def _away(trial: Trial, least_s: float, most_s: float) -> None:
    trial.pause(0.3, 3.0)
    if trial.database is None:
        raise RuntimeError("this trial needs a server")
    trial.database.stop()
    trial.pause(least_s, most_s)
    trial.database.start()


Fault = Callable[[Trial], None]
SQLITE: Mapping[str, Fault] = {"SQLite, one worker killed": kill_alone}
POSTGRESQL: Mapping[str, Fault] = {
    "PostgreSQL, one of two nodes killed": kill_one,
    "PostgreSQL, one of two nodes frozen and thawed": freeze_one,
    "PostgreSQL restarted": restart_database,
    "PostgreSQL stopped for longer than a lease": stop_database,
}


@contextmanager
def trial_of(
    url: str, names: Mapping[str, str], seed: int, database: Postgres | None = None
) -> Iterator[Trial]:
    """A round's workers, by name with their device, running until the block ends."""
    with tempfile.TemporaryDirectory(prefix="msk-trial-") as name:
        folder = Path(name)
        url = url or f"sqlite:///{folder}/node.sqlite"
        workers = [Worker(url, each, folder, device) for each, device in names.items()]
        trial = Trial(
            folder,
            workers,
            random.Random(seed),  # noqa: S311 - moments
            database,
        )
        try:
            for worker in workers:
                worker.start()
            wait_until(trial.is_up, PATIENCE_S, "every worker is up")
            yield trial
        finally:
            for worker in workers:
                worker.kill()


def run_round(
    fault: Fault,
    seed: int,
    database: Postgres | None = None,
    *,
    shared_device: bool = False,
    series: int = 6,
) -> tuple[Verdict, Counter[str]]:
    """One round from the first series to the verdict."""
    names = {"a": "one"}
    if database is not None:
        names = {"a": "one", "b": "one" if shared_device else "two"}
    url = database.url if database is not None else ""
    with trial_of(url, names, seed, database) as trial:
        trial.put(series)
        wait_until(lambda: list(trial.folder.glob("device-*")), PATIENCE_S, "work begins")
        fault(trial)
        trial.put(1)
        try:
            wait_until(trial.is_done, PATIENCE_S, f"all is confirmed (seed {seed})", 0.2)
        except AssertionError as error:  # the verdict says what is missing, the logs why
            logs = "".join(path.read_text()[-3000:] for path in trial.folder.glob("*.log"))
            print(error, logs, sep="\n")  # noqa: T201
        return judge(trial), trial.faults


def main(rounds: int, words: str = "") -> int:
    """Every kind of fault, so many rounds each; the exit code says whether all was well."""
    first = int(time.time())
    lines, bad = [], 0
    for kind, fault in {**SQLITE, **POSTGRESQL}.items():
        if words not in kind:
            continue
        verdicts, faults = [], Counter[str]()
        for number in range(rounds):
            with ExitStack() as stack:
                on_server = kind in POSTGRESQL
                database = stack.enter_context(running_postgres()) if on_server else None
                verdict, done = run_round(
                    fault, first + number, database, shared_device=number % 2 == 0
                )
            verdicts.append(verdict)
            faults += done
            print(f"{kind}, seed {first + number}: {verdict}", flush=True)  # noqa: T201
        lost, doubled, repeated, overlaps, effects = (
            sum(getattr(each, name) for each in verdicts)
            for name in ("lost", "doubled", "repeated", "overlaps", "effects")
        )
        bad += lost + doubled + overlaps
        lines.append(
            f"| {kind} | {rounds} | {faults.total()} | {effects} | {lost} | {doubled} | "
            f"{repeated} | {overlaps} |"
        )
    print("\n| Fault | Rounds | Faults | Effects | Lost | Doubled | Sent again | Two at once |")  # noqa: T201
    print("|---|---|---|---|---|---|---|---|", *lines, sep="\n")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int((*sys.argv, "10")[1]), " ".join(sys.argv[2:])))
