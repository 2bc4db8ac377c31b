"""The node's settings: one file, read once at the edge into a frozen tree.

`load_config` reads `node.toml` (documented in `docs/node.toml`) or, without a file, the
defaults below, which are enough for the demonstration. Every problem in the file is found
in one go and named by its key: unknown keys, values out of range, routes to destinations
that do not exist. What no file can say, whether the bundle is there and the folders can be
written, is asked by `surroundings.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from dicom_node.errors import ConfigurationError
from dicom_node.results.renderings import QcPolicy


def _ae_title(text: str) -> str:
    """An application entity title (PS3.5 6.2, VR AE): 16 characters, no backslash."""
    if not 1 <= len(text.strip(" ")) <= 16 or text != text.strip(" "):
        raise ValueError("an AE title has 1 to 16 characters, none of them a space at an end")
    if "\\" in text or not all(" " <= character <= "~" for character in text):
        raise ValueError("an AE title has printable ASCII characters only, no backslash")
    return text


def _database(text: str) -> str:
    """A database that lasts: a path, or the URL of an SQLite file or a PostgreSQL server."""
    if "://" not in text:
        return text
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("neither a path nor a database URL") from None
    if not url.drivername.startswith(("sqlite", "postgresql")):
        raise ValueError(f"this is {url.drivername}; only sqlite and postgresql work")
    if url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise ValueError("this lives in memory and would lose its work")
    return text


def _host(text: str) -> str:
    """An address, a network in CIDR notation, or a host name."""
    try:
        ip_network(text)
    except ValueError as error:
        if not HOST_NAME.fullmatch(text):
            raise ValueError(
                f"neither an address, a network nor a host name: {error}"
            ) from None
    return text


HOST_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?")
"""RFC 1123, with a letter somewhere: `10.1.2` is a mistyped address, not a name."""

AeTitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Hours = Seconds
Days = Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen table of the file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Node(Section):
    """Who the node is, where it listens and where it keeps things."""

    ae_title: AeTitle = "MSKNODE"
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

    @property
    def database_url(self) -> str:
        """The database as an SQLAlchemy URL."""
        return self.database if "://" in self.database else f"sqlite:///{self.database}"

    @property
    def database_path(self) -> Path | None:
        """The SQLite file, or None where the database is a server."""
        url = make_url(self.database_url)
        if not url.drivername.startswith("sqlite") or not url.database:
            return None
        return Path(url.database)


def _fingerprint(text: str) -> str:
    """SHA-256 of a certificate as `openssl x509 -fingerprint -sha256` prints it."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
    return digits


Fingerprint = Annotated[str, AfterValidator(_fingerprint)]


class Identity(Section):
    """Our own certificate, and the key that proves that it is ours."""

    certificate: Path | None = None
    """Our certificate, followed by those that lead to its issuer (PEM)."""
    key: Path | None = None
    """Its private key (PEM)."""
    key_passphrase_file: Path | None = None
    """The file whose first line is the key's passphrase."""
    key_passphrase_variable: str | None = Field(default=None, min_length=1)
    """The environment variable that holds the key's passphrase."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """A certificate is no use without its key; two passphrases leave open which counts."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if self.key_passphrase_file and self.key_passphrase_variable:
            raise ValueError("give key_passphrase_file or key_passphrase_variable, not both")
        return self


class ReceiveTls(Identity):
    """TLS on `node.port`: how the node shows who it is, and whom it believes."""

    client_ca: Path | None = None
    """Certificates of those who vouch for senders, or of the senders themselves (PEM)."""
    require_client_certificate: bool = True
    """Whether a sender must show a certificate."""
    plain_port: Port | None = None
    """A second port, without TLS; without this key there is none."""

    @model_validator(mode="after")
    def _is_verified(self) -> Self:
        """A listener shows a certificate, and believes only what somebody vouches for."""
        if self.certificate is None:
            raise ValueError("certificate and key must be given")
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError("client_ca must be given, or require_client_certificate = false")
        return self


class DestinationTls(Identity):
    """TLS to a destination: how it proves who it is, and with which certificate we do."""

    ca: Path | None = None
    """Certificates of those who vouch for it, or its own (PEM)."""
    server_name: str | None = Field(default=None, min_length=1)
    """The name or address in its certificate; without it, `host`."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """SHA-256 of the certificates it may show, whatever name they bear."""

    @model_validator(mode="after")
    def _is_verified(self) -> Self:
        """Encryption to whoever answers would protect nobody."""
        if self.ca is None and not self.fingerprints:
            raise ValueError("give ca or fingerprints: nobody is believed without either")
        return self


class Receive(Section):
    """Limits that protect the receiver."""

    max_associations: int = Field(default=64, ge=1)
    """How many associations may be open at a time."""
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
    """When a series counts as complete."""

    quiet_s: Seconds = 10.0
    """How long nothing must have arrived for a series whose slices leave no gap."""
    give_up_s: Seconds = 300.0
    """How long nothing must have arrived for a series that still has gaps."""
    resend_s: Seconds = 120.0
    """How long a sender whose association broke off has to send again."""
    count_timeout_s: Seconds = 5.0
    """How long a sender may take to say how many images a series has (`senders.count_at`)."""

    @model_validator(mode="after")
    def _give_up_comes_last(self) -> Self:
        """The long timer must not ring before the short one."""
        if self.give_up_s < self.quiet_s:
            raise ValueError(f"give_up_s is {self.give_up_s}, less than quiet_s {self.quiet_s}")
        return self


class Analysis(Section):
    """How a series is segmented."""

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


class Profile(Section):
    """What a destination gets of a case; a refusal goes whole to every destination."""

    segmentation: Literal["binary", "labelmap", "groups"] = "binary"
    """The form of the segmentation; one that takes no `labelmap` gets `binary` instead."""
    report: Literal["record", "key_slice", "both"] = "record"
    """Which report: the record of all figures, the key slices that OHIF shows, or both."""
    qc_image: QcPolicy = "on_failure"
    """When a QC image goes out beside SEG and SR; a refusal is always answered with one."""
    density_picture: bool = False
    """Whether a picture of the muscles' density goes out."""
    uncertainty_map: bool = False
    """Whether the uncertainty of every voxel goes out, as a Parametric Map."""
    pdf_summary: bool = False
    """Whether a summary for people goes out, as an Encapsulated PDF."""
    reject_replaced: bool = False
    """Whether a Key Object rejects the results that a new revision replaces."""


class Objects(Section):
    """How result objects name their maker."""

    station_name: str | None = Field(default=None, min_length=1, max_length=16)
    """Station Name in the results; without it, none."""
    institution_name: str | None = Field(default=None, min_length=1, max_length=64)
    """Institution Name in the results; without it, none."""


class Destination(Section):
    """A node that receives results."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """How routes and the ledger call it."""
    ae_title: AeTitle
    """Its AE title."""
    host: str = Field(min_length=1)
    """Its address."""
    port: Port
    """Its TCP port."""
    calling_ae_title: AeTitle | None = None
    """The AE title to call it with; without it, the node's own."""
    confirm: Literal["commitment", "query", "no"] = "no"
    """How it is asked whether it has got an object: storage commitment, C-FIND, or not."""
    profile: Profile = Profile()
    """What it gets; once the file is read, complete with what `[profile]` says."""
    tls: DestinationTls | None = None
    """TLS to it; without it, a plain connection."""


class Sender(Section):
    """Someone who may send. With any of these, whoever fits none is not let in."""

    ae_title: AeTitle | None = None
    """Its calling AE title; without it, any."""
    hosts: tuple[Host, ...] = ()
    """Addresses, networks and host names it may call from; empty: any."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """SHA-256 of the certificates it may show under TLS; empty: any that is accepted."""
    count_at: str | None = None
    """The destination to ask how many images a series of this sender has (C-FIND)."""


class Route(Section):
    """Which destinations a series' results go to. The first route that fits decides."""

    calling_ae_title: AeTitle | None = None
    """The sender's AE title; without it, any."""
    called_ae_title: AeTitle | None = None
    """The AE title the sender used for this node; without it, any."""
    destinations: tuple[str, ...] = Field(min_length=1)
    """Names of destinations."""

    def fits(self, calling_ae_title: str, called_ae_title: str) -> bool:
        """Whether this route is meant for such an association."""
        return self.calling_ae_title in (None, calling_ae_title) and self.called_ae_title in (
            None,
            called_ae_title,
        )


class Delivery(Section):
    """How often a delivery is tried."""

    first_wait_s: Seconds = 30.0
    """The wait after the first failed attempt; doubled after each further one."""
    max_wait_s: Seconds = 600.0
    """The longest wait between two attempts."""
    hold_after: int = Field(default=150, ge=1)
    """After how many failed attempts a delivery is held (150 last about a day)."""
    timeout_s: Seconds = 60.0
    """How long to wait for a destination's answer."""
    echo_every_s: Seconds = 60.0
    """How often a destination that could not be reached is asked whether it is back."""


class Confirmation(Section):
    """How destinations are asked whether they have got what was sent."""

    ask_again_s: Seconds = 3600.0
    """How long a report of storage commitment may take before it is asked for again."""
    resend: int = Field(default=3, ge=0)
    """How often an object that a destination has lost is sent again before it is held."""
    alarm_after_h: Hours = 24.0
    """How long an object may be unconfirmed before that is an alarm."""


class Retention(Section):
    """When what is no longer needed is deleted; without its key, nothing is."""

    images_d: Days | None = None
    """Days after which the images of a series are deleted, once all its results arrived."""
    results_d: Days | None = None
    """Days after which the files of results that have arrived everywhere are deleted."""


class Logging(Section):
    """What the log looks like."""

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
    delivery: Delivery = Delivery()
    confirmation: Confirmation = Confirmation()
    retention: Retention = Retention()
    logging: Logging = Logging()
    senders: tuple[Sender, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()

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

    def count_at(self, calling_ae_title: str) -> Destination | None:
        """Whom to ask how many images a series of this sender has; None where nobody knows."""
        names = (
            each.count_at
            for each in self.senders
            if each.count_at and each.ae_title in (None, calling_ae_title)
        )
        name = next(names, None)
        return self.destination(name) if name else None

    def destinations_for(
        self, calling_ae_title: str, called_ae_title: str
    ) -> tuple[Destination, ...]:
        """Where results go: as the first fitting route says, everywhere without routes."""
        if not self.routes:
            return self.destinations
        for route in self.routes:
            if route.fits(calling_ae_title, called_ae_title):
                return tuple(
                    each for each in self.destinations if each.name in route.destinations
                )
        return ()


def load_config(path: Path | None = None) -> NodeConfig:
    """Read `node.toml`, or take the defaults without one.

    Relative paths in the file are relative to the file's folder; in the defaults, to the
    current one.

    Raises:
        ConfigurationError: with every problem of the file, one a line.
    """
    if path is None:
        return _rooted(NodeConfig(), Path.cwd())
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    return parse_config(table, source=str(path), folder=path.absolute().parent)


def parse_config(table: Mapping[str, Any], *, source: str, folder: Path) -> NodeConfig:
    """The frozen tree of a parsed file; `source` names it in messages.

    Raises:
        ConfigurationError: with every problem, one a line.
    """
    problems: list[str] = []
    config = None
    try:
        config = NodeConfig.model_validate(table)
    except ValidationError as error:
        problems += [
            _in_words(each["loc"], each["msg"], each["type"]) for each in error.errors()
        ]
    problems += _reference_problems(table)
    if problems or config is None:
        raise ConfigurationError("\n".join(f"{source}: {each}" for each in problems))
    return _rooted(_with_whole_profiles(config), folder)


def describe(config: NodeConfig) -> tuple[str, ...]:
    """What a node with these settings would do, a sentence a line."""
    node, analysis = config.node, config.analysis
    senders = _senders(config)
    samples = f"{analysis.samples} samples" if analysis.samples else "the bundle's samples"
    lines = [
        f"listens as {node.ae_title} on {node.host}:{node.port}, to {senders}",
        *_listens_with(config.receive.tls),
        f"keeps what it receives in {node.spool}, results in {node.results}",
        f"keeps queue and ledger in {make_url(node.database_url)}",
        f"segments with bundle {analysis.bundle} on {analysis.device}, {samples}",
        f"a scan that does not show hip to knee: {analysis.partial}",
    ]
    lines += [f"called {each.called_ae_title}: {_differs(each)}" for each in config.pipelines]
    for each in config.destinations:
        lines.append(f"destination {each.name}: {each.ae_title}@{each.host}:{each.port}")
        lines.append(f"destination {each.name} gets {_gets(each.profile)}")
        lines.append(f"destination {each.name}: {CONFIRM_WORDS[each.confirm]}")
        if each.tls is not None:
            lines.append(f"destination {each.name} {_proves(each.tls, each.host)}")
    lines += [
        f"from {each.calling_ae_title or 'anyone'} to {each.called_ae_title or 'any title'}:"
        f" results go to {', '.join(each.destinations)}"
        for each in config.routes
    ]
    if not config.destinations:
        lines.append("no destinations: results stay in the results folder")
        lines.append(f"the results folder gets {_gets(config.profile)}")
    elif not config.routes:
        lines.append("no routes: results go to every destination")
    return tuple(lines)


SEGMENTATION_WORDS: Final = {
    "binary": "SEG",
    "labelmap": "SEG as label map (SEG where that is not taken)",
    "groups": "SEG of bones, of hip and of thigh muscles",
}
REPORT_WORDS: Final = {
    "record": "SR",
    "key_slice": "SR on key slices",
    "both": "SR, SR on key slices",
}
QC_WORDS: Final = {
    "on_failure": "QC image when not accepted",
    "always": "QC image",
    "never": "no QC image",
}


def _differs(pipeline: Pipeline) -> str:
    """What a pipeline does otherwise, in words."""
    given = pipeline.model_dump(exclude={"called_ae_title"}, exclude_none=True)
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "as any other"


def _senders(config: NodeConfig) -> str:
    """Who may send, in words."""
    words = list(config.node.calling_ae_titles)
    for each in config.senders:
        hosts = f" from {' or '.join(each.hosts)}" if each.hosts else ""
        words.append(f"{each.ae_title or 'any title'}{hosts}")
    return ", ".join(words) or "any sender"


def _listens_with(tls: ReceiveTls | None) -> Iterator[str]:
    """How senders are let in, in words."""
    if tls is None:
        return
    must = "must" if tls.require_client_certificate else "may"
    yield f"that port speaks TLS only; senders {must} show a certificate"
    if tls.plain_port is not None:
        yield f"listens on port {tls.plain_port} without TLS, to anyone who may send"


def _proves(tls: DestinationTls, host: str) -> str:
    """How a destination shows that it is the one, in words."""
    proofs = [f"a certificate for {tls.server_name or host}"]
    if tls.fingerprints:
        proofs = [f"the certificate {' or '.join(each[:16] for each in tls.fingerprints)}..."]
    if tls.ca is not None:
        proofs.append(f"vouched for by {tls.ca}")
    shown = "our certificate" if tls.certificate else "no certificate"
    return f"is reached by TLS: it shows {', '.join(proofs)}; we show {shown}"


CONFIRM_WORDS: Final = {
    "commitment": "what was sent is confirmed by storage commitment",
    "query": "what was sent is confirmed by C-FIND",
    "no": "what was sent is not asked for again",
}


def _gets(profile: Profile) -> str:
    """A profile in words."""
    optional = {
        "density picture": profile.density_picture,
        "uncertainty map": profile.uncertainty_map,
        "PDF summary": profile.pdf_summary,
        "rejection of what is replaced": profile.reject_replaced,
    }
    words = [
        SEGMENTATION_WORDS[profile.segmentation],
        REPORT_WORDS[profile.report],
        QC_WORDS[profile.qc_image],
        *(name for name, wished in optional.items() if wished),
    ]
    return ", ".join(words)


def _with_whole_profiles(config: NodeConfig) -> NodeConfig:
    """The same settings, each destination's profile filled up from the one for all."""
    whole = tuple(
        each.model_copy(
            update={
                "profile": config.profile.model_copy(
                    update=each.profile.model_dump(exclude_unset=True)
                )
            }
        )
        for each in config.destinations
    )
    return config.model_copy(update={"destinations": whole})


def _reference_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Names that stand twice, and routes that lead nowhere (also in a file with errors)."""
    destinations, routes = table.get("destinations", []), table.get("routes", [])
    if not isinstance(destinations, list) or not isinstance(routes, list):
        return
    names = [each.get("name") for each in destinations if isinstance(each, dict)]
    for name, count in Counter(map(str, names)).items():
        if count > 1:
            yield f"destinations: {count} of them are called {name!r}"
    for index, route in enumerate(routes):
        wanted = route.get("destinations", []) if isinstance(route, dict) else []
        for name in wanted if isinstance(wanted, list) else []:
            if name not in names:
                yield f"routes[{index}].destinations: there is no destination {name!r}"
    yield from _pipeline_problems(table)
    senders = table.get("senders", [])
    for index, sender in enumerate(senders if isinstance(senders, list) else []):
        asked = sender.get("count_at") if isinstance(sender, dict) else None
        if asked is not None and asked not in names:
            yield f"senders[{index}].count_at: there is no destination {asked!r}"


def _pipeline_problems(table: Mapping[str, Any]) -> Iterator[str]:
    """Called AE titles that select two pipelines, or that nobody may use."""
    pipelines, node = table.get("pipelines", []), table.get("node", {})
    if not isinstance(pipelines, list) or not isinstance(node, dict):
        return
    titles = [each.get("called_ae_title") for each in pipelines if isinstance(each, dict)]
    allowed = node.get("called_ae_titles") or titles
    for title, count in Counter(map(str, titles)).items():
        if count > 1:
            yield f"pipelines: {count} of them are for {title!r}"
        if title not in allowed:
            yield f"pipelines: node.called_ae_titles does not let anyone call {title!r}"


def _in_words(location: tuple[int | str, ...], message: str, kind: str) -> str:
    """One problem, with its key as a person would write it: `destinations[0].port: ...`."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    words = {"extra_forbidden": "unknown key", "missing": "must be given"}
    return (
        f"{key.lstrip('.') or 'file'}: {words.get(kind, message.removeprefix('Value error, '))}"
    )


_WithTls = TypeVar("_WithTls", Receive, Destination)
_WithBundle = TypeVar("_WithBundle", Analysis, Pipeline)


def _rooted(config: NodeConfig, folder: Path) -> NodeConfig:
    """The same settings with paths that no longer depend on the current folder."""
    node = config.node
    database = node.database if "://" in node.database else str(folder / node.database)
    rooted = node.model_copy(
        update={
            "spool": folder / node.spool,
            "work": folder / node.work,
            "results": folder / node.results,
            "database": database,
        }
    )
    analysis = _rooted_bundle(config.analysis, folder)
    return config.model_copy(
        update={
            "node": rooted,
            "analysis": analysis,
            "pipelines": tuple(_rooted_bundle(each, folder) for each in config.pipelines),
            "receive": _rooted_tls(config.receive, folder),
            "destinations": tuple(_rooted_tls(each, folder) for each in config.destinations),
        }
    )


def _rooted_bundle(section: _WithBundle, folder: Path) -> _WithBundle:
    """The same section, a bundle's path no longer dependent on the current folder."""
    if section.bundle is None or "/" not in section.bundle:
        return section
    return section.model_copy(update={"bundle": str(folder / section.bundle)})


def _rooted_tls(section: _WithTls, folder: Path) -> _WithTls:
    """The same section, the files of its TLS no longer dependent on the current folder."""
    if section.tls is None:
        return section
    files = {name: folder / value for name, value in section.tls if isinstance(value, Path)}
    return section.model_copy(update={"tls": section.tls.model_copy(update=files)})
