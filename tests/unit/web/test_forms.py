"""Claims about requests that another site, or an old page, makes in a user's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import APIRouter, Request
from support.web_client import HOST, Browser, logged_in, web_config

from dicom_node.settings.node import NodeConfig
from dicom_node.web.accounts.form_tokens import FormTokens


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return web_config(tmp_path)


@pytest.fixture
def browser(config: NodeConfig) -> Browser:
    """An operator's, before an application with something to change."""
    found = logged_in(config)
    router = APIRouter()

    async def order(request: Request) -> str:
        form = await request.form()
        return f"ordered {form.get('what', '')}"

    router.add_api_route("/order", order, methods=["POST", "PUT", "DELETE", "PATCH"])
    found.app.include_router(router)
    return found


def test_a_form_with_its_token_is_taken_and_its_fields_arrive(browser: Browser) -> None:
    assert browser.post("/order", {"what": "retry"}).text == '"ordered retry"'


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_change_without_a_token_is_refused(method: str, browser: Browser) -> None:
    answer = browser.client.request(method, "/order")

    assert answer.status_code == 403
    assert "load the page again" in answer.text


@pytest.mark.parametrize("token", ["", "x", "eyJ.x.y", "a" * 10_000])
def test_a_made_up_token_is_refused(token: str, browser: Browser) -> None:
    assert browser.client.post("/order", data={"csrf_token": token}).status_code == 403


def test_another_users_token_is_refused(config: NodeConfig, browser: Browser) -> None:
    other = logged_in(config, name="bert")

    answer = browser.client.post("/order", data={"csrf_token": other.form_token()})

    assert answer.status_code == 403


def test_a_token_from_before_the_login_is_refused(config: NodeConfig, browser: Browser) -> None:
    stranger = Browser(config, browser.app)

    answer = browser.client.post("/order", data={"csrf_token": stranger.form_token()})

    assert answer.status_code == 403


def test_a_login_in_a_strangers_name_is_refused(config: NodeConfig, browser: Browser) -> None:
    """Else a site could log a user in as somebody else, who then reads what they do."""
    victim, attacker = Browser(config, browser.app), Browser(config, browser.app)
    fields = {"username": "anna", "password": "x", "csrf_token": attacker.form_token()}

    assert victim.client.post("/login", data=fields).status_code == 403
    assert "load the page again" in victim.client.post("/login", data=fields).text


def test_a_token_counts_in_a_header_and_not_in_the_address(browser: Browser) -> None:
    token = browser.form_token()

    assert browser.client.post(f"/order?csrf_token={token}").status_code == 403
    assert browser.client.post("/order", headers={"x-csrf-token": token}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": HOST.replace("8080", "8081")},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_what_a_browser_says_that_another_site_has_sent_is_refused(
    headers: dict[str, str], browser: Browser
) -> None:
    answer = browser.post("/order", {}, headers=headers)

    assert answer.status_code == 403
    assert "another site" in answer.text


def test_our_own_pages_origin_is_none_other(browser: Browser) -> None:
    headers = {"origin": HOST, "sec-fetch-site": "same-origin"}

    assert browser.post("/order", {}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"x-http-method-override": "POST"}, {"x-method-override": "DELETE"}]
)
def test_a_method_cannot_be_overridden(headers: dict[str, str], browser: Browser) -> None:
    assert browser.get("/order", headers=headers).status_code == 405
    assert browser.get("/order?_method=POST", headers=headers).status_code == 405


def test_a_token_ends_and_belongs_to_one_key() -> None:
    tokens = FormTokens(b"a" * 32, 3600)
    token = tokens.token("session 1")

    assert tokens.fits(token, "session 1")
    assert not tokens.fits(token, "session 2")
    assert not FormTokens(b"b" * 32, 3600).fits(token, "session 1")
    assert not FormTokens(b"a" * 32, -1).fits(token, "session 1")
