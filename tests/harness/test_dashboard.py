"""The dashboard of a running node in a real browser: judged by axe, used by keys alone.

The node is real, with its receiver, worker and pages as processes; only its network is
replaced (`fast_analysis.py`). One series was answered, and one refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from support.cases import source_datasets
from support.ct import SERIES_UID, save
from support.installed_node import InstalledNode, free_port, install
from support.namespace import Namespace
from support.ohif import CHROMIUM
from support.small_node import result_pacs, write_small_bundle
from support.stopping import stop
from support.waiting import wait_until
from support.web_client import PASSWORD

from dicom_node.peers.store import send
from dicom_node.persistence.ledger import existing_ledger
from dicom_node.persistence.rows import SeriesState
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.users import add_user

HARNESS = Path(__file__).parent
AXE_NAME = (HARNESS / "axe.sha512").read_text().split()[1].removesuffix(".tgz")
AXE = HARNESS / ".cache" / AXE_NAME / "axe.min.js"
SETTLE_S = 120.0
REFUSED_UID = "1.2.826.0.1.3680043.8.498.1.77"
PAGES = {
    "overview": "/",
    "work": "/work",
    "confirm": "/work/confirm?kind=retry&states=refused",
    "series": f"/series/{SERIES_UID}?pictures=1",
    "refused": f"/series/{REFUSED_UID}",
    "devices": "/devices",
    "destinations": "/destinations",
    "destination": "/destinations/pacs",
    "schedules": "/schedules",
    "rules": "/rules?study=1.2.826.0.1.3680043.8.498.1&rules=hips",
    "audit": "/audit",
    "settings": "/settings",
    "find": "/find",
}
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1400, "height": 900}


@dataclass
class Site:
    """A node that runs, with its pages."""

    node: InstalledNode
    address: str
    state: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def site(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node with an answered series and a refused one."""
    missing = [str(one) for one in (AXE, Path(CHROMIUM)) if not one.exists()]
    if missing:
        stop(f"not installed: {' '.join(missing)} (make harness-packages)")
    folder = tmp_path_factory.mktemp("dashboard")
    bundle = write_small_bundle(folder / "small")
    port, web_port = free_port(), free_port()
    tables: dict[str, Any] = {
        "web": {"port": web_port, "users": "users.toml"},
        "audit": {"file": "audit.jsonl"},
        "completion": {"quiet_s": 1.0, "give_up_s": 3.0},
    }
    with namespace.inside(), result_pacs(port=port, label_maps=False).running():
        node = install(folder, port, bundle, tables)
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
        peer = {**peer, "profile": {"qc_image": "always"}}
        lists = {
            "destinations": [peer],
            "rules": [{"name": "hips", "slices": {"at_least": 5}}],
            "archives": [{"name": "vna", "destination": "pacs", "retrieve": "get"}],
            "schedules": [
                {"name": "nightly", "archive": "vna", "at": "01:30", "since": "2026-01-01"}
            ],
        }
        node.config = type(node.config).model_validate(
            {**json.loads(node.config.model_dump_json()), **lists}
        )
        assert node.config.web is not None
        add_user(node.config.web.users, "anna", Role.OPERATOR, PASSWORD)
        node.start()
        try:
            _fill(node, folder)
            yield Site(node, f"http://127.0.0.1:{web_port}")
        finally:
            node.kill()


def _fill(node: InstalledNode, folder: Path) -> None:
    """Send a series that is answered, and one of two slices, which are no volume."""
    good = save(source_datasets(), folder / "good")
    uids = {"SeriesInstanceUID": REFUSED_UID, "StudyInstanceUID": "1.2.77"}
    short = save(source_datasets(offsets_mm=(0.0, 5.0), **uids), folder / "short")
    for paths in (good, short):
        assert all(one.stored for one in send(node.peer, paths))

    def answered() -> bool:
        ledger = existing_ledger(node.config.node.database_url, only_read=True)
        if ledger is None:
            return False
        try:
            states = {row.state for row in ledger.all_series()}
            open_ones = ledger.scheduled()
        finally:
            ledger.close()
        return SeriesState.REPORTED in states and len(states) == 2 and not open_ones

    wait_until(answered, SETTLE_S, f"both series are answered and sent ({node.log})")


@pytest.fixture(scope="module")
def browser(site: Site, namespace: Namespace) -> Iterator[Browser]:
    """Chromium, logged in once."""
    with namespace.inside(), sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        context = chromium.new_context(viewport=WIDE)
        page = context.new_page()
        page.goto(f"{site.address}/login")
        page.get_by_label("User").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.address}/")
        site.state = dict(context.storage_state())
        yield chromium
        chromium.close()


@dataclass
class Looked:
    """A page that is open, and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(site: Site, browser: Browser) -> Iterator[Any]:
    """Opens pages in a window of its own."""
    contexts = []

    def opened(path: str, scheme: str = "light", size: dict[str, int] = WIDE) -> Looked:
        context = browser.new_context(
            storage_state=site.state, viewport=size, color_scheme=scheme
        )
        contexts.append(context)
        looked = Looked(context.new_page())
        looked.page.on("console", lambda one: looked.complaints.append(one.text))
        looked.page.on("pageerror", lambda one: looked.complaints.append(str(one)))
        looked.page.on("request", lambda one: looked.asked.append(one.url))
        answer = looked.page.goto(f"{site.address}{path}")
        assert answer is not None
        assert answer.status == 200, path
        return looked

    yield opened
    for context in contexts:
        context.close()


def _violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA, each with the first element it is about."""
    # Put in by the driver, past the page's policy, which takes no script but its own.
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        """() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa',
             'wcag22aa', 'best-practice']}).then(found => found.violations.map(one =>
             `${one.id}: ${one.help}: ${one.nodes[0].html.slice(0, 160)}`))"""
    )
    return list(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_against_a_page(open_page: Any, out: Path, name: str, scheme: str):
    looked = open_page(PAGES[name], scheme)
    looked.page.evaluate(
        "document.querySelectorAll('details').forEach(one => { one.open = true })"
    )

    found = _violations(looked.page)
    looked.page.screenshot(path=out / f"dashboard-{name}-{scheme}.png", full_page=True)

    assert found == []
    assert looked.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_telephone(open_page: Any, out: Path, name: str):
    """Wide tables scroll by themselves; the page does not."""
    looked = open_page(PAGES[name], size=NARROW)

    wide, window = looked.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    looked.page.screenshot(path=out / f"dashboard-{name}-narrow.png", full_page=True)

    assert wide == window


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nobody_but_the_node(site: Site, open_page: Any, name: str):
    looked = open_page(PAGES[name])

    assert [one for one in looked.asked if not one.startswith(site.address)] == []


def test_a_filter_is_used_and_an_order_given_by_keys_alone(site: Site, open_page: Any):
    """From the first key to the order: no pointer is there."""
    page = open_page("/work").page
    _tab_to(page, "input[name=states][value=refused]")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url("**/work?*states=refused*")
    assert page.get_by_text("1 series match").count() == 1

    _tab_to(page, "select#kind")
    page.keyboard.type("Retry")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/work/confirm?*")
    assert page.get_by_role("heading", level=1).inner_text() == "Retry 1 series?"

    _tab_to(page, "form[action='/work/order'] button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/work?*done=1*")
    assert page.get_by_role("status").inner_text().startswith("Ordered for 1 series")

    def carried_out() -> bool:
        page.goto(f"{site.address}/series/{REFUSED_UID}")
        return page.get_by_role("navigation", name="Revisions").count() == 1

    wait_until(carried_out, SETTLE_S, "a worker has carried the order out", every_s=0.5)


def test_what_has_the_focus_can_be_seen(open_page: Any):
    page = open_page("/work").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, parseFloat(outlineWidth)])"
            "(getComputedStyle(document.activeElement))"
        )
        assert outline[0] != "none"
        assert outline[1] >= 2


def test_slices_are_scrolled_through_by_keys(open_page: Any):
    looked = open_page(f"/series/{SERIES_UID}")
    page = looked.page
    before = _picture(page)
    slider = page.get_by_role("slider")
    slider.focus()
    at = int(slider.input_value())
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "next => document.querySelector('.viewer img').complete"
        " && document.querySelector('[data-place]').textContent.startsWith(`${next} `)",
        arg=at + 1,
    )

    assert _picture(page) != before
    assert page.locator(".viewer img").first.evaluate("one => one.naturalWidth") == 640
    assert looked.complaints == []


def test_without_its_script_a_slice_is_shown_by_the_form(site: Site, browser: Browser):
    context = browser.new_context(storage_state=site.state, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.address}/series/{SERIES_UID}")
    page.get_by_role("link", name="Show the slices").click()
    page.get_by_role("link", name="Towards the head").click()
    page.wait_for_url("**slice=*")

    assert page.locator(".viewer img").first.get_attribute("alt").startswith("Slice ")
    context.close()


def test_the_colours_for_the_reading_room_stay(open_page: Any):
    page = open_page("/devices").page
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Auto").click()
    page.wait_for_load_state("load")
    page.get_by_role("link", name="Work", exact=True).click()
    page.wait_for_url("**/work")

    assert page.evaluate("document.documentElement.dataset.scheme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_a_destination_says_in_words_what_it_takes(open_page: Any, out: Path):
    """This archive knows no label maps."""
    page = open_page("/destinations/pacs").page
    page.get_by_role("button", name="Test it").click()
    page.wait_for_url("**/test")
    rows = page.get_by_role("group", name="What it takes").get_by_role("row").all_inner_texts()
    page.screenshot(path=out / "dashboard-tested.png", full_page=True)

    taken = {row.split("\t")[0]: row.split("\t")[1] for row in rows[1:]}
    assert taken["Segmentation (SEG)"] == "yes"
    assert taken["Label map segmentation"] == "no"
    assert taken["Storage commitment"] == "yes"
    assert _violations(page) == []


def test_a_study_is_found_by_its_accession_number(site: Site, open_page: Any):
    """Two series bear it, as the test's datasets all do."""
    page = open_page("/").page
    page.get_by_role("searchbox").fill("A-4711")
    page.keyboard.press("Enter")
    page.wait_for_url("**/find")

    assert page.locator("tbody tr").count() >= 2
    assert "A-4711" not in page.url
    assert page.get_by_text("accession number", exact=True).count() >= 2


def test_the_overview_follows_what_happens_by_itself(site: Site, open_page: Any):
    """The page fetches itself again; nobody loads it."""
    page = open_page("/").page
    first = page.locator(".verdict time").get_attribute("datetime")
    deadline = time.monotonic() + 30
    while page.locator(".verdict time").get_attribute("datetime") == first:
        assert time.monotonic() < deadline, "the page stands still"
        page.wait_for_timeout(500)


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"no way by Tab to {selector}")


def _picture(page: Page) -> bytes:
    page.wait_for_function("() => document.querySelector('.viewer img')?.complete")
    return bytes(page.locator(".viewer img").first.screenshot())
