"""The cohort's report in a browser: nothing leaves, nothing complains, nothing runs off.

The names in it are hostile: were one of them markup, the browser would run or fetch it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from support.cohorts import cohort, renamed
from support.ohif import CHROMIUM
from support.stopping import stop

from dicom_node.cohort.cohort import Cohort
from dicom_node.cohort.page import About, write_page
from dicom_node.cohort.report import cohort_html
from dicom_node.cohort.sides_file import known_sides

RUN = "document.title='run'"
HOSTILE = f'<img src=http://127.0.0.1:9/x onerror="{RUN}"><script>{RUN}</script>'
WIDTHS = (1400, 480)


@dataclass
class Looked:
    """A page that is open, and what it asked for and complained of."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 90 cases with names of markup."""
    cases = [
        renamed(case, name=f"{HOSTILE}{number}", scanner=f"{HOSTILE}{number % 2}")
        for number, case in enumerate(cohort(90, uncertain_from=60, affected_less=0.1))
    ]
    table = Cohort.of(cases)
    about = About(datetime(2026, 5, 1, tzinfo=UTC), left_out=(HOSTILE,))
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(path, cohort_html(table, about, known_sides(table.cases)))
    return path


@pytest.fixture(scope="module", params=WIDTHS)
def looked(report: Path, request: pytest.FixtureRequest) -> Iterator[Looked]:
    """The report in a window of a desk and of a telephone; every table is unfolded."""
    if shutil.which(CHROMIUM) is None:
        stop("not installed: chromium (make harness-packages)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": request.param, "height": 900})
        seen = Looked(page)
        page.on("request", lambda one: seen.requests.append(one.url))
        page.on("console", lambda one: seen.complaints.append(one.text))
        page.on("pageerror", lambda one: seen.complaints.append(str(one)))
        page.goto(report.as_uri())
        page.evaluate(
            "document.querySelectorAll('details').forEach(one => { one.open = true })"
        )
        yield seen
        browser.close()


def test_nothing_is_asked_for_but_the_file(looked: Looked, report: Path):
    asked = [one for one in looked.requests if not one.startswith("data:")]

    assert asked == [report.as_uri()]
    assert looked.complaints == []
    assert looked.page.title() == "Cohort report"


def test_hostile_names_stand_there_as_text(looked: Looked):
    assert looked.page.locator("img, script").count() == 0
    assert looked.page.get_by_text(f"{HOSTILE}1").count() > 0


def test_the_page_is_as_wide_as_its_window_and_wide_things_scroll(looked: Looked):
    """Figures keep 760 pixels at the least: their words stay readable on a telephone."""
    wide, window = looked.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    narrowest = looked.page.evaluate(
        "Math.min(...[...document.querySelectorAll('.wide > svg')]"
        ".map(one => one.getBoundingClientRect().width))"
    )

    assert wide == window
    assert narrowest >= 760


def test_names_in_tables_are_whole(looked: Looked):
    """Series of one scanner differ in the last digits of their UIDs alone."""
    cut = looked.page.evaluate(
        "[...document.querySelectorAll('tbody th')]"
        ".filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"
    )

    assert cut == []


def test_every_figure_is_drawn_with_its_parts(looked: Looked):
    """Clip paths and hatches are found under their names: no part is cut off to nothing."""
    missing = looked.page.evaluate(
        """[...document.querySelectorAll('svg *')].flatMap(one =>
          [one.getAttribute('clip-path'), one.style?.fill, one.getAttribute('xlink:href')]
            .filter(Boolean).map(told => /#([^)"]+)/.exec(told)?.[1])
            .filter(id => id && !document.getElementById(id)))"""
    )

    assert looked.page.locator("svg[role=img]").count() == 10
    assert missing == []


def test_a_reader_by_ear_finds_names_for_everything(looked: Looked):
    page = looked.page

    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("heading", level=2).count() == 7
    assert page.get_by_role("table").count() == page.locator("table > caption").count()
    assert page.get_by_role("img").count() == 10
    unnamed = page.evaluate(
        "[...document.querySelectorAll('[role=region], [role=img]')]"
        ".filter(one => !one.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
