"""Storage SCU: files are sent as they are.

A file's bytes go out unread: its file meta information tells which presentation context it
needs. Only a peer that refuses the file's own syntax gets the same elements and pixels in
another one: Implicit VR Little Endian, which every node must take (PS3.5 10.1), for an
uncompressed file; either uncompressed little endian syntax for an RLE Lossless one, such as
a label map. What is compressed in any other way is never converted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_node.errors import PeerUnreachableError, SeriesError
from dicom_node.peers.association import Peer, associate
from dicom_node.peers.outcome import (
    DUPLICATE_INSTANCE,
    UNREADABLE,
    Claim,
    Prospect,
    SendOutcome,
    prospect_of,
)
from dicom_node.series.bounded_files import NotDicomError, read_meta, read_whole

log = structlog.get_logger()

MAX_CONTEXTS: Final = 128
"""Presentation context identifiers are the odd numbers 1 to 255 (PS3.8 9.3.2.2)."""

MAX_MESSAGE_ID: Final = 65535
"""Message identifiers are unsigned 16-bit numbers (PS3.7 E.1); no two alike are open."""

CONTEXT_RESULTS: Final = {
    1: "refused by the user",
    2: "refused, no reason given",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}
"""Result of a presentation context (PS3.8 Table 9-18), as text."""

NEVER_ACCEPTED: Final = frozenset({3, 4})
"""Results that say what a peer is able to do, not how it is today (PS3.8 Table 9-18)."""

FALLBACKS: Final[Mapping[str, tuple[str, ...]]] = {
    ExplicitVRLittleEndian: (ImplicitVRLittleEndian,),
    RLELossless: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
}
"""Transfer syntaxes a file may be converted to without loss, by its own; the best first."""

LATER_NAMES: Final = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}
"""SOP classes (PS3.4 Table B.5-1) whose names the library's dictionary does not have."""


def send(
    peer: Peer,
    paths: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
    requires: Mapping[Path, Collection[Path]] | None = None,
) -> tuple[SendOutcome, ...]:
    """Send files to a peer, in one association; answers one outcome a path, in order.

    They go out strictly one after the other, in the order given. More SOP classes and
    transfer syntaxes than one association can negotiate go in several, one after the other.
    An RLE Lossless file is offered uncompressed too; a peer that accepts only that gets the
    same SOP instance decompressed, for which it is held in memory.

    Args:
        peer: Where to send them.
        paths: DICOM files with file meta information.
        progress: Called after each file with the number done and the number of all.
        requires: By path, the paths before it without which the peer is not to get it. Only
            what is stored by this very call counts. What is held back has no status, and its
            reason names what it waits for.

    Raises:
        PeerUnreachableError: no connection, or the association was rejected, before
            anything was sent.
    """
    files = [_outgoing_file(path) for path in paths]
    outcomes = {
        number: file for number, file in enumerate(files) if isinstance(file, SendOutcome)
    }
    order = _SendOrder(
        requires or {}, {p.path: p for p in files if isinstance(p, _OutgoingFile)}
    )
    for batch in _batches(files):
        try:
            for number, outcome in _send_batch(peer, batch, order):
                outcomes[number] = outcome
                if progress is not None:
                    progress(len(outcomes), len(paths))
        except PeerUnreachableError as error:
            if not any(outcome.stored for outcome in outcomes.values()):
                raise
            for number, unsent in batch.items():
                outcomes.setdefault(number, unsent.outcome(None, str(error)))
    return tuple(outcomes[number] for number in range(len(paths)))


@dataclass(frozen=True, slots=True)
class _OutgoingFile:
    """A file to send, and the presentation context it needs."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def contexts(self) -> tuple[tuple[str, str], ...]:
        """Abstract and transfer syntax that would do, the best first."""
        others = FALLBACKS.get(self.transfer_syntax_uid, ())
        syntaxes = (self.transfer_syntax_uid, *others)
        return tuple((self.sop_class_uid, syntax) for syntax in syntaxes)

    def outcome(
        self,
        status: int | None,
        reason: str = "",
        comment: str = "",
        *,
        prospect: Prospect = Prospect.PASSES,
        claim: Claim = Claim.NONE,
    ) -> SendOutcome:
        """The outcome for this file."""
        uid = self.sop_instance_uid
        return SendOutcome(self.path, uid, status, reason, comment, prospect, claim)


@dataclass(slots=True)
class _SendOrder:
    """The order of sending: what must have been stored before what, and what has been.

    requires: paths by the path that needs them.
    files: what is sent, by path.
    """

    requires: Mapping[Path, Collection[Path]]
    files: Mapping[Path, _OutgoingFile]
    stored: set[Path] = field(default_factory=set)

    def waits_for(self, path: Path) -> str:
        """The reason why a path is held back, as text; empty when it may go."""
        missing = next((p for p in self.requires.get(path, ()) if p not in self.stored), None)
        if missing is None:
            return ""
        file = self.files.get(missing)
        name = _name(file.sop_class_uid) if file else "an object"
        return f"waits for {name} that was not taken"


def _outgoing_file(path: Path) -> _OutgoingFile | SendOutcome:
    """A file with its meta information, or the reason why it cannot be sent."""
    try:
        meta = read_meta(path)
        return _OutgoingFile(
            path,
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
        )
    except (NotDicomError, SeriesError, AttributeError):
        words = "not a DICOM file with file meta information"
        return SendOutcome(path, "", None, words, prospect=Prospect.UNCLEAR)
    except OSError as error:
        return SendOutcome(path, "", None, f"cannot be read: {error.strerror}")


def _batches(
    files: Sequence[_OutgoingFile | SendOutcome],
) -> Iterator[dict[int, _OutgoingFile]]:
    """Files by their place in the whole, as many as one association can negotiate."""
    batch: dict[int, _OutgoingFile] = {}
    contexts: set[tuple[str, str]] = set()
    for number, file in enumerate(files):
        if isinstance(file, SendOutcome):
            continue
        if len(contexts.union(file.contexts)) > MAX_CONTEXTS:
            yield batch
            batch, contexts = {}, set()
        contexts.update(file.contexts)
        batch[number] = file
    if batch:
        yield batch


def _send_batch(
    peer: Peer, batch: dict[int, _OutgoingFile], order: _SendOrder
) -> Iterator[tuple[int, SendOutcome]]:
    """Send one association's worth; whatever happens, every file gets its outcome."""
    pairs = dict.fromkeys(pair for file in batch.values() for pair in file.contexts)
    contexts = [build_context(UID(abstract), UID(syntax)) for abstract, syntax in pairs]
    with associate(peer, contexts) as association:
        for number, file in batch.items():
            if held_back := order.waits_for(file.path):
                log.warning("send.held_back", peer=peer.name, reason=held_back)
                yield number, file.outcome(None, held_back)
                continue
            outcome = _send_one(peer, association, file, number % MAX_MESSAGE_ID + 1)
            if outcome.stored:
                order.stored.add(file.path)
            else:
                log.warning(
                    "send.refused",
                    peer=peer.name,
                    sop_instance_uid=outcome.sop_instance_uid,
                    status=outcome.status,
                    reason=outcome.reason,
                )
            yield number, outcome


def _send_one(
    peer: Peer, association: Any, file: _OutgoingFile, message_id: int
) -> SendOutcome:
    """Send one file on an association, if that has a context for it."""
    accepted = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in association.accepted_contexts
    }
    usable = next((pair for pair in file.contexts if pair in accepted), None)
    if usable is None:
        proposed = association.requestor.requested_contexts
        reason, prospect = _refusal(proposed, association.rejected_contexts, file)
        return file.outcome(None, reason, prospect=prospect)
    if not association.is_established:
        return file.outcome(None, f"{peer} ended the association before this object")
    try:
        exact = usable[1] == file.transfer_syntax_uid
        source = file.path if exact else _uncompressed(file.path)
        answer = association.send_c_store(source, message_id)
    except (RuntimeError, OSError) as error:
        return file.outcome(None, f"could not be sent: {error}")
    except (ValueError, AttributeError) as error:
        words = f"could not be sent: {error}"
        return file.outcome(None, words, prospect=Prospect.UNCLEAR)
    if "Status" not in answer:
        # The library takes a moment to see that a connection is gone. An object sent in that
        # moment would be waited for in vain, as long as for an answer.
        association.kill()
        waited = f"{peer.answer_timeout_s:g} s"
        return file.outcome(None, f"{peer} broke off or did not answer within {waited}")
    status, comment = int(answer.Status), str(answer.get("ErrorComment") or "")
    claim = Claim.STATED if status == DUPLICATE_INSTANCE else Claim.NONE
    words, prospect = _status_words(status), prospect_of(status)
    return file.outcome(status, words, comment, prospect=prospect, claim=claim)


def _uncompressed(path: Path) -> Dataset:
    """The same instance, to be encoded in whichever uncompressed syntax was accepted.

    No bit of a pixel changes, so it keeps its SOP Instance UID.

    Raises:
        ValueError: the file is damaged. What exactly pydicom minded may quote the patient,
            and goes into no reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_whole(path)
            if dataset.file_meta.TransferSyntaxUID.is_compressed:
                dataset.decompress(as_rgb=False, generate_instance_uid=False)
    except UNREADABLE as error:
        msg = f"its pixels cannot be decompressed ({type(error).__name__})"
        raise ValueError(msg) from None
    return dataset


def _status_words(status: int) -> str:
    """A status with its meaning in the standard (PS3.4 Table B.2-1); nothing for success."""
    if status == 0:
        return ""
    category, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, ("Unknown", ""))
    return ", ".join(part for part in (f"0x{status:04X}", category.lower(), meaning) if part)


def _refusal(
    proposed: Sequence[PresentationContext],
    rejected: Sequence[PresentationContext],
    file: _OutgoingFile,
) -> tuple[str, Prospect]:
    """The reason why there is no context for a file, and whether there may be one some day.

    A rejection is known by its number alone: the transfer syntax that comes with it means
    nothing (PS3.8 Table 9-18), and DCMTK's is always Implicit VR Little Endian.
    """
    numbers = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
        for context in proposed
    }
    by_number = {context.context_id: context.result for context in rejected}
    results = [by_number.get(numbers.get(pair)) for pair in file.contexts]
    why = CONTEXT_RESULTS.get(results[0] or 0, "refused")
    reason = (
        f"presentation context {why}: {_name(file.sop_class_uid)}"
        f" in {_name(file.transfer_syntax_uid)}"
    )
    never = all(result in NEVER_ACCEPTED for result in results)
    return reason, Prospect.NEVER if never else Prospect.PASSES


def _name(uid: str) -> str:
    """A SOP class or transfer syntax as text."""
    return LATER_NAMES.get(uid) or UID(uid).name
