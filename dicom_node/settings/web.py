"""The tables of the web pages and of the API."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.settings.tls import Identity
from dicom_node.settings.values import HOST_NAME, Hours, Section

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
"""How this machine is called by those who sit at it."""
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]+")


def _network(text: str) -> str:
    """An address, or a network in CIDR notation."""
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"neither an address nor a network: {error}") from None
    return text


def _site_name(text: str) -> str:
    """A host name or an address as it stands in a browser's address line, without a port."""
    bare = text.strip("[]").lower().rstrip(".")
    if not HOST_NAME.fullmatch(bare) and not is_address(bare):
        raise ValueError("neither a host name nor an address; leave the port away")
    return bare


def _header(text: str) -> str:
    """The name of a header of HTTP."""
    if not HEADER_NAME.fullmatch(text):
        raise ValueError("a header's name has letters, digits and hyphens")
    return text.lower()


def is_address(text: str) -> bool:
    """True for an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """True for an address or name that is reached from this machine alone."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


Network = Annotated[str, AfterValidator(_network)]
SiteName = Annotated[str, AfterValidator(_site_name)]
HeaderName = Annotated[str, AfterValidator(_header)]


class WebTls(Identity):
    """TLS on `web.port`."""

    @model_validator(mode="after")
    def _is_given(self) -> Self:
        """A listener shows a certificate."""
        if self.certificate is None:
            raise ValueError("certificate and key must be given")
        return self


class WebProxy(Section):
    """A proxy before the port, which ends TLS and may say who is calling."""

    addresses: tuple[Network, ...] = Field(min_length=1)
    """The proxy's addresses or networks; what others claim to forward is not believed."""
    user_header: HeaderName | None = None
    """The header in which it names the user that it has let in; without it, it names nobody."""
    groups_header: HeaderName | None = None
    """The header in which it names the user's groups, with commas between them."""
    viewer_groups: tuple[str, ...] = ()
    """The groups whose members may look."""
    operator_groups: tuple[str, ...] = ()
    """The groups whose members may look and order."""

    @model_validator(mode="after")
    def _gives_roles(self) -> Self:
        """Whoever is let in by a header gets a role by a group, never without one."""
        groups = (*self.viewer_groups, *self.operator_groups)
        if self.user_header is not None and (self.groups_header is None or not groups):
            raise ValueError(
                "user_header needs groups_header, and viewer_groups or operator_groups"
            )
        if self.user_header is None and (self.groups_header is not None or groups):
            raise ValueError("groups mean nothing without user_header")
        return self


class Web(Section):
    """The dashboard and the API. Without this table there is none."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """The address to listen on; the default is reachable from this machine alone."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The TCP port to listen on; 0 takes any free one."""
    allowed_hosts: tuple[SiteName, ...] = ()
    """The names by which browsers may call the pages; without it, `host` and this machine."""
    plain: bool = False
    """Whether the port may be open to other machines without TLS and without a proxy."""
    users: Path = Path("users.toml")
    """The users with their roles and digests of passwords; `msk-node user` writes it."""
    tokens: Path = Path("tokens.toml")
    """The tokens of programs that use the API; `msk-node token` writes it."""
    idle_h: Hours = 0.5
    """How long a login lasts without a request."""
    session_h: Hours = 10.0
    """How long a login lasts at most."""
    show_patients: bool = False
    """Whether pages show Patient ID and Accession Number; without it, UIDs only."""
    mark: Literal["test", "clinical"] = "test"
    """What this installation is for: it stands at the head of every page."""
    tls: WebTls | None = None
    """TLS on `web.port`; without it, the port is a plain one."""
    proxy: WebProxy | None = None
    """The proxy before the port; without it, there is none."""

    @model_validator(mode="after")
    def _is_not_open_by_accident(self) -> Self:
        """Passwords do not travel in the clear because a key was forgotten."""
        if is_loopback(self.host) or self.tls or self.proxy or self.plain:
            return self
        raise ValueError(
            f"host {self.host} is reachable from other machines, without TLS:"
            " give [web.tls] or [web.proxy], or say plain = true"
        )

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        """Whoever listens on every address has to say by which names."""
        is_any = is_address(self.host) and ip_address(self.host).is_unspecified
        if is_any and not self.allowed_hosts:
            raise ValueError(
                f"host {self.host} is every address of this machine:"
                " allowed_hosts must say by which names browsers call it"
            )
        return self

    @property
    def site_names(self) -> frozenset[str]:
        """Every name that a request may bear as its host."""
        return frozenset((self.host.lower(), *LOOPBACK_NAMES, *self.allowed_hosts))
