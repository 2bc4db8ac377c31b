"""An association as a scanner requests it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.receiving.receiver import Receiver


@contextmanager
def association(
    receiver: Receiver, calling: str = "CT1", called: str = "MSKNODE"
) -> Iterator[Any]:
    """An association as a scanner requests it, whatever became of it."""
    found = AE(calling).associate(
        "127.0.0.1",
        receiver.port,
        contexts=[build_context(Verification), build_context(CTImageStorage)],
        ae_title=called,
    )
    try:
        yield found
    finally:
        if found.is_established:
            found.release()
