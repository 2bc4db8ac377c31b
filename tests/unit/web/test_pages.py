"""The pages of the dashboard, asked for in the test's own process."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.dashboard import dashboard_node, uid_of
from support.hostile_node import fill_ledger
from support.hostile_values import HOSTILE, MARKER, unescaped
from support.web_client import Browser, logged_in, web_config

from dicom_node.monitoring.alarms import AlarmKind
from dicom_node.node.remedies import REMEDIES
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.operation_ledger import OperationLedger
from dicom_node.persistence.rows import OrderKind, SeriesRow, SeriesState
from dicom_node.web.accounts.roles import Role
from dicom_node.web.pages import schedules as pages_of_schedules
from dicom_node.web.pages import series as pages_of_series
from dicom_node.web.pages import words
from dicom_node.web.pages import work as pages_of_work
from dicom_node.web.pages.settings import HIDDEN, text_of
from dicom_node.web.pages.shown import PLACES

REPORTED, RECEIVED = uid_of(SeriesState.REPORTED), uid_of(SeriesState.RECEIVED)
PAGES = (
    *(place for place, _ in PLACES),
    "/find",
    "/destinations/pacs",
    "/work?states=failed&since=2026-01-01&until=&destination=pacs&by=sender",
    "/work/confirm?kind=retry&states=failed",
    f"/series/{REPORTED}",
    f"/series/{uid_of(SeriesState.LEFT_OUT)}",
    "/rules?study=1.2.3&rules=hips",
)


@pytest.fixture
def node(tmp_path: Path) -> Browser:
    """An operator before the pages of a node with series in every state."""
    return logged_in(dashboard_node(tmp_path))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_and_says_what_it_is_for(node: Browser, path: str):
    answer = node.get(path)

    assert answer.status_code == 200
    assert '<span class="mark mark-test">test</span>' in answer.text
    assert "MSKNODE" in answer.text
    assert answer.text.count("<h1") == 1


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_a_user(node: Browser, path: str):
    stranger = Browser(node.config)

    answer = stranger.get(path)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next_path=")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_a_node_that_never_ran_answers_too(tmp_path: Path, path: str):
    browser = logged_in(web_config(tmp_path))

    assert browser.get(path).status_code in (200, 404)


def test_a_clinical_installation_says_so_on_every_page(tmp_path: Path):
    browser = logged_in(dashboard_node(tmp_path, web={"mark": "clinical"}))

    assert '<span class="mark mark-clinical">clinical</span>' in browser.get("/work").text


@pytest.mark.parametrize("show", [False, True])
def test_no_value_of_a_header_is_markup_on_any_page(tmp_path: Path, show: bool):
    """A series for each value of the corpus, which stands in every field that has words."""
    tables = {
        "web": {"show_patients": show},
        "destinations": [{"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": 9}],
    }
    config = web_config(tmp_path, tables)
    rows = fill_ledger(config)
    browser = logged_in(config)
    told = 0
    paths = [*(path for path in PAGES if REPORTED not in path)]
    paths += [f"/series/{row.series_instance_uid}" for row in rows[:-1]]
    for path in paths:
        answer = browser.get(path)
        assert unescaped(answer.text) == [], path
        told += answer.text.count(MARKER)
    for value in HOSTILE.values():
        found = browser.post("/find", {"text": value[:128]})
        assert unescaped(found.text) == []

    assert told > len(HOSTILE)


def test_a_series_that_is_called_markup_is_none(tmp_path: Path):
    browser = logged_in(dashboard_node(tmp_path))

    answer = browser.get('/series/"><script>msk7hostile()</script>')

    assert answer.status_code == 404
    assert unescaped(answer.text) == []


def test_the_overview_counts_what_came_today(tmp_path: Path):
    """Seven series, one in each state, within two hours: near midnight some are before it."""
    node = logged_in(dashboard_node(tmp_path))

    text = node.get("/").text

    figures = dict(re.findall(r"<dt>([a-z ]+)</dt><dd>(?:<a[^>]*>)?(\d+)", text))
    assert {"received", "reported", "refused", "failed", "left out"} <= set(figures)
    if datetime.now().astimezone().hour >= 2:
        assert figures["received"] == "7"
        assert figures["failed"] == figures["refused"] == figures["left out"] == "1"
        assert figures["objects held"] == "1"


def test_a_node_that_does_not_run_is_not_well(node: Browser):
    text = node.get("/").text

    assert "All is well" not in text
    assert 'class="verdict bad"' in text
    assert "<h1>The node is not running</h1>" in text


def test_every_kind_of_alarm_says_what_to_do():
    assert set(REMEDIES) == set(AlarmKind)
    assert all(remedy.steps and remedy.meaning for remedy in REMEDIES.values())


def test_the_series_page_tells_each_event_and_how_long_each_hop_took(node: Browser):
    """61 s from the first image to the start, 194 s of analysis, sent 5 s later."""
    text = node.get(f"/series/{REPORTED}").text

    assert "first image" in text
    assert "+ 3 min 14 s" in text
    assert "+ 5.0 s" in text
    assert "4 min 20 s in all" in text
    assert "0xA900" in text
    assert "Gluteus" in text or "Femur" in text


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("path", ["/work", "/audit", "/audit.csv", "/destinations/pacs"])
def test_a_day_beyond_the_calendar_is_refused(node: Browser, path: str, name: str, day: str):
    assert node.get(path, params={name: day}).status_code == 422


def test_images_that_are_gone_are_said_to_be(node: Browser):
    text = node.get(f"/series/{REPORTED}?pictures=1").text

    assert "No slices can be shown" in text
    assert node.get(f"/series/{REPORTED}/slices/1.png").status_code == 404
    assert node.get(f"/series/{REPORTED}/qc.png").status_code == 404


def test_a_series_that_was_left_out_shows_why(node: Browser):
    assert "why it is left out" in node.get(f"/series/{uid_of(SeriesState.LEFT_OUT)}").text


def test_patients_are_not_shown_unless_the_settings_say_so(tmp_path: Path):
    node = logged_in(dashboard_node(tmp_path))

    assert "Patient ID</dt>" not in node.get(f"/series/{REPORTED}").text


def test_an_order_is_confirmed_with_how_many_it_is_for(node: Browser):
    """One failed; it has no images here, but an archive that may have them."""
    text = node.get("/work/confirm?kind=retry&states=failed").text

    assert "Retry 1 series?" in text
    assert "its images are fetched from vna first" in text


def test_an_order_for_all_that_match_reaches_the_ledger(node: Browser):
    fields = {"kind": "cancel", "states": "received", "count": "1"}

    answer = node.post("/work/order", fields)

    assert answer.status_code == 303
    assert answer.headers["location"] == "/work?states=received&done=1"
    assert _ordered(node) == [(OrderKind.CANCEL, uid_of(SeriesState.RECEIVED), "anna")]


def test_an_order_for_another_number_than_was_shown_is_asked_again(node: Browser):
    fields = {"kind": "cancel", "states": "received", "count": "4"}

    answer = node.post("/work/order", fields)

    assert answer.status_code == 200
    assert "There were 4 when you were asked, and there are 1 now" in answer.text
    assert _ordered(node) == []


def test_a_series_is_ordered_by_its_own_page(node: Browser):
    fields = {"kind": "release", "revision": "1", "destination": "pacs"}

    answer = node.post(f"/series/{REPORTED}/order", fields)

    assert answer.headers["location"] == f"/series/{REPORTED}?revision=1&done=release"
    assert _ordered(node) == [(OrderKind.RELEASE, REPORTED, "anna")]


def test_a_database_that_does_not_take_an_order_is_told_in_words(tmp_path: Path):
    config = dashboard_node(tmp_path)
    browser = logged_in(config)
    database = config.node.database_path
    assert database is not None
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE orders RENAME COLUMN outcome TO gone")
    fields = {"kind": "release", "revision": "1", "destination": "pacs"}

    answer = browser.post(f"/series/{REPORTED}/order", fields)

    assert answer.status_code == 503
    assert "the database cannot be used just now" in answer.text


@pytest.mark.parametrize("path", [f"/series/{RECEIVED}/order", "/work/order", "/schedules"])
def test_an_order_does_not_wait_for_a_database_that_is_locked(
    node: Browser, monkeypatch: pytest.MonkeyPatch, path: str
):
    """Within seconds there is a page that says so; of an SQLite file's 30 none is waited."""
    for each in (pages_of_series, pages_of_work, pages_of_schedules):
        monkeypatch.setattr(each, "ORDER_WITHIN_S", 0.3)
    count = {"count": "1", "states": "received", "action": "run", "name": "nightly"}
    fields = {"kind": "cancel", "revision": "1", **count}
    token = node.form_token("/login")
    with closing(sqlite3.connect(str(node.config.node.database_path))) as connection:
        connection.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answer = node.client.post(path, data={"csrf_token": token, **fields})

    assert answer.status_code == 503
    assert time.monotonic() - began < 5
    assert "the database cannot be used just now" in answer.text
    assert "is not done twice" in answer.text
    assert _ordered(node) == []


def test_a_second_click_on_an_order_is_the_same_order(node: Browser):
    fields = {"kind": "release", "revision": "1", "destination": "pacs"}
    answers = [node.post(f"/series/{REPORTED}/order", fields) for _ in range(2)]

    assert [each.status_code for each in answers] == [303, 303]
    assert _ordered(node) == [(OrderKind.RELEASE, REPORTED, "anna")]


def test_an_order_that_somebody_else_was_faster_with_is_told_in_words(node: Browser):
    answer = node.post(f"/series/{REPORTED}/order", {"kind": "cancel", "revision": "1"})

    assert answer.status_code == 409
    assert "nothing was ordered: it is reported already" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/work/order",
        f"/series/{REPORTED}/order",
        "/schedules",
        "/destinations/pacs/test",
        "/settings/reload",
    ],
)
def test_a_viewer_may_order_nothing(tmp_path: Path, path: str):
    viewer = logged_in(dashboard_node(tmp_path), Role.VIEWER, "otto")

    answer = viewer.post(path, {"kind": "cancel", "revision": "1", "count": "1"})

    assert answer.status_code == 403
    assert _ordered(viewer) == []


def test_a_viewer_sees_no_button_that_would_be_refused(tmp_path: Path):
    viewer = logged_in(dashboard_node(tmp_path), Role.VIEWER, "otto")

    for path in PAGES:
        forms = re.findall(r'<form[^>]*action="([^"]*)" method="post"', viewer.get(path).text)
        assert set(forms) <= {"/find", "/appearance", "/logout"}, path


def test_what_is_looked_for_leads_to_the_series_and_stands_in_no_address(node: Browser):
    answer = node.post("/find", {"text": f" {REPORTED} "})

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/series/{REPORTED}"


def test_a_study_with_several_series_is_listed(node: Browser):
    text = node.post("/find", {"text": "1.2.3"}).text

    assert "7 found" in text
    assert all(f'/series/{uid_of(state)}?revision=1"' in text for state in SeriesState)


def test_a_viewer_may_look_for_studies_and_choose_colours(tmp_path: Path):
    viewer = logged_in(dashboard_node(tmp_path), Role.VIEWER, "otto")

    assert viewer.post("/find", {"text": "1.2.3"}).status_code == 200
    assert viewer.post("/appearance", {"scheme": "dark", "back": "/work"}).status_code == 303
    assert 'data-scheme="dark"' in viewer.get("/work").text


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil", "x"])
def test_colours_lead_nowhere_else(node: Browser, back: str):
    answer = node.post("/appearance", {"scheme": "dark", "back": back})

    assert answer.headers["location"] == "/"


def test_an_archive_is_paused_and_goes_on(node: Browser):
    assert node.post("/schedules", {"action": "pause", "name": "vna"}).status_code == 303
    assert "paused" in node.get("/schedules").text

    node.post("/schedules", {"action": "resume", "name": "vna"})

    assert '<span class="state warn">paused</span>' not in node.get("/schedules").text


def test_a_run_begins_at_once(node: Browser):
    answer = node.post("/schedules", {"action": "run", "name": "nightly"})

    assert answer.headers["location"] == "/schedules?done=run"
    assert "latest: " in node.get("/schedules").text


def test_a_destination_that_is_away_says_why(node: Browser):
    text = node.post("/destinations/pacs/test", {}).text

    assert "no answer" in text
    assert "PACS@127.0.0.1:9 cannot be reached" in text


def test_what_was_sent_is_listed_by_day(node: Browser):
    today = datetime.now().astimezone().date()

    now = node.get(f"/destinations/pacs?since={today - timedelta(days=1)}&until={today}").text
    before = node.get("/destinations/pacs?since=2020-01-01&until=2020-01-02").text

    assert f'/series/{REPORTED}?revision=1"' in now
    assert "Nothing was sent to it in that time" in before


def test_settings_are_shown_with_their_meaning_and_without_secrets(tmp_path: Path):
    database = "postgresql://msk:geheim@127.0.0.1:1/msk"
    config = dashboard_node(tmp_path)
    shown = config.model_copy(
        update={"node": config.node.model_copy(update={"database": database})}
    )
    browser = logged_in(config)
    browser.app.state.config = shown

    text = browser.get("/settings").text

    assert "geheim" not in text
    assert f"postgresql://{HIDDEN}@127.0.0.1" in text
    assert "How long nothing must have arrived" in text
    # [receive] is there: a key of it that has no value is not set, whatever else there is not.
    receive = text.partition("<code>[receive]</code>")[2].partition("</section>")[0]
    assert "not set" in receive
    assert "no such table" not in receive


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("password", "geheim", HIDDEN),
        ("password_file", Path("/x"), "/x"),
        ("webhook_url", "https://x/y", HIDDEN),
        ("url", "https://a:b@x/y?token=z", f"https://{HIDDEN}@x/y?{HIDDEN}"),
        ("quiet_s", 10.0, "10"),
        ("best", ("a", "b"), "a, b"),
        ("nifti", False, "false"),
    ],
)
def test_a_setting_as_text(key: str, value: object, words: str):
    assert text_of(key, value) == words


def test_the_audit_page_tells_who_looked_at_what(node: Browser):
    node.get(f"/series/{REPORTED}")
    deadline = time.monotonic() + 10
    while (text := node.get("/audit?kind=DICOM+Instances+Accessed").text).count(REPORTED) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert "anna" in text
    assert node.get("/audit.csv").headers["content-type"].startswith("text/csv")


def test_an_empty_filter_field_filters_nothing(node: Browser):
    every = node.get("/work").text
    empty = node.get("/work?since=&until=&verdict=&code=&calling_ae_title=&destination=").text

    assert "7 series match" in every
    assert "7 series match" in empty


@pytest.mark.parametrize("after", ["x", "2026-01-01T00:00:00_1.2_1", "a_b_c", "_" * 50])
def test_a_page_that_nobody_offered_is_none(node: Browser, after: str):
    assert node.get(f"/work?after={after}").status_code == 404


def test_pages_follow_each_other_without_a_gap(tmp_path: Path):
    """120 series are three pages of 50, 50 and 20."""
    config = dashboard_node(tmp_path)
    ledger = Ledger(config.node.database_url)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ledger.save(
        *(
            SeriesRow(f"1.9.{n}", 1, "1.9", "OLD", "M", 1, "f", at, at, SeriesState.REPORTED)
            for n in range(120)
        )
    )
    ledger.close()
    browser, path, seen = logged_in(config), "/work?calling_ae_title=OLD", []
    for _ in range(3):
        text = browser.get(path).text
        seen.append(re.findall(r"/series/(1\.9\.\d+)\?", text))
        found = re.search(r'href="([^"]*)" rel="next"', text)
        path = found.group(1).replace("&amp;", "&") if found else ""

    assert [len(page) for page in seen] == [50, 50, 20]
    assert len({uid for page in seen for uid in page}) == 120
    assert not path


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.35, "350 ms"),
        (4.21, "4.2 s"),
        (59.7, "1 min"),
        (194, "3 min 14 s"),
        (3600, "1 h"),
        (90061, "1 d 1 h"),
        (-2, "-2.0 s"),
    ],
)
def test_durations_in_words(seconds: float, told: str):
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"), [(None, "\u2013"), (2.04, "+2.0"), (-2.04, "\u22122.0"), (-0.04, "0")]
)
def test_a_change_has_a_sign_unless_it_rounds_to_nothing(value: float | None, told: str):
    assert words.signed(value) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("none", "none"),
        ("with `a.b` and `c`", "with <code>a.b</code> and <code>c</code>"),
        ("`<b>` & `open", "<code>&lt;b&gt;</code> &amp; <code>open</code>"),
    ],
)
def test_what_stands_between_backticks_is_code_and_nothing_else(text: str, told: str):
    assert words.coded(text) == told


def test_a_moment_is_local_to_people_and_utc_to_programs():
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    local = f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"

    shown = words.moment(moment)

    assert shown == f'<time datetime="2026-03-04T05:06:07+00:00">{local}</time>'


def _ordered(browser: Browser) -> list[tuple[OrderKind, str, str]]:
    ledger = Ledger(browser.config.node.database_url)
    try:
        orders = OperationLedger(ledger).open_orders(10)
        return [(each.kind, each.series_instance_uid, each.ordered_by) for each in orders]
    finally:
        ledger.close()


def test_work_without_a_filter_is_that_of_the_last_days_and_says_so(tmp_path: Path):
    """What is older is there for who asks for all, on every page of it."""
    config = dashboard_node(tmp_path)
    ledger, old = Ledger(config.node.database_url), datetime.now(UTC) - timedelta(days=40)
    ledger.save(
        *(SeriesRow(f"1.9.{n}", 1, "1.9", "OLD", "M", 1, "f", old, old) for n in range(60))
    )
    ledger.close()
    node = logged_in(config)
    usual, every = node.get("/work").text, node.get("/work?days=all").text
    since = datetime.now().astimezone().date() - timedelta(days=30)
    second = re.search(r'href="([^"]*)" rel="next"', every)
    assert second is not None
    last = node.get(second.group(1).replace("&amp;", "&")).text

    assert "7 series match" in usual
    assert f'type="date" value="{since}"' in usual
    assert f'name="since" value="{since}"' in usual  # an order is for what is seen
    assert "67 series match" in every
    assert "67 series match" in last
    assert 'name="days" value="all"' in last


@pytest.mark.parametrize("path", ["/login", "/nothing"])
def test_login_and_problems_look_like_the_rest_and_have_its_icon(node: Browser, path: str):
    text = node.get(path, headers={"cookie": ""}).text

    assert re.findall(r'<link rel="stylesheet" href="([^"]*)">', text) == ["/static/msk.css"]
    (icon,) = re.findall(r'<link rel="icon" href="([^"]*)"', text)
    assert node.get(icon).headers["content-type"] == "image/svg+xml"
    assert 'data-scheme="auto"' in text


def test_a_viewer_has_no_file_read_again_and_an_operator_hears_why_not(node: Browser):
    """No node runs here; with one it is tried in tests/integration/test_reload.py."""
    viewer = logged_in(node.config, Role.VIEWER, "vera")
    token = {"csrf_token": node.form_token("/settings")}

    assert "Read the file again" not in viewer.get("/settings").text
    assert viewer.post("/settings/reload", {}).status_code == 403
    assert node.client.post("/settings/reload").status_code == 403
    answer = node.client.post("/settings/reload", data=token)
    assert answer.status_code == 200
    assert "no node runs on the spool" in answer.text
