"""Admission: who may send, and how much, decided when an association is requested.

    rejection_reason    one request against the rules: None, or the reason to reject it
    ArchivePlaces       the associations that archives may have, for the rest is kept free
    AssociationPolicy   the rules and the spool's capacity, for every request
    RejectionLog        how often who was rejected and why, kept in a small file

The file is what `msk-node status` shows; it lies in the spool, for the receiver writes
nowhere else, and holds no word about patients.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from weakref import WeakSet

import structlog

from dicom_node.monitoring.audit import NO_TRAIL
from dicom_node.receiving.audit import RejectionAudit
from dicom_node.receiving.host_names import Address, is_from
from dicom_node.receiving.rejections import Caller, Reason, RejectionLog
from dicom_node.settings.senders import Sender
from dicom_node.spool.capacity import SpoolCapacity

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for callers; without any sender anyone may call, without a name by any.

    senders: all of one must fit; without fingerprints, so do callers that show none.
    """

    senders: tuple[Sender, ...] = ()
    called_ae_titles: tuple[str, ...] = ()


def rejection_reason(
    caller: Caller,
    rules: Rules,
    look_up: Callable[[str], Collection[Address]],
    shown: str = "",
) -> Reason | None:
    """The reason to reject a caller, or None where it may call.

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
    by_host = [each for each in by_title if is_from(caller.host, each.hosts, look_up)]
    if not rules.senders or any(
        not each.fingerprints or shown in each.fingerprints for each in by_host
    ):
        return None
    if by_host:
        return Reason.CERTIFICATE
    return Reason.HOST if by_title else Reason.CALLING_TITLE


class ArchivePlaces:
    """The associations that archives may have open at a time, all of them together.

    titles: the AE titles with which archives call.
    most: how many; what is left of all is kept free for scanners.
    """

    def __init__(self, titles: Collection[str], most: int) -> None:
        self._titles, self._most = frozenset(titles), most
        self._held: WeakSet[object] = WeakSet()
        self._lock = threading.Lock()

    def change(self, titles: Collection[str], most: int) -> None:
        """Give others places, or more or fewer; who has one keeps it."""
        with self._lock:
            self._titles, self._most = frozenset(titles), most

    def take(
        self, caller: Caller, association: object, is_open: Callable[[object], bool]
    ) -> bool:
        """Take a place for an association; False where a caller needs one and has none.

        Args:
            caller: Who calls; one that is no archive needs no place.
            association: What the place is for.
            is_open: Whether an association that has one is still there.
        """
        if caller.calling_ae_title not in self._titles:
            return True
        with self._lock:
            if sum(map(is_open, self._held)) >= self._most:
                return False
            self._held.add(association)
            return True


class AssociationPolicy:
    """Accepts or rejects associations, and counts those that it rejects."""

    def __init__(
        self,
        rules: Rules,
        capacity: SpoolCapacity,
        rejections: RejectionLog,
        look_up: Callable[[str], Collection[Address]],
        audit: RejectionAudit | None = None,
    ) -> None:
        self._audit = audit or RejectionAudit(NO_TRAIL)
        self._rules = rules
        self._capacity = capacity
        self._rejections = rejections
        self._look_up = look_up

    def change(self, rules: Rules) -> None:
        """Judge by other rules from now on; what is open stays so."""
        self._rules = rules

    def refuses(self, caller: Caller, shown: str = "") -> Reason | None:
        """The reason to reject this caller now, counted; None where it may call.

        Args:
            caller: Who calls.
            shown: Fingerprint of its certificate; empty where it has shown none.
        """
        reason = rejection_reason(caller, self._rules, self._look_up, shown)
        if reason is None and self._capacity.shortage():
            reason = Reason.NO_ROOM
        if reason is not None:
            self.is_full(caller, reason)
        return reason

    def is_full(self, caller: Caller, reason: Reason = Reason.TOO_MANY) -> None:
        """Count a caller that is rejected; mostly, for whom there was no association left."""
        self._rejections.note(reason, caller)
        self._audit.rejected(reason, caller)
