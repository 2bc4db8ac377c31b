"""The tables of destinations: who gets results, which, in what way, and how it is asked.

A destination is of one of the `KINDS`: reached by DICOM (C-STORE), where it has a `url` by
DICOMweb (STOW-RS), and where it has a `fhir_url` by FHIR, which takes reports alone. Whatever
differs between them is said here, by the methods of `Destination`; how a kind is called is in
`peers/transports.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from dicom_node.settings.profile import Profile
from dicom_node.settings.senders import Sender
from dicom_node.settings.tls import DestinationTls
from dicom_node.settings.values import AeTitle, Hours, Port, Seconds, Section, is_here


def _service_url(text: str) -> str:
    """The base address of a DICOMweb service, without a slash at its end."""
    try:
        parts = urlsplit(text)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not named:
        raise ValueError("must be http://... or https://... with a host")
    if "@" in parts.netloc:
        raise ValueError("a name or password belongs into credentials, not into the URL")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path, without ? or #")
    return text.rstrip("/")


class Credentials(Section):
    """The credentials for a DICOMweb service; the secrets are never in this file."""

    bearer_token_file: Path | None = None
    """The file whose first line is a bearer token (RFC 6750)."""
    bearer_token_variable: str | None = Field(default=None, min_length=1)
    """The environment variable that holds a bearer token."""
    user: str | None = Field(default=None, pattern=r"^[^:\x00-\x1f]+$")
    """The user name of HTTP Basic authentication (RFC 7617)."""
    password_file: Path | None = None
    """The file whose first line is the user's password."""
    password_variable: str | None = Field(default=None, min_length=1)
    """The environment variable that holds the user's password."""

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        """One secret, from one place."""
        tokens = [self.bearer_token_file, self.bearer_token_variable]
        passwords = [self.password_file, self.password_variable]
        if sum(each is not None for each in (*tokens, *passwords)) != 1:
            raise ValueError("give a bearer token or a password, in a file or in a variable")
        if (self.user is None) != (passwords == [None, None]):
            raise ValueError("user and a password belong together")
        return self


def _check_secrets(
    url: str, tls: DestinationTls | None, credentials: Credentials | None
) -> None:
    """Refuse what a service by HTTP cannot keep: secrets in the clear, and fingerprints."""
    parts = urlsplit(url)
    if parts.scheme == "http" and tls is not None:
        raise ValueError("tls is for an https url")
    if tls is not None and tls.fingerprints:
        raise ValueError("tls.fingerprints are for DICOM destinations; give tls.ca")
    if parts.scheme == "http" and credentials and not is_here(parts.hostname or ""):
        raise ValueError("credentials would go in the clear; they need an https url")


class Destination(Section):
    """A node or service that receives results: what every kind has, and says of itself."""

    standard: ClassVar[str]
    """The name of what it speaks, as text."""
    mark: ClassVar[str]
    """The key by which a table of the file is known to be of this kind."""
    query_service: ClassVar[str]
    """The service by which it is asked for what it has, as text."""
    counts_images: ClassVar[bool] = False
    """True if it can be asked how many images a series has."""
    takes_reports_alone: ClassVar[bool] = False
    """True if it is an archive of no objects: of what its profile says it gets the report."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """How routes and the ledger call it."""
    confirm: Literal["commitment", "query", "no"] = "no"
    """How it is asked whether it has got an object: storage commitment, a query, or not."""
    profile: Profile = Profile()
    """What it gets; once the file is read, complete with what `[profile]` says."""
    tls: DestinationTls | None = None
    """How TLS to it is spoken."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Its address, as text."""

    @property
    @abstractmethod
    def host_name(self) -> str:
        """The host that its certificate should name, where `tls` names none."""

    @property
    def shown_credentials(self) -> Credentials | None:
        """The place of the secret that it is shown, if it is shown one."""
        return None

    def reports_as(self) -> Sender | None:
        """As whom it calls us to report on storage commitments; None where it never does."""
        return None

    def called_from(self, _ae_title: str) -> Self:
        """The same destination, called with another AE title, where it is told one."""
        return self


class DicomDestination(Destination):
    """A DICOM node: results go there by C-STORE. Without `tls`, over a plain connection."""

    standard = "DICOM"
    mark = "ae_title"
    query_service = "C-FIND"
    counts_images = True

    ae_title: AeTitle
    """Its AE title."""
    host: str = Field(min_length=1)
    """Its address."""
    port: Port
    """Its TCP port."""
    calling_ae_title: AeTitle | None = None
    """The AE title to call it with; without it, the node's own."""

    @property
    def address(self) -> str:
        """As on the command line."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    @property
    def host_name(self) -> str:
        """Its host."""
        return self.host

    def reports_as(self) -> Sender | None:
        """Itself, from its host, if it is asked to commit."""
        if self.confirm != "commitment":
            return None
        # Its host has been good enough to call it by: not judged again as a sender's.
        return Sender.model_construct(ae_title=self.ae_title, hosts=(self.host,))

    def called_from(self, ae_title: str) -> Self:
        """The same node, called with this AE title."""
        return self.model_copy(update={"calling_ae_title": ae_title})


class WebDestination(Destination):
    """A DICOMweb service (PS3.18): results go there by STOW-RS.

    An `https` service without `tls` is verified by whom this machine's system trusts.
    """

    standard = "DICOMweb"
    mark = "url"
    query_service = "QIDO-RS"

    url: Annotated[str, AfterValidator(_service_url)]
    """Its base address, to which `/studies` is added."""
    confirm: Literal["query", "no"] = "no"
    """Whether it is asked by QIDO-RS for what it took."""
    credentials: Credentials | None = None
    """How we prove who we are; without them, by a certificate of `tls` or not at all."""
    max_batch_mb: int = Field(default=32, ge=1, le=1024)
    """How much goes in one request; a larger object goes alone."""

    @model_validator(mode="after")
    def _keeps_secrets(self) -> Self:
        """A secret in the clear is none; and names are verified here, not fingerprints."""
        _check_secrets(self.url, self.tls, self.credentials)
        return self

    @property
    def address(self) -> str:
        """Its URL, and how results go there."""
        return f"{self.url} (STOW-RS)"

    @property
    def host_name(self) -> str:
        """The host of its URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def shown_credentials(self) -> Credentials | None:
        """As the file says."""
        return self.credentials


class FhirDestination(Destination):
    """A FHIR server (R5): of each report it gets the resources that HL7's guide makes of it.

    It is told of the patient by the id alone. An `https` server without `tls` is verified by
    whom this machine's system trusts.
    """

    standard = "FHIR"
    mark = "fhir_url"
    query_service = "a read of its capabilities"
    takes_reports_alone = True

    fhir_url: Annotated[str, AfterValidator(_service_url)]
    """Its base address; a transaction goes there for each report."""
    confirm: Literal["no"] = "no"
    """It is not asked for what it took: its answer to the transaction counts."""
    credentials: Credentials | None = None
    """How we prove who we are; without them, by a certificate of `tls` or not at all."""

    @model_validator(mode="after")
    def _keeps_secrets(self) -> Self:
        """A secret in the clear is none; and names are verified here, not fingerprints."""
        _check_secrets(self.fhir_url, self.tls, self.credentials)
        return self

    @property
    def address(self) -> str:
        """Its URL, and how reports go there."""
        return f"{self.fhir_url} (FHIR)"

    @property
    def host_name(self) -> str:
        """The host of its URL."""
        return urlsplit(self.fhir_url).hostname or ""

    @property
    def shown_credentials(self) -> Credentials | None:
        """As the file says."""
        return self.credentials


KINDS: Final[tuple[type[Destination], ...]] = (
    FhirDestination,
    WebDestination,
    DicomDestination,
)
"""Every kind of destination; a table is of the first whose mark it bears."""


def kind_of(table: Mapping[str, Any]) -> type[Destination]:
    """The kind of destination in a table of the file; without a mark, a DICOM node."""
    return next((kind for kind in KINDS if kind.mark in table), DicomDestination)


def _of_its_kind(value: Any) -> Destination:
    """A table read as what it is; its problems are named by its own keys."""
    match value:
        case Destination():
            return value
        case Mapping():
            return kind_of(value).model_validate(value)
        case _:
            return DicomDestination.model_validate(value)


AnyDestination = Annotated[SerializeAsAny[Destination], BeforeValidator(_of_its_kind)]
"""What stands in `[[destinations]]`."""


class Route(Section):
    """A route to the destinations of results. The first route that fits a series decides."""

    calling_ae_title: AeTitle | None = None
    """The sender's AE title; without it, any."""
    called_ae_title: AeTitle | None = None
    """The AE title the sender used for this node; without it, any."""
    destinations: tuple[str, ...] = Field(min_length=1)
    """Names of destinations."""

    def fits(self, calling_ae_title: str, called_ae_title: str) -> bool:
        """True if this route is meant for such an association."""
        return self.calling_ae_title in (None, calling_ae_title) and self.called_ae_title in (
            None,
            called_ae_title,
        )


class Delivery(Section):
    """The rules for trying a delivery again."""

    first_wait_s: Seconds = 30.0
    """The wait after the first failed attempt; doubled after each further one."""
    max_wait_s: Seconds = 600.0
    """The longest wait between two attempts."""
    hold_after: int = Field(default=150, ge=1)
    """After how many failed attempts (150 last about a day) a delivery is an alarm: tried
    slowly where time may mend it, else held."""
    slow_wait_s: Seconds = 3600.0
    """The wait between two attempts from then on."""
    timeout_s: Seconds = 60.0
    """How long to wait for a destination's answer."""
    echo_every_s: Seconds = 60.0
    """How often a destination that has not been reached for so long is asked whether it is
    back."""


class Confirmation(Section):
    """The queries to destinations on whether they have got what was sent."""

    ask_again_s: Seconds = 3600.0
    """How long a report of storage commitment may take before it is asked for again."""
    resend: int = Field(default=3, ge=0)
    """How often an object that a destination has lost is sent again before it is held."""
    alarm_after_h: Hours = 24.0
    """How long an object may be unconfirmed before that is an alarm."""
