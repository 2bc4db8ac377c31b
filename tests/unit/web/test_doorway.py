"""Claims about what a request passes first: host, proxy, size, and the headers of answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from support.web_client import PASSWORD, Browser, doors, logged_in, web_config

from dicom_node.settings.node import NodeConfig
from dicom_node.web import doorway
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.users import add_user
from dicom_node.web.app import web_app

BY_HEADER = {
    "addresses": ["10.9.9.9", "fd00::/64"],
    "user_header": "X-Forwarded-User",
    "groups_header": "X-Forwarded-Groups",
    "viewer_groups": ["radiology"],
    "operator_groups": ["pacs admins"],
}
CARL = {"x-forwarded-user": "carl", "x-forwarded-groups": "staff, radiology"}


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return web_config(tmp_path)


@pytest.fixture
def proxied(tmp_path: Path) -> NodeConfig:
    return web_config(tmp_path, {"web": {"proxy": BY_HEADER}})


def from_address(config: NodeConfig, address: str, app: Any = None) -> Browser:
    """A browser, or a proxy, that calls from an address."""
    browser = Browser(config, app)
    browser.client._transport.client = (address, 50000)
    return browser


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "10.0.0.1",
        "[::2]",
    ],
)
def test_a_request_under_a_foreign_name_is_refused(host: str, config: NodeConfig) -> None:
    """A page of that name, whose address becomes ours, would read what our user may."""
    browser = logged_in(config)
    for path in ("/login", "/health", "/api/v1/me", "/static/msk.css"):
        assert browser.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST."])
def test_our_own_names_are_taken(host: str, config: NodeConfig) -> None:
    assert Browser(config).get("/login", headers={"host": host}).status_code == 200


def test_a_forwarded_host_is_no_host(config: NodeConfig) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "localhost"}

    assert Browser(config).get("/login", headers=headers).status_code == 421


def test_an_allowed_name_is_taken(tmp_path: Path) -> None:
    config = web_config(tmp_path, {"web": {"allowed_hosts": ["MSK.hospital.example"]}})
    browser = Browser(config)

    assert browser.get("/login", headers={"host": "msk.hospital.example"}).status_code == 200
    assert browser.get("/login", headers={"host": "hospital.example"}).status_code == 421


def test_every_answer_tells_the_browser_what_a_page_of_ours_never_does(
    config: NodeConfig,
) -> None:
    browser = logged_in(config)
    paths = [door.filled for door in doors(browser.app) if door.method == "GET"]
    for path in (*paths, "/nothing", "/static/msk.css", "/static/none.css"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        if not path.startswith("/static"):
            assert headers["cache-control"] == "no-store"


def test_no_page_has_script_or_style_within(config: NodeConfig) -> None:
    """The browser would not run it; a page that has some is broken."""
    browser = logged_in(config)
    for door in doors(browser.app):
        if door.method == "GET":
            text = browser.get(door.filled).text
            assert "<script>" not in text, door
            assert "<style" not in text, door
            assert " style=" not in text, door
            assert " onclick=" not in text, door


def test_an_audit_trail_that_is_not_kept_is_no_table_and_no_error_inside(
    config: NodeConfig,
) -> None:
    answer = logged_in(config).get("/audit.csv")

    assert answer.status_code == 503
    assert "there is no audit trail" in answer.text
    assert not answer.headers["content-type"].startswith("text/csv")


def test_an_error_inside_is_told_without_its_words(config: NodeConfig) -> None:
    browser = logged_in(config)
    router = APIRouter()

    def broken() -> str:
        raise ValueError("Doe^Jane 1970-01-01")

    router.add_api_route("/broken", broken)
    browser.app.include_router(router)
    answer = browser.get("/broken")

    assert answer.status_code == 500
    assert "Doe" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_an_answer_that_takes_too_long_is_given_up(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "ANSWER_WITHIN_S", 0.2)
    browser = logged_in(config)
    router = APIRouter()

    async def slow() -> str:
        await asyncio.sleep(30)
        return "done"

    router.add_api_route("/slow", slow)
    browser.app.include_router(router)

    assert browser.get("/slow").status_code == 503


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_body_has_an_end(is_declared: bool, config: NodeConfig) -> None:
    """With a length, and in pieces without one."""
    browser = logged_in(config)
    large = b"x" * (doorway.MAX_BODY_BYTES + 1)
    content = large if is_declared else iter([large[:1000], large[1000:]])
    headers = {"content-type": "application/json", "x-csrf-token": browser.form_token()}

    answer = browser.client.post("/api/v1/orders", content=content, headers=headers)

    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
        "/static//etc/passwd",
        "/static/..\\app.py",
        "/static/%00",
        "/static/",
    ],
)
def test_no_path_leads_out_of_the_static_files(path: str, config: NodeConfig) -> None:
    answer = logged_in(config).get(path)

    assert answer.status_code in (303, 404)
    assert "import" not in answer.text
    assert "root:" not in answer.text


def me(browser: Browser, headers: Any) -> int:
    return browser.get("/api/v1/me", headers=headers).status_code


def test_the_proxys_user_is_let_in_with_the_role_of_the_groups(proxied: NodeConfig) -> None:
    proxy = from_address(proxied, "10.9.9.9")
    admin = CARL | {"x-forwarded-groups": "radiology,pacs admins"}

    assert proxy.get("/api/v1/me", headers=CARL).json() == {"name": "carl", "role": "viewer"}
    assert proxy.get("/api/v1/me", headers=admin).json()["role"] == "operator"


@pytest.mark.parametrize("address", ["10.9.9.8", "192.168.1.1", "127.0.0.1", "fd00:0:0:1::1"])
def test_the_proxys_header_from_anybody_else_is_refused(
    address: str, proxied: NodeConfig
) -> None:
    answer = from_address(proxied, address).get("/api/v1/me", headers=CARL)

    assert answer.status_code == 403


def test_the_header_means_nothing_where_it_is_not_switched_on(config: NodeConfig) -> None:
    assert Browser(config).get("/api/v1/me", headers=CARL).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-user": "carl"},
        {"x-forwarded-user": "carl", "x-forwarded-groups": "staff"},
        {"x-forwarded-user": "carl", "x-forwarded-groups": "Radiology"},
        {"x-forwarded-user": "", "x-forwarded-groups": "radiology"},
        {"x-forwarded-user": "<b>carl</b>", "x-forwarded-groups": "radiology"},
    ],
)
def test_whoever_the_proxy_names_without_a_group_is_not_let_in(
    headers: dict[str, str], proxied: NodeConfig
) -> None:
    assert me(from_address(proxied, "10.9.9.9"), headers) == 403


def test_two_names_in_one_request_are_none(proxied: NodeConfig) -> None:
    headers = [*CARL.items(), ("x-forwarded-user", "root")]

    assert me(from_address(proxied, "10.9.9.9"), headers) == 403


def test_the_proxys_user_needs_a_forms_token_too(proxied: NodeConfig) -> None:
    admin = CARL | {"x-forwarded-groups": "pacs admins"}
    proxy = from_address(proxied, "10.9.9.9")
    router = APIRouter()
    router.add_api_route("/order", lambda: "done", methods=["POST"])
    proxy.app.include_router(router)
    token = proxy.app.state.registry.form_tokens.token("proxy carl")
    other = proxy.app.state.registry.form_tokens.token("proxy dora")

    shown: tuple[dict[str, str], ...] = ({}, {"x-csrf-token": other}, {"x-csrf-token": token})
    answers = [proxy.client.post("/order", headers=admin | each) for each in shown]

    assert [each.status_code for each in answers] == [403, 403, 200]


def test_behind_a_proxy_without_tls_only_the_proxy_is_answered(tmp_path: Path) -> None:
    web = {"host": "10.0.0.5", "proxy": {"addresses": ["10.9.9.9"]}}
    config = web_config(tmp_path, {"web": web})
    app = web_app(config)

    assert from_address(config, "10.9.9.9", app).get("/login").status_code == 200
    assert from_address(config, "10.0.0.77", app).get("/login").status_code == 403


def test_a_plain_peer_cannot_claim_tls(config: NodeConfig) -> None:
    answer = Browser(config).get("/login", headers={"x-forwarded-proto": "https"})

    assert "strict-transport-security" not in answer.headers
    assert "__Host-" not in answer.headers["set-cookie"]


def guess(browser: Browser, name: str, times: int) -> list[int]:
    return [browser.log_in(name, "a wrong password").status_code for _ in range(times)]


def test_guessing_is_paused_and_a_stranger_locks_nobody_out(
    config: NodeConfig,
) -> None:
    assert config.web is not None
    add_user(config.web.users, "anna", Role.OPERATOR, PASSWORD)
    stranger = from_address(config, "198.51.100.7")
    anna = from_address(config, "198.51.100.8", stranger.app)

    assert guess(stranger, "anna", 5) == [403, 403, 403, 429, 429]
    assert stranger.log_in().status_code == 429, "the right one is not looked at in a pause"
    assert "retry-after" in stranger.log_in().headers
    assert anna.log_in().status_code == 303


def test_guessing_cannot_hide_behind_a_forwarded_address(config: NodeConfig) -> None:
    browser = Browser(config)
    codes = [
        browser.log_in(
            "anna", "wrong", headers={"x-forwarded-for": f"198.51.100.{number}"}
        ).status_code
        for number in range(5)
    ]

    assert codes[-1] == 429


def test_behind_the_proxy_every_caller_is_one_of_their_own(tmp_path: Path) -> None:
    """What the caller wrote on the left of the list is not believed."""
    config = web_config(tmp_path, {"web": {"proxy": {"addresses": ["10.9.9.9"]}}})
    proxy = from_address(config, "10.9.9.9")

    def attempt(forwarded: str) -> int:
        return proxy.log_in("anna", "x", headers={"x-forwarded-for": forwarded}).status_code

    made_up = [attempt(f"203.0.113.{number}, 198.51.100.7") for number in range(4)]

    assert made_up[-1] == 429
    assert attempt("198.51.100.8") == 403
