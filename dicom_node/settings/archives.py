"""The tables of archives: who is asked for studies, how, and how gently.

An archive is called as a destination is, so its address is read as one: by DICOM, or where it
has a `url`, by DICOMweb. One that stands among the destinations already is only named.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from dicom_node.settings.destinations import (
    Credentials,
    Destination,
    DicomDestination,
    WebDestination,
    kind_of,
)
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import DestinationTls
from dicom_node.settings.values import AeTitle, OpeningHours, Pause, Port, Seconds, Section

ADDRESS: Final = ("ae_title", "host", "port", "calling_ae_title", "url", "credentials", "tls")
"""The keys that say where an archive is, and how it is called."""

Way = Literal["move", "get", "web"]
"""C-MOVE, C-GET or WADO-RS."""

BY_DICOM: Final = ("move", "get")
"""The ways in which a DICOM node gives what it holds; a DICOMweb service has its own."""


def _time_zone(name: str) -> str:
    """A time zone that this machine knows."""
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError(f"{name[:64]!r} is no time zone that this machine knows") from None
    return name


class ArchiveSettings(Section):
    """An archive that is asked for studies, and how gently."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """How schedules and the ledger call it."""
    destination: str | None = None
    """The destination that it is; without this key, its address stands here."""
    ae_title: AeTitle | None = None
    """Its AE title."""
    host: str | None = Field(default=None, min_length=1)
    """Its address."""
    port: Port | None = None
    """Its TCP port."""
    calling_ae_title: AeTitle | None = None
    """The AE title to call it with; without it, the node's own."""
    url: str | None = None
    """The base address of a DICOMweb service, to which `/studies` is added."""
    credentials: Credentials | None = None
    """How we prove to that service who we are."""
    tls: DestinationTls | None = None
    """How TLS to it is spoken."""

    retrieve: Way | None = None
    """How it gives what it holds; without it, by C-MOVE, or by WADO-RS where it has a url."""
    move_to: AeTitle | None = None
    """The AE title that a C-MOVE names as its destination; without it, the node's own."""
    sends_as: AeTitle | None = None
    """The AE title with which it calls us for a C-MOVE; without it, its own."""
    max_answers: int | None = Field(default=None, ge=1)
    """How many answers it gives to one query at most; so many are not taken for all."""
    answers_per_image: bool = False
    """Whether it answers once per image at every level, and so names studies more than once."""
    timezone: Annotated[str, AfterValidator(_time_zone)] | None = None
    """The time zone in which it lives (IANA: `Europe/Berlin`); without it, this machine's."""
    hours: tuple[OpeningHours, ...] = ()
    """When it may be asked, by its own clock: `Mon-Fri 20:00-06:00`; without any, always."""
    answer_timeout_s: Seconds = 60.0
    """How long to wait for each of its answers to a query."""
    silence_s: Seconds = 300.0
    """How long a retrieval may say and bring nothing before it is over."""
    queries_at_once: int = Field(default=1, ge=1, le=64)
    """How many queries may be under way at a time."""
    retrievals_at_once: int = Field(default=1, ge=1, le=64)
    """How many retrievals may be under way at a time."""
    pause_s: Pause = 1.0
    """How long to leave it alone between two studies."""

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        """It is a destination or has an address, and gives in a way of its kind."""
        given = [key for key in ADDRESS if getattr(self, key) is not None]
        if self.destination is not None and given:
            raise ValueError(f"destination says where it is already, without {given[0]}")
        if self.destination is None:
            problem = _wrong_way(self, self.address(()))
            if problem:
                raise ValueError(problem)
        return self

    def address(self, destinations: Iterable[Destination]) -> Destination:
        """How it is called: the destination that it is, or one made of its own keys.

        Raises:
            ValueError: there is no such destination, or its keys make none.
        """
        if self.destination is not None:
            for each in destinations:
                if each.name == self.destination:
                    return each
            raise ValueError(f"there is no destination {self.destination!r}")
        given = {key: getattr(self, key) for key in ADDRESS if getattr(self, key) is not None}
        if not given:
            raise ValueError("give destination, an ae_title with host and port, or a url")
        try:
            return kind_of(given).model_validate({"name": self.name, **given})
        except ValidationError as error:
            raise ValueError("; ".join(map(_in_words, error.errors()))) from None


def retrieval_of(
    archive: ArchiveSettings, address: Destination
) -> Literal["move", "get", "web"]:
    """How an archive at an address gives what it holds."""
    if archive.retrieve is not None:
        return archive.retrieve
    return "web" if isinstance(address, WebDestination) else "move"


def sender_title(archive: ArchiveSettings, address: Destination) -> str:
    """The AE title under which what it gives is kept: its own, or its name for a service."""
    if isinstance(address, DicomDestination):
        return archive.sends_as or address.ae_title
    return archive.name.upper()[:16]


def sends_from(archive: ArchiveSettings, address: Destination) -> Sender | None:
    """As whom it calls us to send what a C-MOVE asks for; None where it never does."""
    if not isinstance(address, DicomDestination) or retrieval_of(archive, address) != "move":
        return None
    # Its host has been good enough to call it by: not judged again as a sender's.
    return Sender.model_construct(
        ae_title=sender_title(archive, address), hosts=(address.host,), fingerprints=()
    )


def address_problem(
    archive: ArchiveSettings, destinations: Iterable[Destination]
) -> str | None:
    """What keeps a named destination from being this archive; None where nothing does."""
    try:
        return _wrong_way(archive, archive.address(destinations))
    except ValueError as error:
        return str(error)


def _wrong_way(archive: ArchiveSettings, address: Destination) -> str | None:
    """The way of retrieval that an archive of this kind does not have, in words."""
    if not isinstance(address, DicomDestination | WebDestination):
        return f"{address.name} is a {address.standard} server, which holds no images"
    is_web = isinstance(address, WebDestination)
    if is_web and archive.retrieve in BY_DICOM:
        return f"retrieve is {archive.retrieve!r}, which a DICOMweb service has not"
    if not is_web and archive.retrieve == "web":
        return "retrieve is 'web', for which an archive needs a url"
    if is_web and archive.move_to is not None:
        return "move_to is for an archive that is reached by DICOM"
    return None


def _in_words(problem: Any) -> str:
    """One problem of an address, with its key."""
    key = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    words = {"missing": "must be given", "extra_forbidden": "not for such an archive"}
    return ": ".join(filter(None, (key, words.get(problem["type"], message))))
