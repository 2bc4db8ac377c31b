"""From where a request comes: its address, and whether it came by TLS or by our proxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers

from dicom_node.settings.web import Web, is_loopback


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, as far as the network tells.

    address: the browser's, or the program's; behind our proxy, as that says.
    is_proxied: our proxy passed it on: its headers are believed.
    is_https: it came to us, or to the proxy, by TLS.
    """

    address: str
    is_proxied: bool
    is_https: bool

    @property
    def site(self) -> str:
        """The address, or the network that one customer has of IPv6 (a /64)."""
        found = _address(self.address)
        if isinstance(found, IPv6Address):
            return str(ip_network(f"{found}/64", strict=False))
        return self.address


def caller_of(peer: str, scheme: str, headers: Headers, settings: Web) -> Caller:
    """The caller of a request that a peer brought."""
    is_https = scheme == "https"
    if settings.proxy is None or not is_among(peer, settings.proxy.addresses):
        return Caller(peer, is_proxied=False, is_https=is_https)
    forwarded = ",".join(headers.getlist("x-forwarded-for")).split(",")
    passed = [_without_port(each) for each in forwarded if each.strip()]
    # What stands on the left was written by whoever called: the last that is no proxy of ours.
    others = (each for each in reversed(passed) if not is_among(each, settings.proxy.addresses))
    address = next(others, peer)
    by_tls = headers.get("x-forwarded-proto", "").strip().lower() == "https"
    return Caller(
        address if _address(address) else peer, is_proxied=True, is_https=is_https or by_tls
    )


def may_call(peer: str, settings: Web) -> bool:
    """True if a peer may speak to our port: behind a proxy without TLS, only that may."""
    if settings.proxy is None or settings.tls is not None or settings.plain:
        return True
    return is_loopback(peer) or is_among(peer, settings.proxy.addresses)


def is_among(address: str, networks: Sequence[str]) -> bool:
    """True if an address lies in one of the networks."""
    found = _address(address)
    return found is not None and any(found in ip_network(each) for each in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address; one of IPv4 is that, also where it is written as one of IPv6."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _without_port(text: str) -> str:
    """The address in an element of X-Forwarded-For."""
    bare = text.strip()
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0] if bare.count(":") == 1 else bare
