"""`msk-node segment INPUT --out DIR`: one scan from disk into a folder of results.

```
labels.nii.gz       uint8, 1 to 43, on the input's grid      labels.json   what they mean
uncertainty.nii.gz  float32, on the same grid                report.json   all figures
                                                             source.json   whose, when, by what
SEG.dcm SR.dcm      for DICOM input                          qc.png        for the eye
                                                             density.png   fat and lean muscle
```
A scan that cannot be analysed leaves report.json and qc.png, which say why, and source.json.
A folder that holds several CT series gives every series a folder of its own, named by its
Series Instance UID; series without original CT images (localisers, reports) are passed over.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from PIL import Image

from dicom_node.case_files.case_report import (
    TOOL,
    case_report,
    described_image,
    described_series,
    refusal_report,
)
from dicom_node.case_files.image_files import (
    Layout,
    is_image_file,
    read_image_file,
    series_layout,
)
from dicom_node.case_files.report_json import Input, NiftiGrid, calibrated_on, report_json
from dicom_node.case_files.source_json import (
    SOURCE_FILE,
    CaseSource,
    open_patient_key,
    source_json,
)
from dicom_node.durable_files import PART, write_durably
from dicom_node.errors import NoImagesError, SeriesError
from dicom_node.results.builders import publish_case
from dicom_node.results.case_facts import PublishContext
from dicom_node.results.kinds import ResultKind
from dicom_node.series.bounded_files import NOT_DICOM, why_not_dicom
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import group_by_series, read_series
from dicom_node.series.scan_facts import (
    ScanFacts,
    facts_of_refused,
    facts_of_series,
    patient_of,
)
from dicom_node.series.selection import exclusion_of
from dicom_node.series.slice_headers import kinds, lacks_sop_class, read_header
from dicom_node.series.study_header import read_studies
from dicom_node.series.subject import subject_of
from dicom_node.uids import device_observer_uid, is_uid, seed_for, settings_digest
from inference.grading.grades import with_grades
from inference.grading.subject import Grader, Subject
from inference.models.bundle import Bundle
from inference.pictures.canvas import Picture
from inference.pictures.density import density_picture
from inference.pictures.quality_page import qc_picture, refusal_picture
from inference.pipeline import analyse
from inference.results import CaseResult
from inference.structures import SEGMENTS
from inference.volume import Patient, Volume
from sr_templates.words import case_words, grade_words

LABELS_FILE: Final = "labels.nii.gz"
LABEL_NAMES_FILE: Final = "labels.json"
UNCERTAINTY_FILE: Final = "uncertainty.nii.gz"
REPORT_FILE: Final = "report.json"
PICTURE_FILE: Final = "qc.png"
DENSITY_FILE: Final = "density.png"
OBJECT_FILES: Final = {ResultKind.SEG: "SEG.dcm", ResultKind.SR: "SR.dcm"}
ALL_FILES: Final = (
    LABELS_FILE,
    LABEL_NAMES_FILE,
    UNCERTAINTY_FILE,
    REPORT_FILE,
    SOURCE_FILE,
    PICTURE_FILE,
    DENSITY_FILE,
    *OBJECT_FILES.values(),
)

INSTALLATION: Final = "msk-node segment"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FolderResult:
    """The result for one scan.

    verdict: the case's verdict, or `refused (code)`.
    words: what a person needs to know, a line each.
    """

    folder: Path
    verdict: str
    refused: bool
    words: tuple[str, ...]


def segment_to_folder(  # noqa: PLR0913 - the command's options
    source: Path,
    out: Path,
    *,
    bundle: Bundle,
    device: str = "auto",
    samples: int | None = None,
    height_m: float | None = None,
    grader: Grader | None = None,
    progress: Progress | None = None,
) -> tuple[FolderResult, ...]:
    """Segment a folder of DICOM, a DICOM file, or an image file, into `out`.

    Args:
        source: the input.
        out: made where missing; files of an earlier run in it are replaced.
        bundle: the model.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        samples: Monte Carlo samples; the bundle's number without it.
        height_m: the patient's height, where the input does not say it.
        grader: of the disease status of each side; without it, nothing is graded.
        progress: called with (slices done, slices in all), anew for every series.

    Returns:
        One result for each scan found.

    Raises:
        NoImagesError: there is nothing like a CT at `source`.
        InferenceError: the device cannot be used.
    """
    run = _Run(bundle, device, samples, height_m, progress, grader)
    if is_image_file(source):
        return (run.image_file(source, out),)
    groups = _series_of(source)
    if len(groups) == 1:
        return (run.dicom(source, groups[0].paths, out),)
    return tuple(run.dicom(source, one.paths, out / one.folder_name) for one in groups)


@dataclass(frozen=True, slots=True)
class _Series:
    series_instance_uid: str
    paths: tuple[Path, ...]

    @property
    def folder_name(self) -> str:
        """Where its results go; what stands where a UID must may be a path, or a name."""
        uid = self.series_instance_uid
        if is_uid(uid):
            return uid
        return f"unidentified-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"


def _series_of(source: Path) -> list[_Series]:
    """The CT series among the files; the only series there is, whatever it is.

    A file that may be an image but cannot be read as one goes with every series, so that
    each report names it.
    """
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    paths = [source] if source.is_file() else paths
    groups = _groups(paths)
    grouped = {path for group in groups for path in group.paths}
    others = {path: why_not_dicom(path) for path in paths if path not in grouped}
    unread = tuple(path for path, why in others.items() if why != NOT_DICOM)
    if not groups:
        named = "".join(f"; {why}" for why in sorted(set(others.values()) - {NOT_DICOM}))
        raise NoImagesError(f"{source}: no DICOM, NIfTI or MetaImage there{named}")
    with_ct = [group for group in groups if _has_ct(group.paths)]
    if not with_ct and len(groups) > 1:
        raise NoImagesError(f"{source}: {len(groups)} series, none with original axial CT")
    return [replace(group, paths=group.paths + unread) for group in with_ct or groups]


def _groups(paths: Sequence[Path]) -> list[_Series]:
    """The series among the files; one that is alone has the CT images that name none too."""
    groups = [_Series(*group) for group in sorted(group_by_series(paths).items())]
    named = [group for group in groups if is_uid(group.series_instance_uid)]
    nameless = [group for group in groups if group not in named and _has_ct(group.paths)]
    if len(named) != 1 or not nameless:
        return groups
    strays = tuple(path for group in nameless for path in group.paths if _has_ct([path]))
    others = [group for group in groups if group not in (*named, *nameless)]
    return [replace(named[0], paths=named[0].paths + strays), *others]


def _has_ct(paths: Sequence[Path]) -> bool:
    """True if an image is an axial CT image, lacks only its SOP class, or is damaged."""
    try:
        headers = [header for path in paths if (header := read_header(path)) is not None]
        return any(
            exclusion_of(kind) is None or lacks_sop_class(kind)
            for header in headers
            for kind in kinds(header)
        )
    except SeriesError:
        return True  # its own report says what is wrong


@dataclass(frozen=True, slots=True)
class _Scan:
    """A scan that can be analysed: what the report says of it, and how results are stored.

    facts: what names the scan's content, for the seed.
    source: what source.json says of it, but for the analysis.
    subject: the names that a table of grades may call it.
    """

    volume: Volume
    layout: Layout
    patient: Patient
    described: Input
    facts: tuple[str, ...]
    source: CaseSource
    subject: Subject


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of the command: what every scan is analysed with."""

    bundle: Bundle
    device: str
    samples: int | None
    height_m: float | None
    progress: Progress | None
    grader: Grader | None = None

    def image_file(self, path: Path, out: Path) -> FolderResult:
        """One image file into a folder."""
        _clear(out)
        try:
            image = read_image_file(path)
        except SeriesError as error:
            return self._refuse(out, error, CaseSource())
        patient = Patient(self.height_m)
        described = described_image(image.volume, patient, image.notes)
        facts = (hashlib.sha256(image.volume.hu.tobytes()).hexdigest(),)
        source = CaseSource(scan=ScanFacts(height_m=self.height_m))
        subject = Subject(case=path.name)
        scan = _Scan(image.volume, image.layout, patient, described, facts, source, subject)
        return self._finish(scan, self._case(scan), out)

    def dicom(self, source: Path, paths: Sequence[Path], out: Path) -> FolderResult:
        """One DICOM series of what was given into a folder."""
        _clear(out)
        try:
            series = read_series(paths)
        except SeriesError as error:
            return self._refuse(out, error, _source_of_refused(paths, error))
        patient = series.patient if series.patient.height_m else Patient(self.height_m)
        scan = _Scan(
            series.volume,
            series_layout(series),
            patient,
            described_series(series, patient),
            tuple(one.sop_instance_uid for one in series.slices),
            _source_of(series, patient),
            subject_of(series, source.name),
        )
        case = self._case(scan)
        self._write_objects(series, case, out)
        return self._finish(scan, case, out)

    def _case(self, scan: _Scan) -> CaseResult:
        case = analyse(
            scan.volume,
            self.bundle,
            patient=scan.patient,
            samples=self.samples,
            seed=seed_for(scan.facts, self.bundle.weights_sha256, self._settings_hash),
            device=self.device,
            progress=self.progress,
        )
        if self.grader is None:
            return case
        return with_grades(case, scan.volume, self.grader, scan.subject)

    @property
    def _settings_hash(self) -> str:
        """As a node with these settings that reports what a scan shows of hip to knee."""
        grader = self.grader.identity.sha256 if self.grader else ""
        return settings_digest(self.bundle.sha256, self.samples, "report", grader)

    def _write_objects(self, series: CtSeries, case: CaseResult, out: Path) -> None:
        """SEG.dcm and SR.dcm."""
        context = PublishContext(
            settings_hash=self._settings_hash,
            created=datetime.now(UTC),
            device_observer_uid=device_observer_uid(INSTALLATION, TOOL.version),
            software_version=TOOL.version,
        )
        for result in publish_case(series, case, context, OBJECT_FILES):
            encoded = io.BytesIO()
            result.dataset.save_as(encoded, enforce_file_format=True)
            write_durably(out / OBJECT_FILES[result.kind], encoded.getvalue())

    def _finish(self, scan: _Scan, case: CaseResult, out: Path) -> FolderResult:
        """Everything that does not depend on the kind of input; the report comes last."""
        out.mkdir(parents=True, exist_ok=True)
        scan.layout.write(out / LABELS_FILE, case.segments)
        if case.uncertainty is not None:
            scan.layout.write(out / UNCERTAINTY_FILE, case.uncertainty)
        write_durably(out / LABEL_NAMES_FILE, _json(label_names()))
        write_durably(out / PICTURE_FILE, _png(qc_picture(scan.volume, case)))
        write_durably(out / DENSITY_FILE, _png(density_picture(scan.volume, case)))
        words = case_words(case)
        write_durably(out / SOURCE_FILE, self._source(scan.source))
        report = case_report(
            case,
            scan.described,
            calibrated_on(self.bundle.calibration),
            nifti_grid=_nifti_grid(scan.layout),
        )
        write_durably(out / REPORT_FILE, report_json(report))
        told = tuple(filter(None, (words, grade_words(case))))
        return FolderResult(out, case.verdict.value, refused=False, words=told)

    def _refuse(self, out: Path, error: SeriesError, source: CaseSource) -> FolderResult:
        """A report and a picture that say why nothing was analysed."""
        words = str(error)
        write_durably(out / PICTURE_FILE, _png(refusal_picture(words)))
        write_durably(out / SOURCE_FILE, self._source(source))
        write_durably(out / REPORT_FILE, report_json(refusal_report(error.code, words)))
        return FolderResult(out, f"refused ({error.code})", refused=True, words=(words,))

    def _source(self, source: CaseSource) -> bytes:
        """source.json, with what is known of the analysis."""
        now = datetime.now(UTC)
        return source_json(replace(source, settings=self._settings_hash, analysed_at=now))


def _clear(out: Path) -> None:
    """Remove the results of an earlier run, so that none of them can be taken for new."""
    for name in ALL_FILES:
        for path in (out / name, *out.glob(f"{PART}*-{name}")):
            path.unlink(missing_ok=True)


def label_names() -> dict[str, dict[str, str | None]]:
    """The meanings of the numbers in labels.nii.gz."""
    return {
        str(segment.number): {
            "structure": segment.structure.abbreviation,
            "side": segment.side.value if segment.side else None,
        }
        for segment in SEGMENTS
    }


def _source_of(series: CtSeries, patient: Patient) -> CaseSource:
    """Where a series comes from; its other objects in the folder name the patient too."""
    number = patient_of(series.header)
    return CaseSource(
        patient_key=open_patient_key(number),
        patient_id=number.patient_id,
        scan=replace(facts_of_series(series), height_m=patient.height_m),
    )


def _source_of_refused(paths: Sequence[Path], error: SeriesError) -> CaseSource:
    """Where a refused series comes from, as far as its images agree on it."""
    scan, number = facts_of_refused(read_studies(paths), error.code)
    return CaseSource(
        patient_key=open_patient_key(number), patient_id=number.patient_id, scan=scan
    )


def _nifti_grid(layout: Layout) -> NiftiGrid:
    if layout.shown is None:
        return NiftiGrid(same_as_input=True, words="the input's own grid", shown_slices=None)
    words = (
        "The input's slices are unevenly spaced, which NIfTI cannot hold: labels and"
        f" uncertainty are repeated, unchanged, on slices {layout.spacing_mm[2]:g} mm apart"
        " from the nearest input slice. All figures were measured on the input's slices."
    )
    return NiftiGrid(
        same_as_input=False,
        words=words,
        shown_slices=tuple(int(number) for number in layout.shown),
    )


def _png(picture: Picture) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, format="PNG")
    return encoded.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
