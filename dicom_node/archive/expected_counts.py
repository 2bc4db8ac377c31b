"""Asking where a series comes from how many images it has there.

Asked in the watcher's thread, never in the receiver. A sender that does not answer is left
alone for a while, and the timers decide meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from dicom_node.errors import PeerError
from dicom_node.peers.transports import Transport
from dicom_node.spool.completeness import Expectation

log = structlog.get_logger()

LEAVE_ALONE_S: Final = 60.0
"""The time for which a sender that did not answer is not asked again."""


class SenderCounts:
    """Counts of the senders that can be asked; `whom` is the transport to one, or None.

    Timeouts are the transport's. A series that the sender does not know counts as no answer.
    """

    def __init__(
        self,
        whom: Callable[[str], Transport | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._whom = whom
        self._clock = clock
        self._silent_until_s: dict[str, float] = {}

    def __call__(
        self, calling_ae_title: str, study_instance_uid: str, series_instance_uid: str
    ) -> Expectation | None:
        """The number of instances a series' sender lists in it, or None if it is silent."""
        transport = self._whom(calling_ae_title)
        if transport is None or not study_instance_uid:
            return None  # without its study, a series is not found but matched to anything
        if self._clock() < self._silent_until_s.get(transport.name, 0.0):
            return None
        try:
            found = transport.list_instances(study_instance_uid, [series_instance_uid])
        except PeerError as error:
            self._silent_until_s[transport.name] = self._clock() + LEAVE_ALONE_S
            log.warning("sender.silent", peer=transport.name, reason=str(error))
            return None
        return Expectation(len(found), transport.name) if found else None
