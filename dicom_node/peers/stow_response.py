"""The Store Instances Response of STOW-RS (PS3.18 Annex I): what became of each instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.peers.outcome import ALREADY_THERE, Claim, Prospect, prospect_of

COERCION: Final = 0xB000
"""Warning Reason: elements were coerced (PS3.18 Table I.2-1)."""
WARNINGS: Final[Mapping[int, str]] = {
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
"""Warning Reason (0008,1196) as text (PS3.18 Table I.2-1)."""
PROCESSING_FAILURE: Final = 0x0110
FAILURES: Final[Mapping[int, str]] = {
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0122: "referenced SOP class not supported",
    0x0124: "not authorised",
    0xB00E: "stored before (Azure)",
    0xB00F: "being stored (Azure)",
    0xC122: "referenced transfer syntax not supported",
}
FAILURE_RANGES: Final[Mapping[int, str]] = {
    0xA7: "out of resources",
    0xA9: "data set does not match SOP class",
}
"""Failure Reason (0008,1197) as text, by itself or by its first byte (PS3.18 Table I.2-2);
every other one of the kind C0xx means that the service cannot understand the object."""
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122


@dataclass(frozen=True, slots=True)
class Stated:
    """The statement of a Store Instances Response on one instance."""

    status: int
    taken: bool


def read_response(response: Dataset) -> dict[str, Stated]:
    """The statements of a Store Instances Response, by SOP Instance UID (PS3.18 Table I.1-1).

    An instance that it names as both taken and failed has failed.

    Raises:
        ValueError: an item of it says nothing that can be read.
    """
    stated: dict[str, Stated] = {}
    try:
        for item in response.get("ReferencedSOPSequence") or ():
            warning = int(item.get("WarningReason") or 0)
            known = warning if warning == 0 or warning >> 12 == 0xB else COERCION
            stated[str(item.ReferencedSOPInstanceUID)] = Stated(known, taken=True)
        for item in response.get("FailedSOPSequence") or ():
            failure = int(item.get("FailureReason") or PROCESSING_FAILURE)
            stated[str(item.ReferencedSOPInstanceUID)] = Stated(failure, taken=False)
    except (AttributeError, TypeError) as error:
        raise ValueError("an item of the Store Instances Response is incomplete") from error
    return stated


def prospect_of_reason(reason: int) -> Prospect:
    """The prospect of a Failure Reason; but for one they are the statuses of C-STORE."""
    return Prospect.NEVER if reason == TRANSFER_SYNTAX_NOT_SUPPORTED else prospect_of(reason)


def claim_of(reason: int, *, conflict: bool) -> Claim:
    """The claim of a Failure Reason that the instance is there.

    Args:
        reason: the Failure Reason.
        conflict: whether the HTTP status was 409. That comes wherever none was taken; but
            some services have no other word for what is there, beside a general failure.
    """
    if reason in ALREADY_THERE:
        return Claim.STATED
    general = reason == PROCESSING_FAILURE or _words(reason) is None
    return Claim.POSSIBLE if conflict and general else Claim.NONE


def failure_words(reason: int) -> str:
    """A Failure Reason as text: `0xA700, out of resources`."""
    return f"0x{reason:04X}, {_words(reason) or 'a reason of its own'}"


def _words(reason: int) -> str | None:
    """The meaning of a Failure Reason, if it has one."""
    cannot_understand = "cannot understand" if reason >> 12 == 0xC else None
    return FAILURES.get(reason) or FAILURE_RANGES.get(reason >> 8) or cannot_understand
