"""The node as a whole: health, alarms, counts, who I am."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from dicom_node.monitoring.heartbeats import software_version
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.web.access import require_viewer
from dicom_node.web.accounts.roles import User
from dicom_node.web.api.reading import ConfigNow, LedgerNow
from dicom_node.web.api.schemas import AlarmOut, HealthOut, Me, StatusOut
from dicom_node.web.health import HealthLook

router: Final = APIRouter(tags=["node"])


@router.get("/me")
def me(user: Annotated[User, Depends(require_viewer)]) -> Me:
    """Who this token or session belongs to, and what it may do."""
    return Me.model_validate(user)


@router.get("/health")
def health(request: Request) -> HealthOut:
    """Processes, alarms, what waits, disks and destinations, as of seconds ago."""
    look: HealthLook = request.app.state.health
    return HealthOut.model_validate(look.now())


@router.get("/alarms")
def alarms(request: Request) -> list[AlarmOut]:
    """What a person has to look at."""
    look: HealthLook = request.app.state.health
    return [AlarmOut.model_validate(each) for each in look.now().alarms]


@router.get("/status")
def status(config: ConfigNow, ledger: LedgerNow) -> StatusOut:
    """How many series and result objects are in each state."""
    series = ledger.count_series() if ledger is not None else {}
    delivered = ledger.count_deliveries() if ledger is not None else {}
    return StatusOut(
        series={state: series.get(state, 0) for state in SeriesState},
        deliveries={state: delivered.get(state, 0) for state in DeliveryState},
        mark=config.web.mark if config.web is not None else "test",
        version=software_version(),
    )
