"""Who may send, and how much: decided when an association is requested.

    judge        one request against the rules: nobody, or the reason to turn it away
    Room         what the spool and its disk may still take
    TurnedAway   how often who was turned away and why, kept in a small file

The file is what `msk-node status` shows; it lies in the spool, for the receiver writes
nowhere else, and holds no word about patients.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Final

import structlog

from dicom_node.spool import Spool

log = structlog.get_logger()

Address = IPv4Address | IPv6Address
BOOK: Final = ".turned-away.json"
MAX_ROWS: Final = 100
"""Who tries one title after the other fills no disk: what comes later is counted together."""
REMEMBER_NAMES_S: Final = 60.0
"""How long a host name's addresses are not looked up again."""
MEASURE_SPOOL_EVERY_S: Final = 60.0


class Reason(StrEnum):
    """Why someone or something was turned away."""

    CALLED_TITLE = "called AE title not known"
    CALLING_TITLE = "calling AE title not known"
    HOST = "calling AE title not allowed from this address"
    CERTIFICATE = "calling AE title not allowed with this certificate"
    TOO_MANY = "too many associations"
    NO_ROOM = "no room for more images"

    @property
    def rejection(self) -> tuple[int, int, int]:
        """Result, source and reason of the A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
        return _REJECTIONS[self]


_REJECTIONS: Final = {
    Reason.CALLED_TITLE: (1, 1, 7),
    Reason.CALLING_TITLE: (1, 1, 3),
    # A title is recognised only together with where it calls from, and what it shows.
    Reason.HOST: (1, 1, 3),
    Reason.CERTIFICATE: (1, 1, 3),
    # Transient, local limit exceeded: the sender may come again.
    Reason.TOO_MANY: (2, 3, 2),
    Reason.NO_ROOM: (2, 3, 2),
}


@dataclass(frozen=True, slots=True)
class AllowedSender:
    """Who may call: all of it must fit.

    ae_title: the calling AE title; None fits any.
    hosts: addresses, networks (`10.1.0.0/16`) and host names; none fits any address.
    fingerprints: SHA-256 of certificates, in hexadecimal; none fits any, and plain callers.
    """

    ae_title: str | None = None
    hosts: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may call, by what name; without any sender anyone may, without a name by any."""

    senders: tuple[AllowedSender, ...] = ()
    called_ae_titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who requests an association, and from which address."""

    calling_ae_title: str
    called_ae_title: str
    host: str


def judge(
    caller: Caller,
    rules: Rules,
    look_up: Callable[[str], Collection[Address]],
    shown: str = "",
) -> Reason | None:
    """Why a caller is turned away, or None where it may come in.

    Args:
        caller: Who calls.
        rules: Who may.
        look_up: The addresses of a host name; none where it is not known.
        shown: Fingerprint of the certificate that the caller has shown; empty: none.
    """
    if rules.called_ae_titles and caller.called_ae_title not in rules.called_ae_titles:
        return Reason.CALLED_TITLE
    by_title = [
        each for each in rules.senders if each.ae_title in (None, caller.calling_ae_title)
    ]
    by_host = [each for each in by_title if _is_from(caller.host, each.hosts, look_up)]
    if not rules.senders or any(
        not each.fingerprints or shown in each.fingerprints for each in by_host
    ):
        return None
    if by_host:
        return Reason.CERTIFICATE
    return Reason.HOST if by_title else Reason.CALLING_TITLE


def _is_from(
    host: str, allowed: Sequence[str], look_up: Callable[[str], Collection[Address]]
) -> bool:
    """Whether an address is one of these addresses, networks or hosts."""
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


class Room:
    """What may still be received: a reserve of free space, and the spool's own limit.

    The spool is measured in the background, for it may hold a million files; in between,
    what is kept is added to it, and what is purged is noticed at the next measurement. What
    is still arriving counts too, on whatever association: it is on the disk already.
    """

    def __init__(
        self, spool: Spool, free_reserve_bytes: int, max_spool_bytes: int | None = None
    ) -> None:
        self._spool = spool
        self._free_reserve_bytes = free_reserve_bytes
        self._max_spool_bytes = max_spool_bytes
        self._measured_bytes = 0
        self._added_bytes = 0
        self._arriving_bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self) -> None:
        """Measure the spool, and go on doing so, if it has a limit."""
        if self._max_spool_bytes is not None:
            self.measure()
            threading.Thread(target=self._measure_often, name="spool-size", daemon=True).start()

    def stop(self) -> None:
        """Measure no more."""
        self._stop.set()

    def add(self, size_bytes: int) -> None:
        """Note that so much has been kept."""
        with self._lock:
            self._added_bytes += size_bytes

    def arrives(self, size_bytes: int) -> None:
        """Note that so much more is arriving; negative, once it is kept or given up."""
        with self._lock:
            self._arriving_bytes += size_bytes

    def lacks(self, size_bytes: int = 0) -> str:
        """Why there is no room for so much more, in words; empty where there is."""
        if self._spool.free_bytes() - size_bytes < self._free_reserve_bytes:
            return "the disk is nearly full"
        limit = self._max_spool_bytes
        held = self._measured_bytes + self._added_bytes + self._arriving_bytes
        if limit is not None and held + size_bytes > limit:
            return "the spool is as large as it may be"
        return ""

    def measure(self) -> None:
        """Measure the spool; what is kept meanwhile counts twice rather than not at all."""
        with self._lock:
            before = self._added_bytes
        size = self._spool.size_bytes()
        with self._lock:
            self._measured_bytes = size
            self._added_bytes -= before

    def _measure_often(self) -> None:
        while not self._stop.wait(MEASURE_SPOOL_EVERY_S):
            try:
                self.measure()
            except OSError:
                log.exception("spool.not_measured")


@dataclass(frozen=True, slots=True)
class Count:
    """How often one caller was turned away for one reason; `last_at` in ISO 8601."""

    reason: str
    calling_ae_title: str
    called_ae_title: str
    host: str
    count: int
    last_at: str


OTHERS: Final = Caller("(others)", "", "")


class TurnedAway:
    """Counts who was turned away, in a file of the spool that outlives the process."""

    def __init__(
        self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = folder / BOOK
        self._temporary = folder / f"{BOOK}.part"
        self._temporary.unlink(missing_ok=True)
        self._clock = clock
        self._lock = threading.Lock()
        since, counts = read_turned_away(folder)
        self._since = since or self._now()
        self._counts = {_key(each): each for each in counts}

    def note(self, reason: Reason, caller: Caller) -> None:
        """Count one more; a disk that takes no file keeps nobody waiting."""
        log.warning(
            "caller.turned_away",
            reason=reason.value,
            calling_ae=printable(caller.calling_ae_title),
            called_ae=printable(caller.called_ae_title),
            host=caller.host,
        )
        with self._lock:
            self._count(reason, caller)
            try:
                self._write()
            except OSError as error:
                log.warning("caller.not_counted", error=type(error).__name__)

    def _count(self, reason: Reason, caller: Caller) -> None:
        one = Count(
            reason.value,
            printable(caller.calling_ae_title),
            printable(caller.called_ae_title),
            caller.host,
            1,
            self._now(),
        )
        if _key(one) not in self._counts and len(self._counts) >= MAX_ROWS:
            one = replace(
                one, calling_ae_title=OTHERS.calling_ae_title, called_ae_title="", host=""
            )
        known = self._counts.get(_key(one))
        self._counts[_key(one)] = replace(one, count=known.count + 1) if known else one

    def _write(self) -> None:
        """Replace the file whole; losing the last count in a power cut does no harm."""
        table = {
            "since": self._since,
            "counts": [asdict(each) for each in self._counts.values()],
        }
        self._temporary.write_text(json.dumps(table, indent=1), encoding="utf-8")
        self._temporary.rename(self._path)

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")


def read_turned_away(folder: Path) -> tuple[str, tuple[Count, ...]]:
    """Since when, and how often who was turned away; empty where nobody ever was."""
    try:
        table = json.loads((folder / BOOK).read_text(encoding="utf-8"))
        counts = tuple(Count(**each) for each in table["counts"])
        for text in (table["since"], *(each.last_at for each in counts)):
            datetime.fromisoformat(text)
    except FileNotFoundError:
        return "", ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("caller.counts_unreadable", error=type(error).__name__)
        return "", ()
    return str(table["since"]), counts


def _key(one: Count) -> tuple[str, str, str, str]:
    return (one.reason, one.calling_ae_title, one.called_ae_title, one.host)


def printable(title: str) -> str:
    """An AE title as a stranger wrote it, without what could confuse a terminal."""
    return "".join(each if " " <= each <= "~" else "?" for each in title.strip())[:16]


class Gate:
    """Lets associations in or not, and counts those it does not."""

    def __init__(
        self,
        rules: Rules,
        room: Room,
        turned_away: TurnedAway,
        look_up: Callable[[str], Collection[Address]],
    ) -> None:
        self._rules = rules
        self._room = room
        self._turned_away = turned_away
        self._look_up = look_up

    def refuses(self, caller: Caller, shown: str = "") -> Reason | None:
        """Why this caller is not let in now, counted; None where it is.

        Args:
            caller: Who calls.
            shown: Fingerprint of its certificate; empty where it has shown none.
        """
        reason = judge(caller, self._rules, self._look_up, shown)
        if reason is None and self._room.lacks():
            reason = Reason.NO_ROOM
        if reason is not None:
            self._turned_away.note(reason, caller)
        return reason

    def is_full(self, caller: Caller) -> None:
        """Count a caller for whom there was no association left."""
        self._turned_away.note(Reason.TOO_MANY, caller)
