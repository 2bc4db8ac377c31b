"""The outcome of sending one file, by whichever transport."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicom_node.errors import SeriesError

UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SeriesError,
    TypeError,
    ValueError,
    struct.error,
)
"""The errors that reading and decompressing a damaged file may raise."""


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The outcome for one file.

    status: the C-STORE status, or None where none came.
    reason: empty for success; why not, or what the warning says, otherwise.
    comment: the peer's own Error Comment. It may name the patient: show it to the person
        who sends, keep it out of logs and ledger.
    refused: trying again cannot help: the peer does not support the SOP class or none of
        the transfer syntaxes that the file can be sent in.
    again_after_s: how long the peer wants to be left alone; 0 where it did not say.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    reason: str = ""
    comment: str = ""
    refused: bool = False
    again_after_s: float = 0.0

    @property
    def stored(self) -> bool:
        """True if the peer has the instance: success or a warning (PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)
