"""The node's settings: one file, read once at the edge into a frozen tree.

`load_config` reads `node.toml` (documented in `docs/node.toml`) or, without a file, the
defaults below, which are enough for the demonstration. Every problem in the file is found
in one go and named by its key: unknown keys, values out of range, routes to destinations
that do not exist. What no file can say, whether the bundle is there and the folders can be
written, is asked by `node/preflight.py`.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.settings.acceptance import Acceptance
from dicom_node.settings.alarms import Alarms
from dicom_node.settings.archives import ArchiveSettings, retrieval_of, sends_from
from dicom_node.settings.audit import Audit
from dicom_node.settings.destinations import (
    AnyDestination,
    Confirmation,
    Delivery,
    Destination,
    Route,
)
from dicom_node.settings.metrics import Metrics
from dicom_node.settings.profile import Profile
from dicom_node.settings.rules import RuleSet
from dicom_node.settings.schedules import Schedule
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import ReceiveTls
from dicom_node.settings.values import OWN_AE_TITLE, AeTitle, Days, Seconds, Section
from dicom_node.settings.web import Web

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def _database(text: str) -> str:
    """A database that lasts: a path, or the URL of an SQLite file or a PostgreSQL server."""
    if "://" not in text:
        if "?" in text:
            raise ValueError("a path with ? is read as a URL with a query")
        return text
    url = parse_database_url(text)
    if not url.drivername.startswith(("sqlite", "postgresql")):
        raise ValueError(f"this is {url.drivername}; only sqlite and postgresql work")
    if url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise ValueError("this lives in memory and would lose its work")
    return text


def parse_database_url(url: str) -> URL:
    """A database URL, by the library that uses it.

    That takes a third of a second of processor time to load, which no process need spend
    that uses no database, or one at a mere path: a scanner waits for the receiver's start.
    """
    from sqlalchemy.engine import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("neither a path nor a database URL") from None


class Node(Section):
    """The node's name, its address, and the places where it keeps things."""

    ae_title: AeTitle = OWN_AE_TITLE
    """The node's own AE title."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """The address to listen on; the default is reachable from this machine alone."""
    port: int = Field(default=11112, ge=0, le=65535)
    """The TCP port to listen on; 0 takes any free one."""
    calling_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles that may send from anywhere; with none and no `senders`, anyone may."""
    called_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles callers may use for this node; empty accepts any."""
    spool: Path = Path("msk-node-data/spool")
    """Where received instances are kept."""
    work: Path = Path("msk-node-data/work")
    """Where analyses keep their intermediate files."""
    results: Path = Path("msk-node-data/results")
    """Where result objects are kept, ready to be sent again byte for byte."""
    database: Annotated[str, Field(min_length=1), AfterValidator(_database)] = (
        "msk-node-data/node.sqlite"
    )
    """The SQLite file of queue and ledger, or a database URL."""

    name: str | None = Field(
        default=None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$"
    )
    """What this node is called among those that share its database (default: the machine)."""
    lease_s: Seconds = 15.0
    """How long a node that shares its database may be silent before others do its work."""

    def rooted(self, folder: Path) -> Self:
        """The same table, its folders and database file not dependent on the current one."""
        rooted = super().rooted(folder)
        if "://" in self.database:
            return rooted
        return rooted.model_copy(update={"database": str(folder / self.database)})

    @property
    def executor_id(self) -> str:
        """The worker's name in the queue: the one and only with SQLite, else the node's."""
        if self.database_path is not None:
            return "worker-0"
        return self.name or socket.gethostname()

    @property
    def database_url(self) -> str:
        """The database as an SQLAlchemy URL."""
        return self.database if "://" in self.database else f"sqlite:///{self.database}"

    @property
    def database_path(self) -> Path | None:
        """The SQLite file, or None where the database is a server."""
        if "://" not in self.database:
            return Path(self.database)
        url = parse_database_url(self.database)
        if not url.drivername.startswith("sqlite") or not url.database:
            return None
        return Path(url.database)


class Receive(Section):
    """Limits that protect the receiver."""

    max_associations: int = Field(default=64, ge=1)
    """How many associations may be open at a time."""
    reserved_for_senders: int = Field(default=16, ge=0)
    """How many of them `[[archives]]` never take; without archives that send, anyone may."""
    idle_timeout_s: Seconds = 60.0
    """How long a silent association is kept open."""
    free_reserve_mb: int = Field(default=1024, ge=0)
    """Free space on the spool's disk below which nothing more is taken (0xA700)."""
    max_spool_mb: int | None = Field(default=None, ge=1)
    """How large the spool may become; without it, as large as its disk allows."""
    max_object_mb: int = Field(default=2048, ge=1)
    """The largest object; a larger one ends its association while it arrives."""
    tls: ReceiveTls | None = None
    """TLS on `node.port`; without it, the port is a plain one."""


class Completion(Section):
    """The rules by which a series counts as complete."""

    quiet_s: Seconds = 10.0
    """How long nothing must have arrived for a series whose slices leave no gap."""
    give_up_s: Seconds = 300.0
    """How long nothing must have arrived for a series that still has gaps."""
    resend_s: Seconds = 120.0
    """How long a sender whose association broke off has to send again."""
    count_timeout_s: Seconds = 5.0
    """How long a sender may take to say how many images a series has (`senders.count_at`)."""
    study_quiet_s: Seconds = 120.0
    """How long nothing must have come of a study before its best series is chosen, where
    rules choose one."""

    @model_validator(mode="after")
    def _give_up_comes_last(self) -> Self:
        """The long timer must not ring before the short one."""
        if self.give_up_s < self.quiet_s:
            raise ValueError(f"give_up_s is {self.give_up_s}, less than quiet_s {self.quiet_s}")
        return self


class Analysis(Section):
    """The segmentation of a series."""

    bundle: str = Field(default="compact", min_length=1)
    """The model bundle: the name of a shipped one, or the path of a folder."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where the network runs: `cpu`, `cuda`, `cuda:N`, or a GPU if there is one (`auto`)."""
    samples: int | None = Field(default=None, ge=1, le=1000)
    """Monte Carlo samples; without it, as many as the bundle says."""
    partial: Literal["report", "refuse"] = "report"
    """What to do with a scan that does not show hip to knee."""
    timeout_s: Seconds = 3600.0
    """How long one analysis may take before it is stopped."""
    attempts: int = Field(default=3, ge=1, le=100)
    """How often an analysis that died or ran out of time is tried."""
    rules: str | None = None
    """The rule set by which series that arrive are taken; without it, every one is."""
    grader: str | None = Field(default=None, min_length=1)
    """What grades the hips: a grader's folder or a table of grades (.csv); without it, none."""

    def rooted(self, folder: Path) -> Self:
        """The same table, no path dependent on the current folder."""
        grader = {} if self.grader is None else {"grader": str(folder / self.grader)}
        return self.model_copy(update=_rooted_bundle(self.bundle, folder) | grader)


class Pipeline(Section):
    """Other analysis settings for the series that are sent to one called AE title."""

    called_ae_title: AeTitle
    """The AE title that the sender used for this node."""
    bundle: str | None = Field(default=None, min_length=1)
    """The model bundle; without it, as in `[analysis]`."""
    samples: int | None = Field(default=None, ge=1, le=1000)
    """Monte Carlo samples; without it, as in `[analysis]`."""
    partial: Literal["report", "refuse"] | None = None
    """What to do with a scan that does not show hip to knee; without it, as there."""
    rules: str | None = None
    """The rule set by which series are taken; empty takes every one; without it, as there."""

    def rooted(self, folder: Path) -> Self:
        """The same table, a bundle's path not dependent on the current folder."""
        return self.model_copy(update=_rooted_bundle(self.bundle, folder))


def _rooted_bundle(bundle: str | None, folder: Path) -> dict[str, str]:
    """The change that roots a bundle; the name of a shipped one is no path."""
    return {"bundle": str(folder / bundle)} if bundle is not None and "/" in bundle else {}


class Objects(Section):
    """What result objects say of their maker, and what lies beside them."""

    station_name: str | None = Field(default=None, min_length=1, max_length=16)
    """Station Name in the results; without it, none."""
    institution_name: str | None = Field(default=None, min_length=1, max_length=64)
    """Institution Name in the results; without it, none."""
    nifti: bool = False
    """Whether the segments are kept in the results folder as NIfTI too, on even slices."""
    fhir: bool = False
    """Whether the report is kept there as FHIR too (R5, a Bundle in JSON)."""


class Cases(Section):
    """The table of results in the database."""

    patient_id: bool = False
    """Whether it holds the Patient ID; without it, a digest that names nobody."""


class Retention(Section):
    """The ages at which what is no longer needed is deleted; without its key, nothing is."""

    images_d: Days | None = None
    """Days after which the images of a series are deleted, once all its results arrived."""
    results_d: Days | None = None
    """Days after which the files of results that have arrived everywhere are deleted."""


class Logging(Section):
    """The form of the log."""

    format: Literal["console", "json"] = "console"
    """`console` for people, `json` for machines; both carry no patient data."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe events that are written."""


class NodeConfig(Section):
    """The whole of `node.toml`."""

    node: Node = Node()
    receive: Receive = Receive()
    completion: Completion = Completion()
    analysis: Analysis = Analysis()
    profile: Profile = Profile()
    objects: Objects = Objects()
    cases: Cases = Cases()
    delivery: Delivery = Delivery()
    confirmation: Confirmation = Confirmation()
    retention: Retention = Retention()
    logging: Logging = Logging()
    alarms: Alarms = Alarms()
    metrics: Metrics = Metrics()
    audit: Audit | None = None
    web: Web | None = None
    acceptance: Acceptance = Acceptance()
    senders: tuple[Sender, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    destinations: tuple[AnyDestination, ...] = ()
    routes: tuple[Route, ...] = ()
    archives: tuple[ArchiveSettings, ...] = ()
    rules: tuple[RuleSet, ...] = ()
    schedules: tuple[Schedule, ...] = ()

    @model_validator(mode="after")
    def _archives_leave_room(self) -> Self:
        """What archives may send at once fits into what is not kept for others."""
        limits = self.receive
        wanted = sum(each.retrievals_at_once for each in self.archives if self._is_moving(each))
        left = limits.max_associations - limits.reserved_for_senders
        if wanted > max(left, 0):
            raise ValueError(
                f"archives may send on {wanted} associations at once, but"
                f" receive.max_associations {limits.max_associations} less"
                f" receive.reserved_for_senders {limits.reserved_for_senders} leaves"
                f" {max(left, 0)}"
            )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        """A port speaks TLS or does not (PS3.15 B.12)."""
        listening = self.receive.tls
        if listening is not None and listening.plain_port == self.node.port:
            raise ValueError("receive.tls.plain_port is node.port; it needs one of its own")
        return self

    def destination(self, name: str) -> Destination | None:
        """The destination of that name, or None when the file no longer has it."""
        return next((each for each in self.destinations if each.name == name), None)

    def archive(self, name: str) -> ArchiveSettings | None:
        """The archive of that name, or None when the file no longer has it."""
        return next((each for each in self.archives if each.name == name), None)

    def archive_senders(self) -> tuple[Sender, ...]:
        """As whom archives call, to send what they were asked for."""
        found = (
            sends_from(each, each.address(self.destinations))
            for each in self.archives
            if self._is_moving(each)
        )
        return tuple(filter(None, found))

    def _is_moving(self, archive: ArchiveSettings) -> bool:
        """True if an archive sends by C-MOVE; one whose destination is not there sends not."""
        try:
            return retrieval_of(archive, archive.address(self.destinations)) == "move"
        except ValueError:
            return False

    def rule_set(self, name: str) -> RuleSet | None:
        """The rule set of that name, or None when the file has none."""
        return next((each for each in self.rules if each.name == name), None)

    def schedule(self, name: str) -> Schedule | None:
        """The schedule of that name, or None when the file no longer has it."""
        return next((each for each in self.schedules if each.name == name), None)

    def for_called(self, ae_title: str) -> NodeConfig:
        """The same settings with the analysis that a called AE title selects."""
        chosen = (each for each in self.pipelines if each.called_ae_title == ae_title)
        pipeline = next(chosen, None)
        if pipeline is None:
            return self
        given = pipeline.model_dump(exclude={"called_ae_title"}, exclude_none=True)
        return self.model_copy(update={"analysis": self.analysis.model_copy(update=given)})

    @property
    def bundles(self) -> tuple[str, ...]:
        """Every bundle that some series is analysed with, the usual one first."""
        others = (each.bundle for each in self.pipelines if each.bundle is not None)
        return tuple(dict.fromkeys((self.analysis.bundle, *others)))

    def allowed_senders(self) -> tuple[Sender, ...]:
        """The callers allowed, besides the titles that may call from anywhere; none: anyone.

        A destination that reports on storage commitments calls too, and so does an archive
        that sends what it was asked for.
        """
        if not (self.senders or self.node.calling_ae_titles):
            return ()
        reporting = (each.reports_as() for each in self.destinations)
        return (*self.senders, *filter(None, reporting), *self.archive_senders())

    def count_at(self, calling_ae_title: str) -> Destination | None:
        """The destination to ask how many images a series has; None where nobody knows."""
        names = (
            each.count_at
            for each in self.senders
            if each.count_at and each.ae_title in (None, calling_ae_title)
        )
        found = self.destination(next(names, ""))
        return found if found is not None and found.counts_images else None

    def destinations_for(
        self, calling_ae_title: str, called_ae_title: str
    ) -> tuple[Destination, ...]:
        """The destinations of results: as the first fitting route says, all without routes."""
        if not self.routes:
            return self.destinations
        for route in self.routes:
            if route.fits(calling_ae_title, called_ae_title):
                return tuple(
                    each for each in self.destinations if each.name in route.destinations
                )
        return ()
