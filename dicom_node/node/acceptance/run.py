"""The acceptance of a site, from the first C-ECHO to the protocol.

A phantom of the test patient goes to the running node as a scan of an allowed sender does, and
its results go where the site's own routes send them. They are fetched back from there, compared
with what the node keeps, read as a stranger would, and measured against the phantom's truth.
Only objects of the one new study are asked for, sent or rejected.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from dicom_node.case_files.source_json import read_source
from dicom_node.errors import ConfigurationError, NodeError, UnknownNameError
from dicom_node.node.acceptance.answer import (
    Answer,
    configured_destinations,
    wait_for_answer,
)
from dicom_node.node.acceptance.comparing import Difference, difference, names_patient, worst_of
from dicom_node.node.acceptance.fetching import Fetched, WantedObject, fetch
from dicom_node.node.acceptance.measuring import measured, report_checks, segmentation_checks
from dicom_node.node.acceptance.removing import instructions, reject
from dicom_node.node.acceptance.sending import (
    SentPhantom,
    acceptance_header,
    own_peer,
    write_phantom,
)
from dicom_node.node.publication import SOFTWARE_VERSION
from dicom_node.peers.association import Peer
from dicom_node.peers.echo import echo
from dicom_node.peers.store import send
from dicom_node.peers.transports import transport_for
from dicom_node.persistence.ledger import existing_ledger
from dicom_node.persistence.rows import (
    DeliveryRow,
    DeliveryState,
    ResultRow,
    SeriesEvent,
    SeriesState,
)
from dicom_node.results.kinds import REPORTS, SEGMENTATIONS, ResultKind, kinds_for
from dicom_node.results.pdf.protocol import Check, Hop, Outcome, Protocol
from dicom_node.series.bounded_files import read_whole
from dicom_node.series.reading import read_series
from dicom_node.settings.destinations import Destination
from dicom_node.settings.node import NodeConfig
from inference.models.bundle import load_bundle
from inference.phantom.render import known_answers, phantom
from inference.phantom.spec import DEFAULT_PHANTOM, PhantomSpec
from inference.results import Verdict

TITLE: Final = "Site acceptance of msk-node"
NODE: Final = "node"

Told = Callable[[str], None]
"""Hears in words what is done now."""


@dataclass(frozen=True, slots=True)
class AcceptanceOptions:
    """What a person wants of an acceptance.

    destination: only this one is looked at; by its name.
    from_peer: the AE title of the sender in whose name the phantom is sent.
    timeout_s: how long to wait for the results.
    with_images: whether the destinations get the phantom's images too, for viewers.
    keep: whether no rejection note is sent.
    """

    destination: str | None = None
    from_peer: str | None = None
    timeout_s: float = 3600.0
    with_images: bool = False
    keep: bool = False
    spec: PhantomSpec = DEFAULT_PHANTOM


@dataclass(slots=True)
class _Times:
    """Hops with this machine's clock."""

    hops: list[tuple[str, datetime]] = field(default_factory=list)

    def note(self, what: str, at: datetime | None = None) -> None:
        """Something was done, now or at that moment."""
        moment = at or _now()
        self.hops.append((what, moment.astimezone()))

    def in_order(self) -> tuple[Hop, ...]:
        """The hops as they followed each other."""
        ordered = sorted(self.hops, key=lambda hop: hop[1])
        befores = [None, *(at for _, at in ordered[:-1])]
        return tuple(
            Hop(what, at, None if before is None else (at - before).total_seconds())
            for (what, at), before in zip(ordered, befores, strict=True)
        )


def accept(
    config: NodeConfig, options: AcceptanceOptions, folder: Path, told: Told
) -> Protocol:
    """Try a site's node and destinations with a phantom; what came of it.

    Args:
        config: of the running node.
        options: of the command.
        folder: for the phantom, what came back and the notes.
        told: hears how far it is.

    Raises:
        ConfigurationError: the node cannot be called, or has never run.
        UnknownNameError: there is no such destination.
        PeerError: the node does not answer.
    """
    if options.destination is not None and config.destination(options.destination) is None:
        known = ", ".join(each.name for each in config.destinations) or "none"
        raise UnknownNameError(
            f"there is no destination {options.destination!r}; there are: {known}"
        )
    peer = own_peer(config, options.from_peer)
    told("calling the node")
    echo(peer)
    ledger = existing_ledger(config.node.database_url, only_read=True)
    if ledger is None:
        raise ConfigurationError("node.database: no node has run on it yet; start it first")
    with closing(ledger):
        trial = _Trial(config, options, folder, peer, told)
        sent = trial.send_phantom()
        answer = wait_for_answer(
            ledger,
            sent.series_instance_uid,
            trial.looked_at,
            options.timeout_s,
            lambda words: told(f"waiting for {words}"),
        )
    return trial.judge(sent, answer)


@dataclass(slots=True)
class _Trial:
    """One acceptance while it is made."""

    config: NodeConfig
    options: AcceptanceOptions
    folder: Path
    peer: Peer
    told: Told
    checks: list[Check] = field(default_factory=list)
    times: _Times = field(default_factory=_Times)
    started: datetime = field(default_factory=lambda: datetime.now().astimezone())

    @property
    def all_destinations(self) -> tuple[Destination, ...]:
        """Everybody to whom the routes send the results."""
        return configured_destinations(
            self.config, self.peer.calling_ae_title, self.peer.ae_title
        )

    @property
    def looked_at(self) -> tuple[Destination, ...]:
        """Those that are wanted of them."""
        name = self.options.destination
        return tuple(each for each in self.all_destinations if name in (None, each.name))

    def send_phantom(self) -> SentPhantom:
        """Send the phantom to the node, and its images to destinations where that is wanted."""
        self.told("making the phantom")
        header = acceptance_header(self.config, self.started)
        sent = write_phantom(self.folder / "sent", self.options.spec, header)
        self.times.note("sending to the node begins")
        self.told(f"sending {len(sent.paths)} images to the node")
        outcomes = send(self.peer, list(sent.paths))
        self.times.note("the node has taken the last image")
        taken = sum(each.stored for each in outcomes)
        reasons = dict.fromkeys(each.reason for each in outcomes if not each.stored)
        words = "; ".join([f"{taken} of {len(outcomes)}", *list(reasons)[:3]])
        self.check(
            NODE, "takes every image of an allowed sender", taken == len(outcomes), words
        )
        if self.options.with_images:
            self._send_images(sent)
        return sent

    def _send_images(self, sent: SentPhantom) -> None:
        for each in self.looked_at:
            self.told(f"sending the images to {each.name}")
            outcomes = transport_for(self.config, each).send(list(sent.paths))
            taken = sum(one.stored for one in outcomes)
            words = f"{taken} of {len(outcomes)}"
            self.check(each.name, "takes the phantom's images", taken == len(outcomes), words)

    def judge(self, sent: SentPhantom, answer: Answer) -> Protocol:
        """Look at what came of it."""
        self._judge_answer(answer)
        self._judge_results_folder(answer)
        self._note_times(answer)
        if not self.all_destinations:
            words = "the routes send this sender's results nowhere; they stay in node.results"
            self.add("destinations", "there is one", Outcome.NOT_CHECKED, words)
        elif not self.looked_at:
            words = f"{self.options.destination} gets nothing, by the routes for this sender"
            self.check("destinations", "the wanted one gets results", passed=False, words=words)
        came = [self._judge_destination(each, sent, answer) for each in self.looked_at]
        self._measure(sent, answer, next((each for each in came if each.files), None))
        if not self.options.keep:
            self._reject(sent, answer)
        return self._protocol(sent, answer)

    def _judge_answer(self, answer: Answer) -> None:
        row = answer.row
        if row is None:
            words = f"not handed over within {self.options.timeout_s:g} s of the last image"
            self.check(NODE, "counts the series as complete", passed=False, words=words)
            return
        reported = row.state is SeriesState.REPORTED
        reason = " ".join(filter(None, (row.code, row.reason)))
        words = f"{row.state.value}{f': {reason}' if reason else ''}"
        self.check(NODE, "analyses and reports the series", reported, words)
        count = len(self.checks_of_images(answer))
        sent = int(row.instances)
        words = f"{sent} images; {count} result objects"
        self.check(NODE, "has every image that was sent", sent == self._images, words)
        verdict = answer.case.verdict if answer.case else ""
        self.check(
            NODE,
            "accepts its own result",
            verdict == Verdict.ACCEPTED.value,
            verdict or "no case in the table of results",
        )
        marked = answer.case is not None and read_source(answer.case.source).is_test
        self.check(
            NODE,
            "marks the case as a test",
            marked,
            "export and cohort leave it out" if marked else "it would count as a patient's",
        )

    @property
    def _images(self) -> int:
        return len(list((self.folder / "sent").glob("*.dcm")))

    def checks_of_images(self, answer: Answer) -> tuple[ResultRow, ...]:
        """The objects that the node has built."""
        return answer.results

    def _judge_results_folder(self, answer: Answer) -> None:
        """What the node keeps is what it has made."""
        if not answer.results:
            return
        damaged = [each.kind for each in answer.results if not _is_intact(each)]
        words = f"{len(answer.results)} files by SHA-256"
        if damaged:
            words = f"missing or changed: {', '.join(damaged)}"
        self.check(NODE, "keeps its results as they were made", not damaged, words)

    def _note_times(self, answer: Answer) -> None:
        """The hops by the node's own events; where there is none, by what else has a time."""
        if answer.row is not None:
            accepted = answer.happened(SeriesEvent.ACCEPTED) or answer.row.received_at
            self.times.note("the series is complete, and handed over", accepted)
        if (began := answer.happened(SeriesEvent.ANALYSIS_STARTED)) is not None:
            self.times.note("the analysis begins", began)
        ended = answer.happened(SeriesEvent.ANALYSIS_ENDED)
        if ended is None and answer.case is not None:
            ended = answer.case.analysed_at
        if ended is not None:
            self.times.note("the analysis has ended", ended)
        made = [each.made_at for each in answer.results]
        if made:
            self.times.note("the objects are built", max(made))
        for each in self.looked_at:
            rows = answer.to(each.name)
            sent = [row.sent_at for row in rows if row.sent_at is not None]
            taken = answer.happened(SeriesEvent.SENT, each.name) or max(sent, default=None)
            if taken is not None:
                self.times.note(f"{each.name} has taken the last object", taken)
            confirmed = [row for row in rows if row.state is DeliveryState.CONFIRMED]
            if confirmed:
                at = answer.happened(SeriesEvent.CONFIRMED, each.name) or max(
                    row.changed_at for row in confirmed
                )
                self.times.note(f"{each.name} has confirmed the last object", at)

    def _judge_destination(
        self, destination: Destination, sent: SentPhantom, answer: Answer
    ) -> Fetched:
        """One destination: it got what it should, confirmed it, and gives it back."""
        name, rows = destination.name, answer.to(destination.name)
        self._judge_kinds(destination, answer)
        self._judge_deliveries(destination, rows)
        objects = _objects(answer, rows)
        if not objects:
            return Fetched("")
        self.told(f"fetching from {name}")
        came = fetch(
            self.config, destination, sent.study_instance_uid, objects, self.folder / name
        )
        self.times.note(f"fetched from {name}")
        self._judge_listed(name, objects, came)
        self._judge_fetched(name, objects, came, answer)
        return came

    def _judge_kinds(self, destination: Destination, answer: Answer) -> None:
        """Its profile's objects are on the way, and no others."""
        if answer.row is None or answer.row.state is not SeriesState.REPORTED:
            return
        accepted = answer.case is not None and answer.case.verdict == Verdict.ACCEPTED.value
        wanted = set(kinds_for(destination.profile, accepted=accepted, replaces=False))
        rows = [
            each
            for each in answer.to(destination.name)
            if each.state is not DeliveryState.REPLACED
        ]
        got = {ResultKind(answer.result(each.sop_instance_uid).kind) for each in rows}
        words = ", ".join(sorted(got)) or "nothing"
        instead = ", ".join(sorted(got - wanted))
        lost = ", ".join(sorted(wanted - got))
        replaced = len(rows) != len(answer.to(destination.name))
        if lost and not replaced:
            words = f"{words}; missing: {lost}"
        elif replaced:
            words = f"{words}; {instead} in another form, which it takes"
        claim = "gets the objects of its profile"
        self.check(destination.name, claim, replaced or not (lost or instead), words)

    def _judge_deliveries(self, destination: Destination, rows: Sequence[DeliveryRow]) -> None:
        """It took everything, and confirmed it where it is asked to."""
        name = destination.name
        ends = {DeliveryState.SENT, DeliveryState.CONFIRMED, DeliveryState.REPLACED}
        left = [each for each in rows if each.state not in ends]
        reasons = list(dict.fromkeys(each.reason or each.state.value for each in left))
        words = f"{len(rows) - len(left)} of {len(rows)} objects"
        words = "; ".join([words, *reasons[:3]])
        self.check(name, "takes every object", bool(rows) and not left, words)
        claim = "confirms what it has taken"
        if destination.confirm == "no":
            self.add(name, claim, Outcome.NOT_CHECKED, 'confirm = "no": it is not asked')
            return
        asked = [each for each in rows if each.state is not DeliveryState.REPLACED]
        done = sum(each.state is DeliveryState.CONFIRMED for each in asked)
        words = f"{done} of {len(asked)} by {destination.confirm}"
        self.check(name, claim, bool(asked) and done == len(asked), words)

    def _judge_listed(self, name: str, objects: Sequence[WantedObject], came: Fetched) -> None:
        claim = f"lists every object ({came.way.split(' ')[0]})"
        if came.listed is None:
            self.add(name, claim, Outcome.NOT_CHECKED, came.words)
            return
        there = sum(each.sop_instance_uid in came.listed for each in objects)
        words = f"{there} of {len(objects)}"
        self.check(name, claim, there == len(objects), words)

    def _judge_fetched(
        self, name: str, objects: Sequence[WantedObject], came: Fetched, answer: Answer
    ) -> None:
        """What came back is what was sent."""
        way = came.way.split(" ")[-1]
        claim = f"gives every object back ({way})"
        if not came.files:
            words = f"nothing came: {came.words}" if came.words else "nothing came"
            self.add(name, claim, Outcome.NOT_CHECKED, words)
            return
        words = f"{len(came.files)} of {len(objects)}"
        words = "; ".join(filter(None, (words, came.words)))
        self.check(name, claim, len(came.files) == len(objects), words)
        found = {
            uid: difference(Path(answer.result(uid).path), path)
            for uid, path in came.files.items()
            if Path(answer.result(uid).path).is_file()
        }
        self._judge_differences(name, list(found.values()))
        settings = self.config.acceptance
        strangers = [
            answer.result(uid).kind
            for uid, path in came.files.items()
            if not names_patient(read_whole(path), settings.patient_id, settings.patient_name)
        ]
        words = "the name in every writing, by the character set of each object"
        if strangers:
            words = f"not in: {', '.join(strangers)}"
        self.check(name, "keeps the test patient's id and name", not strangers, words)

    def _judge_differences(self, name: str, found: Sequence[Difference]) -> None:
        worst = worst_of(found)
        if worst is None:
            words = "the node's own files cannot be read here"
            self.add(name, "gives them back unchanged", Outcome.NOT_CHECKED, words)
            return
        identical = sum(each.is_identical for each in found)
        words = f"{identical} of {len(found)} identical byte by byte"
        if not worst.is_identical:
            words += f"; worst: {worst.words}"
        self.check(name, "gives them back unchanged", worst.is_harmless, words)

    def _measure(self, sent: SentPhantom, answer: Answer, came: Fetched | None) -> None:
        """Measure what came back; what only the node keeps where nothing did."""
        files = (
            came.files if came else {r.sop_instance_uid: Path(r.path) for r in answer.results}
        )
        kinds = {answer.result(uid).kind: path for uid, path in files.items() if path.is_file()}
        report = next(
            (kinds[kind] for kind in ResultKind if kind in REPORTS & set(kinds)), None
        )
        if came is None and kinds:
            words = "nothing could be fetched: the figures are those of the node's own files"
            self.add("measurements", "as they came back", Outcome.NOT_CHECKED, words)
        if report is None:
            words = "no report is there"
            self.check("measurements", "a report can be read", passed=False, words=words)
            return
        self.told("measuring")
        spec = self.options.spec
        rows = measured(read_whole(report), known_answers(spec))
        self.checks += report_checks(rows, self.config.acceptance)
        segmentations = [path for kind, path in kinds.items() if kind in SEGMENTATIONS]
        if segmentations:
            geometry = read_series(sent.paths).volume.geometry
            segments = phantom(spec).segments
            self.checks += segmentation_checks(segmentations, geometry, segments, rows)

    def _reject(self, sent: SentPhantom, answer: Answer) -> None:
        """Reject what was made, in every destination that has it."""
        for each in self.all_destinations:
            objects = list(_objects(answer, answer.to(each.name)))
            if self.options.with_images and each in self.looked_at:
                objects += [
                    WantedObject(sent.series_instance_uid, uid, sent.sop_class_uid)
                    for uid in sent.sop_instance_uids
                ]
            self.told(f"rejecting the test in {each.name}")
            note = self.folder / "rejections"
            self.checks.append(reject(self.config, each, sent, objects, note))

    def _protocol(self, sent: SentPhantom, answer: Answer) -> Protocol:
        series = [each.own_series_instance_uid for each in answer.results]
        names = [each.name for each in self.all_destinations]
        return Protocol(
            title=TITLE,
            made_at=_now(),
            facts=tuple(self._facts(sent, answer)),
            checks=tuple(self.checks),
            hops=self.times.in_order(),
            instructions=tuple(instructions(sent, names, series)),
        )

    def _facts(self, sent: SentPhantom, answer: Answer) -> Iterator[tuple[str, str]]:
        config, header = self.config, sent.header
        speaks = "DICOM TLS" if self.peer.tls else "DICOM without TLS"
        yield "Node", f"{self.peer} ({speaks}), called from {self.peer.calling_ae_title}"
        names = [f"{each.name}: {each.address}" for each in self.all_destinations]
        yield "Destinations", "; ".join(names) or "none"
        yield "Version", f"msk-node {SOFTWARE_VERSION}, Python {platform.python_version()}"
        yield "Model", _bundle_words(config.for_called(self.peer.ae_title))
        yield "Settings", f"SHA-256 {settings_sha256(config)}"
        if answer.case is not None:
            yield "Analysis settings", read_source(answer.case.source).settings
        yield "Test patient", f"{header.patient_id}, {header.patient_name.split('=')[0]}"
        yield "Accession number", header.accession_number
        yield "Study", sent.study_instance_uid
        yield "Series", f"{sent.series_instance_uid}, {len(sent.paths)} images"
        limits = config.acceptance
        volume = f"volume {limits.volume_percent:g} %"
        middle = f"in the median {limits.median_volume_percent:g} %"
        hu = f"muscles {limits.muscle_hu:g} HU, bones {limits.bone_hu:g} HU"
        yield "Tolerances", f"{volume}, {middle}, {hu}"

    def check(self, subject: str, claim: str, passed: bool, words: str) -> None:  # noqa: FBT001
        """Note what a check found."""
        self.add(subject, claim, Outcome.PASSED if passed else Outcome.FAILED, words)

    def add(self, subject: str, claim: str, outcome: Outcome, words: str) -> None:
        """Note an outcome."""
        self.checks.append(Check(subject, claim, outcome, words))


def _objects(answer: Answer, rows: Sequence[DeliveryRow]) -> tuple[WantedObject, ...]:
    """The objects that a destination has taken."""
    taken = {DeliveryState.SENT, DeliveryState.CONFIRMED}
    found = [answer.result(row.sop_instance_uid) for row in rows if row.state in taken]
    return tuple(
        WantedObject(each.own_series_instance_uid, each.sop_instance_uid, each.sop_class_uid)
        for each in found
    )


def _is_intact(result: ResultRow) -> bool:
    """True if the file of a result is the one that was written."""
    try:
        with Path(result.path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == result.sha256
    except OSError:
        return False


def _bundle_words(config: NodeConfig) -> str:
    """The bundle that analyses, with its hash."""
    try:
        bundle = load_bundle(config.analysis.bundle)
    except (NodeError, OSError, ValueError) as error:
        return f"{config.analysis.bundle}, which cannot be read here ({type(error).__name__})"
    return f"{bundle.name} {bundle.version}, SHA-256 {bundle.sha256}"


def settings_sha256(config: NodeConfig) -> str:
    """A digest of every setting, secrets not among them: those are in files of their own."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def protocol_json(protocol: Protocol) -> str:
    """A protocol for programs."""
    told = {
        "protocol_version": 1,
        "title": protocol.title,
        "made_at": protocol.made_at.isoformat(),
        "passed": protocol.passed,
        "facts": dict(protocol.facts),
        "checks": [asdict(each) for each in protocol.checks],
        "hops": [
            {"what": each.what, "at": each.at.isoformat(), "seconds": each.seconds}
            for each in protocol.hops
        ],
        "instructions": list(protocol.instructions),
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _now() -> datetime:
    return datetime.now().astimezone()
