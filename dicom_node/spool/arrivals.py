"""The files of a series as completeness rules and the job queue see them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.errors import SeriesError
from dicom_node.series.bounded_files import NotDicomError, read_meta
from dicom_node.series.patient_identity import ImageIdentity, identity_of
from dicom_node.series.slice_header import SliceHeader
from dicom_node.series.slice_headers import (
    StatedImage,
    counted_among,
    images_of,
    number_of,
    read_header,
    value_of,
)
from dicom_node.spool.completeness import (
    Arrivals,
    Expectation,
    commonest,
)
from dicom_node.spool.revisions import MARKER, Revision
from dicom_node.spool.spool import SpoolEntry, entry_of
from dicom_node.uids import is_uid

MAX_SIZE: Final = 8192
MOST_VOXELS_OF_A_BYTE: Final = 16
MAX_VOXELS: Final = 1 << 31
"""No volume has more (docs/reliability.md)."""


@dataclass(frozen=True, slots=True)
class SeriesArrival:
    """A series, or what there is of it, handed to the engine.

    revision: 1, then one more for every time that late images changed the series.
    paths, sop_instance_uids: the files it consists of, in the order of their names.
    reason: why it was handed over now, as text.
    notes: what a reader of its results must know, in words without patient data.
    distinction: what tells it from an earlier revision of the same files; mostly empty.
    rule: what closed it (`completeness.Rule`).
    first_image_s, last_image_s: when the first and the last of its images came that no earlier
        revision has, in seconds since the epoch; 0 where nobody knows.
    closed_s: when it was found to be complete.
    """

    series_instance_uid: str
    study_instance_uid: str
    revision: int
    paths: tuple[Path, ...]
    sop_instance_uids: tuple[str, ...]
    calling_ae_title: str
    called_ae_title: str
    reason: str
    notes: tuple[str, ...] = ()
    distinction: str = ""
    rule: str = ""
    first_image_s: float = 0.0
    last_image_s: float = 0.0
    closed_s: float = 0.0


def arrival_of(
    folder: Path, revision: Revision, earlier: Collection[str] = ()
) -> SeriesArrival:
    """The series that one revision of a folder stands for.

    earlier: the files that were there at the revision before.
    """
    paths = tuple(folder / name for name in revision.files)
    calling, called = first_titles(paths)
    new = [path for path in paths if path.name not in earlier] or paths
    times_s = [at_s for at_s in map(changed_s, new) if at_s]
    return SeriesArrival(
        series_instance_uid=folder.name,
        study_instance_uid=study_of(paths),
        revision=revision.revision,
        paths=paths,
        sop_instance_uids=tuple(sorted({entry_of(path).sop_instance_uid for path in paths})),
        calling_ae_title=calling,
        called_ae_title=called,
        reason=revision.reason,
        notes=revision.notes,
        distinction=revision.distinction,
        rule=revision.rule,
        first_image_s=min(times_s, default=0.0),
        last_image_s=max(times_s, default=0.0),
        closed_s=changed_s(folder / MARKER),
    )


def changed_s(path: Path) -> float:
    """When a file last came or was written, in seconds since the epoch; 0 where it is gone."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def read_arrivals(entries: Sequence[SpoolEntry]) -> Arrivals:
    """Read the headers of a series' files; what cannot be read becomes its defect."""
    images: list[StatedImage] = []
    spacings_mm: list[float] = []
    counts: list[int] = []
    identities: list[ImageIdentity] = []
    defect = ""
    for entry in entries:
        try:
            header = read_header(entry.path)
            if header is None:
                continue
            identities.append(identity_of(header))
            images += images_of(entry.path, header)
        except SeriesError as error:
            defect = defect or str(error)
            continue
        except OSError as error:
            defect = defect or f"a file cannot be read ({type(error).__name__})"
            continue
        spacings_mm += _stated_spacing_mm(header)
        counts += _counted_by(header)
    counted, _ = counted_among(images)
    defects = [str(each.found) for each in counted if isinstance(each.found, SeriesError)]
    return Arrivals(
        last_received_s=max(entry.received_s for entry in entries),
        slices=tuple(each.found for each in counted if isinstance(each.found, SliceHeader)),
        defect=defect or next(iter(defects), ""),
        instances=count_instances(entries),
        expected=Expectation(max(counts), "their header") if counts else None,
        stated_spacing_mm=commonest(spacings_mm),
        identities=tuple(identities),
    )


def count_instances(entries: Sequence[SpoolEntry]) -> int:
    """The number of SOP instances; other bytes under one UID are one instance."""
    return len({entry.sop_instance_uid for entry in entries})


def stated_instances(path: Path) -> int | None:
    """Number of Series Related Instances in a file, or None."""
    with contextlib.suppress(SeriesError, OSError):
        header = read_header(path)
        if header is not None:
            return next(_counted_by(header), None)
    return None


def described_voxels(paths: Sequence[Path]) -> int:
    """About as many voxels as a series' files describe, by the first one that can be read.

    Where none can, as many as there are pairs of bytes; never more than compression by 32
    makes possible, whatever the header says.
    """
    size_bytes = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size_bytes += path.stat().st_size
    for path in paths:
        with contextlib.suppress(SeriesError, OSError):
            header = read_header(path)
            if header is not None:
                sizes = [number_of(header, word) or 0 for word in ("Rows", "Columns")]
                frames = max(number_of(header, "NumberOfFrames") or 1, 1)
                if all(0 < size <= MAX_SIZE for size in sizes):
                    stated = math.prod(sizes) * frames * len(paths)
                    return min(stated, MOST_VOXELS_OF_A_BYTE * size_bytes, MAX_VOXELS)
    return min(size_bytes // 2, MAX_VOXELS)


def _counted_by(header: Dataset) -> Iterator[int]:
    """Number of Series Related Instances (0020,1209), where some archives put it."""
    count = number_of(header, "NumberOfSeriesRelatedInstances")
    if count is not None and count >= 1:
        yield int(count)


def _stated_spacing_mm(header: Dataset) -> Iterator[float]:
    """Spacing Between Slices (0018,0088), whichever way it is counted."""
    value = value_of(header, "SpacingBetweenSlices")
    with contextlib.suppress(TypeError, ValueError):
        spacing_mm = abs(float(value))
        if 0 < spacing_mm < math.inf:
            yield spacing_mm


def first_titles(paths: Sequence[Path]) -> tuple[str, str]:
    """The AE titles of the first of these files that can be read.

    Raises:
        OSError: none can be read.
    """
    for path in paths:
        with contextlib.suppress(NotDicomError, SeriesError, OSError):
            return association_titles(path)
    raise OSError("not one file of the series can be read")


def association_titles(path: Path) -> tuple[str, str]:
    """Calling and called AE title of the association that a file came on."""
    meta = read_meta(path)
    return (
        str(meta.get("SendingApplicationEntityTitle", "")).strip(),
        str(meta.get("ReceivingApplicationEntityTitle", "")).strip(),
    )


def study_of(paths: Sequence[Path]) -> str:
    """The Study Instance UID of the first header that states one; empty where none does."""
    for path in paths:
        with contextlib.suppress(SeriesError, OSError):
            header = read_header(path)
            study = "" if header is None else str(value_of(header, "StudyInstanceUID") or "")
            if is_uid(study):
                return study
    return ""
