"""What an archive is asked for, and what it answers: values, and the seam for its kinds.

Whoever asks (`archive/`) sees an `Archive`; how one is called is in `find.py` and
`retrieve.py` (DIMSE, PS3.4 C) and `retrieve_web.py` (QIDO-RS and WADO-RS, PS3.18).
An archive's word is never taken for the truth: an `Answer` says whether it was cut short,
a `Retrieval` what the archive claims, and what came is looked at in the spool.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Level(StrEnum):
    """The level of a query (PS3.4 C.6.2.1.2, Study Root)."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    keys: matching keys by keyword, in the form of PS3.4 C.2.2.2: `StudyDate` as
        `20260105-20260110`, `PatientName` as `*`; several UIDs parted by backslashes.
        Those that are empty are only asked back.
    """

    level: Level
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listed:
    """One study, series or image as an archive lists it.

    values: by keyword, decoded by the answer's Specific Character Set; several values parted
        by backslashes. A keyword that was not answered is not there, which is not the same as
        empty.
    """

    values: Mapping[str, str]

    def get(self, keyword: str) -> str:
        """The value, or nothing."""
        return self.values.get(keyword, "")


@dataclass(frozen=True, slots=True)
class Answer:
    """All that an archive answered to one query, each UID of its level once.

    is_whole: False where it said itself that there is more, or stopped before its end, or
        answered just as many as it answers at most, or named something twice, which may be in
        place of another: then the question has to be made smaller.
    words: why it is not whole.
    status: the last one of a C-FIND; None where it broke off, and of a DICOMweb service.
    """

    listed: tuple[Listed, ...]
    is_whole: bool = True
    words: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be retrieved: a series, or only these instances of it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...] = ()


class RetrievalEnd(StrEnum):
    """How a retrieval ended, as far as the peer says; the spool says what came.

    BUSY: out of resources (0xA700, 0xA701), or a service that asks for patience.
    TURNED_AWAY: 0xA702 or an association that nobody took: perhaps our own port refused.
    SILENT: it went on without a word, or broke off.
    """

    DONE = "done"
    PARTLY = "partly"
    BUSY = "busy"
    TURNED_AWAY = "turned away"
    REFUSED = "refused"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What an archive said about one retrieval.

    completed, failed, warning: its own counts; None where it gave none.
    status: of its last answer; None where there was none.
    again_after_s: for how long a service asks for patience, where it says so.
    """

    end: RetrievalEnd
    words: str = ""
    status: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_uids: tuple[str, ...] = field(default=())
    again_after_s: float = 0.0


class KeepInstance(Protocol):
    """Keeps an instance that came back by C-GET or WADO-RS, as durably as a received one."""

    def __call__(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data_set: bytes,
    ) -> int:
        """Keep an encoded data set; the DIMSE status that a sender would get."""


class Archive(Protocol):
    """An archive that can be asked. Whatever goes wrong with a query is a `PeerError`."""

    @property
    def name(self) -> str:
        """Its name in configuration and messages."""

    def find(self, queries: Sequence[Query]) -> tuple[Answer, ...]:
        """Ask one after the other, by C-FIND on one association or by QIDO-RS."""

    def retrieve(
        self, wanted: Collection[Wanted], keep: KeepInstance
    ) -> Mapping[Wanted, Retrieval]:
        """Have it send, to ourselves (C-MOVE) or as its answer (C-GET, WADO-RS).

        Never raises for what the peer does: a peer that is not there is an end of each.
        """
