"""Claims about how guessing is slowed down, as arithmetic."""

from __future__ import annotations

from dicom_node.web.accounts.callers import Caller
from dicom_node.web.accounts.login_pauses import (
    FREE_FOR_SITE,
    FREE_FROM_ANYWHERE,
    LONGEST_PAUSE_S,
    MOST,
    SLOW_S,
    LoginPauses,
)


def tries_in(pauses: LoginPauses, name: str, site: str, hours: float) -> int:
    """How many passwords a patient guesser can try."""
    now_s = tries = 0
    while now_s < hours * 3600:
        wait_s = pauses.wait_s(name, site, now_s)
        tries += wait_s == 0
        now_s += max(wait_s, 0.01)
    return tries


def test_pauses_grow_to_five_minutes_so_a_night_gives_a_hundred_tries() -> None:
    assert 90 < tries_in(LoginPauses(), "anna", "a", 8) < 110


def test_other_names_from_one_site_are_paused_too() -> None:
    pauses = LoginPauses()
    waits = [pauses.wait_s(f"user{number}", "a", 0.0) for number in range(FREE_FOR_SITE + 1)]

    assert waits[:-1] == [0.0] * FREE_FOR_SITE
    assert waits[-1] > 0


def test_a_thousand_tries_at_once_are_counted_before_any_has_failed() -> None:
    pauses = LoginPauses()

    assert sum(pauses.wait_s("anna", "a", 0.0) == 0 for _ in range(1000)) == 3


def test_the_right_password_forgets_what_was_wrong() -> None:
    pauses = LoginPauses()
    for moment_s in range(20):
        assert pauses.wait_s("anna", "a", float(moment_s)) == 0
        pauses.succeeded("anna", "a")


def test_guesses_at_one_user_from_many_sites_slow_answers_and_lock_nobody_out() -> None:
    pauses = LoginPauses()
    for number in range(5 * FREE_FROM_ANYWHERE):
        pauses.wait_s("anna", f"site{number}", 0.0)

    assert pauses.slow_s("anna", 0.0) == SLOW_S
    assert pauses.slow_s("bert", 0.0) == 0.0
    assert pauses.wait_s("anna", "home", 0.0) == 0.0


def test_what_is_long_ago_is_forgotten_and_memory_has_an_end() -> None:
    pauses = LoginPauses()
    for number in range(2 * MOST):
        pauses.wait_s(f"user{number}", f"site{number}", 0.0)
    assert len(pauses._wrong) == MOST

    for _ in range(3):
        pauses.wait_s("anna", "a", 0.0)
    assert 0 < pauses.wait_s("anna", "a", 1.0) <= LONGEST_PAUSE_S
    assert pauses.wait_s("anna", "a", 7200.0) == 0


def test_a_network_of_ipv6_is_one_site() -> None:
    sites = {
        Caller(f"2001:db8:0:1::{number}", is_proxied=False, is_https=True).site
        for number in range(1, 20)
    }

    assert sites == {"2001:db8:0:1::/64"}
    assert Caller("198.51.100.7", is_proxied=False, is_https=True).site == "198.51.100.7"
