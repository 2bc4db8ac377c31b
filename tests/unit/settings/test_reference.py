"""Claims about the reference of settings: whole, as docs/node.toml, and of help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dicom_node.settings.reference import (
    SettingEntry,
    explained,
    sections_reference,
    setting_of,
    settings_reference,
)

EXAMPLE = Path(__file__).parents[3] / "docs" / "node.toml"
SAME = {
    "acceptance.tls": "destinations[].tls",
    "destinations[].profile": "profile",
    "audit.syslog.tls": "destinations[].tls",
    "archives[].tls": "destinations[].tls",
    "archives[].credentials": "destinations[].credentials",
}
"""Tables that docs/node.toml documents once, under another name."""
EXAMPLES = ("senders", "pipelines", "destinations", "routes", "archives", "rules", "schedules")


def documented() -> Iterator[tuple[str, str, str]]:
    """Table, key and value of each line of docs/node.toml, commented out or not."""
    section = ""
    for line in EXAMPLE.read_text().splitlines():
        header = re.fullmatch(r"(?:# )?\[+([\w.]+)\]+", line)
        if header:
            section = general(header[1])
        elif found := re.fullmatch(r"(?:# )?(\w+) = (.*)", line):
            inner = re.fullmatch(r"\{ (.*) \}", found[2])
            is_range = inner is not None and found[1] != "at_archive"
            if inner is not None and is_range:
                for part in inner[1].split(", "):
                    name, _, value = part.partition(" = ")
                    yield f"{section}.{found[1]}", name, value
            else:
                yield section, found[1], found[2]


def general(header: str) -> str:
    """`rules.take` as problems name it: `rules[].take[]`."""
    lists = {each.key for each in sections_reference()}
    key = ""
    for part in header.split("."):
        key = f"{key}.{part}".lstrip(".")
        key = f"{key}[]" if f"{key}[]" in lists else key
    return key


def entry(key: str) -> SettingEntry:
    found = setting_of(key)
    assert found is not None
    return found


def test_every_documented_key_is_in_the_reference() -> None:
    keys = {each.key for each in settings_reference()}

    assert {f"{section}.{key}" for section, key, _ in documented()} - keys == set()


def test_every_key_of_the_reference_is_documented() -> None:
    there = {f"{section}.{key}" for section, key, _ in documented()}
    asked = [
        f"{SAME.get(each.section, each.section)}.{each.key.rpartition('.')[2]}"
        for each in settings_reference()
        # Both ends of every range are one sentence there.
        if not re.search(r"\[\]\.\w+\.at_(least|most)$", each.key)
    ]

    assert set(asked) - there == set()


def test_the_defaults_are_those_that_are_documented() -> None:
    lines = EXAMPLE.read_text().splitlines()
    given = {
        f"{section}.{key}": value
        for section, key, value in documented()
        if f"{key} = {value}" in lines and not section.startswith(EXAMPLES)
    }

    assert len(given) > 40
    assert {key: entry(key).default for key in given} == given


def test_every_entry_says_what_it_means() -> None:
    assert [each.key for each in settings_reference() if not each.meaning] == []
    assert [each.key for each in sections_reference() if not each.meaning] == []


def test_an_entry_has_type_limits_unit_and_default() -> None:
    port, wait = entry("node.port"), entry("delivery.first_wait_s")
    kernels, own = entry("rules[2].kernels"), entry("destinations[1].url")

    assert (port.type_words, port.limits) == ("whole number", "at least 0, at most 65535")
    assert (wait.default, wait.unit, wait.limits) == ("30.0", "seconds", "more than 0")
    assert kernels.type_words == 'list of "soft" or "medium" or "unlisted" or "bone"'
    assert (own.kind, own.is_required, own.default) == ("DICOMweb", True, "")
    assert entry("rules[].age_y.at_most").unit == "years"
    assert entry("senders[0].hosts[3]").type_words == "list of address, network or host name"


def test_what_several_kinds_of_destinations_have_is_there_once() -> None:
    keys = [each.key for each in settings_reference()]

    assert len(keys) == len(set(keys))
    assert entry("destinations[].name").kind == ""
    assert entry("destinations[].port").kind == "DICOM"


def test_a_problem_is_followed_by_what_its_key_means() -> None:
    said = explained("/etc/msk/node.toml: node.port: Input should be less than 65536")

    meaning = "The TCP port to listen on; 0 takes any free one."
    facts = "whole number, at least 0, at most 65535, 11112 where it is left out"
    assert said.splitlines()[1:] == [f"    {meaning} ({facts})"]


def test_a_misspelt_key_is_followed_by_the_one_that_was_meant() -> None:
    said = explained("node.toml: destinations[0].aetitle: unknown key")

    assert said.splitlines()[1:] == ["    did you mean ae_title?"]


def test_a_problem_of_no_key_stays_as_it_is() -> None:
    words = (
        "node.toml: cannot be read: No such file\nnode.toml: rules: 2 of them are called 'a'"
    )

    assert explained(words) == words
