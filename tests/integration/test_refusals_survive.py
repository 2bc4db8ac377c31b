"""kill -9 of a receiver: what it refused before is known to whoever comes after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.ct import SERIES_UID, ct_stack, save

from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.spool.refusals import Refusal, Why, read_refusals, refused_file

SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
settings = ReceiverSettings(
    "MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0, max_spool_bytes=20 * 132_000
)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


def test_every_refusal_that_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """Room for 19 of 40 images; the process dies when 30 were answered."""
    paths = save(ct_stack(range(40), shape=(256, 256)), tmp_path / "sent")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "spool")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline().strip()).isdigit():
            pass

        def kill_near_the_end(done: int, _total: int) -> None:
            if done == 30:
                os.kill(process.pid, signal.SIGKILL)

        peer = Peer("node", "MSKNODE", "127.0.0.1", int(line), "SCANNER", 5.0, 5.0)
        outcomes = send(peer, paths, kill_near_the_end)

    refused = {one.sop_instance_uid for one in outcomes if one.status == 0xA700}
    remembered = set(read_refusals(refused_file(tmp_path / "spool", SERIES_UID)))
    assert len(refused) >= 9
    assert {Refusal(uid, Why.ROOM) for uid in refused} <= remembered
