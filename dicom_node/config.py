"""The node's settings: one file, read once at the edge into a frozen tree.

`load_config` reads `node.toml` (documented in `docs/node.toml`) or, without a file, the
defaults below, which are enough for the demonstration. Every problem in the file is found
in one go and named by its key: unknown keys, values out of range, routes to destinations
that do not exist. What no file can say, whether the bundle is there and the folders can be
written, is asked by `surroundings.py`.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

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


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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
    """AE titles that may send; empty lets anyone who reaches the port send."""
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


class Receive(Section):
    """Limits that protect the receiver."""

    max_associations: int = Field(default=64, ge=1)
    """How many associations may be open at a time."""
    idle_timeout_s: Seconds = 60.0
    """How long a silent association is kept open."""
    free_reserve_mb: int = Field(default=1024, ge=0)
    """Free space on the spool's disk below which instances are refused (0xA700)."""


class Completion(Section):
    """When a series counts as complete."""

    quiet_s: Seconds = 10.0
    """How long nothing must have arrived for a series whose slices leave no gap."""
    give_up_s: Seconds = 300.0
    """How long nothing must have arrived for a series that still has gaps."""

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
    profile: Profile = Profile()
    """What it gets; once the file is read, complete with what `[profile]` says."""


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
    logging: Logging = Logging()
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()

    def destination(self, name: str) -> Destination | None:
        """The destination of that name, or None when the file no longer has it."""
        return next((each for each in self.destinations if each.name == name), None)

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
    senders = ", ".join(node.calling_ae_titles) or "any sender"
    samples = f"{analysis.samples} samples" if analysis.samples else "the bundle's samples"
    lines = [
        f"listens as {node.ae_title} on {node.host}:{node.port}, to {senders}",
        f"keeps what it receives in {node.spool}, results in {node.results}",
        f"keeps queue and ledger in {make_url(node.database_url)}",
        f"segments with bundle {analysis.bundle} on {analysis.device}, {samples}",
        f"a scan that does not show hip to knee: {analysis.partial}",
    ]
    for each in config.destinations:
        lines.append(f"destination {each.name}: {each.ae_title}@{each.host}:{each.port}")
        lines.append(f"destination {each.name} gets {_gets(each.profile)}")
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


def _in_words(location: tuple[int | str, ...], message: str, kind: str) -> str:
    """One problem, with its key as a person would write it: `destinations[0].port: ...`."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    words = {"extra_forbidden": "unknown key", "missing": "must be given"}
    return (
        f"{key.lstrip('.') or 'file'}: {words.get(kind, message.removeprefix('Value error, '))}"
    )


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
    analysis = config.analysis
    if "/" in analysis.bundle:
        analysis = analysis.model_copy(update={"bundle": str(folder / analysis.bundle)})
    return config.model_copy(update={"node": rooted, "analysis": analysis})
