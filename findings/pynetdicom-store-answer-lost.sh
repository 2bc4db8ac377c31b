#!/usr/bin/env bash
# pynetdicom can take a C-STORE response away from send_c_store and drop it.
#
# Expected: while send_c_store waits, only it reads the answer; a thread that is late makes
#   the answer late.
# Seen: the association's own thread looks for requests. send_c_store stops it first, by a
#   flag. If that thread has just passed the flag and goes on late, it takes the response,
#   calls it unexpected and drops it. send_c_store then waits for dimse_timeout, returns an
#   empty status and aborts, although the receiver has stored the object and said so.
#   Two threads have to be late at once. On a busy machine that happens; here both are made
#   late by a sleep, nothing else is changed. One of them late alone does no harm.
# Versions: pynetdicom 3.0.4 (its issues 435 and 875, closed, are of this kind), pydicom 3.0.2,
#   Python 3.11.
# Matters: who sends results to an archive. What was stored looks as if it were not.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pynetdicom==3.0.4 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 120 "$folder/venv/bin/python" - <<'PY'
import queue
import sys
import threading
import time
from importlib.metadata import version

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt


class LateGate(threading.Event):
    """Lets its waiter go on some time after it may."""

    late_s = 0.0

    def wait(self, timeout=None):
        passed = super().wait(timeout)
        time.sleep(self.late_s)
        return passed


class LateMessages(queue.Queue):
    """Whoever waits for a message begins to look some time later."""

    late_s = 0.0

    def get(self, block=True, timeout=None):
        if block:
            time.sleep(self.late_s)
        return super().get(block, timeout)


image = Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.1"
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

stored = []
server = AE()
server.add_supported_context(CTImageStorage)
handlers = [(evt.EVT_C_STORE, lambda event: stored.append(1) or 0x0000)]
running = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)


def status(thread_late_s, sender_late_s):
    sender = AE()
    sender.dimse_timeout = 2
    sender.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = sender.associate(*running.server_address)
    gate, messages = LateGate(), LateMessages()
    gate.set()
    gate.late_s, messages.late_s = thread_late_s, sender_late_s
    association._reactor_checkpoint, association.dimse.msg_queue = gate, messages
    time.sleep(0.1 + thread_late_s)  # its thread has met the gate by now
    answer = association.send_c_store(image).get("Status")
    if association.is_established:
        association.release()
    return answer


print("pynetdicom", version("pynetdicom"))
seen = {late: status(*late) for late in ((0, 0), (0.3, 0), (0, 0.6), (0.3, 0.6))}
running.shutdown()
for (thread, sender), answer in seen.items():
    print(f"its thread {thread} s late, the sender {sender} s: status {answer}")
print("stored by the receiver:", len(stored), "of 4")
if list(seen.values()) != [0, 0, 0, None] or len(stored) != 4:
    sys.exit("CHANGED: expected 0, 0, 0 and no status for the last")
print("as stated")
PY
