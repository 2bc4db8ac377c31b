"""The outcome of sending one file, by whichever transport."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from dicom_node.errors import SeriesError

Progress = Callable[[int, int], None]
"""Told of how many files of how many something has become."""
Requires = Mapping[Path, Collection[Path]]
"""The files that have to be taken before one is sent."""

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

MAX_RETRY_AFTER_S: Final = 3600.0
"""The longest that a peer is left alone because it asks for it; one that is back sooner
would wait."""

DUPLICATE_INSTANCE: Final = 0x0111
"""Failure status of a C-STORE, and Failure Reason: the instance is there (PS3.7 C.5.3)."""
ALREADY_THERE: Final = frozenset({DUPLICATE_INSTANCE, 0xB00E})
"""Failures which say that the instance is there; the second is Azure's in STOW-RS, where as
the status of a C-STORE it would be a warning."""


class Prospect(StrEnum):
    """The prospect of a refusal: whether the same object, sent again, may be taken.

    PASSES: time may mend it, or nothing says that it does not.
    UNCLEAR: it speaks of the object or of us, and in practice passes all the same at times.
    PERSON: somebody has to change something at the peer or here.
    NEVER: the peer knows no such objects; another form of the same may do.
    """

    PASSES = "time"
    UNCLEAR = "time or a person"
    PERSON = "a person"
    NEVER = "another form"


class Claim(StrEnum):
    """The claim of a refusal that the peer has the object already."""

    NONE = "none"
    POSSIBLE = "it may mean so"
    STATED = "it says so"


LASTING: Final = {
    0x0118: Prospect.NEVER,  # no such SOP class
    0x0122: Prospect.NEVER,  # SOP class not supported
    0x0124: Prospect.PERSON,  # not authorised
    0x0211: Prospect.PERSON,  # unrecognised operation
}
OF_THE_OBJECT: Final = frozenset(
    {
        0x0105,  # no such attribute
        0x0106,  # invalid attribute value
        0x0115,  # invalid argument value
        0x0117,  # invalid object instance
        0x0119,  # class / instance conflict
        0x0120,  # missing attribute
        0x0121,  # missing attribute value
        0x0212,  # mistyped argument
    }
)
"""Statuses (PS3.7 C.4, C.5) that speak of what was sent."""


def prospect_of(status: int) -> Prospect:
    """The prospect of a failure status (PS3.4 Table B.2-1, PS3.7 C, PS3.18 Table I.2-2).

    Out of resources (A7xx), a processing failure and whatever we do not know may pass. A data
    set that does not match (A9xx) or is not understood (Cxxx) should not, and archives say
    so while their database is away, too.
    """
    if status in OF_THE_OBJECT or status >> 8 == 0xA9 or status >> 12 == 0xC:
        return Prospect.UNCLEAR
    return LASTING.get(status, Prospect.PASSES)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The outcome for one file.

    status: the C-STORE status, or None where none came.
    reason: empty for success; why not, or what the warning says, otherwise.
    comment: the peer's own Error Comment. It may name the patient: show it to the person
        who sends, keep it out of logs and ledger.
    prospect: of what was not stored.
    claim: whether what was not stored is there already.
    again_after_s: how long the peer wants to be left alone; 0 where it did not say.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    reason: str = ""
    comment: str = ""
    prospect: Prospect = Prospect.PASSES
    claim: Claim = Claim.NONE
    again_after_s: float = 0.0

    @property
    def stored(self) -> bool:
        """True if the peer has the instance: success or a warning (PS3.4 B.2.3)."""
        if self.status is None or self.claim is not Claim.NONE:
            return False
        return self.status == 0 or self.status >> 12 == 0xB

    @property
    def is_there_already(self) -> bool:
        """True if the peer refused the file because it has its instance, by its own words."""
        return self.claim is Claim.STATED

    @property
    def refused(self) -> bool:
        """True if the peer supports not the SOP class, or no transfer syntax of the file."""
        return self.prospect is Prospect.NEVER
