"""Claims about the process that starts the others."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.small_node import small_config

from dicom_node.errors import ConfigurationError
from dicom_node.node import supervisor
from dicom_node.node.roles import RoleSettings
from dicom_node.settings.web import Web, WebTls


def test_an_error_of_the_system_that_names_no_file_is_told_without_one(tmp_path: Path) -> None:
    """Started with 12 descriptors, it said "None: Too many open files"."""
    config = small_config(tmp_path, None)

    with (
        pytest.raises(ConfigurationError, match=r"^Too many open files$"),
        supervisor._locks(config, ("receive",)),
    ):
        raise OSError(24, "Too many open files")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], supervisor._Role]:
    """Starts a role whose process says that it cannot start, and waits for its end."""
    (tmp_path / "unusable.py").write_text("print('web.port: taken'); raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def started(name: str) -> supervisor._Role:
        monkeypatch.setattr(supervisor, "MODULES", {name: "unusable"})
        role = supervisor._Role(name, RoleSettings(small_config(tmp_path, None), ()))
        role.supervise(0.0)
        assert role.process is not None
        role.process.wait(30.0)
        return role

    return started


def test_a_web_that_cannot_start_any_more_is_tried_again_and_ends_no_node(
    start: Callable[[str], supervisor._Role],
) -> None:
    role = start("web")
    role.supervise(100.0)

    assert role.process is None
    assert role.due_s == 100.0 + supervisor.FIRST_WAIT_S


def test_a_receiver_that_cannot_start_ends_the_node(
    start: Callable[[str], supervisor._Role],
) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.port: taken"):
        start("receive").supervise(100.0)


def test_a_node_whose_web_cannot_start_says_so_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = small_config(tmp_path, None).model_copy(update={"web": Web(port=port)})
        monkeypatch.setattr(supervisor, "PORT_PATIENCE_S", 0.0)
        with pytest.raises(ConfigurationError, match=rf"web\.port: .*{port}"):
            supervisor._see_that_web_can_start(config)


def test_a_node_whose_web_has_no_certificate_says_so_before_it_starts(tmp_path: Path) -> None:
    tls = WebTls(certificate=tmp_path / "none.pem", key=tmp_path / "none.key")
    config = small_config(tmp_path, None).model_copy(update={"web": Web(tls=tls)})

    with pytest.raises(ConfigurationError, match=r"web\.tls: .*none\.pem"):
        supervisor._see_that_web_can_start(config)
