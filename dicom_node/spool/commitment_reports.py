"""Reports of storage commitment (N-EVENT-REPORT, PS3.4 J.3.3), kept as files of the spool.

A report is a file before it is answered with success; `delivery/jobs.py`
reads it and enters what it says into the ledger.

```
spool/.reports/<Transaction UID>.json
```
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node.durable_files import OWN, write_durably
from dicom_node.uids import is_uid

log = structlog.get_logger()

REPORTS: Final = ".reports"
"""The folder of the reports, below the spool."""

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
"""PS3.7 C.5.9: the report could not be kept; the destination may send it again."""
INVALID_ARGUMENT: Final = 0x0115
"""PS3.7 C.5.13."""


@dataclass(frozen=True, slots=True)
class Report:
    """A destination's report on one request.

    committed: SOP Instance UIDs that it has for good.
    failed: the others, with the Failure Reason of each.
    """

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, int]


def handle_report(event: evt.Event, folder: Path) -> tuple[int, None]:
    """Answer a report on an association that the destination opened."""
    try:
        information = event.event_information
    except Exception:  # noqa: BLE001 - whatever a broken dataset raises
        log.warning("commitment.unreadable")
        return INVALID_ARGUMENT, None
    return keep_report(information, folder), None


def keep_report(information: Dataset, folder: Path) -> int:
    """Keep a report durably; answers the status of its N-EVENT-REPORT."""
    try:
        report = _report(information)
    except Exception:  # noqa: BLE001 - values are decoded late; any of them may be broken
        report = None
    if report is None:
        log.warning("commitment.unreadable")
        return INVALID_ARGUMENT
    content = {
        "transaction_uid": report.transaction_uid,
        "committed": report.committed,
        "failed": report.failed,
    }
    try:
        write_durably(_path(folder, report.transaction_uid), json.dumps(content).encode(), OWN)
    except OSError:
        log.exception("commitment.not_kept")
        return PROCESSING_FAILURE
    log.info("commitment.reported", count=len(report.committed), key=report.transaction_uid)
    return SUCCESS


def read_reports(folder: Path) -> Iterator[Report]:
    """The reports that are kept and not forgotten yet."""
    # Without those that are being written, or whose writer was killed (`durable_files.PART`).
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            committed, failed = tuple(content["committed"]), dict(content["failed"])
            report = Report(content["transaction_uid"], committed, failed)
        except (OSError, AttributeError, KeyError, TypeError, ValueError):
            # One that a disk has spoiled must not keep all others waiting.
            log.exception("commitment.unreadable", path=path.name)
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".unreadable"))
            continue
        yield report


def forget_report(folder: Path, report: Report) -> None:
    """Delete a report that has been entered into the ledger."""
    _path(folder, report.transaction_uid).unlink(missing_ok=True)


def _path(folder: Path, transaction_uid: str) -> Path:
    return folder / f"{transaction_uid}.json"


def _report(information: Dataset) -> Report | None:
    """Event Information (PS3.4 Table J.3-3); None where it names no transaction."""
    transaction_uid = str(information.get("TransactionUID", ""))
    if not is_uid(transaction_uid):
        return None
    committed = information.get("ReferencedSOPSequence") or ()
    failed = information.get("FailedSOPSequence") or ()
    return Report(
        transaction_uid,
        tuple(str(item.ReferencedSOPInstanceUID) for item in committed),
        {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed},
    )
