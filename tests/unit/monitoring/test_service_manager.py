"""Claims about what systemd is told: the datagrams of sd_notify(3)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dicom_node.monitoring.service_manager import READY, ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_come_to_the_socket_that_the_environment_names(
    *, abstract: bool, tmp_path: Path
) -> None:
    name = f"@{tmp_path.name}-msk-node" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}" if abstract else name)
        manager.settimeout(5.0)
        ServiceManager.of({"NOTIFY_SOCKET": name}, 1).tell(READY, "STATUS=well")

        assert manager.recv(1000) == b"READY=1\nSTATUS=well"


def test_a_manager_that_is_not_there_is_told_nothing(tmp_path: Path) -> None:
    ServiceManager.of({}, 1).tell(READY)
    ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "nobody")}, 1).tell(READY)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "7"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_a_watchdog_is_asked_of_the_process_that_it_names(
    environment: dict[str, str], seconds: float
) -> None:
    assert ServiceManager.of(environment, 7).watchdog_s == seconds
