"""Claims about what an answer knows of earlier revisions, from the ledger alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.delivery.attempts import first_rows
from dicom_node.node.publication import EarlierRevisions, earlier_revisions
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState, ResultRow, SeriesRow
from dicom_node.results.kinds import ResultKind
from dicom_node.spool.arrivals import SeriesArrival

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
SEG, SR, SC, KO = ResultKind.SEG, ResultKind.SR, ResultKind.SC, ResultKind.KO
SEG_LABELMAP, SR_LABELMAP = ResultKind.SEG_LABELMAP, ResultKind.SR_LABELMAP
KO_REJECTED = ResultKind.KO_REJECTED


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path}/node.sqlite")
    yield ledger
    ledger.close()


def uid(kind: ResultKind, revision: int) -> str:
    return f"2.25.{revision}.{list(ResultKind).index(kind)}"


def enter(
    ledger: Ledger,
    revision: int,
    *kinds: ResultKind,
    destinations: tuple[str, ...] = ("pacs",),
    study: str = "1.2",
) -> None:
    """A revision that was answered with these, all of which each destination was to get."""
    results = [
        ResultRow(uid(kind, revision), "1.1", kind, "2.25.9", "1.2.3", revision, "a", "0", NOW)
        for kind in kinds
    ]
    rows = [row for name in destinations for row in first_rows(results, kinds, name, NOW)]
    series = SeriesRow("1.2.3", revision, study, "CT1", "MSKNODE", 9, "f", NOW, NOW)
    ledger.save(series, *results, *rows)


def past(ledger: Ledger, revision: int) -> EarlierRevisions:
    arrival = SeriesArrival("1.2.3", "1.2", revision, (), (), "CT1", "MSKNODE", "quiet")
    return earlier_revisions(arrival, ledger)


def named(past: EarlierRevisions, *destinations: str) -> set[str]:
    return {instance.sop_instance_uid for instance in past.meant_for(destinations)}


def test_a_first_revision_has_no_past(ledger: Ledger) -> None:
    enter(ledger, 1, SEG, SR)

    assert past(ledger, 1) == EarlierRevisions()


def test_a_failure_between_two_reports_is_replaced_with_the_report_before_it(
    ledger: Ledger,
) -> None:
    """Revision 2 failed; so 4 replaces 3 alone, and 3 replaces what 2 and 1 left."""
    enter(ledger, 1, SEG, SR)
    enter(ledger, 2, SC, KO)
    enter(ledger, 3, SEG, SR)

    assert named(past(ledger, 3), "pacs") == {uid(SEG, 1), uid(SR, 1), uid(SC, 2), uid(KO, 2)}
    assert named(past(ledger, 4), "pacs") == {uid(SEG, 3), uid(SR, 3)}


def test_a_report_of_each_kind_is_known_and_the_record_stands_in_for_others(
    ledger: Ledger,
) -> None:
    enter(ledger, 1, ResultKind.SR_KEY_SLICE, SR, SEG, SC)
    reports = past(ledger, 2).reports

    assert list(reports) == [SR, ResultKind.SR_KEY_SLICE]
    assert reports[SR].sop_instance_uid == uid(SR, 1)


def test_only_what_a_destination_was_to_get_is_replaced_there(ledger: Ledger) -> None:
    enter(ledger, 1, SEG, SR, destinations=("archive",))

    assert named(past(ledger, 2), "archive", "viewer") == {uid(SEG, 1), uid(SR, 1)}
    assert named(past(ledger, 2), "viewer") == set()


def test_a_form_that_was_refused_and_a_rejection_are_not_rejected(ledger: Ledger) -> None:
    """The archive has never had the one, and the other is no result."""
    enter(ledger, 1, SEG, SR, SEG_LABELMAP, SR_LABELMAP, KO_REJECTED)
    refused = [
        replace(row, state=DeliveryState.REPLACED, reason="not supported")
        for row in ledger.deliveries()
        if row.sop_instance_uid in {uid(SEG_LABELMAP, 1), uid(SR_LABELMAP, 1)}
    ]
    ledger.save(*refused)

    assert named(past(ledger, 2), "pacs") == {uid(SEG, 1), uid(SR, 1)}


def test_nothing_of_another_study_is_named(ledger: Ledger) -> None:
    """A sender that mixed up its studies and mends it must not tie two patients together."""
    enter(ledger, 1, SEG, SR, study="1.9")

    assert past(ledger, 2) == EarlierRevisions()


def test_a_refusal_that_was_answered_in_two_studies_is_named_in_neither(ledger: Ledger) -> None:
    enter(ledger, 1, SC, KO)
    (picture, *_) = ledger.results("1.2.3", 1)
    ledger.save(replace(picture, sop_instance_uid="2.25.99"))

    assert past(ledger, 2) == EarlierRevisions()
