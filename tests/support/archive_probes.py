"""What an archive does with our questions and retrievals, in a few words each.

The table in `docs/archives.md` is made of these; `tests/harness/test_archives.py` compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydicom.uid import UID, RLELossless

from dicom_node.errors import PeerError
from dicom_node.peers.archives import Answer, Level, Query, Retrieval, Wanted
from dicom_node.peers.dicomweb import WebService
from dicom_node.peers.find import Habits, ask, asking, find, identifier_of
from dicom_node.peers.retrieve import Receiving, get, move
from dicom_node.peers.retrieve_web import retrieve
from dicom_node.peers.search_web import search
from dicom_node.peers.store import send
from dicom_node.receiving.instance import OUT_OF_RESOURCES, InstanceWriter
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from support.ct import ct_slice, save
from support.orthanc import NODE_AE, NODE_PORT
from support.real_archives import RealArchive

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "archives.md"
PATIENCE_S: Final = 20.0
RANGE: Final = {"StudyDate": "20260105-20260110"}
PLAIN: Final = Wanted("1.2.1", "1.2.1.1")
COMPRESSED: Final = Wanted("1.2.1", "1.2.1.2")
SOME: Final = replace(COMPRESSED, sop_instance_uids=("1.2.1.2.2", "1.2.1.2.4"))
GONE: Final = Wanted("1.2.9", "1.2.9.9")
SHAPE: Final = {PLAIN: 3, COMPRESSED: 4, Wanted("1.2.2", "1.2.2.1"): 2}
DATES: Final = {"1.2.1": "20260105", "1.2.2": "20260110", "1.2.3": "20260106"}


def held() -> list[Any]:
    """Three studies of CT: two series of 3 and 4 images, one of them in RLE; 2; and 2."""
    made = []
    for wanted, count in {**SHAPE, Wanted("1.2.3", "1.2.3.1"): 2}.items():
        for place in range(count):
            made.append(
                ct_slice(
                    (0.0, 0.0, float(place)),
                    StudyInstanceUID=wanted.study_instance_uid,
                    SeriesInstanceUID=wanted.series_instance_uid,
                    SOPInstanceUID=f"{wanted.series_instance_uid}.{place + 1}",
                    StudyDate=DATES[wanted.study_instance_uid],
                    StudyTime="101500",
                    StudyID="1",
                    AccessionNumber="A1",
                    SeriesNumber=1,
                    InstanceNumber=place + 1,
                    SpecificCharacterSet="ISO_IR 100",
                    PatientName="Müller^Jörg",
                    PatientID=f"P{wanted.study_instance_uid}",
                    SeriesDescription="axial",
                )
            )
            if wanted == COMPRESSED:
                made[-1].compress(RLELossless, generate_instance_uid=False)
    return made


@dataclass
class Probe:
    """An archive that holds `held`, and a folder for what it sends."""

    archive: RealArchive
    folder: Path
    _settings: ReceiverSettings = field(init=False)

    def __post_init__(self) -> None:
        """Fill the archive."""
        self._settings = ReceiverSettings(
            NODE_AE, self.folder / "spool", port=NODE_PORT, free_reserve_bytes=0
        )
        files = save(held(), self.folder / "held")
        refused = [each for each in send(self.archive.peer, files) if not each.stored]
        assert refused == []

    def results(self) -> dict[str, str]:
        """The words of every probe, by its name in the table."""
        return {name: self._words(probe) for name, probe in PROBES.items()}

    def _words(self, probe: Callable[[Probe], str]) -> str:
        try:
            return probe(self)
        except PeerError as error:
            status = re.search("0x[0-9A-F]{4}", str(error))
            return status[0] if status else "breaks off"

    def answer(self, level: Level, **keys: str) -> Answer:
        """The answer to one query, an answer per image being allowed."""
        habits = Habits(answers_per_image=True)
        return find(self.archive.peer, [Query(level, keys)], habits)[0]

    def count(self, level: Level, **keys: str) -> int:
        """How many answers are given to one query."""
        taken: list[object] = []
        with asking(self.archive.peer) as association:
            question = identifier_of(Query(level, keys))
            ask(association, question, lambda match: taken.append(match) is None)
        return len(taken)

    def moved(self, wanted: Wanted, **settings: Any) -> Retrieval:
        """What a C-MOVE to a receiver came to."""
        changed = replace(self._settings, **settings)
        with Receiver(changed):
            return self.moved_to_nobody(wanted, changed.spool)

    def moved_to_nobody(self, wanted: Wanted, spool: Path | None = None) -> Retrieval:
        """What a C-MOVE to where nobody listens came to."""
        receiving = Receiving(NODE_AE, spool or self._settings.spool)
        return move(self.archive.peer, [wanted], receiving, PATIENCE_S)[wanted]

    def kept(self, wanted: Wanted) -> int:
        """How many images of a series are in the spool."""
        folder = self._settings.spool / wanted.series_instance_uid
        return len(list(folder.glob("*.dcm")))

    @property
    def service(self) -> WebService:
        """Its DICOMweb service."""
        return WebService(self.archive.name, self.archive.url)


def _ended(end: Retrieval, rest: str = "") -> str:
    """A retrieval in words: how it ended, its status, what was counted."""
    status = "" if not end.status else f" 0x{end.status:04X}"
    counts = "counts nothing"
    if end.completed or end.failed:
        failed = f", {end.failed} failed" if end.failed else ""
        counts = f"{end.completed or 0} sent{failed}"
    return ", ".join(filter(None, (f"{end.end.value}{status}", counts, rest)))


def _listed(probe: Probe) -> str:
    answer = probe.answer(Level.STUDY, **RANGE)
    return f"{probe.count(Level.STUDY, **RANGE)} answers, {len(answer.listed)} different"


def _list_of_studies(probe: Probe) -> str:
    answer = probe.answer(Level.STUDY, StudyInstanceUID="1.2.1\\1.2.2")
    return f"{len(answer.listed)} studies"


def _modalities(probe: Probe) -> str:
    found = probe.answer(Level.STUDY, StudyDate="20260105", ModalitiesInStudy="MR")
    shown = probe.answer(Level.STUDY, StudyDate="20260105", ModalitiesInStudy="")
    is_shown = "ModalitiesInStudy" in shown.listed[0].values
    matched = "matched" if not found.listed else "ignored"
    return f"{matched}, {'answered' if is_shown else 'not answered'}"


def _description(probe: Probe) -> str:
    found = probe.count(Level.SERIES, StudyInstanceUID="1.2.2", SeriesDescription="no*")
    return "ignored" if found else "matched"


def _counted(probe: Probe) -> str:
    keys = {"StudyInstanceUID": "1.2.1", "NumberOfSeriesRelatedInstances": ""}
    counts = [
        each.values.get("NumberOfSeriesRelatedInstances", "-")
        for each in probe.answer(Level.SERIES, **keys).listed
    ]
    number = probe.count(Level.SERIES, **keys)
    if set(counts) == {"-"}:
        return "not answered"
    return f"{' and '.join(sorted(counts))} ({number} answers)"


def _name(probe: Probe) -> str:
    answer = probe.answer(Level.STUDY, StudyDate="20260105", PatientName="")
    name = answer.listed[0].get("PatientName")
    return {"Müller^Jörg": "read"}.get(name, name.replace("\ufffd", "?"))


def _times(probe: Probe) -> str:
    hits = [
        len(probe.answer(Level.STUDY, StudyDate="20260105", StudyTime=each).listed)
        for each in ("101500-103000", "103001-110000")
    ]
    return {(1, 0): "matched"}.get((hits[0], hits[1]), f"{hits[0]} and {hits[1]}")


def _moved(probe: Probe) -> str:
    return _ended(probe.moved(PLAIN), f"{probe.kept(PLAIN)} kept")


def _moved_some(probe: Probe) -> str:
    return _ended(probe.moved(SOME), f"{probe.kept(SOME)} kept")


def _moved_gone(probe: Probe) -> str:
    return _ended(probe.moved(GONE))


def _rejected(probe: Probe) -> str:
    return _ended(probe.moved(PLAIN, calling_ae_titles=("NOBODY",)))


def _nobody(probe: Probe) -> str:
    return _ended(probe.moved_to_nobody(PLAIN))


def _refused(probe: Probe) -> str:
    """The second of four images is answered 0xA700."""
    tried: list[object] = []
    finish = InstanceWriter.finish

    def refusing(writer: InstanceWriter) -> int:
        tried.append(writer)
        if len(tried) == 2:
            writer.give_up()
            return OUT_OF_RESOURCES
        return finish(writer)

    InstanceWriter.finish = refusing  # type: ignore[method-assign]
    try:
        end = probe.moved(COMPRESSED, spool=probe.folder / "refusing")
    finally:
        InstanceWriter.finish = finish  # type: ignore[method-assign]
    return _ended(end, f"{len(tried)} tried")


def _got(probe: Probe, wanted: Wanted) -> str:
    syntaxes: list[str] = []

    def keep(_kind: str, _uid: str, syntax: str, _data: bytes) -> int:
        syntaxes.append(UID(syntax).name)
        return 0

    end = get(probe.archive.peer, [wanted], keep, PATIENCE_S, 1 << 30)[wanted]
    return _ended(end, " and ".join(sorted(set(syntaxes))))


def _searched(probe: Probe) -> str:
    if not probe.archive.url:
        return "—"
    query = Query(Level.STUDY, {**RANGE, "PatientName": ""})
    pages = [search(probe.service, [query], most)[0] for most in (None, 2)]
    return f"{len(pages[0].listed)} studies; {len(pages[1].listed)} by pages of 2"


def _fetched(probe: Probe) -> str:
    if not probe.archive.url:
        return "—"
    syntaxes: list[str] = []

    def keep(_kind: str, _uid: str, syntax: str, _data: bytes) -> int:
        syntaxes.append(UID(syntax).name)
        return 0

    ends = retrieve(probe.service, [COMPRESSED, GONE], keep, 1 << 30)
    gone = ends[GONE].words.rpartition(" with ")[2]
    return f"{_ended(ends[COMPRESSED], ' and '.join(sorted(set(syntaxes))))}; gone: {gone}"


PROBES: Final[Mapping[str, Callable[[Probe], str]]] = {
    "C-FIND of 3 studies by a range of dates": _listed,
    "C-FIND by a list of 2 Study Instance UIDs": _list_of_studies,
    "a range of Study Time within a day": _times,
    "Modalities In Study": _modalities,
    "Series Description as a filter": _description,
    "Number of Series Related Instances (3, 4)": _counted,
    "a name in declared Latin-1": _name,
    "C-MOVE of a series of 3": _moved,
    "C-MOVE of 2 images of it, by a list": _moved_some,
    "C-MOVE of what it does not hold": _moved_gone,
    "C-MOVE, our port rejects the association": _rejected,
    "C-MOVE, nobody listens": _nobody,
    "C-MOVE of 4, the 2nd answered 0xA700": _refused,
    "C-GET of a series of 3": lambda probe: _got(probe, PLAIN),
    "C-GET of a series of 4, sent to it in RLE": lambda probe: _got(probe, COMPRESSED),
    "C-GET of 2 images of it, by a list": lambda probe: _got(probe, SOME),
    "C-GET of what it does not hold": lambda probe: _got(probe, GONE),
    "QIDO-RS of 3 studies": _searched,
    "WADO-RS of a series of 4 in RLE": _fetched,
}


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The table of several archives, by their names and versions."""
    lines: list[Sequence[str]] = [["", *found], ["---"] * (len(found) + 1)]
    lines += [[name, *(each[name] for each in found.values())] for name in PROBES]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def documented() -> dict[str, dict[str, str]]:
    """The table in the documentation, by archive and probe."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    heads = next(row for row in rows if not row[0])[1:]
    return {
        head: {row[0]: row[place] for row in rows if row[0] in PROBES}
        for place, head in enumerate(heads, start=1)
    }
