"""Orders for series that the node has; a worker carries them out."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from dicom_node.errors import UnknownNameError
from dicom_node.node.orders import place
from dicom_node.persistence.database import ORDER_WITHIN_S
from dicom_node.persistence.ledger import Ledger
from dicom_node.web.access import caller, require_operator
from dicom_node.web.accounts.roles import User
from dicom_node.web.api.reading import ConfigNow, LedgerNow
from dicom_node.web.api.schemas import Ordered, OrderIn, SeriesChoice

router: Final = APIRouter(tags=["orders"])


@router.post("/orders", status_code=202)
def order(
    request: Request,
    wanted: OrderIn,
    config: ConfigNow,
    ledger: LedgerNow,
    user: Annotated[User, Depends(require_operator)],
) -> Ordered:
    """Order something for series. Those for which it cannot be done are passed over."""
    if wanted.destination and config.destination(wanted.destination) is None:
        raise UnknownNameError(f"there is no destination {wanted.destination}")
    chosen = [_revision(ledger, each) for each in wanted.series]
    count = place(
        config,
        wanted.kind,
        chosen,
        by=user.name,
        destination=wanted.destination,
        host=caller(request).address,
        within_s=ORDER_WITHIN_S,
    )
    return Ordered(ordered=count)


def _revision(ledger: Ledger | None, choice: SeriesChoice) -> tuple[str, int]:
    """The revision that is meant.

    Raises:
        UnknownNameError: there is none.
    """
    uid = choice.series_instance_uid
    there = [row.revision for row in ledger.revisions(uid)] if ledger is not None else []
    if not there or (choice.revision is not None and choice.revision not in there):
        raise UnknownNameError(f"there is no such series {uid}")
    return uid, choice.revision or there[-1]
