"""Asking an archive what it holds: C-FIND, Study Root (PS3.4 C.4.1, C.6.2).

Archives differ in everything but the form of an answer (docs/archives.md). Some answer once
per image at every level, some leave out keys that they do not know, some stop after a number
of answers, saying so or not. So each UID of a level is listed once, what is not answered is
not there, and an answer that may have been cut short says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog
from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicom_node.errors import (
    PeerBusyError,
    PeerError,
    PeerRefusedError,
    PeerUnreachableError,
)
from dicom_node.peers.archives import Answer, Level, Listed, Query
from dicom_node.peers.association import MESSAGE_IDS, Peer, associate
from dicom_node.series.character_sets import texts_of

log = structlog.get_logger()

MODEL: Final = StudyRootQueryRetrieveInformationModelFind

SUCCESS: Final = 0x0000
PENDING: Final = frozenset({0xFF00, 0xFF01})
CANCELLED: Final = 0xFE00
"""PS3.4 Table C.4-1. Archives that cap their answers end with the last, uncancelled."""
OUT_OF_RESOURCES: Final = frozenset({0xA700, 0xA701, 0xA702})

LEVEL_UIDS: Final = {
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
"""The unique key of each level (PS3.4 C.6.2.1.2)."""

COUNTED: Final = frozenset(
    {
        "ModalitiesInStudy",
        "NumberOfPatientRelatedStudies",
        "NumberOfSeriesRelatedInstances",
        "NumberOfStudyRelatedInstances",
        "NumberOfStudyRelatedSeries",
        "SOPClassesInStudy",
    }
)
"""What an archive has to work out over all that it lists (PS3.4 C.3.4)."""

NEVER_SENT: Final = frozenset({"TimezoneOffsetFromUTC"})
"""Keys that are left out: beside a date Orthanc 1.10.1 finds nothing for a time zone."""

MAX_LISTED: Final = 50_000
"""So many different studies, series or images are held of one answer."""
MAX_ANSWERS: Final = 1_000_000
"""So many answers are listened to: an archive may give one per image, of a whole day."""
MAX_VALUE_CHARACTERS: Final = 16_384
"""So much of one value is held: the longest list of UIDs is shorter."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What is known of how an archive answers.

    max_answers: how many answers it gives at most, where it does not say so itself.
    answers_per_image: whether it answers once per image at every level. Of any other, an
        answer that names something twice may have been given in place of another.
    """

    max_answers: int | None = None
    answers_per_image: bool = False


def find(peer: Peer, queries: Sequence[Query], habits: Habits = Habits()) -> tuple[Answer, ...]:
    """Ask an archive one query after the other, on one association while it lasts.

    Args:
        peer: the archive.
        queries: what is asked.
        habits: how it answers.

    Raises:
        PeerUnreachableError: no connection, no association, or not a word in answer.
        PeerBusyError: out of resources, without an answer.
        PeerRefusedError: it offers no query, or fails over one without an answer.
    """
    answers: list[Answer] = []
    while len(answers) < len(queries):
        answers += _on_one_association(peer, queries[len(answers) :], habits)
    return tuple(answers)


def _on_one_association(peer: Peer, queries: Sequence[Query], habits: Habits) -> list[Answer]:
    """The answers to the first of these queries, and to those after it while that lasts."""
    answers: list[Answer] = []
    with asking(peer) as association:
        for query in queries:
            gathered, status = _asked(association, query)
            answers.append(_answer(peer, gathered, status, habits))
            if status is None:
                break
    return answers


def _asked(association: Any, query: Query) -> tuple[_Gathered, int | None]:
    """What is answered to a query, and the last status.

    tiny_pacs 0.4.1 counts over all that matches and then lists one of it. So where something
    is to be counted and there is one answer, it is asked for again without: if there are more,
    those are the answer, and nothing is counted.
    """
    gathered = _Gathered(query)
    status = ask(association, identifier_of(query), gathered.take)
    plain = {key: value for key, value in query.keys.items() if key not in COUNTED}
    if status != SUCCESS or gathered.count != 1 or len(plain) == len(query.keys):
        return gathered, status
    again = _Gathered(replace(query, keys=plain))
    status = ask(association, identifier_of(again.query), again.take)
    if status == SUCCESS and again.count <= 1:
        return gathered, status
    return again, status


@contextmanager
def asking(peer: Peer) -> Iterator[Any]:
    """An association on which queries are answered.

    Raises:
        PeerUnreachableError: no connection or no association.
        PeerRefusedError: it offers no query.
    """
    with associate(peer, [build_context(MODEL)]) as association:
        if not association.is_established:
            raise PeerRefusedError(f"{peer} does not offer C-FIND (Study Root)")
        yield association


def ask(
    association: Any, identifier: Dataset, take: Callable[[Dataset | None], bool]
) -> int | None:
    """Ask one question; its last status, or None where the answers broke off.

    Args:
        association: of `asking`.
        identifier: the question.
        take: takes each answer, None for one that cannot be read; the association is aborted
            where it wants no more, for one that has cancelled may be sent answers still.
    """
    try:
        for status, match in association.send_c_find(identifier, MODEL, next(MESSAGE_IDS)):
            # An archive that does not know us may just stop answering.
            if "Status" not in status:
                break
            if status.Status not in PENDING:
                return int(status.Status)
            if not take(match):
                association.abort()
                break
    except (AttributeError, RuntimeError, ValueError):
        pass  # of an association that ended under the library's hands
    # The library takes a moment to see that a connection is gone, and would ask on it again.
    association.kill()
    return None


def identifier_of(query: Query) -> Dataset:
    """A question as it is sent: level, unique keys down to it, and the keys of the query.

    Raises:
        ValueError: a keyword that the standard does not have.
    """
    identifier = Dataset()
    identifier.QueryRetrieveLevel = query.level.value
    keys = dict.fromkeys(_unique_keys(query.level), "") | dict(query.keys)
    for keyword, value in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(f"{keyword[:64]!r} is no attribute")
        if keyword not in NEVER_SENT:
            mode = pydicom_config.IGNORE  # a range is no date, a pattern no name
            vr = dictionary_VR(tag)
            identifier.add(DataElement(tag, vr, value, validation_mode=mode))
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _unique_keys(level: Level) -> list[str]:
    """The unique keys from the study down to a level."""
    levels = list(LEVEL_UIDS)
    return [LEVEL_UIDS[each] for each in levels[: levels.index(level) + 1]]


@dataclass(slots=True)
class _Gathered:
    """What has been answered to one query.

    count: of answers, also of those that say nothing new.
    unread: of answers that could not be read, or that do not say what they are about.
    """

    query: Query
    listed: dict[str, Listed] = field(default_factory=dict)
    count: int = 0
    unread: int = 0
    is_too_much: bool = False

    def take(self, match: Dataset | None) -> bool:
        """Take one answer; False where it is one too many."""
        self.count += 1
        values = {} if match is None else values_of(match, self._keywords())
        uid = values.get(LEVEL_UIDS[self.query.level], "")
        if not uid:
            self.unread += 1
        elif uid not in self.listed:
            self.listed[uid] = Listed(values)
        self.is_too_much = len(self.listed) >= MAX_LISTED or self.count >= MAX_ANSWERS
        return not self.is_too_much

    def _keywords(self) -> list[str]:
        return list(dict.fromkeys([*_unique_keys(self.query.level), *self.query.keys]))


def values_of(answer: Dataset, keywords: Iterable[str]) -> dict[str, str]:
    """Those of the values that were answered, by keyword (PS3.4 C.2.2).

    What is not written in the declared character set is read as far as it is ASCII, with
    U+FFFD for each other byte: a word in it can still be found, and nothing is made up.
    """
    there = [keyword for keyword in keywords if keyword in answer]
    # Before they are read: what cannot be is replaced by what the library makes of it.
    written = {keyword: _ascii_of(answer, keyword) for keyword in there}
    texts = texts_of(answer, there)
    return {
        keyword: (texts[keyword] or written[keyword])[:MAX_VALUE_CHARACTERS]
        for keyword in there
    }


def _ascii_of(answer: Dataset, keyword: str) -> str:
    """The ASCII characters of a value that cannot be read otherwise."""
    element = answer.get_item(Tag(keyword))
    raw = element.value if isinstance(element, RawDataElement) else b""
    text = (raw or b"").rstrip(b"\0 ").decode("ascii", "replace")
    return "".join(each if " " <= each <= "~" else "\ufffd" for each in text)


def _answer(peer: Peer, gathered: _Gathered, status: int | None, habits: Habits) -> Answer:
    """What is made of all that came, and of how it ended.

    Raises:
        PeerError: nothing came, and that is not because there is nothing.
    """
    count = gathered.count
    words = _why_not_whole(gathered, status, habits)
    if not count and status not in (SUCCESS, CANCELLED):
        raise _failure(peer, status)
    if words:
        log.info("find.cut_short", peer=peer.name, reason=words, count=count, status=status)
    return Answer(tuple(gathered.listed.values()), not words, words, status)


def _why_not_whole(gathered: _Gathered, status: int | None, habits: Habits) -> str:
    """The reason why answers may not be all, as text; empty where they are."""
    count, named = gathered.count, len(gathered.listed)
    capped = habits.max_answers is not None and count >= habits.max_answers
    repeated = not habits.answers_per_image and count > named + gathered.unread
    reasons = (
        (gathered.is_too_much, f"more than {count} answers, which is more than are taken"),
        (status is None, f"the answers broke off after {count}"),
        (status == CANCELLED, f"cut off by the archive after {count} answers (0xFE00)"),
        (status != SUCCESS, f"failed after {count} answers (0x{status or 0:04X})"),
        (capped, f"{count} answers, as many as the archive gives at most"),
        (gathered.unread > 0, f"{gathered.unread} of {count} answers could not be read"),
        (repeated, f"{count} answers name no more than {named}, some in place of others"),
    )
    return next((words for holds, words in reasons if holds), "")


def _failure(peer: Peer, status: int | None) -> PeerError:
    """The error for a question without an answer."""
    if status is None:
        return PeerUnreachableError(f"{peer} did not answer the C-FIND to its end")
    words = f"{peer} answered the C-FIND with 0x{status:04X}"
    return (PeerBusyError if status in OUT_OF_RESOURCES else PeerRefusedError)(words)
