"""`msk-node segment ...` as it is, but for scans that crash the network: those of 7 slices."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dicom_node.batch.child import WORKS, Made, Tell, Work, main, segmenting
from dicom_node.batch.messages import Settings, Step
from dicom_node.batch.parcels import unpacked

CRASHING_SLICES = 7
CHILD = "child"


def crashing(settings: Settings) -> Work:
    """The network's step."""
    real = segmenting(settings)

    def segment(parcels: Sequence[int], tell: Tell) -> Made:
        scan, _ = unpacked(parcels[0])
        if len(scan.volume.hu) == CRASHING_SLICES:
            os.kill(os.getpid(), signal.SIGSEGV)
        return real(parcels, tell)

    return segment


if __name__ == "__main__":
    if sys.argv[1] == CHILD:
        main(sys.argv[2:], {**WORKS, Step.SEGMENT: crashing})
    else:
        from dicom_node.commands import batch, cli

        batch.COMMAND = (sys.executable, str(Path(__file__)), CHILD)
        cli.main()
