"""Done to the node's processes by a test; Python reads this as it starts.

Nothing is replaced. An audit hook sees every name that is looked up and every address that is
called; what is not this machine goes into the file `MSK_TEST_OUTSIDE`, a line each.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

FILE = os.environ.get("MSK_TEST_OUTSIDE", "")
HERE = {"localhost", "", None, os.uname().nodename}


def note(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a name or an address outside."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket is a name
    elif event in {"socket.gethostbyname", "urllib.Request"}:
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if not _is_here(host):
        with open(FILE, "a", encoding="utf-8") as file:  # noqa: PTH123 - as bare as it can be
            file.write(f"{os.getpid()} {event} {host!r} {sys.orig_argv[1:4]}\n")


def _is_here(host: Any) -> bool:
    if host in HERE:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


if FILE:
    sys.addaudithook(note)
