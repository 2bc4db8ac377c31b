"""Labelled cases from disk: a CT, a label map that somebody drew, and what its labels mean.

Cases come from a listing (`cases.toml`, `cases.csv`) or from a folder with one folder for
each case; docs/evaluation.md shows both. Label maps are NIfTI, MetaImage or NRRD files, or
DICOM segmentations. They must lie on the CT's own pixels; nothing is resampled.
"""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.case_files.image_files import (
    SUFFIXES,
    read_image_file,
    read_on_own_grid,
    series_layout,
)
from dicom_node.case_files.segmentation_reader import read_segmentation
from dicom_node.errors import ConfigurationError, GeometryError, NoImagesError, PixelDataError
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import group_by_series, read_series
from dicom_node.series.slice_headers import read_header
from inference.evaluation.labels import segments_of
from inference.geometry import HALF_WAY_MM, Geometry
from inference.label_table import STUDY_TABLE, LabelTable
from inference.structures import SEGMENTS, Side
from inference.volume import Volume

SEGMENTATION_SUFFIX: Final = ".dcm"
TABLE_NAMES: Final = ("labels.toml", "labels.json")
LISTING_NAMES: Final = ("cases.toml", "cases.csv")
CASE_NAME: Final = r"^[\w][\w.-]*$"
"""Names of cases become names of files."""

SLICE_TOLERANCE_MM: Final = 0.05


@dataclass(frozen=True, slots=True)
class ListedCase:
    """One case as listed: nothing of it has been read yet.

    image: a NIfTI, MetaImage or NRRD file, or a folder with a DICOM series.
    labels: a label map likewise, or a DICOM segmentation.
    table: None for a DICOM segmentation that says by codes what its segments are.
    affected: the side with the disease.
    height_m: where the images do not say it.
    made_by: the command that made the case, if a command did.
    patient: the same for cases of one patient; the case's own name where nothing is said.
    """

    name: str
    image: Path
    labels: Path
    table: LabelTable | None
    data_set: str = ""
    affected: Side | None = None
    height_m: float | None = None
    made_by: str = ""
    patient: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledCase:
    """A case that has been read: `truth` holds segment numbers 0 to 43 on the CT's grid."""

    volume: Volume
    truth: NDArray[np.uint8]
    height_m: float | None
    table_words: str


def listed_cases(source: Path, table: Path | None = None) -> tuple[ListedCase, ...]:
    """The cases of a listing or a folder.

    Args:
        source: `*.toml`, `*.csv`, or a folder.
        table: what the labels mean; else the listing's own `[labels]`, else `labels.toml` or
            `labels.json` beside a label map, else labels 1 to 22 in the study's order.

    Raises:
        ConfigurationError: the listing cannot be used; the message says where and why.
        LabelTableError: the label table cannot be used.
    """
    listing = _listing(source)
    read = _read_listing(listing)
    own = read.labels
    common = read_label_table(table) if table else None
    if common is None and own:
        common = LabelTable.read(own, f"[labels] of {listing.name}")
    cases = tuple(_listed(entry, common, listing, read.made_by) for entry in read.cases)
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{source}: more than one case is called {', '.join(twice)}")
    if not cases:
        raise ConfigurationError(f"{source}: no case there; {FOLDER_WORDS}")
    return cases


FOLDER_WORDS: Final = (
    "a case is a folder with image.nii.gz (or .mha, .nrrd; or DICOM in series/) and"
    " labels.nii.gz (or labels.dcm)"
)


class _Entry(BaseModel):
    """A case as written."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=CASE_NAME)
    image: Path
    labels: Path
    data_set: str = ""
    affected_side: Side | None = None
    height_m: float | None = Field(default=None, ge=0.5, le=2.5)
    patient: str = ""


class _ListingFile(BaseModel):
    """cases.toml as written; `made_by` is the command that made the cases."""

    model_config = ConfigDict(extra="forbid")

    made_by: str = ""
    labels: dict[str, Any] = {}
    cases: list[_Entry]


def _listing(source: Path) -> Path:
    """The listing in a folder, or the folder itself."""
    if not source.exists():
        raise ConfigurationError(f"{source} does not exist")
    if source.is_dir():
        return next((source / n for n in LISTING_NAMES if (source / n).is_file()), source)
    return source


def _read_listing(listing: Path) -> _ListingFile:
    """Cases and label table of a listing or folder."""
    if listing.is_dir():
        return _ListingFile(cases=_entries_of_folder(listing))
    try:
        text = listing.read_text(encoding="utf-8-sig")
        if listing.suffix.lower() == ".csv":
            rows = csv.DictReader(text.splitlines())
            filled = [{key: v for key, v in row.items() if v not in {"", None}} for row in rows]
            return _ListingFile.model_validate({"cases": filled})
        return _ListingFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        misfits = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
            for one in error.errors()
        )
        raise ConfigurationError(f"{listing}: {misfits}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{listing}: {error}") from error


def _entries_of_folder(folder: Path) -> list[_Entry]:
    """A case for every folder in it that holds both a CT and its labels."""
    entries = []
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        image, labels = _named(inner, "image"), _named(inner, "labels")
        if image is None and (inner / "series").is_dir():
            image = inner / "series"
        if image and labels and re.match(CASE_NAME, inner.name):
            image, labels = image.relative_to(folder), labels.relative_to(folder)
            entries.append(_Entry(name=inner.name, image=image, labels=labels))
    return entries


def _named(folder: Path, stem: str) -> Path | None:
    suffixes = (*SUFFIXES, SEGMENTATION_SUFFIX)
    return next((p for s in suffixes if (p := folder / f"{stem}{s}").is_file()), None)


def _listed(
    entry: _Entry, common: LabelTable | None, listing: Path, made_by: str
) -> ListedCase:
    start = listing if listing.is_dir() else listing.parent
    image, labels = start / entry.image, start / entry.labels
    for path in (image, labels):
        if not path.exists():
            raise ConfigurationError(f"{listing}: {entry.name}: {path} does not exist")
    return ListedCase(
        name=entry.name,
        image=image,
        labels=labels,
        table=common or _table_beside(labels),
        data_set=entry.data_set,
        affected=entry.affected_side,
        height_m=entry.height_m,
        made_by=made_by,
        patient=entry.patient or entry.name,
    )


def _table_beside(labels: Path) -> LabelTable | None:
    """The table in a label map's folder, or the study's order; None where codes say it."""
    for name in TABLE_NAMES:
        path = labels.parent / name
        if path.is_file():
            return read_label_table(path)
    return None if labels.suffix.lower() == SEGMENTATION_SUFFIX else STUDY_TABLE


def read_label_table(path: Path) -> LabelTable:
    """A label table from TOML or JSON: `5 = "GMED"`, `6 = "GMED_L"`, `101 = ""`.

    Raises:
        ConfigurationError: the file cannot be read.
        LabelTableError: an entry stands for no structure.
    """
    try:
        text = path.read_text(encoding="utf-8")
        entries = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if isinstance(entries.get("labels"), Mapping):
        entries = entries["labels"]
    return LabelTable.read(entries, path.name)


def read_case(listed: ListedCase) -> LabelledCase:
    """Read a case's CT and label map.

    Raises:
        SeriesError: the CT or the label map cannot be used.
        LabelTableError: the labels do not fit their table.
    """
    volume, height_m = _read_image(listed.image)
    geometry = volume.geometry
    table = listed.table
    labels: NDArray[Any]
    if listed.labels.suffix.lower() == SEGMENTATION_SUFFIX:
        segmentation = read_segmentation(listed.labels, geometry)
        labels, table = segmentation.labels, table or segmentation.table
    else:
        labels = read_on_grid(listed.labels, geometry)
    table = table or STUDY_TABLE
    truth = segments_of(_whole_numbers(labels), table, geometry)
    return LabelledCase(volume, truth, listed.height_m or height_m, table.words)


def _read_image(image: Path) -> tuple[Volume, float | None]:
    if image.is_file() and image.name.lower().endswith(SUFFIXES):
        return read_image_file(image).volume, None
    paths = [image] if image.is_file() else sorted(p for p in image.rglob("*") if p.is_file())
    series = {
        uid: members for uid, members in group_by_series(paths).items() if _is_ct(members[0])
    }
    if len(series) != 1:
        listed = ", ".join(series) or "none"
        raise NoImagesError(f"one CT series is expected, {len(series)} are there: {listed}")
    (members,) = series.values()
    read = read_series(members)
    return read.volume, read.patient.height_m


def _is_ct(path: Path) -> bool:
    header = read_header(path)
    return header is not None and str(header.get("Modality", "")) == "CT"


def write_segments(path: Path, series: CtSeries, segments: NDArray[np.uint8]) -> None:
    """Write segment numbers as a label map of a series, with the table beside it.

    Args:
        path: of the label map, `labels.nii.gz`; what is read again by `listed_cases`.
        series: on whose grid `segments` lies.
        segments: 0 to 43 `[slice, row, column]`.
    """
    series_layout(series).write(path, segments)
    table = {str(one.number): one.key for one in SEGMENTS}
    (path.parent / "labels.json").write_text(json.dumps(table, indent=1), encoding="utf-8")


def read_on_grid(path: Path, geometry: Geometry) -> NDArray[Any]:
    """Voxels of an image file on the grid of a CT, in the patient frame.

    Axes may be stored in any order and direction. Pixels must be the CT's; where the CT's
    slices are unevenly spaced, each takes the nearest slice of the file.

    Raises:
        SeriesError: the file cannot be read, does not say where it lies, or lies beside the CT.
    """
    values, own = read_on_own_grid(path)
    same = np.allclose(own.spacing_mm, geometry.spacing_mm, rtol=1e-3)
    if own.shape[1:] != geometry.shape[1:] or not same:
        raise GeometryError(
            f"{path.name} is {own.rows} x {own.columns} pixels of {own.spacing_mm[0]:.4g} x"
            f" {own.spacing_mm[1]:.4g} mm, the CT {geometry.rows} x {geometry.columns} of"
            f" {geometry.spacing_mm[0]:.4g} x {geometry.spacing_mm[1]:.4g} mm"
        )
    above = own.positions_mm @ geometry.normal - geometry.slice_offsets_mm[:, None]
    apart = np.abs(above)
    # Half-way between two of the file's slices the lower one: that is how they are written.
    nearest = (apart + HALF_WAY_MM * (above > 0)).argmin(axis=1)
    _check_slices(path, own, nearest, apart.min(axis=1), geometry)
    on_slices: NDArray[Any] = values[nearest]
    return on_slices


def _check_slices(
    path: Path,
    own: Geometry,
    nearest: NDArray[np.intp],
    apart_mm: NDArray[np.float64],
    geometry: Geometry,
) -> None:
    """Each slice of the CT must find one of the file that overlaps it, at all four corners."""
    allowed_mm = np.minimum(geometry.extents_mm, own.extents_mm[0]) / 2 + SLICE_TOLERANCE_MM
    if (apart_mm > allowed_mm).any():
        worst = int((apart_mm - allowed_mm).argmax())
        raise GeometryError(
            f"{path.name} has no slice for slice {worst + 1} of the CT: the nearest lies"
            f" {apart_mm[worst]:.2f} mm away"
        )
    off_mm = 0.0
    for row in (0, geometry.rows - 1):
        for column in (0, geometry.columns - 1):
            corner = np.array([[k, row, column] for k in range(len(nearest))], dtype=float)
            found = np.column_stack([nearest, corner[:, 1:]])
            beside = own.to_patient_mm(found) - geometry.to_patient_mm(corner)
            beside -= (beside @ geometry.normal)[:, None] * geometry.normal
            off_mm = max(off_mm, float(np.linalg.norm(beside, axis=1).max()))
    if off_mm > min(geometry.spacing_mm) / 2:
        raise GeometryError(f"{path.name} lies {off_mm:.1f} mm beside the CT")


def _whole_numbers(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers; floating ones only where they are whole."""
    if np.issubdtype(labels.dtype, np.integer):
        return np.asarray(labels)
    whole: NDArray[Any] = np.rint(labels).astype(np.int32)
    if not np.array_equal(whole, labels):
        raise PixelDataError("the label map holds values that are no whole numbers")
    return whole
