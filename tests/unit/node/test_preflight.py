"""Claims about what is checked before a node starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_node import small_config

from dicom_node.errors import ConfigurationError
from dicom_node.node import preflight
from dicom_node.node.preflight import check_surroundings
from dicom_node.settings.node import NodeConfig


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return small_config(tmp_path, None)


def test_folders_that_are_missing_are_not_made_by_looking(config: NodeConfig) -> None:
    check_surroundings(config)

    assert not config.node.spool.exists()
    assert not config.node.results.exists()


def test_every_problem_is_listed_at_once(config: NodeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    node = config.node.model_copy(update={"spool": tmp_path / "file" / "spool"})
    analysis = config.analysis.model_copy(update={"bundle": str(tmp_path / "no-bundle")})
    config = config.model_copy(update={"node": node, "analysis": analysis})

    with pytest.raises(ConfigurationError) as caught:
        check_surroundings(config)

    keys = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["analysis.bundle", "node.spool"]


def test_a_grader_that_cannot_be_used_is_named_by_its_setting(
    config: NodeConfig, tmp_path: Path
) -> None:
    table = tmp_path / "grades.csv"
    table.write_text("case,side,grade\none,both,2\n")
    analysis = config.analysis.model_copy(update={"grader": str(table)})

    with pytest.raises(ConfigurationError, match=r"^analysis\.grader: .*line 2: side is none"):
        check_surroundings(config.model_copy(update={"analysis": analysis}))


def test_a_bundle_that_may_not_be_read_is_one_problem_among_others(
    config: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hid the others, and did not say which setting names it."""
    (tmp_path / "file").touch()
    node = config.node.model_copy(update={"spool": tmp_path / "file" / "spool"})

    def unreadable(_bundle: str) -> None:
        raise PermissionError(13, "Permission denied", "weights.safetensors")

    monkeypatch.setattr(preflight, "load_bundle", unreadable)

    with pytest.raises(ConfigurationError) as caught:
        check_surroundings(config.model_copy(update={"node": node}))

    bundle, spool = str(caught.value).splitlines()
    assert bundle == "analysis.bundle: weights.safetensors: Permission denied"
    assert spool.startswith("node.spool: ")
