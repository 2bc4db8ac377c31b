"""Claims about the process that starts the others."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.small_node import small_config

from dicom_node.errors import ConfigurationError
from dicom_node.node import supervisor
from dicom_node.settings.web import Web, WebTls


def test_an_error_of_the_system_that_names_no_file_is_told_without_one(tmp_path: Path) -> None:
    """Started with 12 descriptors, it said "None: Too many open files"."""
    config = small_config(tmp_path, None)

    with (
        pytest.raises(ConfigurationError, match=r"^Too many open files$"),
        supervisor._locks(config, ("receive",)),
    ):
        raise OSError(24, "Too many open files")


UNUSABLE = ("-c", "print('web.port: taken'); raise SystemExit(3)")


def ended_role(name: str) -> tuple[supervisor._Role, subprocess.Popen[bytes]]:
    """A role whose process has just said that it cannot start."""
    process = subprocess.Popen([sys.executable, *UNUSABLE], stdout=subprocess.PIPE)
    process.wait()
    return supervisor._Role(name, b"", process), process


def test_a_web_that_cannot_start_any_more_is_tried_again_and_ends_no_node() -> None:
    role, process = ended_role("web")
    role._look_after(process, 100.0)

    assert role.process is None
    assert role.due_s == 100.0 + supervisor.FIRST_WAIT_S


def test_a_receiver_that_cannot_start_ends_the_node() -> None:
    role, process = ended_role("receive")

    with pytest.raises(ConfigurationError, match=r"web\.port: taken"):
        role._look_after(process, 100.0)


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
