"""Cases as records, from a node's database and from folders of `msk-node segment` alike.

Both keep a report (`case_files/report_json.py`) and the source of the case
(`case_files/source_json.py`). Records come one after the other, those of one patient
together, the earliest scan first; what is in memory at a time does not grow with their
number, but for the names of folders.

A report is read leniently: what an older version did not write is not there. What is there
has to be what it should be: a case with anything else is named, and no record.

A case of a batch that failed has left nothing but its marker (`batch/markers.py`), which says
why.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dicom_node.case_files.source_json import SOURCE_FILE, CaseSource, read_source
from dicom_node.cohort.records import (
    FLAGGED,
    CaseRecord,
    Grade,
    Model,
    Place,
    Source,
    StructureRecord,
    in_order,
)
from dicom_node.durable_files import PART
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import CaseRow
from dicom_node.results.kinds import ResultKind
from dicom_node.series.scan_facts import ScanFacts
from dicom_node.uids import is_uid
from inference.results import SampleKind, Uncertainty, Verdict
from inference.structures import BY_KEY, Side

REPORT_FILE: Final = "report.json"
MARKER_FILE: Final = "made_of.json"
CASE_FILES: Final = frozenset({REPORT_FILE, MARKER_FILE})
"""A folder with one of them is a case's."""

QC_FILE: Final = "qc.png"
REPORTED, REFUSED, FAILED = "reported", "refused", "failed"
ANALYSIS_FAILED: Final = "analysis-failed"
"""The code of a failure, as a node has it."""

LARGEST: Final = 2**63 - 1

DAMAGED: Final = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    OverflowError,
    RecursionError,
    zlib.error,
)
"""What reading a damaged report or source ends in."""

Unreadable = Callable[[str, str], None]
"""Told the name of a case that cannot be read, and why."""


def records_of_ledger(  # noqa: PLR0913 - a selection has as many parts as it has
    ledger: Ledger,
    unreadable: Unreadable,
    *,
    since: datetime | None = None,
    all_revisions: bool = False,
    series: Collection[str] = (),
    tests: bool = False,
) -> Iterator[CaseRecord]:
    """The cases that a node has answered.

    Args:
        ledger: of the node.
        unreadable: told of a row that cannot be read.
        since: only those of patients with a case that was analysed then or later.
        all_revisions: those too that a later revision of their series has replaced.
        series: only those of these Series Instance UIDs; all without any.
        tests: those too that are of a test patient or a phantom; one that is named by its
            series always is among them.
    """
    for row in ledger.cases(since=since, all_revisions=all_revisions, series=series):
        try:
            if tests or series or not read_source(row.source).is_test:
                yield record_of_row(row)
        except DAMAGED as error:
            unreadable(f"{row.series_instance_uid} {row.revision}", type(error).__name__)


def with_picture(record: CaseRecord, ledger: Ledger) -> CaseRecord:
    """A node's case with the QC page that it sent, if it is flagged and the file is kept."""
    if record.verdict not in FLAGGED:
        return record
    results = ledger.results(record.source.series_instance_uid, record.source.revision)
    paths = (each.path for each in results if each.kind == ResultKind.SC)
    kept = next((path for path in paths if Path(path).is_file()), "")
    return replace(record, qc_picture=kept)


def record_of_row(row: CaseRow) -> CaseRecord:
    """The case in a row of the ledger.

    Raises:
        One of `DAMAGED`: the row cannot be read.
    """
    report = json.loads(gzip.decompress(row.report))
    # The row's own column holds the moment in UTC on every database.
    source = replace(read_source(row.source), analysed_at=row.analysed_at)
    name = row.series_instance_uid
    return _record(name if row.revision == 1 else f"{name}~{row.revision}", source, report)


def records_of_folders(folders: Sequence[Path], unreadable: Unreadable) -> Iterator[CaseRecord]:
    """The cases in folders of `msk-node segment`, however deep they lie.

    Args:
        folders: case folders, or such with case folders in them.
        unreadable: told of a folder that cannot be read.
    """
    found = [
        found
        for folder, name in _case_folders(folders)
        if (found := _found(folder, name, unreadable))
    ]
    for each in sorted(found, key=lambda each: each.place):
        try:
            record = record_of_folder(each.folder, each.name)
        except DAMAGED as error:
            unreadable(each.name, type(error).__name__)
        else:
            yield record


def record_of_folder(folder: Path, name: str) -> CaseRecord:
    """The case in a folder of `msk-node segment`, also of a version without source.json.

    Raises:
        One of `DAMAGED`: a file is damaged or missing.
    """
    if not (folder / REPORT_FILE).is_file():
        return _failed_record(folder, name)
    report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    source = _source_in(folder)
    described = report.get("input") or {}
    if not source.scan.series_instance_uid and described.get("series_instance_uid"):
        uid = _text(described["series_instance_uid"])
        source = replace(source, scan=replace(source.scan, series_instance_uid=uid))
    picture = folder / QC_FILE
    record = _record(name, source, report)
    return replace(record, qc_picture=str(picture) if picture.is_file() else "")


def by_patient(records: Iterable[CaseRecord]) -> Iterator[tuple[CaseRecord, ...]]:
    """The cases of each patient; of nobody that is named, each by itself.

    Args:
        records: those of one patient together, as they are read here.
    """
    groups = itertools.groupby(records, key=lambda each: each.source.patient_key)
    for patient_key, group in groups:
        if patient_key:
            yield tuple(sorted(group, key=lambda each: in_order(each.source)))
        else:
            yield from ((each,) for each in group)


@dataclass(frozen=True, slots=True)
class _Found:
    """A case folder, and its place among all."""

    folder: Path
    name: str
    place: Place


def _case_folders(roots: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Every case folder once, with its name: that of its root, and the way from there.

    What a batch has not finished (`.part-...`) is none.
    """
    seen: set[Path] = set()
    for root, called in zip(roots, _root_names(roots), strict=True):
        for path, below, files in os.walk(root):
            below[:] = sorted(name for name in below if not name.startswith(PART))
            folder = Path(path)
            if CASE_FILES.isdisjoint(files) or folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            yield folder, (Path(called) / folder.relative_to(root)).as_posix()


def _root_names(roots: Sequence[Path]) -> list[str]:
    """The names of roots; of two that are alike with so many folders above as differ."""
    paths = [root.resolve() for root in roots]
    distinct = len(set(paths))
    for length in range(1, max((len(path.parts) for path in paths), default=1) + 1):
        names = ["/".join(path.parts[1:][-length:]) for path in paths]
        if len(set(names)) == distinct:
            break
    return names


def _found(folder: Path, name: str, unreadable: Unreadable) -> _Found | None:
    try:
        return _Found(folder, name, in_order(_as_source(name, _source_in(folder))))
    except DAMAGED as error:
        unreadable(name, type(error).__name__)
        return None


def _failed_record(folder: Path, name: str) -> CaseRecord:
    """A case of a batch that failed: its marker says why. Nothing says whose scan it was.

    A batch calls a case in DICOM by its Series Instance UID.
    """
    marker = json.loads((folder / MARKER_FILE).read_text(encoding="utf-8"))
    if marker["outcome"] != FAILED:
        raise ValueError(f"its marker says {marker['outcome']}, and there is no report")
    uid = marker["case"] if is_uid(marker["case"]) else ""
    finished = datetime.fromisoformat(marker["finished_at"])
    source = CaseSource(analysed_at=finished, scan=ScanFacts(series_instance_uid=uid))
    words = "; ".join(_texts(marker["words"]))
    return CaseRecord(_as_source(name, source), FAILED, code=ANALYSIS_FAILED, words=words)


def _source_in(folder: Path) -> CaseSource:
    """What a folder says of its source; one of before there was such a file says nothing."""
    try:
        text = (folder / SOURCE_FILE).read_bytes()
    except FileNotFoundError:
        return CaseSource()
    return read_source(text)


def _record(name: str, source: CaseSource, report: Mapping[str, Any]) -> CaseRecord:
    of = _as_source(name, source)
    refused: Any = report.get("refused")
    case: Any = report.get("case")
    if case is None:
        state = source.state or REFUSED
        return CaseRecord(of, state, code=_text(refused["code"]), words=_text(refused["words"]))
    verdict = Verdict(case["verdict"])
    height_m = _number((report.get("input") or {}).get("height_m"))
    structures = tuple(
        _structure(one) for one in case["structures"] if one.get("key") in BY_KEY
    )
    if len({one.segment for one in structures}) < len(structures):
        raise ValueError("a structure is there twice")
    return CaseRecord(
        source=replace(of, height_m=of.height_m or height_m),
        state=REPORTED,
        verdict=verdict,
        words=_text(case.get("words", "")),
        findings=_texts(case.get("findings", [])),
        mean_uncertainty=_number(case.get("mean_uncertainty")),
        mean_uncertainty_limits=_limits(case.get("mean_uncertainty_limits")),
        model=_model(case["model"], source.settings),
        structures=structures,
        grades=tuple(_grades(case.get("grades") or ())),
    )


def _as_source(name: str, source: CaseSource) -> Source:
    moment = source.analysed_at
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    told: dict[str, Any] = {
        one.name: getattr(source.scan, one.name) for one in fields(ScanFacts)
    }
    for value in told.values():
        if isinstance(value, float):
            _number(value)
    return Source(
        name=name,
        patient_key=source.patient_key,
        patient_id=source.patient_id,
        revision=_integer(source.revision),
        sender=source.sender,
        analysed_at=moment,
        **told,
    )


def _model(model: Mapping[str, Any], settings: str) -> Model:
    return Model(
        name=_text(model["name"]),
        version=_text(model["version"]),
        weights_sha256=_text(model["weights_sha256"]),
        samples=_integer(model["samples"]),
        uncertainty=Uncertainty(model.get("uncertainty", Uncertainty.VARIANCE)),
        settings=settings,
        samples_of=SampleKind(model.get("samples_of", SampleKind.DROPOUT)),
    )


def _structure(one: Mapping[str, Any]) -> StructureRecord:
    shares = one.get("composition") or {}
    return StructureRecord(
        segment=BY_KEY[one["key"]],
        verdict=Verdict(one["verdict"]),
        findings=_texts(one.get("findings", [])),
        volume_cm3=_number(one.get("volume_cm3")),
        volume_range_cm3=_range(one.get("volume_spread_cm3")),
        normalised_volume_cm3_per_m2=_number(one.get("normalised_volume_cm3_per_m2")),
        mean_hu=_number(one.get("mean_hu")),
        mean_hu_range=_range(one.get("mean_hu_spread")),
        lean=_number(shares.get("lean")),
        mixed=_number(shares.get("mixed")),
        fat=_number(shares.get("fat")),
        uncertainty=_number(one.get("uncertainty")),
        pairwise_dice=_number(one.get("pairwise_dice")),
        volume_cv=_number(one.get("volume_cv")),
        uncertainty_limits=_limits(one.get("uncertainty_limits")),
    )


def _grades(told: Iterable[Mapping[str, Any]]) -> Iterator[Grade]:
    """The sides that have a grade; one that has only the reason why it has none is left out."""
    for one in told:
        if one.get("grade") is None:
            continue
        grader: Mapping[str, Any] = one["grader"]
        yield Grade(
            side=Side(one["side"]).value,
            grade=_text(one["grade"]),
            probability=_number(one.get("probability")),
            grader=_text(f"{grader['name']} {grader.get('version', '')}".strip()),
            scale=_text(one.get("scale") or ""),
            by_people=grader.get("kind") != "bundle",
        )


def _range(spread: Mapping[str, Any] | None) -> tuple[float, float] | None:
    return _pair(spread["low"], spread["high"]) if spread else None


def _limits(limits: Mapping[str, Any] | None) -> tuple[float, float] | None:
    return _pair(limits["inaccurate"], limits["failed"]) if limits else None


def _pair(low: Any, high: Any) -> tuple[float, float]:
    first, second = _number(low), _number(high)
    if first is None or second is None:
        raise ValueError("half of a range")
    return first, second


def _number(value: Any) -> float | None:
    """A finite number, or nothing; a table takes nothing else, and no mean of it makes sense.

    Raises:
        ValueError, TypeError, OverflowError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    if not math.isfinite(value):
        raise ValueError("no finite number")
    return value


def _integer(value: Any) -> int:
    """An integer that a column of Parquet holds.

    Raises:
        ValueError, TypeError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("no integer")
    if not 0 <= value <= LARGEST:
        raise ValueError("no integer of 64 bits")
    return value


def _text(value: Any) -> str:
    """A text that UTF-8 can write: JSON may hold halves of characters.

    Raises:
        ValueError, TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return tuple(map(_text, value))
