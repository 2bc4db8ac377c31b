"""What a route reads: the settings and the ledger, and where a list goes on."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Query, Request

from dicom_node.persistence.ledger import Ledger
from dicom_node.settings.node import NodeConfig
from dicom_node.web.behind import config_of, reading

MOST: Final = 500
MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
After = Annotated[
    str | None,
    Query(max_length=400, pattern=r"^[A-Za-z0-9_=-]+$", description="`next` of the last page."),
]


ConfigNow = Annotated[NodeConfig, Depends(config_of)]


def ledger_now(request: Request) -> Iterator[Ledger | None]:
    """The ledger, to be read while a request is answered; None where there is none yet."""
    with reading(request) as ledger:
        yield ledger


LedgerNow = Annotated[Ledger | None, Depends(ledger_now)]


def iso_moment(text: object) -> datetime | None:
    """A moment with its zone (RFC 3339), in UTC.

    Raises:
        ValueError: it is none, or lies beyond the calendar.
    """
    if text is None:
        return None
    if not isinstance(text, str) or not MOMENT.fullmatch(text):
        raise ValueError("a moment is a text as 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the calendar") from None


def mark_of(key: Sequence[str | int]) -> str:
    """A place in a list, as text that means nothing to others."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def place_of(mark: str | None, kinds: tuple[type, ...]) -> tuple[str | int, ...] | None:
    """The place that a text of ours names.

    Raises:
        HTTPException: it is none of ours.
    """
    if mark is None:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(mark.encode()))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or tuple(map(type, found)) != kinds:
        raise HTTPException(404, "query.after: this is no `next` of ours")
    return tuple(found)
