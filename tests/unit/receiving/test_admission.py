"""Who may send: the rule alone, and host names."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

import pytest

from dicom_node.receiving.admission import ArchivePlaces, Rules, rejection_reason
from dicom_node.receiving.host_names import Address, HostNames
from dicom_node.receiving.rejections import Caller, Reason
from dicom_node.settings.senders import Sender

CALLER = Caller("CT1", "MSKNODE", "10.1.2.3")


def nobody(_name: str) -> Collection[Address]:
    return ()


def names(_name: str) -> Collection[Address]:
    return (ip_address("10.1.2.3"), ip_address("fd00::3"))


def test_without_rules_anyone_may_come_in() -> None:
    assert rejection_reason(CALLER, Rules(), nobody) is None


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [
        (Sender(ae_title="CT1"), None),
        (Sender(ae_title="CT2"), Reason.CALLING_TITLE),
        (Sender(ae_title="ct1"), Reason.CALLING_TITLE),
        (Sender(ae_title="CT1", hosts=("10.1.2.3",)), None),
        (Sender(ae_title="CT1", hosts=("10.1.2.4",)), Reason.HOST),
        (Sender(ae_title="CT1", hosts=("10.1.0.0/16",)), None),
        (Sender(ae_title="CT1", hosts=("10.2.0.0/16", "10.1.2.0/24")), None),
        (Sender(ae_title="CT1", hosts=("10.2.0.0/16",)), Reason.HOST),
        (Sender(ae_title="CT1", hosts=("fd00::/8",)), Reason.HOST),
        (Sender(ae_title=None, hosts=("10.1.2.3",)), None),
        (Sender(ae_title=None, hosts=("10.1.2.4",)), Reason.HOST),
    ],
)
def test_title_and_address_must_both_fit(allowed: Sender, reason: Reason | None) -> None:
    assert rejection_reason(CALLER, Rules((allowed,)), nobody) is reason


def test_the_address_of_one_sender_does_not_let_another_in() -> None:
    rules = Rules(
        (
            Sender(ae_title="CT1", hosts=("10.0.0.1",)),
            Sender(ae_title="CT2", hosts=("10.1.2.3",)),
        )
    )

    assert rejection_reason(CALLER, rules, nobody) is Reason.HOST


@pytest.mark.parametrize(
    ("host", "reason"),
    [("10.1.2.3", None), ("::ffff:10.1.2.3", None), ("fd00::3", None), ("::1", Reason.HOST)],
)
def test_a_host_name_stands_for_its_addresses(host: str, reason: Reason | None) -> None:
    rules = Rules((Sender(ae_title="CT1", hosts=("ct1.example",)),))

    assert rejection_reason(Caller("CT1", "MSKNODE", host), rules, names) is reason


def test_a_host_name_that_nobody_knows_lets_nobody_in() -> None:
    rules = Rules((Sender(ae_title="CT1", hosts=("ct1.example",)),))

    assert rejection_reason(CALLER, rules, nobody) is Reason.HOST


def test_a_name_for_us_that_is_not_ours_is_said_first() -> None:
    rules = Rules((Sender(ae_title="CT9"),), called_ae_titles=("MSK2",))

    assert rejection_reason(CALLER, rules, nobody) is Reason.CALLED_TITLE


def test_every_reason_of_the_rule_has_an_answer_of_the_standard() -> None:
    """PS3.8 Table 9-21: permanent for who is not known, transient for what may pass."""
    assert {each: each.rejection for each in Reason} == {
        Reason.CALLED_TITLE: (1, 1, 7),
        Reason.CALLING_TITLE: (1, 1, 3),
        Reason.HOST: (1, 1, 3),
        Reason.CERTIFICATE: (1, 1, 3),
        Reason.TOO_MANY: (2, 3, 2),
        Reason.KEPT_FREE: (2, 3, 2),
        Reason.NO_ROOM: (2, 3, 2),
    }


def test_a_name_is_looked_up_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(name)
        return [(2, 1, 6, "", ("10.1.2.3", 0))]

    monkeypatch.setattr("dicom_node.receiving.host_names.socket.getaddrinfo", answer)
    now_s = [0.0]
    look_up = HostNames(clock=lambda: now_s[0])

    found = [look_up("ct1"), look_up("ct1")]
    now_s[0] = 61.0
    look_up("ct1")

    assert found == [{ip_address("10.1.2.3")}] * 2
    assert asked == ["ct1", "ct1"]


def test_a_name_server_that_is_away_shuts_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([[(2, 1, 6, "", ("10.1.2.3", 0))]])

    def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
        try:
            return next(answers)
        except StopIteration:
            raise OSError(-3, "Temporary failure in name resolution") from None

    monkeypatch.setattr("dicom_node.receiving.host_names.socket.getaddrinfo", answer)
    now_s = [0.0]
    look_up = HostNames(clock=lambda: now_s[0])

    before = look_up("ct1")
    now_s[0] = 61.0

    assert look_up("ct1") == before == {ip_address("10.1.2.3")}


class Line:
    """An association."""

    is_open = True


def is_open(line: object) -> bool:
    return isinstance(line, Line) and line.is_open


def test_an_archive_gets_a_place_again_only_when_it_leaves_one() -> None:
    places = ArchivePlaces(["ARCHIVE"], most=2)
    archive = Caller("ARCHIVE", "MSKNODE", "10.1.2.3")
    lines = [Line() for _ in range(3)]

    assert [places.take(archive, line, is_open) for line in lines] == [True, True, False]
    assert places.take(CALLER, Line(), is_open)
    lines[0].is_open = False
    assert places.take(archive, lines[2], is_open)
