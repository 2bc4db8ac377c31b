"""Claims about the API: what it says and to whom, and that docs/openapi.json is its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from support.hostile_node import fill_ledger
from support.small_node import result_pacs
from support.web_client import PASSWORD, Browser, logged_in, token_for, web_config

from dicom_node.persistence.rows import SeriesState
from dicom_node.settings.node import NodeConfig
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.tokens import Token, add_token, read_tokens, remove_token
from dicom_node.web.accounts.users import add_user, remove_user, set_role
from dicom_node.web.api.printed import printed

DOCS = Path(__file__).parents[3] / "docs"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}
HELD = "1.2.826.0.1.23"
ORDER = {"kind": "release", "series": [{"series_instance_uid": HELD}]}


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return web_config(tmp_path, {"destinations": [PACS]})


@pytest.fixture
def full(config: NodeConfig) -> NodeConfig:
    """A node with series."""
    fill_ledger(config)
    return config


def ask(
    config: NodeConfig, path: str, token: str, browser: Browser | None = None
) -> httpx.Response:
    browser = browser or Browser(config)
    return browser.get(path, headers={"authorization": f"Bearer {token}"})


def test_the_description_is_the_documented_one() -> None:
    """`python -m dicom_node.web.api.printed > docs/openapi.json` writes it anew."""
    assert (DOCS / "openapi.json").read_text() == printed()


def test_every_path_stands_in_the_docs(config: NodeConfig) -> None:
    token = token_for(config, Role.VIEWER)
    paths = ask(config, "/api/v1/openapi.json", token).json()["paths"]
    told = re.findall(r"`(/api/v1/[a-z/{}]+)", (DOCS / "api.md").read_text())
    named = {re.sub(r"\{[^}]*\}", "{}", path) for path in told}

    assert {re.sub(r"\{[^}]*\}", "{}", path) for path in paths} == named - {"/api/v1/openapi"}


def test_a_list_goes_on_where_its_last_page_ended(full: NodeConfig) -> None:
    token, browser = token_for(full, Role.VIEWER), Browser(full)
    seen, after = [], ""
    while True:
        page = ask(full, f"/api/v1/series?limit=7{after}", token, browser).json()
        seen += [each["series_instance_uid"] for each in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"

    assert len(seen) == len(set(seen)) == len(fill_ledger(full))


@pytest.mark.parametrize("state", list(SeriesState))
def test_a_list_has_what_was_asked_for(state: SeriesState, full: NodeConfig) -> None:
    token = token_for(full, Role.VIEWER)
    page = ask(full, f"/api/v1/series?state={state.value}", token).json()

    assert {each["state"] for each in page["items"]} == {state.value}


@pytest.mark.parametrize("after", ["x", "AAAA", "W10=", "WyJhIiwgMSwgMl0=", "bnVsbA=="])
def test_a_made_up_place_in_a_list_is_refused(after: str, full: NodeConfig) -> None:
    token = token_for(full, Role.VIEWER)

    assert ask(full, f"/api/v1/series?after={after}", token).status_code == 404


def test_a_series_is_told_with_all_that_became_of_it(full: NodeConfig) -> None:
    answer = ask(full, "/api/v1/series/1.2.826.0.1.2", token_for(full, Role.VIEWER)).json()
    (revision,) = answer["revisions"]

    assert revision["series"]["state"] == "reported"
    assert [each["kind"] for each in revision["events"]] == ["first image", "not taken"]
    assert [each["destination"] for each in revision["deliveries"]] == ["pacs"]
    assert [each["kind"] for each in revision["results"]] == ["SEG"]


def test_an_order_of_an_operator_is_written_down_with_who_gave_it(full: NodeConfig) -> None:
    token, browser = token_for(full, Role.OPERATOR), Browser(full)
    headers = {"authorization": f"Bearer {token}"}

    answer = browser.client.post("/api/v1/orders", json=ORDER, headers=headers)
    told = ask(full, f"/api/v1/series/{HELD}", token, browser).json()

    assert answer.status_code == 202
    assert answer.json() == {"ordered": 1}
    (order,) = told["revisions"][0]["orders"]
    assert order["kind"] == "release"
    assert order["ordered_by"].startswith("token t")


@pytest.mark.parametrize("path", ["/api/v1/orders", "/api/v1/destinations/pacs/test"])
def test_a_viewers_token_orders_nothing(path: str, full: NodeConfig) -> None:
    headers = {"authorization": f"Bearer {token_for(full, Role.VIEWER)}"}

    answer = Browser(full).client.post(path, json=ORDER, headers=headers)

    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_destination_that_is_not_there_is_told_as_that(full: NodeConfig) -> None:
    headers = {"authorization": f"Bearer {token_for(full, Role.OPERATOR)}"}
    client = Browser(full).client

    found = client.post("/api/v1/destinations/pacs/test", headers=headers).json()

    assert not found["is_there"]
    assert found["reason"]
    assert client.post("/api/v1/destinations/x/test", headers=headers).status_code == 404


def test_a_test_of_a_destination_says_what_it_takes(tmp_path: Path) -> None:
    with result_pacs(label_maps=False).running() as pacs:
        config = web_config(tmp_path, {"destinations": [{**PACS, "port": pacs.port}]})
        headers = {"authorization": f"Bearer {token_for(config, Role.OPERATOR)}"}
        path = "/api/v1/destinations/pacs/test"
        found = Browser(config).client.post(path, headers=headers).json()

    taken = {each["title"]: each["is_taken"] for each in found["taken"]}
    assert found["is_there"], found["reason"]
    assert taken["Segmentation (SEG)"]
    assert not taken["Label map segmentation"]


@pytest.mark.parametrize(
    "shown",
    [
        "Bearer",
        "Bearer ",
        "Bearer msk_" + "A" * 43,
        "Basic YW5uYTpjb3JyZWN0",
        "Token x",
        "Bearer " + "x" * 5000,
    ],
)
def test_a_token_that_is_none_is_refused_even_beside_a_session(
    shown: str, config: NodeConfig
) -> None:
    browser = logged_in(config)
    answer = browser.get("/api/v1/me", headers={"authorization": shown})

    assert answer.status_code == 401
    assert answer.json()["status"] == 401


def test_a_token_in_the_address_is_none(config: NodeConfig) -> None:
    token, browser = token_for(config, Role.OPERATOR), Browser(config)
    for name in ("token", "access_token", "authorization", "api_key"):
        assert browser.get(f"/api/v1/me?{name}={token}").status_code == 401
    browser.client.cookies.set("msk-session", token)
    assert browser.get("/api/v1/me").status_code == 401


def test_a_token_does_not_open_the_pages(config: NodeConfig) -> None:
    headers = {"authorization": f"Bearer {token_for(config, Role.OPERATOR)}"}
    browser = Browser(config)

    assert "logged in as" not in browser.get("/login", headers=headers).text
    assert browser.client.post("/logout", headers=headers).status_code == 401


def test_a_token_that_was_taken_back_or_has_ended_is_refused(config: NodeConfig) -> None:
    assert config.web is not None
    browser = Browser(config)
    ended = Token("old", Role.VIEWER, datetime.now(UTC) - timedelta(seconds=1))
    assert (
        ask(config, "/api/v1/me", add_token(config.web.tokens, ended), browser).status_code
        == 401
    )

    token = token_for(config, Role.VIEWER)
    assert ask(config, "/api/v1/me", token, browser).status_code == 200
    for name in [each.name for each in read_tokens(config.web.tokens).values()]:
        remove_token(config.web.tokens, name)
    assert ask(config, "/api/v1/me", token, browser).status_code == 401


def test_a_users_token_goes_with_the_user_and_never_may_more(config: NodeConfig) -> None:
    assert config.web is not None
    users, browser = config.web.users, Browser(config)
    add_user(users, "anna", Role.OPERATOR, PASSWORD)
    token = token_for(config, Role.OPERATOR, owner="anna")
    assert ask(config, "/api/v1/me", token, browser).json()["role"] == "operator"

    set_role(users, "anna", Role.VIEWER)
    assert ask(config, "/api/v1/me", token, browser).json()["role"] == "viewer"

    remove_user(users, "anna")
    assert ask(config, "/api/v1/me", token, browser).status_code == 401


def test_the_file_of_tokens_holds_none(config: NodeConfig) -> None:
    assert config.web is not None
    token = token_for(config, Role.VIEWER)

    assert token.startswith("msk_")
    assert len(token) == 47
    assert token not in config.web.tokens.read_text()
    assert config.web.tokens.stat().st_mode & 0o077 == 0


def test_health_without_a_login_is_a_word(config: NodeConfig) -> None:
    answer = Browser(config).get("/health")

    assert answer.status_code == 503
    assert answer.json() == {"status": "not running"}
