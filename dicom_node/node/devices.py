"""Who sends, by AE title and scanner: what came of the latest series of each, and when."""

from __future__ import annotations

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.today import LatestCase, latest_cases

LATEST: Final = 2000
"""So many of the latest answers are looked at, however many there are."""

LONGEST: Final = 64
"""Of a scanner's name so many characters are told."""


@dataclass(frozen=True, slots=True)
class Device:
    """One scanner behind one AE title.

    scanner: manufacturer and model, in the header's words; empty where none says so.
    series: how many of the latest answers are of it.
    verdicts: how many of them have each verdict; "refused" and "failed" without one.
    codes: how many were refused or failed, by why.
    """

    calling_ae_title: str
    scanner: str
    series: int
    verdicts: Mapping[str, int]
    codes: Mapping[str, int]
    last_at: datetime


def devices(ledger: Ledger, most: int = LATEST) -> tuple[Device, ...]:
    """Every device among the latest answers, the one that was seen last first."""
    cases: dict[tuple[str, str], list[LatestCase]] = defaultdict(list)
    for each in latest_cases(ledger, most):
        cases[each.sender, _scanner(each.source)].append(each)
    return tuple(_device(title, scanner, found) for (title, scanner), found in cases.items())


def _device(title: str, scanner: str, cases: Sequence[LatestCase]) -> Device:
    return Device(
        calling_ae_title=title,
        scanner=scanner,
        series=len(cases),
        verdicts=Counter(each.verdict or each.state for each in cases),
        codes=Counter(each.code for each in cases if each.code),
        last_at=max(each.analysed_at for each in cases),
    )


def _scanner(source: str) -> str:
    """The scanner that a case's source names."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        table = json.loads(source)
        found = table.get("scanner") or table.get("scan", {}).get("scanner") or ""
        return str(found)[:LONGEST]
    return ""
