"""The rules tester: what a set of rules would take of a study in the spool, and why."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from dicom_node.errors import ConfigurationError, UnknownNameError
from dicom_node.node.rules_trial import (
    TriedStudy,
    named_rules,
    series_of_study,
    try_rules,
)
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.spool import Spool
from dicom_node.web.access import require_viewer
from dicom_node.web.behind import config_of, reading
from dicom_node.web.pages.shown import show

router: Final = APIRouter(include_in_schema=False, dependencies=[Depends(require_viewer)])

OFFERED: Final = 20
"""Of the latest studies so many are offered to choose from."""


@router.get("/rules")
def rules_page(
    request: Request,
    study: Annotated[str, Query(max_length=64)] = "",
    rules: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """Try rules; nothing is changed."""
    config = config_of(request)
    study, problem = study.strip(), ""
    tried: tuple[TriedStudy, ...] = ()
    if study:
        try:
            tried = _tried(config, study, rules)
        except (UnknownNameError, ConfigurationError) as error:
            problem = str(error)
    with reading(request) as ledger:
        offered = _studies(config, ledger) if ledger is not None else []
    return show(
        request,
        "rules.html",
        rule_sets=config.rules,
        used_rules=config.analysis.rules,
        chosen=rules,
        study=study,
        offered=offered,
        tried=tried,
        problem=problem,
    )


def _tried(config: NodeConfig, study: str, rules: str) -> tuple[TriedStudy, ...]:
    return try_rules(named_rules(config, rules or None), series_of_study(config, study))


def _studies(config: NodeConfig, ledger: Ledger) -> list[str]:
    """The latest studies of which the spool still has images."""
    spool = Spool(config.node.spool, only_look=True)
    rows = [row for state in SeriesState for row in ledger.latest_series(state, OFFERED)]
    rows.sort(key=lambda row: row.received_at, reverse=True)
    found = dict.fromkeys(
        row.study_instance_uid
        for row in rows
        if row.study_instance_uid and spool.entries(row.series_instance_uid)
    )
    return list(found)[:OFFERED]
