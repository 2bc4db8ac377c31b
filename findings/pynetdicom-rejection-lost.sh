#!/usr/bin/env bash
# pynetdicom can report a rejected association as an aborted one, without the reason.
#
# Expected: a caller that is rejected has is_rejected and the reason, however slow its thread.
# Seen: the calling thread waits until the connection is made, and then asks whether there is
#   one. If the answer came and the connection was closed before it asks, it sees none, and
#   aborts: is_rejected is False, is_aborted True, the reason is gone. That looks the same as
#   a peer that cannot be reached. Here the thread is woken half a second late by a sleep.
# Versions: pynetdicom 3.0.4, pydicom 3.0.2, Python 3.11.
# Matters: a sender that tries again when a peer is away, and must not when it is unwelcome.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pynetdicom==3.0.4 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 60 "$folder/venv/bin/python" - <<'PY'
import sys
import threading
import time
from importlib.metadata import version

from pynetdicom import AE
from pynetdicom.transport import AssociationSocket

ECHO = "1.2.840.10008.1.1"
begin = AssociationSocket.__init__


class LateEvent(threading.Event):
    """Its waiter is woken half a second late."""

    def wait(self, timeout=None):
        passed = super().wait(timeout)
        time.sleep(0.5)
        return passed


def begin_late(transport, *args, **kwargs):
    begin(transport, *args, **kwargs)
    if not transport._ready.is_set():  # the caller's side
        transport._ready = LateEvent()


def call(title, late):
    AssociationSocket.__init__ = begin_late if late else begin
    caller = AE(title)
    caller.add_requested_context(ECHO)
    association = caller.associate(*running.server_address)
    answer = association.acceptor.primitive
    reason = answer and (answer.result, answer.diagnostic)
    seen = (association.is_established, association.is_rejected, association.is_aborted, reason)
    if association.is_established:
        association.release()
    when = "late" if late else "in time"
    print(f"{title}, {when}: established, rejected, aborted, reason: {seen}")
    return seen


server = AE("NODE")
server.add_supported_context(ECHO)
server.require_calling_aet = ["FRIEND"]
running = server.start_server(("127.0.0.1", 0), block=False)
print("pynetdicom", version("pynetdicom"))
friends = [call("FRIEND", late)[0] for late in (False, True)]
in_time, late = call("STRANGER", False), call("STRANGER", True)
running.shutdown()
if friends != [True, True] or in_time != (False, True, False, (1, 3)):
    sys.exit("CHANGED: the cases that should work do not")
if late != (False, False, True, None):
    sys.exit("CHANGED: the late caller learns more than that it was aborted")
print("as stated")
PY
