"""Claims about who gets in by the login, and who does not: attempts, one a test."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends
from support.web_client import (
    PASSWORD,
    Browser,
    Door,
    doors,
    logged_in,
    web_config,
)

from dicom_node.errors import ConfigurationError
from dicom_node.settings.node import NodeConfig
from dicom_node.web.access import FOR_EVERY_USER, OPEN, require_operator
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.users import (
    SHORTEST_PASSWORD,
    add_user,
    is_password,
    remove_user,
    set_password,
    set_role,
)
from dicom_node.web.app import web_app
from dicom_node.web.scraping import METRICS_PATH

NO_USER = "There are no users yet"
OTHER_PASSWORD = "another quite long one"


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return web_config(tmp_path)


def users(config: NodeConfig) -> Path:
    assert config.web is not None
    return config.web.users


def add_anna(config: NodeConfig, role: Role = Role.OPERATOR) -> None:
    add_user(users(config), "anna", role, PASSWORD)


def test_nothing_but_login_and_health_answers_without_a_login(config: NodeConfig) -> None:
    add_anna(config)
    browser = Browser(config)

    let_in = {
        door.path
        for door in doors(browser.app)
        if browser.client.request(door.method, door.filled).status_code not in (303, 401, 403)
    }

    # Whoever reads metrics is known by the address, as [metrics] says: loopback here.
    assert let_in <= OPEN | {METRICS_PATH}


def test_a_route_that_asks_nothing_of_its_own_is_closed_all_the_same(
    config: NodeConfig,
) -> None:
    add_anna(config)
    app = web_app(config)
    router = APIRouter()
    router.add_api_route("/forgotten", lambda: "open", methods=["GET", "POST"])
    app.include_router(router, prefix="/x")

    assert Door("POST", "/x/forgotten") in doors(app)
    assert Browser(config, app).get("/x/forgotten").status_code == 303
    assert Browser(config, app).client.post("/x/forgotten").status_code == 401


def test_a_viewer_cannot_order(config: NodeConfig) -> None:
    browser = logged_in(config, Role.VIEWER)
    for door in doors(browser.app):
        if door.method not in ("GET", "HEAD") and door.path not in FOR_EVERY_USER:
            assert browser.post(door.filled, {}).status_code == 403, door

    router = APIRouter()
    router.add_api_route("/order", lambda: "done", methods=["POST"])
    router.add_api_route(
        "/trial", lambda: "done", methods=["GET"], dependencies=[Depends(require_operator)]
    )
    browser.app.include_router(router)
    assert browser.post("/order", {}).status_code == 403
    assert browser.get("/trial").status_code == 403


def test_without_users_nobody_gets_in_and_the_page_says_how_to_make_one(
    config: NodeConfig,
) -> None:
    browser = Browser(config)

    assert NO_USER in browser.get("/login").text
    assert "msk-node user add" in browser.get("/login").text
    assert browser.log_in("", "").status_code == 403
    assert browser.log_in("admin", "admin").status_code == 403


def test_a_user_that_is_entered_gets_in_without_a_restart(config: NodeConfig) -> None:
    browser = Browser(config)
    assert browser.log_in().status_code == 403

    add_anna(config)

    assert NO_USER not in browser.get("/login").text
    assert browser.log_in().status_code == 303
    assert "logged in as anna" in browser.get("/login").text


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("anna", PASSWORD.upper()),
        ("anna", ""),
        ("ANNA", PASSWORD),
        ("nobody", "nobody has this password"),
        ("' or 1=1 --", PASSWORD),
        ("anna\x00", PASSWORD),
        ("../anna", PASSWORD),
    ],
)
def test_a_wrong_name_or_password_is_told_in_the_same_words(
    name: str, password: str, config: NodeConfig
) -> None:
    add_anna(config)
    answer = Browser(config).log_in(name, password)

    assert answer.status_code == 403
    assert "User or password is not right." in answer.text
    assert "msk-session" not in answer.headers.get("set-cookie", "")


def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    config: NodeConfig, real_digests: None
) -> None:
    """Medians of three, taken in turn, so that the machine's other work strikes both."""
    add_anna(config)
    account = Browser(config).app.state.registry.users.now()["anna"]
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3):
        for known in (True, False):
            begin = time.process_time()
            assert not is_password(account if known else None, "wrong")
            times[known].append(time.process_time() - begin)
    known_s, unknown_s = statistics.median(times[True]), statistics.median(times[False])

    assert known_s > 0.005, "a digest that fast would be guessed"
    assert 0.5 < unknown_s / known_s < 2.0


def session_of(browser: Browser) -> str:
    return browser.client.cookies["msk-session"]


def is_in(browser: Browser) -> bool:
    return "logged in as" in browser.get("/login").text


def test_a_session_is_over_after_the_logout_for_whoever_kept_the_cookie(
    config: NodeConfig,
) -> None:
    browser = logged_in(config)
    kept = session_of(browser)
    thief = Browser(config, browser.app)
    thief.client.cookies.set("msk-session", kept)
    assert is_in(thief)

    assert browser.post("/logout", {}).status_code == 303

    assert not is_in(browser)
    assert not is_in(thief)


def test_a_session_outlives_the_web_process(config: NodeConfig) -> None:
    browser = logged_in(config)
    after = Browser(config)
    after.client.cookies.set("msk-session", session_of(browser))

    assert is_in(after)


def test_what_changes_a_user_ends_the_sessions(config: NodeConfig) -> None:
    for change in (
        lambda: set_role(users(config), "anna", Role.VIEWER),
        lambda: set_password(users(config), "anna", OTHER_PASSWORD),
        lambda: remove_user(users(config), "anna"),
    ):
        if users(config).exists():
            users(config).unlink()
        browser = logged_in(config)
        assert is_in(browser)

        change()

        assert not is_in(browser)


def test_a_user_who_comes_back_does_not_get_the_old_session(config: NodeConfig) -> None:
    browser = logged_in(config)
    remove_user(users(config), "anna")
    add_anna(config)

    assert not is_in(browser)


def test_a_login_begins_a_new_session_whatever_cookie_was_there(config: NodeConfig) -> None:
    """A number that somebody else has set is no session, and does not become one."""
    add_anna(config)
    browser = Browser(config)
    browser.client.cookies.set("msk-session", "chosen-by-another")
    browser.log_in()
    numbers = {cookie.value for cookie in browser.client.cookies.jar}
    other = Browser(config, browser.app)
    other.client.cookies.set("msk-session", "chosen-by-another")

    assert len(numbers) > 1
    assert not is_in(other)


@pytest.mark.parametrize(
    "forged", ["", "x", "../../users", "a" * 5000, "%00", "eyJ1c2VyIjoiYW5uYSJ9.x.y", "*"]
)
def test_a_made_up_cookie_is_nobody(forged: str, config: NodeConfig) -> None:
    add_anna(config)
    browser = Browser(config)
    browser.client.cookies.set("msk-session", forged)

    assert not is_in(browser)


def test_a_cookie_with_one_letter_changed_is_nobody(config: NodeConfig) -> None:
    browser = logged_in(config)
    number = session_of(browser)
    changed = number[:-1] + ("A" if number[-1] != "A" else "B")
    other = Browser(config, browser.app)
    other.client.cookies.set("msk-session", changed)

    assert not is_in(other)


def test_the_files_of_sessions_hold_nothing_to_log_in_with(config: NodeConfig) -> None:
    browser = logged_in(config)
    folder = config.node.spool / ".web-sessions"
    (path,) = folder.iterdir()

    assert path.stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    assert session_of(browser) not in path.name + path.read_text()
    assert (config.node.spool / ".web-key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("pauses_h", "lasts"),
    [([0.4, 0.4, 0.4], True), ([0.6], False), ([0.4] * 24 + [0.41], False)],
    ids=["used", "idle", "used for too long"],
)
def test_a_session_ends_when_it_is_idle_and_in_any_case(
    pauses_h: list[float], lasts: bool, config: NodeConfig
) -> None:
    sessions = Browser(config).app.state.registry.sessions
    now = datetime(2026, 1, 1, tzinfo=UTC)
    number = sessions.begin("anna", "stamp", now)
    found = None
    for pause_h in pauses_h:
        now += timedelta(hours=pause_h)
        found = sessions.find(number, now)

    assert (found is not None) is lasts


def test_a_login_sweeps_what_has_ended(config: NodeConfig) -> None:
    sessions = Browser(config).app.state.registry.sessions
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(3):
        sessions.begin("anna", "stamp", now)
    sessions.begin("anna", "stamp", now + timedelta(days=1))

    assert len(list((config.node.spool / ".web-sessions").iterdir())) == 1


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/x\r\nset-cookie: a=b",
        "",
        "evil.example",
        "/login",
        "%2f%2fevil.example",
    ],
)
def test_after_the_login_nobody_is_sent_elsewhere(target: str, config: NodeConfig) -> None:
    add_anna(config)
    answer = Browser(config).log_in(next_path=target)

    assert answer.status_code == 303
    assert answer.headers["location"] == "/"


def test_after_the_login_one_is_where_one_wanted_to_be(config: NodeConfig) -> None:
    browser = logged_in(config)
    stranger = Browser(config, browser.app)
    asked = stranger.get("/some-page?filter=a%26b")
    if asked.status_code == 303:
        assert asked.headers["location"].startswith("/login?next_path=/some-page")

    answer = stranger.log_in(next_path="/series/1.2.3?at=4")

    assert answer.headers["location"] == "/series/1.2.3?at=4"


@pytest.mark.parametrize("password", ["short", "a" * (SHORTEST_PASSWORD - 1), "anna-anna-12"])
def test_a_password_that_is_easily_guessed_is_not_taken(
    password: str, config: NodeConfig
) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        add_user(users(config), "anna", Role.VIEWER, password)
    assert not users(config).exists()


@pytest.mark.parametrize(
    "damage",
    ["", "[users", "[users.anna]\nrole = 'king'\npassword = 'x'\n", "[other]\n"],
    ids=["empty", "cut", "an unknown role", "another table"],
)
def test_a_damaged_file_of_users_lets_nobody_in(damage: str, config: NodeConfig) -> None:
    browser = logged_in(config)
    users(config).write_text(damage)

    assert not is_in(browser)
    assert browser.log_in().status_code == 403


def test_a_file_of_users_that_others_may_write_lets_nobody_in(config: NodeConfig) -> None:
    browser = logged_in(config)
    users(config).chmod(0o666)

    assert not is_in(browser)


def test_the_cookies_are_not_for_scripts_and_with_tls_for_nothing_else(
    tmp_path: Path,
) -> None:
    proxy = {"addresses": ["127.0.0.1"]}
    config = web_config(tmp_path, {"web": {"proxy": proxy}})
    add_anna(config)
    plain = Browser(config)
    by_tls = Browser(config, plain.app)
    by_tls.client.headers["x-forwarded-proto"] = "https"
    by_tls.client.base_url = by_tls.client.base_url.copy_with(scheme="https")

    over_plain, over_tls = plain.log_in(), by_tls.log_in()

    assert over_plain.headers["set-cookie"].startswith("msk-session=")
    assert "; HttpOnly; Path=/; SameSite=lax" in over_plain.headers["set-cookie"]
    assert over_tls.headers["set-cookie"].startswith("__Host-msk-session=")
    assert "Secure" in over_tls.headers["set-cookie"]
    assert "Domain" not in over_tls.headers["set-cookie"]
    assert "max-age=31536000" in over_tls.headers["strict-transport-security"]
    assert "strict-transport-security" not in over_plain.headers


def test_an_account_does_not_show_its_digest(config: NodeConfig) -> None:
    add_anna(config)
    account = Browser(config).app.state.registry.users.now()["anna"]

    assert "argon2" in account.digest
    assert "argon2" not in repr(account)
    assert replace(account).stamp == account.stamp
