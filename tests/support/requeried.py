"""A re-query from outside: an Orthanc that holds hips, and a node that asks it.

The node is `msk-node serve`, killed with all its children; what it did is read from its ledger
and spool, and from the log of Orthanc, which writes down every question and every retrieval.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.persistence.archive_rows import (
    ArchiveSeriesRow,
    ArchiveState,
    RunRow,
    WindowState,
)
from dicom_node.persistence.ledger import Ledger, existing_ledger
from dicom_node.persistence.rows import ANSWERED, SeriesRow, SeriesState
from dicom_node.settings.loading import load_config
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.spool import Spool
from support.hip_archive import ArchivedStudy, Sort
from support.installed_node import SERVE
from support.namespace import Namespace
from support.node_process import MSK_NODE, NodeProcess, install_node, node_toml
from support.orthanc import NODE_AE, NODE_PORT, Orthanc, start_orthanc
from support.small_node import write_small_bundle
from support.waiting import wait_until

SCHEDULE: Final = "hips"
FINDS: Final = f"Incoming Find request from AET {NODE_AE}"
MOVES: Final = f"Incoming Move request from AET {NODE_AE}"
SENT: Final = re.compile(r"Sending resource ([0-9a-f-]{44}) to modality")

REQUERY: Final = """
[[archives]]
name = "main"
destination = "pacs"
pause_s = 0.2

[[rules]]
name = "hip-to-knee"
images = { at_least = 5 }
age_y = { at_least = 18 }
best = ["soft_kernel", "thin_slices"]
best_of = "frame_of_reference"

[[rules.take]]
attribute = "Modality"
equals = ["CT"]

[[rules.take]]
attribute = "BodyPartExamined"
like = ["*pelvis*", "*hip*"]

[[schedules]]
name = "hips"
archive = "main"
rules = "hip-to-knee"
since = 2024-01-08
until = 2024-03-03
window = "week"
look_back_d = 0
attempts = 3
first_wait_s = 1.0
max_wait_s = 3.0
"""
"""Computed tomography of the hips of adults, the softest kernel of a frame of reference."""

State = tuple[ArchiveState, SeriesState | None]
NOT_WANTED: Final[State] = (ArchiveState.REFUSED, None)
EXPECTED: Final[Mapping[Sort, State]] = {
    Sort.PROCESSED: (ArchiveState.HAD, SeriesState.REPORTED),
    Sort.ELIGIBLE: (ArchiveState.FETCHED, SeriesState.REPORTED),
    Sort.TWO_SERIES: (ArchiveState.FETCHED, SeriesState.REPORTED),
    Sort.OTHER_MODALITY: NOT_WANTED,
    Sort.OTHER_REGION: NOT_WANTED,
    Sort.TOO_FEW: NOT_WANTED,
    Sort.CHILD: NOT_WANTED,
    Sort.INCOMPLETE: (ArchiveState.INCOMPLETE, SeriesState.REFUSED),
    Sort.REFUSED: (ArchiveState.FETCHED, SeriesState.REFUSED),
}
"""What becomes of the series of each sort, with the archive and in the node; of two series
that is the soft one, and the other is not wanted."""


@dataclass(frozen=True, slots=True)
class Held:
    """A study that the archive holds, without its pixels.

    images: the SOP Instance UIDs of each series.
    names: what Orthanc calls its series and images, with their UIDs.
    """

    sort: Sort
    study_instance_uid: str
    chosen: str
    images: Mapping[str, frozenset[str]]
    names: Mapping[str, str]

    def expected(self, series: str) -> State:
        """What should become of a series."""
        if self.sort is Sort.TWO_SERIES and series != self.chosen:
            return NOT_WANTED
        return EXPECTED[self.sort]


@dataclass(frozen=True, slots=True)
class Kill:
    """What the disk said when the node was dead.

    at_s: how long after the run was begun.
    windows: in which states the windows were.
    coming: series of which some images were in the spool, and not all.
    here: all images that were in the spool.
    analysing: series that the node had and had not answered.
    log_bytes: how long Orthanc's log was.
    """

    when: str
    at_s: float
    windows: Mapping[WindowState, int]
    series: Mapping[ArchiveState, int]
    coming: int
    here: frozenset[str]
    analysing: int
    log_bytes: int


@dataclass(slots=True)
class Requeried:
    """An archive and a node; call from inside their namespace."""

    orthanc: Orthanc
    node: NodeProcess
    held: list[Held] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    begun_s: float = 0.0
    log_start: int = 0

    def fill(self, studies: Iterable[ArchivedStudy], folder: Path) -> None:
        """Have the archive hold studies; the scanner sends the node what it has already."""
        for study in studies:
            paths = study.save(folder)
            self.orthanc.upload(paths)
            self.held.append(_held(study))
            if study.sort is Sort.PROCESSED:
                _send(paths)
        # It names what it is asked for from here on.
        self.orthanc.put("/tools/log-level", b"verbose")
        self.log_start = len(self.log)

    def begin(self) -> str:
        """Begin a run by the command; what that says."""
        self.begun_s = time.monotonic()
        return self.msk_node("requery", "run", SCHEDULE)

    def kill(self, when: str) -> Kill:
        """Kill the node, and see what it was at."""
        self.node.kill()
        entries = self.spooled()
        complete = {uid: each for held in self.held for uid, each in held.images.items()}
        with self.ledger() as ledger:
            windows = Counter(each.state for each in ArchiveLedger(ledger).windows(SCHEDULE))
            kill = Kill(
                when=when,
                at_s=time.monotonic() - self.begun_s,
                windows=windows,
                series=ArchiveLedger(ledger).counts(SCHEDULE),
                coming=sum(0 < len(here) < len(complete[uid]) for uid, here in entries.items()),
                here=frozenset(uid for here in entries.values() for uid in here),
                analysing=len(ledger.unanswered()),
                log_bytes=len(self.log),
            )
        self.kills.append(kill)
        return kill

    def msk_node(self, *words: str) -> str:
        """What a command prints, run as a user does."""
        done = subprocess.run(
            [MSK_NODE, *words, "--config", str(self.node.settings)],
            check=False,
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    @property
    def config(self) -> NodeConfig:
        """The settings of the node."""
        return load_config(self.node.settings)

    @property
    def log(self) -> bytes:
        """All that Orthanc has written."""
        return (self.orthanc.folder / "orthanc.log").read_bytes()

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """The node's ledger, to look at."""
        ledger = existing_ledger(self.config.node.database_url, only_read=True)
        assert ledger is not None
        try:
            yield ledger
        finally:
            ledger.close()

    def rows(self) -> tuple[ArchiveSeriesRow, ...]:
        """The series of the schedule."""
        with self.ledger() as ledger:
            return ArchiveLedger(ledger).series(SCHEDULE)

    def answered(self) -> int:
        """How many series have an answer."""
        with self.ledger() as ledger:
            return sum(row.state in ANSWERED for row in ledger.all_series())

    def spooled(self) -> dict[str, frozenset[str]]:
        """The images that the spool has of each of the archive's series."""
        spool = Spool(self.config.node.spool, only_look=True)
        return {
            uid: frozenset(each.sop_instance_uid for each in spool.entries(uid))
            for held in self.held
            for uid in held.images
        }

    def is_coming(self) -> bool:
        """Whether some images of a series are here, and many are not."""
        return any(
            0
            < sum(1 for _ in self.config.node.spool.joinpath(uid).glob("*.dcm"))
            < len(all_) / 2
            for held in self.held
            for uid, all_ in held.images.items()
        )

    def has_answered(self, series: int) -> bool:
        """Whether so many series are answered, and nothing is left to be delivered."""
        return self.answered() >= series and self.node.is_idle()

    def is_at_rest(self) -> bool:
        """Whether the run has ended, and nothing is left to be analysed or delivered."""
        with self.ledger() as ledger:
            runs: Sequence[RunRow] = ArchiveLedger(ledger).runs(SCHEDULE)
        return all(each.ended_at is not None for each in runs) and self.node.is_idle()

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name in the node's log; a kill may have cut a line."""
        lines = self.node.log.read_text(errors="replace").splitlines()
        found = []
        for line in lines:
            if f'"{name}"' in line and line.startswith("{"):
                event = json.loads(line)
                found += [event] if event.get("event") == name else []
        return found

    def asked(self, first: int | None = None, last: int | None = None) -> Asked:
        """What Orthanc's log says that it was asked for, in a part of it."""
        part = self.log[first or self.log_start : last].decode(errors="replace")
        return Asked(part.count(FINDS), part.count(MOVES), Counter(SENT.findall(part)))

    def states(self) -> Counter[str]:
        """How many of the archive's series and of our own results are in each state."""
        names = {uid: held.sort for held in self.held for uid in held.images}
        with self.ledger() as ledger:
            answers = {row.series_instance_uid: row.state for row in ledger.all_series()}
        return Counter(
            f"{names.get(row.series_instance_uid, 'a result of ours')}: {row.state}, "
            f"{answers.get(row.series_instance_uid, 'not in the node')}"
            for row in self.rows()
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What an archive was asked for.

    sent: how often each series or image was to be sent, by Orthanc's names.
    """

    finds: int
    moves: int
    sent: Counter[str]


def judge(trial: Requeried) -> list[str]:
    """All that is not as it should be; empty where all is well."""
    return [
        *_wrong_states(trial),
        *_wrong_retrievals(trial),
        *_wrong_results(trial),
        *_wrong_night(trial),
    ]


def _wrong_states(trial: Requeried) -> Iterator[str]:
    """Every series has one row, in the state that its sort should end in, with a reason."""
    rows: dict[str, list[ArchiveSeriesRow]] = {}
    for row in trial.rows():
        rows.setdefault(row.series_instance_uid, []).append(row)
    with trial.ledger() as ledger:
        answers = {row.series_instance_uid: row for row in ledger.all_series()}
    for held in trial.held:
        for uid in held.images:
            state, answer = held.expected(uid)
            own, is_answered = rows.pop(uid, []), answers.get(uid)
            if not own and held.sort in (Sort.OTHER_MODALITY, Sort.CHILD):
                continue  # its study was against it: its series were not asked for
            if [each.state for each in own] != [state]:
                yield f"{held.sort} {uid}: {own}, not {state}"
            elif (is_answered and is_answered.state) not in _answers(state, answer):
                yield f"{held.sort} {uid}: {is_answered}, not {answer}"
            elif answer is not SeriesState.REPORTED:
                yield from _without_reason(held.sort, own[0], is_answered)
    for uid, (row, *more) in rows.items():
        if more or row.state is not ArchiveState.REFUSED or "odality" not in row.reason:
            yield f"{uid} is a result of ours, and {row.state}: {row.reason}"


def _answers(state: ArchiveState, answer: SeriesState | None) -> tuple[SeriesState | None, ...]:
    """What may be in the ledger: of what only headers told is left out there too."""
    return (answer, SeriesState.LEFT_OUT) if state is ArchiveState.REFUSED else (answer,)


def _without_reason(
    sort: Sort, row: ArchiveSeriesRow, answer: SeriesRow | None
) -> Iterator[str]:
    if not (row.reason or (answer is not None and answer.reason)):
        yield f"{row.series_instance_uid} ({sort}) is {row.state} without a reason"
    if sort is Sort.INCOMPLETE and "slices are missing between" not in row.reason:
        yield f"{row.series_instance_uid} is incomplete; nothing says where: {row.reason}"


def _wrong_retrievals(trial: Requeried) -> Iterator[str]:
    """What was here is not asked for; what was coming at a kill, once more at most."""
    names = {name: uid for held in trial.held for name, uid in held.names.items()}
    images = {uid: each for held in trial.held for uid, each in held.images.items()}
    never = {
        uid
        for held in trial.held
        for uid in held.images
        if held.expected(uid)[0] is ArchiveState.HAD
        or held.sort in (Sort.OTHER_MODALITY, Sort.OTHER_REGION, Sort.TOO_FEW, Sort.CHILD)
    }
    ends = [kill.log_bytes for kill in trial.kills]
    parts = zip(
        [trial.log_start, *ends],
        [*ends, None],
        [frozenset[str](), *(kill.here for kill in trial.kills)],
        strict=True,
    )
    for number, (first, last, here) in enumerate(parts):
        for name, count in trial.asked(first, last).sent.items():
            uid = names[name]
            wanted = images.get(uid, frozenset({uid}))
            if count > 1:
                yield f"{uid} was asked for {count} times after {number} kills"
            if twice := wanted & here:
                yield f"{uid}: {len(twice)} of {len(wanted)} were here already"
            if uid in never:
                yield f"{uid} was asked for, and is not wanted"


def _wrong_results(trial: Requeried) -> Iterator[str]:
    """Orthanc has what the node made of each series, once, and nothing else."""
    with trial.ledger() as ledger:
        made = Counter(
            (row.study_instance_uid, result.sop_instance_uid)
            for row in ledger.all_series()
            for result in ledger.results(row.series_instance_uid, row.revision)
        )
    there = Counter[tuple[str, str]]()
    for held in trial.held:
        uid = held.study_instance_uid
        of_study = trial.orthanc.results(uid)
        if held.sort is Sort.OTHER_MODALITY:  # its own images are no CT
            of_study = tuple(each for each in of_study if each.modality != "MR")
        there.update((uid, each.sop_instance_uid) for each in of_study)
        kinds = Counter(each.modality for each in of_study)
        answer = held.expected(held.chosen)[1] if held.chosen else None
        if answer is SeriesState.REPORTED and (kinds["SEG"], kinds["SR"]) != (1, 1):
            yield f"{held.sort} {uid} has {dict(kinds)}"
        if answer is SeriesState.REFUSED and (kinds["OT"], kinds["KO"]) != (1, 1):
            yield f"{held.sort} {uid} has {dict(kinds)}"
        if answer is None and kinds:
            yield f"{held.sort} {uid} has {dict(kinds)}"
    if there != made:
        yield f"not in Orthanc: {made - there}; not the node's: {there - made}"


def _wrong_night(trial: Requeried) -> Iterator[str]:
    """The run was told of in one line, with the figures of the ledger."""
    lines = trial.events("requery.night")
    if len(lines) != 1:
        yield f"{len(lines)} lines for one night"
        return
    rows = trial.rows()
    states = Counter(row.state.value for row in rows)
    analysed = sum(
        1
        for held in trial.held
        for uid in held.images
        if held.expected(uid) == (ArchiveState.FETCHED, SeriesState.REPORTED)
    )
    wanted = {
        "found": len(rows),
        "analysed": analysed,
        "windows_failed": 0,
        "windows_cut": 0,
        **{
            name: states[name]
            for name in ("had", "wanted", "fetched", "incomplete", "refused", "failed")
        },
    }
    if told := {key: lines[0][key] for key in wanted if lines[0][key] != wanted[key]}:
        yield f"the night's line says {told}, not {wanted}"


@contextmanager
def requeried(
    namespace: Namespace, folder: Path, *, samples: int, fast: bool = False
) -> Iterator[Requeried]:
    """An empty Orthanc and a node that has never run, in a namespace of their own.

    fast: with the fast analysis (`fast_analysis.py`) in place of the bundle that is delivered.
    """
    settings = node_toml(samples=samples) + REQUERY
    settings = settings.replace("quiet_s = 2\n", "quiet_s = 2\ngive_up_s = 10\n")
    if fast:
        bundle = f'[analysis]\nbundle = "{write_small_bundle(folder / "bundle")}"\n'
        settings = settings.replace("[analysis]\n", bundle)
    node = install_node(namespace, folder / "node", settings)
    if fast:
        as_json = node.folder / "node.json"
        as_json.write_text(load_config(node.settings).model_dump_json())
        node.command = (sys.executable, SERVE, str(as_json))
    orthanc = start_orthanc(namespace, folder / "orthanc", LuaScripts=[])
    try:
        with namespace.inside():
            yield Requeried(orthanc, node)
    finally:
        node.stop()
        orthanc.stop()


def wait_while_alive(
    trial: Requeried,
    condition: Callable[[], object],
    within_s: float,
    words: str,
    every_s: float = 0.5,
) -> None:
    """Wait for a condition, as long as the node lives."""

    def holds() -> bool:
        process = trial.node.process
        assert process is not None
        assert process.poll() is None, trial.node.log.read_text(errors="replace")[-3000:]
        return bool(condition())

    wait_until(holds, within_s, f"{words} ({trial.node.log})", every_s)


def _held(study: ArchivedStudy) -> Held:
    images: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for each in study.instances:
        facts = (each.PatientID, each.StudyInstanceUID, each.SeriesInstanceUID)
        series, image = str(each.SeriesInstanceUID), str(each.SOPInstanceUID)
        images.setdefault(series, set()).add(image)
        names[_orthanc_name(*facts)] = series
        names[_orthanc_name(*facts, each.SOPInstanceUID)] = image
    return Held(
        sort=study.sort,
        study_instance_uid=study.study_instance_uid,
        chosen=study.chosen,
        images={uid: frozenset(each) for uid, each in images.items()},
        names=names,
    )


def _orthanc_name(*facts: str) -> str:
    """What Orthanc calls a resource: a digest of the identifiers that lead to it."""
    digest = hashlib.sha1("|".join(facts).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[at : at + 8] for at in range(0, 40, 8))


def _send(paths: Iterable[Path]) -> None:
    """Send a study to the node, as a scanner does."""
    subprocess.run(
        ["/usr/bin/dcmsend", "--aetitle", "CT1", "--call", NODE_AE,
         "127.0.0.1", str(NODE_PORT), *map(str, paths)],
        check=True, capture_output=True,
    )  # fmt: skip
