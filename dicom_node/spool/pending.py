"""Series that are not handed over yet, and what they wait for: told to `msk-node status`.

One small file beside the series, written anew whenever it changes. It is told, never acted
on: a watcher that starts decides afresh.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog

from dicom_node.durable_files import temporary_file

log = structlog.get_logger()

WAITING: Final = ".waiting.json"


@dataclass(frozen=True, slots=True)
class WaitingSeries:
    """A series that is here, as far as it has come, and is not analysed yet.

    instances: how many files there are.
    last_received_s: when the latest came, in seconds since the epoch.
    reason: what it waits for: a count, a gap, a sender that broke off.
    """

    series_instance_uid: str
    instances: int
    last_received_s: float
    reason: str


@dataclass(slots=True)
class WaitingList:
    """The file as its one writer keeps it."""

    spool: Path
    _rows: Mapping[str, WaitingSeries] | None = None

    def write(self, rows: Mapping[str, WaitingSeries]) -> None:
        """Say who waits now; a disk that cannot take it keeps nobody from anything."""
        if rows == self._rows:
            return
        data = json.dumps([asdict(row) for row in rows.values()], indent=1).encode()
        try:
            with temporary_file(self.spool, [data]) as temporary:
                temporary.rename(self.spool / WAITING)
        except OSError as error:
            log.warning("pending.write_failed", error=type(error).__name__)
        else:
            self._rows = dict(rows)


def read_waiting(spool: Path) -> tuple[WaitingSeries, ...]:
    """The waiting series, as a watcher last wrote them; empty where none ever did."""
    try:
        rows = json.loads((spool / WAITING).read_text(encoding="utf-8"))
        return tuple(WaitingSeries(**row) for row in rows)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        log.warning("pending.unreadable", error=type(error).__name__)
        return ()
