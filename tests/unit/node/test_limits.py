"""Claims about what is said of the system's limits before they are met."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.node.limits import SystemLimits, limit_concerns
from dicom_node.settings.node import NodeConfig, Receive

ENOUGH = SystemLimits(
    descriptors=1024,
    threads=4096,
    memory_mb=16_384,
    addresses_mb=65_536,
    file_mb=2048,
    waiting_connections=128,
)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig().rooted(tmp_path)


def test_nothing_is_said_where_all_is_enough_or_unlimited(config: NodeConfig) -> None:
    assert list(limit_concerns(config, ENOUGH)) == []
    assert list(limit_concerns(config, SystemLimits())) == []


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("descriptors", 64, "472 needed, 64 allowed file descriptors (ulimit -Hn): 5 assoc"),
        ("threads", 100, "100 allowed threads"),
        ("memory_mb", 1024, "1024 allowed MB of memory"),
        ("addresses_mb", 2048, "2048 allowed MB of addresses"),
        ("file_mb", 100, "2048 needed, 100 allowed MB in one file"),
        ("processor_s", 60, "a process ends after 60 s of processor time"),
        ("waiting_connections", 5, "5 allowed waiting connections"),
    ],
)
def test_each_limit_that_is_too_low_is_named(
    limit: str, value: int, words: str, config: NodeConfig
) -> None:
    (said,) = limit_concerns(config, replace(ENOUGH, **{limit: value}))

    assert words in said


def test_what_is_needed_follows_the_settings(config: NodeConfig) -> None:
    many = config.model_copy(update={"receive": Receive(max_associations=1000)})

    assert any("7024 needed, 1024 allowed" in each for each in limit_concerns(many, ENOUGH))


def test_a_folder_below_which_names_do_not_fit_is_named(config: NodeConfig) -> None:
    deep = config.node.spool.joinpath(*["x" * 200] * 19)
    node = config.node.model_copy(update={"spool": deep})

    (said,) = limit_concerns(config.model_copy(update={"node": node}), ENOUGH)
    assert said.startswith("node.spool: its path is so long")
