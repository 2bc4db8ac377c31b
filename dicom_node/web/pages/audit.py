"""The audit trail: who did what to which study, filtered, and as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field

from dicom_node.monitoring.audit import AuditKind, AuditOutcome
from dicom_node.node.audit_log import (
    MOST_ON_A_PAGE,
    AuditFilter,
    audit_page,
    csv_lines,
    read_audit,
)
from dicom_node.web.access import require_operator, require_viewer
from dicom_node.web.auditing import tell
from dicom_node.web.behind import config_of
from dicom_node.web.pages.shown import Day, day_starts, or_none, show, with_query

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

MOST_EXPORTED: Final = 1_000_000
"""Lines of one CSV file: what a spreadsheet opens."""

OUTCOMES: Final = {
    AuditOutcome.SUCCESS: "success",
    AuditOutcome.MINOR_FAILURE: "failure",
    AuditOutcome.SERIOUS_FAILURE: "serious failure",
    AuditOutcome.MAJOR_FAILURE: "major failure",
}


class AuditAsked(BaseModel):
    """The filter, as the form's fields."""

    since: Day = None
    until: Day = None
    kind: Annotated[AuditKind | None, BeforeValidator(or_none)] = None
    outcome: Annotated[AuditOutcome | None, BeforeValidator(or_none)] = None
    user: str = Field(default="", max_length=128)
    study: str = Field(default="", max_length=64)
    before: int | None = Field(default=None, ge=0)

    def filter(self) -> AuditFilter:
        """The filter of the trail."""
        return AuditFilter(
            since=day_starts(self.since),
            until=day_starts(self.until + timedelta(days=1)) if self.until else None,
            kinds=frozenset({self.kind.value} if self.kind else ()),
            outcomes=frozenset({self.outcome.value} if self.outcome else ()),
            user=self.user.strip(),
            study=self.study.strip(),
            before=self.before,
        )

    def fields(self) -> dict[str, Any]:
        """The fields that say something, less the page."""
        told = self.model_dump(mode="json", exclude_none=True, exclude={"before"})
        return {name: value for name, value in told.items() if value}


@router.get("/audit")
def audit_log(request: Request, asked: Annotated[AuditAsked, Query()]) -> HTMLResponse:
    """The latest messages that are looked for."""
    config = config_of(request)
    is_kept = config.audit is not None
    entries = audit_page(config, asked.filter()) if is_kept else ()
    if is_kept:
        tell(request, AuditKind.LOG_USED, words="looked at in the pages")
    is_full = len(entries) == MOST_ON_A_PAGE
    older = with_query("/audit", **asked.fields(), before=entries[-1].number) if is_full else ""
    return show(
        request,
        "audit.html",
        is_kept=is_kept,
        asked=asked,
        entries=entries,
        older=older,
        as_csv=with_query("/audit.csv", **asked.fields()),
        kinds=tuple(AuditKind),
        outcomes=OUTCOMES,
    )


@router.get("/audit.csv", dependencies=[Depends(require_operator)])
def audit_csv(request: Request, asked: Annotated[AuditAsked, Query()]) -> StreamingResponse:
    """The same as a table for a spreadsheet; no cell of it is a formula."""
    entries = read_audit(config_of(request), replace(asked.filter(), before=None))
    tell(request, AuditKind.LOG_USED, words="exported as CSV")
    headers = {"content-disposition": 'attachment; filename="audit.csv"'}
    lines: Iterator[str] = csv_lines(islice(entries, MOST_EXPORTED))
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)
