"""Where results go, and whether they would arrive now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request

from dicom_node.archive.overview import overview
from dicom_node.errors import UnknownNameError
from dicom_node.monitoring.audit import AuditKind
from dicom_node.node.destination_check import check_destination
from dicom_node.persistence.archive_ledger import ArchiveLedger
from dicom_node.web.access import require_operator
from dicom_node.web.api.reading import ConfigNow, LedgerNow
from dicom_node.web.api.schemas import DestinationOut, Name, ScheduleOut, TestOut
from dicom_node.web.auditing import tell
from dicom_node.web.health import HealthLook

router: Final = APIRouter(tags=["destinations and schedules"])


@router.get("/destinations")
def destinations(request: Request) -> list[DestinationOut]:
    """The destinations of node.toml: what they took, and what waits for them."""
    look: HealthLook = request.app.state.health
    return [DestinationOut.model_validate(each) for each in look.now().destinations]


@router.post("/destinations/{name}/test", dependencies=[Depends(require_operator)])
def test_destination(
    request: Request, config: ConfigNow, name: Annotated[Name, Path()]
) -> TestOut:
    """Ask a destination whether it is there, and what it takes; nothing is stored."""
    destination = config.destination(name)
    if destination is None:
        raise UnknownNameError(f"there is no destination {name}")
    tell(request, AuditKind.ORDERED, words=f"test of destination {name}")
    return TestOut.model_validate(check_destination(config, destination))


@router.get("/schedules")
def schedules(config: ConfigNow, ledger: LedgerNow) -> list[ScheduleOut]:
    """Where each schedule stands, and when its next run is due."""
    if ledger is None:
        return []
    found = overview(config, ArchiveLedger(ledger), datetime.now(UTC))
    return [ScheduleOut.model_validate(each) for each in found]
