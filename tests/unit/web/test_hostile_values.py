"""Claims about values from headers that look like markup: every page shows them as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from support.hostile_node import fill_ledger, storable
from support.hostile_values import AE_TITLES, HOSTILE, MARKER, is_defused, unescaped
from support.web_client import Browser, Door, doors, logged_in, web_config

from dicom_node.settings.node import NodeConfig
from dicom_node.web.accounts.roles import Role

PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
PARAMETER = re.compile(r"\{([^}:]*)[^}]*\}")
PAIRS = [("script", "image"), ("leaves an attribute", "NUL")]
QUERIES = (
    "text",
    "search",
    "q",
    "next_path",
    "state",
    "calling_ae_title",
    "destination",
    "code",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    web = {"show_patients": True}
    found = web_config(tmp_path_factory.mktemp("node"), {"destinations": [PACS], "web": web})
    fill_ledger(found)
    return found


@pytest.fixture(scope="module")
def browser(config: NodeConfig) -> Browser:
    return logged_in(config)


def pages(app: object) -> list[str]:
    """Every page, with values that are there in the place of parameters."""
    return [path for door in doors(app) if door.method == "GET" for path in filled(door)]


def filled(door: Door) -> Iterator[str]:
    """The paths of a page: of the first series, and of one whose UID is markup."""
    uids = [f"1.2.826.0.1.{number}" for number in (0, 5)]
    for uid in (*uids, quote('"><script>msk7hostile()</script>', safe="")):
        path = PARAMETER.sub(partial(value_of, uid=uid), door.path)
        yield path
        if path == door.path:
            return


def value_of(parameter: re.Match[str], uid: str) -> str:
    """A value for a parameter of a path."""
    return {"name": "pacs", "revision": "1", "number": "0"}.get(parameter[1], uid)


def assert_harmless(path: str, browser: Browser) -> str:
    """Look at a page, and see that it holds no markup of a value; its text."""
    answer = browser.get(path)
    kind = answer.headers.get("content-type", "")
    assert answer.status_code != 500, path
    if kind.startswith("text/html"):
        assert unescaped(answer.text) == [], path
        for attribute in re.findall(r'(?:href|src|action)="([^"]*)"', answer.text):
            assert not attribute.lower().startswith(("javascript:", "data:text")), path
    elif kind.startswith("text/csv"):
        for row in csv.reader(io.StringIO(answer.text)):
            assert all(map(is_defused, row)), path
    else:
        assert not kind or "html" not in kind, path
    for value in answer.headers.values():
        assert "\n" not in value
        assert "set-cookie: a=b" not in value
    return answer.text


def test_no_page_has_markup_from_a_header(browser: Browser) -> None:
    texts = [assert_harmless(path, browser) for path in pages(browser.app)]

    assert any(MARKER in text for text in texts), "no page shows any of the values"


@pytest.mark.parametrize("names", PAIRS, ids=str)
def test_no_page_has_markup_from_its_address(names: tuple[str, ...], browser: Browser) -> None:
    """Two values at a time: every page takes its while."""
    quoted = quote("".join(HOSTILE[name] for name in names), safe="")
    paths = {door.path for door in doors(browser.app) if door.method == "GET"}
    for path in sorted(paths):
        if "{" in path:
            assert_harmless(PARAMETER.sub(quoted, path), browser)
        else:
            query = "&".join(f"{name}={quoted}" for name in QUERIES)
            assert_harmless(f"{path}?{query}", browser)
    assert_harmless(f"/{quoted}", browser)


@pytest.mark.parametrize("value", list(HOSTILE.values()), ids=list(HOSTILE))
def test_no_refusal_has_markup_from_the_form(value: str, config: NodeConfig) -> None:
    browser = Browser(config)
    fields = {"username": value, "password": value, "next_path": value}
    answer = browser.post("/login", fields)

    assert answer.status_code in (403, 422, 429)
    assert unescaped(answer.text) == []


def test_a_viewer_sees_no_markup_either(config: NodeConfig) -> None:
    browser = logged_in(config, Role.VIEWER, "vera")

    for path in pages(browser.app):
        assert_harmless(path, browser)


def test_the_api_gives_values_as_they_are_and_as_json(browser: Browser) -> None:
    answer = browser.get("/api/v1/series?limit=500")
    items = answer.json()["items"]

    assert answer.headers["content-type"] == "application/json"
    assert {each["reason"] for each in items} >= set(map(storable, HOSTILE.values()))
    assert {each["calling_ae_title"] for each in items} == set(AE_TITLES)


def test_the_corpus_is_found_where_it_is_not_escaped(tmp_path: Path) -> None:
    """What looks for markup finds it, in a page that anybody could have written."""
    found = {name for name, value in HOSTILE.items() if unescaped(f"<p>{value}</p>")}

    assert {"script", "image", "closes a title", "leaves an attribute", "very long"} <= found
