"""An archive that is asked: C-FIND, C-MOVE and C-GET on a free port, as badly as wanted.

```python
archive = Archive(held=ct_stack())
archive.destinations["MSKNODE"] = receiver.port
with archive.running():
    ...                              # archive.port; what it was asked is in archive.queries
```
It answers as an archive should unless a field says otherwise; `CAPPING`, `LYING` and so on
below are the usual ways of misbehaving.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

SUCCESS, PENDING, CANCELLED = 0x0000, 0xFF00, 0xFE00
UID_OF: Final = {
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
COUNTED: Final = (
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "NumberOfSeriesRelatedInstances",
    "ModalitiesInStudy",
)
WAIT_S: Final = 30.0
"""Nobody is kept waiting for longer, whatever a test forgets."""


@dataclass
class Archive:
    """What the archive holds and does, and what it was asked.

    held: the instances it has, with their file meta information.
    destinations: the port on 127.0.0.1 of each AE title that it sends to.
    cap: how many answers a C-FIND gives at most; `cap_status` is its last status then
        (0xFE00 as DICOM has it, 0x0000 as others do).
    ignores: keys that are neither matched nor returned.
    counts_extra: how many more images it lists than it holds.
    withholds: SOP Instance UIDs that it lists and never sends, and says it has sent all.
    an_answer_per_image: as qrscp does, at every level.
    counts_over_all: as tiny_pacs does, it lists one entity alone where it is to count.
    repeats_the_last: as tiny_pacs does, it sends its last answer in place of all.
    character_set: declared in answers; "" declares none.
    raw: values that are answered as these bytes, whatever is declared.
    find_statuses, move_statuses: answered to successive requests in place of anything else,
        C-GET counting as C-MOVE; 0 answers as usual, and so it does when they run out.
    rejections: how many associations, the first ones, it rejects (transient, local limit).
    find_aborts_after, move_aborts_after: abort the association after so many answers or
        images. find_silent_after, move_silent_after: say nothing more from there on.
    knows: the only calling AE titles that it takes; without any, all.
    """

    held: Sequence[Dataset] = ()
    destinations: dict[str, int] = field(default_factory=dict)
    ae_title: str = "ARCHIVE"
    cap: int | None = None
    cap_status: int = CANCELLED
    ignores: frozenset[str] = frozenset()
    counts_extra: int = 0
    withholds: frozenset[str] = frozenset()
    an_answer_per_image: bool = False
    counts_over_all: bool = False
    repeats_the_last: bool = False
    character_set: str = ""
    raw: Mapping[str, bytes] = field(default_factory=dict)
    find_statuses: Iterable[int] = ()
    move_statuses: Iterable[int] = ()
    rejections: int = 0
    find_aborts_after: int | None = None
    find_silent_after: int | None = None
    move_aborts_after: int | None = None
    move_silent_after: int | None = None
    knows: tuple[str, ...] = ()
    queries: list[Dataset] = field(default_factory=list)
    retrievals: list[Dataset] = field(default_factory=list)
    moved_to: list[str] = field(default_factory=list)
    associations: list[str] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)
    """Set once it has begun to say nothing."""
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Archive]:
        """Listen until the end of the block, which ends every silence."""
        self.released.clear()
        self._finds, self._moves = iter(self.find_statuses), iter(self.move_statuses)
        self._rejected = 0
        entity = AE(ae_title=self.ae_title)
        entity.require_calling_aet = list(self.knows)
        entity.maximum_associations = 64
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_MOVE, self._move),
            (evt.EVT_C_GET, self._get),
        ]
        server = entity.make_server(
            ("127.0.0.1", self.port), contexts=self._contexts(), evt_handlers=handlers
        )
        entity._servers.append(server)
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            self.released.set()
            entity.shutdown()
            thread.join()

    def _contexts(self) -> list[Any]:
        plain = [ImplicitVRLittleEndian]
        services = [
            build_context(uid, plain)
            for uid in (
                Verification,
                StudyRootQueryRetrieveInformationModelFind,
                StudyRootQueryRetrieveInformationModelMove,
                StudyRootQueryRetrieveInformationModelGet,
            )
        ]
        stored = self._stored_contexts()
        for context in stored:
            context.scu_role, context.scp_role = True, True
        return [*services, *stored]

    def _stored_contexts(self) -> list[Any]:
        """One context for each class and transfer syntax that is held."""
        kinds = {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in self.held}
        kinds = kinds or {(CTImageStorage, ExplicitVRLittleEndian)}
        by_class: dict[str, list[str]] = {}
        for sop_class, syntax in sorted(kinds):
            by_class.setdefault(sop_class, []).append(syntax)
        return [build_context(sop_class, each) for sop_class, each in by_class.items()]

    def _requested(self, event: evt.Event) -> None:
        if self._rejected < self.rejections:
            self._rejected += 1
            event.assoc.acse.send_reject(2, 3, 2)
            event.assoc.kill()

    def _accepted(self, event: evt.Event) -> None:
        self.associations.append(event.assoc.requestor.ae_title)

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        self.queries.append(query)
        status = next(self._finds, SUCCESS)
        if status != SUCCESS:
            yield status, None
            return
        answers = self._answers(query)
        for number, answer in enumerate(answers):
            if self.cap is not None and number >= self.cap:
                yield self.cap_status, None
                return
            if self._stops(event, number, self.find_aborts_after, self.find_silent_after):
                return
            yield PENDING, answer
        if self._stops(event, len(answers), self.find_aborts_after, self.find_silent_after):
            return
        yield SUCCESS, None

    def _answers(self, query: Dataset) -> list[Dataset]:
        """One answer for each study, series or image that matches."""
        level = UID_OF[query.QueryRetrieveLevel]
        groups: dict[str, list[Dataset]] = {}
        for each in self.held:
            groups.setdefault(each[level].value, []).append(each)
        found = []
        for group in groups.values():
            described = self._described(group)
            if all(
                _matches(described, element)
                for element in query
                if element.keyword not in self.ignores
            ):
                answer = self._answer(query, described)
                found += [answer] * (len(group) if self.an_answer_per_image else 1)
        is_counted = self.counts_over_all and any(each in query for each in COUNTED)
        if self.repeats_the_last:
            found = found[-1:] * len(found)
        return found[:1] if is_counted else found

    def _described(self, group: Sequence[Dataset]) -> Dataset:
        """What is listed of a study or series: its first image, and what is counted."""
        first = group[0]
        described = Dataset()
        for element in first:
            if element.tag.group < 0x7FE0:
                described.add(element)
        study = [one for one in self.held if one.StudyInstanceUID == first.StudyInstanceUID]
        series = [one for one in study if one.SeriesInstanceUID == first.SeriesInstanceUID]
        described.NumberOfStudyRelatedSeries = len({one.SeriesInstanceUID for one in study})
        described.NumberOfStudyRelatedInstances = len(study) + self.counts_extra
        described.NumberOfSeriesRelatedInstances = len(series) + self.counts_extra
        described.ModalitiesInStudy = sorted({one.Modality for one in study})
        return described

    def _answer(self, query: Dataset, described: Dataset) -> Dataset:
        answer = Dataset()
        if self.character_set:
            answer.SpecificCharacterSet = self.character_set
        answer.QueryRetrieveLevel = query.QueryRetrieveLevel
        answer.RetrieveAETitle = self.ae_title
        for element in query:
            if element.keyword in described and element.keyword not in self.ignores:
                answer.add(described[element.tag])
        for keyword, value in self.raw.items():
            tag = Tag(tag_for_keyword(keyword) or 0)
            if tag in query:
                # In Implicit VR no representation is sent: the bytes go out as they are.
                answer.add(DataElement(tag, "OB", value + b" " * (len(value) % 2)))
        return answer

    def _move(self, event: evt.Event) -> Iterator[Any]:
        self.moved_to.append(event.move_destination)
        port = self.destinations.get(event.move_destination)
        if port is None:
            yield None, None
            return
        yield "127.0.0.1", port, {"contexts": self._stored_contexts()}
        yield from self._images(event)

    def _get(self, event: evt.Event) -> Iterator[Any]:
        yield from self._images(event)

    def _images(self, event: evt.Event) -> Iterator[Any]:
        """The number of images, and each of them."""
        wanted = event.identifier
        self.retrievals.append(wanted)
        status = next(self._moves, SUCCESS)
        found = [each for each in self.held if _is_wanted(each, wanted)]
        sent = [each for each in found if each.SOPInstanceUID not in self.withholds]
        yield len(sent) if status == SUCCESS else max(len(sent), 1)
        if status != SUCCESS:
            yield status, None
            return
        for number, each in enumerate(sent):
            if self._stops(event, number, self.move_aborts_after, self.move_silent_after):
                return
            yield PENDING, each
        if self._stops(event, len(sent), self.move_aborts_after, self.move_silent_after):
            return

    def _stops(
        self, event: evt.Event, number: int, aborts: int | None, silent: int | None
    ) -> bool:
        """Abort, or say nothing until the end, where the time for it has come."""
        if aborts is not None and number >= aborts:
            event.assoc.abort()
            return True
        if silent is not None and number >= silent:
            self.silent.set()
            self.released.wait(WAIT_S)
            event.assoc.abort()
            return True
        return False


def _is_wanted(each: Dataset, wanted: Dataset) -> bool:
    return all(
        each[keyword].value in _several(wanted.get(keyword))
        for keyword in UID_OF.values()
        if wanted.get(keyword)
    )


def _matches(described: Dataset, element: Any) -> bool:
    """Whether an entity matches one key (PS3.4 C.2.2.2)."""
    keyword, wanted = element.keyword, element.value
    if keyword in {"QueryRetrieveLevel", "SpecificCharacterSet"} or not wanted:
        return True
    has = {str(one) for one in _several(described.get(keyword))}
    if element.VR in {"DA", "TM"} and "-" in str(wanted):
        first, _, last = str(wanted).partition("-")
        return any((not first or one >= first) and (not last or one <= last) for one in has)
    return any(
        fnmatch.fnmatchcase(one, str(pattern)) for one in has for pattern in _several(wanted)
    )


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


CAPPING: Final[Mapping[str, Any]] = {"cap": 3}
"""Answers three at most, and then says that it was cancelled."""
CAPPING_SILENTLY: Final[Mapping[str, Any]] = {"cap": 3, "cap_status": SUCCESS}
"""Answers three at most, and then says that this was all."""
LYING: Final[Mapping[str, Any]] = {"counts_extra": 2}
"""Lists two images more than it holds."""
SILENT: Final[Mapping[str, Any]] = {"move_silent_after": 2}
"""Sends two images and then says nothing any more."""
ABORTING: Final[Mapping[str, Any]] = {"find_aborts_after": 2, "move_aborts_after": 2}
"""Aborts after two answers or images."""
LATIN_1: Final[Mapping[str, Any]] = {"character_set": "ISO_IR 100"}
"""Declares and writes Latin-1."""
LATIN_1_UNDECLARED: Final[Mapping[str, Any]] = {
    "raw": {"PatientName": "Müller^Jörg".encode("latin-1")}
}
"""Writes Latin-1 and declares nothing."""
BUSY: Final[Mapping[str, Any]] = {
    "find_statuses": (0xA700, 0xA700),
    "move_statuses": (0xA702, 0xA700),
}
"""Out of resources for the first two requests of each kind."""
QRSCP: Final[Mapping[str, Any]] = {"an_answer_per_image": True, "ignores": frozenset(COUNTED)}
"""Answers once per image, and counts nothing."""
