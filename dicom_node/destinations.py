"""The tables of destinations: who gets results, which, in what way, and how it is asked.

A destination is reached by DICOM (C-STORE) or, where it has a `url`, by DICOMweb (STOW-RS).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from dicom_node.config_tls import DestinationTls
from dicom_node.config_values import AeTitle, Hours, Port, Seconds, Section
from dicom_node.results.renderings import QcPolicy


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
    density_slices: bool = False
    """Whether the source slices go out with the muscles coloured by density, in one object."""
    uncertainty_map: bool = False
    """Whether the uncertainty of every voxel goes out, as a Parametric Map."""
    pdf_summary: bool = False
    """Whether a summary for people goes out, as an Encapsulated PDF."""
    reject_replaced: bool = False
    """Whether a Key Object rejects the results that a new revision replaces."""


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


def _is_here(host: str) -> bool:
    """Whether a host is this machine: what goes there is on no network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Destination(Section):
    """A node or service that receives results; how it is reached is said by its kind."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """How routes and the ledger call it."""
    confirm: Literal["commitment", "query", "no"] = "no"
    """How it is asked whether it has got an object: storage commitment, a query, or not."""
    profile: Profile = Profile()
    """What it gets; once the file is read, complete with what `[profile]` says."""
    tls: DestinationTls | None = None
    """How TLS to it is spoken."""


class DicomDestination(Destination):
    """A DICOM node: results go there by C-STORE. Without `tls`, over a plain connection."""

    ae_title: AeTitle
    """Its AE title."""
    host: str = Field(min_length=1)
    """Its address."""
    port: Port
    """Its TCP port."""
    calling_ae_title: AeTitle | None = None
    """The AE title to call it with; without it, the node's own."""


class Credentials(Section):
    """How we prove to a DICOMweb service who we are; the secrets are never in this file."""

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


class WebDestination(Destination):
    """A DICOMweb service (PS3.18): results go there by STOW-RS.

    An `https` service without `tls` is verified by whom this machine's system trusts.
    """

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
        parts = urlsplit(self.url)
        if parts.scheme == "http" and self.tls is not None:
            raise ValueError("tls is for an https url")
        if self.tls is not None and self.tls.fingerprints:
            raise ValueError("tls.fingerprints are for DICOM destinations; give tls.ca")
        if parts.scheme == "http" and self.credentials and not _is_here(parts.hostname or ""):
            raise ValueError("credentials would go in the clear; they need an https url")
        return self


def _kind(table: Any) -> str:
    """Which kind of destination a table of the file, or a value, is."""
    has_url = "url" in table if isinstance(table, dict) else hasattr(table, "url")
    return "dicomweb" if has_url else "dicom"


AnyDestination = Annotated[
    Annotated[DicomDestination, Tag("dicom")] | Annotated[WebDestination, Tag("dicomweb")],
    Discriminator(_kind),
]
"""What stands in `[[destinations]]`."""
KINDS: Final = ("dicom", "dicomweb")


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


def describe_destination(each: Destination) -> Iterator[str]:
    """What is sent to a destination, how, and how it proves who it is, a sentence a line."""
    if isinstance(each, WebDestination):
        yield f"destination {each.name}: {each.url} (STOW-RS)"
        host, query = urlsplit(each.url).hostname or "", "QIDO-RS"
        if each.credentials is not None:
            yield f"destination {each.name} is shown {_shown(each.credentials)}"
    elif isinstance(each, DicomDestination):
        yield f"destination {each.name}: {each.ae_title}@{each.host}:{each.port}"
        host, query = each.host, "C-FIND"
    yield f"destination {each.name} gets {describe_profile(each.profile)}"
    yield f"destination {each.name}: {CONFIRM_WORDS[each.confirm].format(query=query)}"
    if each.tls is not None:
        yield f"destination {each.name} {_proves(each.tls, host)}"


def _shown(credentials: Credentials) -> str:
    """Which secret is shown, and where it is, never what it is."""
    file = credentials.bearer_token_file or credentials.password_file
    variable = credentials.bearer_token_variable or credentials.password_variable
    place = f"of {file}" if file else f"in the variable {variable}"
    if credentials.user is None:
        return f"the bearer token {place}"
    return f"the password {place}, as {credentials.user}"


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
    "query": "what was sent is confirmed by {query}",
    "no": "what was sent is not asked for again",
}


def describe_profile(profile: Profile) -> str:
    """A profile in words."""
    optional = {
        "density picture": profile.density_picture,
        "density slices": profile.density_slices,
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
