"""What a service manager is told of a service: systemd's sd_notify(3), without its library.

A datagram to the socket that `NOTIFY_SOCKET` names, in lines `NAME=value`. Where there is no
such variable there is nobody to tell, and nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """Whoever started this process as a service.

    address: its socket; empty where there is none. One that begins with @ has no file.
    watchdog_s: how long we may be silent before it takes us for dead; 0 where it does not ask.
    """

    address: str = ""
    watchdog_s: float = 0.0

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Self:
        """The service manager that an environment names to a process."""
        asked_of = environment.get("WATCHDOG_PID", str(pid))
        usec = environment.get("WATCHDOG_USEC", "0") if asked_of == str(pid) else "0"
        watchdog_s = int(usec) / 1e6 if usec.isdecimal() else 0.0
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_s)

    def tell(self, *lines: str) -> None:
        """Send lines; a manager that takes none keeps nobody from working."""
        if not self.address:
            return
        # A name in the abstract namespace begins with a zero (unix(7)).
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)


def our_manager() -> ServiceManager:
    """The service manager of this process."""
    return ServiceManager.of(os.environ, os.getpid())
