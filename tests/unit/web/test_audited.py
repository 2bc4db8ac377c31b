"""Claims about the audit trail of pages and API: what people do there is in it, once."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.audit_schema import problems
from support.dashboard import dashboard_node, uid_of
from support.waiting import wait_until
from support.web_client import Browser, logged_in, token_for

from dicom_node.monitoring.audit import AuditKind
from dicom_node.node.audit_log import AuditEntry, AuditFilter, read_audit
from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.web.accounts.roles import Role

REPORTED = uid_of(SeriesState.REPORTED)
RECEIVED = uid_of(SeriesState.RECEIVED)
PAGE = f"/series/{REPORTED}"


@pytest.fixture
def node(tmp_path: Path) -> Browser:
    """An operator before the pages of a node that keeps a trail."""
    return logged_in(dashboard_node(tmp_path))


def told(config: NodeConfig, kind: AuditKind, count: int) -> list[AuditEntry]:
    """The messages of a kind, the earliest first, once there are so many."""

    def found() -> list[AuditEntry]:
        return list(read_audit(config, AuditFilter(kinds=frozenset({kind.value}))))

    wait_until(lambda: len(found()) >= count, 10.0, f"{kind}: {found()}")
    assert len(found()) == count
    return found()[::-1]


def test_what_people_do_in_pages_and_api_is_in_the_trail(node: Browser) -> None:
    """One after the other, and each read back as the page of the trail has it."""
    bearer = {"authorization": f"Bearer {token_for(node.config, Role.VIEWER)}"}
    assert node.get(PAGE).status_code == 200
    assert node.post("/find", {"text": REPORTED}).status_code == 303
    assert node.get(f"/api/v1/series/{REPORTED}", headers=bearer).status_code == 200
    wanted = {"text": REPORTED}
    assert node.client.post("/api/v1/find", json=wanted, headers=bearer).status_code == 200
    assert node.get("/api/v1/series", headers=bearer).status_code == 200
    hold = {"kind": "hold", "revision": "1", "destination": "pacs"}
    assert node.post(f"/series/{RECEIVED}/order", hold).status_code == 303
    wanted = {"kind": "hold", "series": [{"series_instance_uid": RECEIVED}]}
    operator = {"authorization": f"Bearer {token_for(node.config, Role.OPERATOR)}"}
    ordered = node.client.post("/api/v1/orders", json=wanted, headers=operator)
    assert ordered.status_code == 202, ordered.text
    assert node.get("/audit").status_code == 200
    exported = node.get("/audit.csv")
    assert Browser(node.config, node.app).log_in(password="wrong").status_code == 403
    assert node.post("/logout", {}).status_code == 303

    config = node.config
    page, by_token = told(config, AuditKind.STUDY_ACCESSED, 2)
    assert (page.user, page.host, page.series) == ("anna", "127.0.0.1", (REPORTED,))
    assert page.studies == by_token.studies == ("1.2.3",)
    assert by_token.series == (REPORTED,)
    assert by_token.user not in ("", "anna")
    assert {each.user for each in told(config, AuditKind.QUERY, 3)} == {"anna", by_token.user}
    order, by_program = told(config, AuditKind.ORDERED, 2)
    assert (order.user, order.host, order.peer) == ("anna", "127.0.0.1", "pacs")
    assert (by_program.words, by_program.series) == (order.words, order.series)
    assert order.series == (RECEIVED,)
    assert by_program.host == "127.0.0.1"
    looked, as_csv = told(config, AuditKind.LOG_USED, 2)
    assert (looked.words, as_csv.words) == ("looked at in the pages", "exported as CSV")
    logins = told(config, AuditKind.USER_LOGGED_IN, 2)
    assert [each.outcome for each in logins] == ["0", "4"]
    assert told(config, AuditKind.USER_LOGGED_OUT, 1)[0].user == "anna"
    kinds = {row["kind"] for row in csv.DictReader(io.StringIO(exported.text))}
    assert {AuditKind.STUDY_ACCESSED.value, AuditKind.USER_LOGGED_IN.value} <= kinds
    assert [problems(each.xml) for each in read_audit(config) if problems(each.xml)] == []


def test_a_test_of_a_destination_is_told_whoever_asks_for_it(node: Browser) -> None:
    operator = {"authorization": f"Bearer {token_for(node.config, Role.OPERATOR)}"}
    node.post("/destinations/pacs/test", {})
    node.client.post("/api/v1/destinations/pacs/test", headers=operator)

    by_hand, by_program = told(node.config, AuditKind.ORDERED, 2)
    assert by_hand.words == by_program.words
    assert "test of destination pacs" in by_hand.words
    assert by_hand.user == "anna" != by_program.user


@pytest.mark.parametrize("headers", [{}, {"x-refresh": "1", "sec-purpose": "prefetch"}])
def test_a_look_at_a_series_is_told_once_whatever_its_requests_say(
    node: Browser, headers: dict[str, str]
) -> None:
    """The page asks again for its pictures; a person may ask with the same words."""
    for path in (PAGE, f"{PAGE}?pictures=1", f"{PAGE}/qc.png", f"{PAGE}/slices/1.png"):
        node.get(path, headers=headers)

    told(node.config, AuditKind.STUDY_ACCESSED, 1)
    node.get(PAGE, headers=headers)
    told(node.config, AuditKind.STUDY_ACCESSED, 2)


def test_who_asks_for_the_pictures_alone_is_told_too(node: Browser) -> None:
    """There is no way to a series that leaves no message, also after another user's look."""
    node.get(PAGE)
    other = logged_in(node.config, Role.VIEWER, "vera")
    other.get(f"{PAGE}?pictures=1", headers={"x-refresh": "1"})

    first, second = told(node.config, AuditKind.STUDY_ACCESSED, 2)
    assert (first.user, second.user) == ("anna", "vera")
