"""kill -9 of a receiver: everything that it acknowledged is on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from support.ct import SERIES_UID, ct_stack, save
from support.delivering import deliver, kept
from support.pacs import dataset_bytes
from support.waiting import wait_until

from dicom_node.peers.association import Peer
from dicom_node.peers.store import send
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.spool.open_associations import Sending, sending

SERVER = """
import sys, threading
from pathlib import Path
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
settings = ReceiverSettings("MSKNODE", Path(sys.argv[1]), port=0, free_reserve_bytes=0)
receiver = Receiver(settings)
receiver.start()
print(receiver.port, flush=True)
threading.Event().wait()
"""


def test_everything_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """The process dies amid a series: what it acknowledged is there, whole; nothing is torn."""
    paths = save(ct_stack(range(60), shape=(256, 256)), tmp_path / "sent")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "spool")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not (line := process.stdout.readline().strip()).isdigit():
            pass
        port = int(line)

        def kill_in_the_middle(done: int, _total: int) -> None:
            if done == 20:
                os.kill(process.pid, signal.SIGKILL)

        peer = Peer("node", "MSKNODE", "127.0.0.1", port, "SCANNER", 5.0, 5.0)
        outcomes = send(peer, paths, kill_in_the_middle)

    acknowledged = {outcome.sop_instance_uid for outcome in outcomes if outcome.stored}
    with Receiver(
        ReceiverSettings("MSKNODE", tmp_path / "spool", port=0, free_reserve_bytes=0)
    ) as again:
        assert sending(again.spool.folder / SERIES_UID).interrupted
        there = {path.stem: dataset_bytes(path) for path in kept(again)}
        whole = {o.sop_instance_uid: dataset_bytes(o.path) for o in outcomes}
        assert 20 <= len(acknowledged) < 60
        assert acknowledged <= there.keys()
        assert all(whole[uid] == data for uid, data in there.items())
        assert list((again.spool.folder / ".incoming").iterdir()) == []

        assert all(outcome.stored for outcome in deliver(again, paths))
        assert len(kept(again)) == 60
        ended = partial(sending, again.spool.folder / SERIES_UID)
        wait_until(lambda: ended() == Sending(), 5.0, "it is no longer interrupted")
