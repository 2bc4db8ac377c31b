"""Host names and addresses of callers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import structlog

log = structlog.get_logger()

Address = IPv4Address | IPv6Address

REMEMBER_NAMES_S: Final = 60.0
"""The time for which a host name's addresses are not looked up again."""


def is_from(
    host: str, allowed: Sequence[str], look_up: Callable[[str], Collection[Address]]
) -> bool:
    """True if an address is one of these addresses, networks or hosts."""
    if not allowed:
        return True
    address = _address(host)
    return address is not None and any(_covers(each, address, look_up) for each in allowed)


def _covers(
    allowed: str, address: Address, look_up: Callable[[str], Collection[Address]]
) -> bool:
    try:
        return address in ip_network(allowed)
    except ValueError:
        return address in look_up(allowed)


def _address(host: str) -> Address | None:
    """A peer's address; IPv4 also where a socket for both kinds writes it as IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class HostNames:
    """Looks host names up, and remembers the answers for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, frozenset[Address]]] = {}

    def __call__(self, name: str) -> frozenset[Address]:
        """The addresses of a host, the last known ones where nobody answers just now."""
        now_s = self._clock()
        asked_s, addresses = self._known.get(name, (-REMEMBER_NAMES_S, frozenset()))
        if now_s - asked_s >= REMEMBER_NAMES_S:
            addresses = _look_up(name) or addresses
            self._known[name] = (now_s, addresses)
        return addresses


def _look_up(name: str) -> frozenset[Address]:
    try:
        found = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except OSError:
        log.warning("host.unknown", host=name)
        return frozenset()
    addresses = (_address(str(sockaddr[0])) for *_, sockaddr in found)
    return frozenset(each for each in addresses if each is not None)
