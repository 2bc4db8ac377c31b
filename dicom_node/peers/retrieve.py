"""Having an archive send what it holds: C-MOVE and C-GET, Study Root (PS3.4 C.4.2, C.4.3).

What an archive says of a retrieval is written down as its word, not as what came: Orthanc ends
a C-MOVE at the first image that is refused and counts nothing, others say success of a series
that they do not have (docs/archives.md). The images of a C-MOVE come to the receiver, so that
one which says nothing is still alive while the spool fills.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_node.errors import PeerError, PeerRefusedError
from dicom_node.network.pynetdicom_patches import (
    has_ended,
    is_silent,
    take_stores,
    wait_while,
    was_heard,
)
from dicom_node.network.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.peers.archives import (
    KeepInstance,
    Level,
    Query,
    Retrieval,
    RetrievalEnd,
    Wanted,
)
from dicom_node.peers.association import MESSAGE_IDS, Peer, associate
from dicom_node.peers.find import identifier_of
from dicom_node.series.selection import CT_SOP_CLASSES
from dicom_node.uids import is_uid

MOVE: Final = StudyRootQueryRetrieveInformationModelMove
GET: Final = StudyRootQueryRetrieveInformationModelGet

SUCCESS: Final = 0x0000
PENDING: Final = frozenset({0xFF00, 0xFF01})
DESTINATION_UNKNOWN: Final = 0xA801
"""So say some, too, whom the destination has turned away."""
ENDS: Final[Mapping[int, RetrievalEnd]] = {
    SUCCESS: RetrievalEnd.DONE,
    0xB000: RetrievalEnd.PARTLY,
    0xFE00: RetrievalEnd.PARTLY,
    0xA700: RetrievalEnd.BUSY,
    0xA701: RetrievalEnd.BUSY,
    0xA702: RetrievalEnd.TURNED_AWAY,
    DESTINATION_UNKNOWN: RetrievalEnd.TURNED_AWAY,
}
"""What the last status of a retrieval means (PS3.4 Tables C.4-2, C.4-3); any other: refused."""

STATUS_WORDS: Final[Mapping[int, str]] = {
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0xA700: "out of resources",
    0xA701: "out of resources, cannot count the matches",
    0xA702: "out of resources, cannot send",
    0xA801: "move destination unknown, or not reached",
    0xA900: "the question does not fit the service",
    0xB000: "some images failed",
    0xFE00: "cancelled by the archive",
}

CT_IN_ALL_SYNTAXES: Final[Mapping[str, Sequence[str]]] = dict.fromkeys(
    CT_SOP_CLASSES, TRANSFER_SYNTAXES
)
"""The images that a schedule fetches, in whatever transfer syntax the archive has them."""

MAX_UIDS: Final = 100
"""So many images are asked for at once: their UIDs stay well below the 64 KB of a value."""
MAX_IN_VAIN: Final = 3
"""So many images are asked for alone where a list brought nothing."""
MAX_FAILED_UIDS: Final = 1000
"""So many failed images are remembered by their UIDs."""


@dataclass(frozen=True, slots=True)
class Receiving:
    """Where the images of a C-MOVE go.

    ae_title: as the archive knows it.
    spool: the folder in which they arrive: as long as they do, the archive may be silent.
    """

    ae_title: str
    spool: Path


def move(
    peer: Peer, wanted: Collection[Wanted], receiving: Receiving, silence_s: float
) -> dict[Wanted, Retrieval]:
    """Have an archive send series or images to a node; see `_in_turn`."""

    @contextmanager
    def moving() -> Iterator[_Line]:
        patient = replace(peer, answer_timeout_s=silence_s)
        with associate(patient, [build_context(MOVE)]) as association:
            if not association.is_established:
                raise PeerRefusedError(f"{peer} does not offer C-MOVE (Study Root)")

            def send(identifier: Dataset) -> Any:
                return association.send_c_move(
                    identifier, receiving.ae_title, MOVE, next(MESSAGE_IDS)
                )

            yield _Line(association, send, receiving.spool)

    return _in_turn(wanted, moving)


def get(  # noqa: PLR0913, PLR0917 - who, what, for whom, and three limits
    peer: Peer,
    wanted: Collection[Wanted],
    keep: KeepInstance,
    silence_s: float,
    max_object_bytes: int,
    sop_classes: Mapping[str, Sequence[str]] = CT_IN_ALL_SYNTAXES,
) -> dict[Wanted, Retrieval]:
    """Have an archive send series or images on the same association; see `_in_turn`.

    Each image is kept as it was sent, before the next one comes. There is one presentation
    context for each transfer syntax of an image (PS3.8 9.3.2.2), so that an archive need not
    convert what it holds.

    Args:
        peer: the archive.
        wanted: series or images.
        keep: keeps each.
        silence_s: how long it may say and bring nothing.
        max_object_bytes: a larger object ends the association.
        sop_classes: which are taken, each in which transfer syntaxes; 127 pairs at most
            (PS3.8 9.3.2).
    """
    kinds = [UID(each) for each in sorted(sop_classes)]
    contexts = [build_context(kind, each) for kind in kinds for each in sop_classes[kind]]
    roles = [build_role(kind, scp_role=True) for kind in kinds]
    handlers = [(evt.EVT_C_STORE, _handle_store, [keep])]

    @contextmanager
    def getting() -> Iterator[_Line]:
        patient = replace(peer, answer_timeout_s=silence_s)
        offered = [build_context(GET), *contexts]
        with associate(patient, offered, roles=roles, handlers=handlers) as association:
            if GET not in [each.abstract_syntax for each in association.accepted_contexts]:
                raise PeerRefusedError(f"{peer} does not offer C-GET (Study Root)")
            take_stores(association, max_object_bytes)

            def send(identifier: Dataset) -> Any:
                return association.send_c_get(identifier, GET, next(MESSAGE_IDS))

            yield _Line(association, send)

    return _in_turn(wanted, getting)


def _handle_store(event: evt.Event, keep: KeepInstance) -> int:
    """Keep one image of a C-GET, encoded as it came; answers the status of its C-STORE."""
    request = event.request
    return keep(
        str(request.AffectedSOPClassUID),
        str(request.AffectedSOPInstanceUID),
        str(event.context.transfer_syntax),
        request.DataSet.getvalue(),
    )


def _in_turn(
    wanted: Collection[Wanted], connected: Callable[[], AbstractContextManager[_Line]]
) -> dict[Wanted, Retrieval]:
    """Ask for one after the other, on one association while it lasts.

    Where it breaks off, the next one is asked for on a new one. An archive that has fallen
    silent, or cannot be reached, is not asked for the rest: each then ends the same way.
    """
    ends: dict[Wanted, Retrieval] = {}
    left = list(dict.fromkeys(wanted))
    while left:
        try:
            with connected() as line:
                while left and not line.is_over:
                    one = left.pop(0)
                    ends[one] = _in_parts(line, one)
        except PeerError as error:
            return ends | dict.fromkeys(left, _not_reached(error))
        if line.fell_silent:
            words = "not asked for, after the archive fell silent"
            return ends | dict.fromkeys(left, Retrieval(RetrievalEnd.SILENT, words))
    return ends


def _in_parts(line: _Line, one: Wanted) -> Retrieval:
    """Ask for a series, or for images of it: as many at once as the archive takes."""
    uids = one.sop_instance_uids
    starts = range(0, max(len(uids), 1), MAX_UIDS)
    ends: list[Retrieval] = []
    for start in starts:
        part = replace(one, sop_instance_uids=uids[start : start + MAX_UIDS])
        ended = line.ask(part)
        if len(part.sop_instance_uids) > 1 and _may_mind_a_list(ended):
            ends += _each_alone(line, part)
        else:
            ends.append(ended)
        if line.is_over:
            break
    return _together(ends)


def _may_mind_a_list(ended: Retrieval) -> bool:
    """True if nothing came of several images, perhaps for being asked for by a list of UIDs.

    Those that take none (PS3.4 C.2.2.2.2) say so in their own way: qrscp that it does not know
    where to send, tiny_pacs that all has been sent (docs/archives.md).
    """
    return not ended.completed and (
        ended.end in (RetrievalEnd.DONE, RetrievalEnd.REFUSED)
        or ended.status == DESTINATION_UNKNOWN
    )


def _each_alone(line: _Line, part: Wanted) -> list[Retrieval]:
    """Ask for each image alone, until a few were asked for in vain.

    Of many these are others each time, so that a few that never come hide none behind them.
    """
    ends: list[Retrieval] = []
    uids = list(part.sop_instance_uids)
    if len(uids) > MAX_IN_VAIN:
        random.shuffle(uids)
    for uid in uids:
        ends.append(line.ask(replace(part, sop_instance_uids=(uid,))))
        in_vain = not any(each.completed for each in ends) and len(ends) >= MAX_IN_VAIN
        if line.is_over or in_vain:
            break
    return ends


class _Line:
    """An association on which images are asked for.

    is_over: whether it has ended, so that nothing more can be asked for on it.
    fell_silent: whether it ended for silence.
    """

    def __init__(
        self, association: Any, send: Callable[[Dataset], Any], spool: Path | None = None
    ) -> None:
        self._association, self._send, self._spool = association, send, spool
        self.is_over = self.fell_silent = False

    def ask(self, one: Wanted) -> Retrieval:
        """Ask for a series or images, and wait until that has ended."""
        folder = self._spool / one.series_instance_uid if self._spool is not None else None
        arrivals = _Arrivals(folder)
        was_heard(self._association)
        wait_while(self._association, lambda: self._goes_on(arrivals))
        last = Dataset()
        try:
            for answer, identifier in self._send(_identifier(one)):
                if "Status" not in answer:
                    break
                last = answer
                if answer.Status not in PENDING:
                    return _retrieval(answer, identifier, arrivals)
        except (AttributeError, RuntimeError, ValueError):
            pass  # of an association that ended under the library's hands
        self.is_over = True
        # The library takes a moment to see that a connection is gone, and would ask on it.
        self._association.kill()
        words = "fell silent" if self.fell_silent else "broke off"
        return replace(_counted(last), end=RetrievalEnd.SILENT, words=words)

    def _goes_on(self, arrivals: _Arrivals) -> bool:
        """True if the archive says something, or what it sends arrives."""
        if has_ended(self._association):
            return False
        if arrivals.came():
            was_heard(self._association)
        self.fell_silent = is_silent(self._association)
        return not self.fell_silent


class _Arrivals:
    """What arrives in the folder of a series, told by its time alone.

    any: whether anything did.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last = self._changed()
        self.any = False

    def came(self) -> bool:
        """True if something came since this was asked last."""
        before, self._last = self._last, self._changed()
        self.any = self.any or self._last != before
        return self._last != before

    def _changed(self) -> int | None:
        try:
            return None if self._folder is None else self._folder.stat().st_mtime_ns
        except OSError:
            return None


def _identifier(one: Wanted) -> Dataset:
    """The unique keys of what is wanted (PS3.4 C.4.2.2.1)."""
    keys = {
        "StudyInstanceUID": one.study_instance_uid,
        "SeriesInstanceUID": one.series_instance_uid,
    }
    if not one.sop_instance_uids:
        return identifier_of(Query(Level.SERIES, keys))
    uids = "\\".join(one.sop_instance_uids)
    return identifier_of(Query(Level.IMAGE, {**keys, "SOPInstanceUID": uids}))


def _retrieval(answer: Dataset, identifier: Dataset | None, arrivals: _Arrivals) -> Retrieval:
    """The end of a retrieval by its last answer."""
    status = int(answer.Status)
    counted = _counted(answer)
    end = ENDS.get(status, RetrievalEnd.REFUSED)
    arrivals.came()
    some_came = arrivals.any or bool(counted.completed)
    if end is RetrievalEnd.DONE and counted.failed:
        end = RetrievalEnd.PARTLY
    elif end is RetrievalEnd.REFUSED and some_came:
        # Orthanc ends so at the first image that is refused, and counts none.
        end = RetrievalEnd.PARTLY
    words = STATUS_WORDS.get(status, "failed" if status else "")
    if end is RetrievalEnd.DONE and counted.completed == 0:
        words = "nothing was sent"
    elif status:
        words = f"0x{status:04X}, {words}"
    return replace(counted, end=end, words=words, failed_uids=_failed_uids(identifier))


def _counted(answer: Dataset) -> Retrieval:
    """What an answer counts (PS3.7 9.1.3.1, 9.1.4.1)."""

    def count(keyword: str) -> int | None:
        value = answer.get(keyword)
        return None if value is None else int(value)

    return Retrieval(
        RetrievalEnd.DONE,
        status=int(answer.Status) if "Status" in answer else None,
        completed=count("NumberOfCompletedSuboperations"),
        failed=count("NumberOfFailedSuboperations"),
        warning=count("NumberOfWarningSuboperations"),
    )


def _failed_uids(identifier: Dataset | None) -> tuple[str, ...]:
    """The images that an archive says have failed (PS3.4 C.4.2.1.4.2)."""
    found = None if identifier is None else identifier.get("FailedSOPInstanceUIDList")
    uids = [found] if isinstance(found, str) else list(found or [])
    return tuple(uid for uid in map(str, uids[:MAX_FAILED_UIDS]) if is_uid(uid))


def _together(ends: Sequence[Retrieval]) -> Retrieval:
    """The end of what was asked for in parts: the worst, with what all counted."""
    worst = max(ends, key=lambda each: list(RetrievalEnd).index(each.end))

    def total(counts: Sequence[int | None]) -> int | None:
        known = [each for each in counts if each is not None]
        return sum(known) if known else None

    done = any(each.end is RetrievalEnd.DONE for each in ends)
    is_partly = done and worst.end is RetrievalEnd.REFUSED
    return replace(
        worst,
        end=RetrievalEnd.PARTLY if is_partly else worst.end,
        completed=total([each.completed for each in ends]),
        failed=total([each.failed for each in ends]),
        warning=total([each.warning for each in ends]),
        failed_uids=tuple(uid for each in ends for uid in each.failed_uids),
    )


def _not_reached(error: PeerError) -> Retrieval:
    """The end of what could not be asked for."""
    is_refused = isinstance(error, PeerRefusedError)
    return Retrieval(
        RetrievalEnd.REFUSED if is_refused else RetrievalEnd.TURNED_AWAY, str(error)
    )
