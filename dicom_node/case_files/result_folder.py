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
from functools import partial
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
from dicom_node.case_files.dicom_folders import series_of
from dicom_node.case_files.image_files import (
    Layout,
    is_image_file,
    read_image_file,
    series_layout,
)
from dicom_node.case_files.report_json import Input, NiftiGrid, calibrated_on, report_json
from dicom_node.case_files.result_names import (
    DENSITY_FILE,
    LABEL_NAMES_FILE,
    LABELS_FILE,
    OBJECT_FILES,
    PICTURE_FILE,
    REPORT_FILE,
    UNCERTAINTY_FILE,
    clear_results,
)
from dicom_node.case_files.source_json import (
    SOURCE_FILE,
    CaseSource,
    open_patient_key,
    source_json,
)
from dicom_node.durable_files import write_durably
from dicom_node.errors import SeriesError
from dicom_node.results.builders import publish_case
from dicom_node.results.case_facts import PublishContext
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from dicom_node.series.scan_facts import (
    ScanFacts,
    facts_of_refused,
    facts_of_series,
    patient_of,
)
from dicom_node.series.study_header import read_studies
from dicom_node.series.subject import subject_of
from dicom_node.uids import device_observer_uid, seed_for, settings_digest
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
    run = _Run(Analysis(bundle, samples, grader), device, height_m, progress)
    if is_image_file(source):
        return (run.image_file(source, out),)
    groups = series_of(source)
    if len(groups) == 1:
        return (run.dicom(source, groups[0].paths, out),)
    return tuple(run.dicom(source, one.paths, out / one.folder_name) for one in groups)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan that can be analysed: what the report says of it, and how results are stored.

    facts: what names the scan's content, for the seed.
    source: what source.json says of it, but for the analysis.
    subject: the names that a table of grades may call it.
    series: of DICOM input; None of an image file.
    """

    volume: Volume
    layout: Layout
    patient: Patient
    described: Input
    facts: tuple[str, ...]
    source: CaseSource
    subject: Subject
    series: CtSeries | None = None


def read_image_scan(path: Path, height_m: float | None = None, name: str = "") -> Scan:
    """A scan from an image file, of a patient of that height.

    name: that a table of grades may call it; without one that of the file.

    Raises:
        SeriesError: it cannot be analysed.
    """
    image = read_image_file(path)
    patient = Patient(height_m)
    return Scan(
        image.volume,
        image.layout,
        patient,
        described_image(image.volume, patient, image.notes),
        (hashlib.sha256(image.volume.hu.tobytes()).hexdigest(),),
        CaseSource(scan=ScanFacts(height_m=height_m)),
        Subject(case=name or path.name),
    )


def read_dicom_scan(
    paths: Sequence[Path], height_m: float | None = None, name: str = ""
) -> Scan:
    """A scan from the files of one DICOM series; the height counts where they have none.

    name: that a table of grades may call it.

    Raises:
        SeriesError: it cannot be analysed.
    """
    series = read_series(paths)
    patient = series.patient if series.patient.height_m else Patient(height_m)
    return Scan(
        series.volume,
        series_layout(series),
        patient,
        described_series(series, patient),
        tuple(one.sop_instance_uid for one in series.slices),
        _source_of(series, patient),
        subject_of(series, name),
        series,
    )


@dataclass(frozen=True, slots=True)
class Analysis:
    """What every scan is analysed with: a bundle, the samples asked for, a grader of hips."""

    bundle: Bundle
    samples: int | None = None
    grader: Grader | None = None

    @property
    def settings_hash(self) -> str:
        """As a node with these settings that reports what a scan shows of hip to knee."""
        grader = self.grader.identity.sha256 if self.grader else ""
        return settings_digest(self.bundle.sha256, self.samples, "report", grader)

    @property
    def model_settings(self) -> str:
        """Likewise, but for the grader: what segments and uncertainties depend on."""
        return settings_digest(self.bundle.sha256, self.samples, "report")

    def seed(self, scan: Scan) -> int:
        """The Monte Carlo seed of a scan."""
        return seed_for(scan.facts, self.bundle.weights_sha256, self.model_settings)

    def graded(self, case: CaseResult, scan: Scan) -> CaseResult:
        """A case with the grades of the grader, where there is one."""
        if self.grader is None:
            return case
        return with_grades(case, scan.volume, self.grader, scan.subject)

    def source(self, source: CaseSource) -> bytes:
        """source.json, with what is known of the analysis."""
        now = datetime.now(UTC)
        return source_json(replace(source, settings=self.model_settings, analysed_at=now))


@dataclass(frozen=True, slots=True)
class _Run:
    """One call of the command: what every scan is analysed with, and where."""

    analysis: Analysis
    device: str
    height_m: float | None
    progress: Progress | None

    def image_file(self, path: Path, out: Path) -> FolderResult:
        """One image file into a folder."""
        return self._scan(partial(read_image_scan, path, self.height_m), (), out)

    def dicom(self, source: Path, paths: Sequence[Path], out: Path) -> FolderResult:
        """One DICOM series of what was given into a folder."""
        read = partial(read_dicom_scan, paths, self.height_m, source.name)
        return self._scan(read, paths, out)

    def _scan(self, read: Callable[[], Scan], dicom: Sequence[Path], out: Path) -> FolderResult:
        clear_results(out)
        try:
            scan = read()
        except SeriesError as error:
            return write_refusal(out, error.code, str(error), self.analysis, dicom)
        case = analyse(
            scan.volume,
            self.analysis.bundle,
            patient=scan.patient,
            samples=self.analysis.samples,
            seed=self.analysis.seed(scan),
            device=self.device,
            progress=self.progress,
        )
        return write_results(scan, self.analysis.graded(case, scan), self.analysis, out)


def write_results(scan: Scan, case: CaseResult, analysis: Analysis, out: Path) -> FolderResult:
    """All files of an analysed scan; the report comes last."""
    if scan.series is not None:
        _write_objects(scan.series, case, analysis.settings_hash, out)
    out.mkdir(parents=True, exist_ok=True)
    scan.layout.write(out / LABELS_FILE, case.segments)
    if case.uncertainty is not None:
        scan.layout.write(out / UNCERTAINTY_FILE, case.uncertainty)
    write_durably(out / LABEL_NAMES_FILE, _json(label_names()))
    write_durably(out / PICTURE_FILE, _png(qc_picture(scan.volume, case)))
    write_durably(out / DENSITY_FILE, _png(density_picture(scan.volume, case)))
    write_durably(out / SOURCE_FILE, analysis.source(scan.source))
    report = case_report(
        case,
        scan.described,
        calibrated_on(analysis.bundle.calibration),
        nifti_grid=_nifti_grid(scan.layout),
    )
    write_durably(out / REPORT_FILE, report_json(report))
    told = tuple(filter(None, (case_words(case), grade_words(case))))
    return FolderResult(out, case.verdict.value, refused=False, words=told)


def write_refusal(
    out: Path, code: str, words: str, analysis: Analysis, dicom: Sequence[Path]
) -> FolderResult:
    """A report and a picture that say why nothing was analysed.

    dicom: the files of the series that was refused; none of an image file.
    """
    source = _source_of_refused(dicom, code) if dicom else CaseSource()
    write_durably(out / PICTURE_FILE, _png(refusal_picture(words)))
    write_durably(out / SOURCE_FILE, analysis.source(source))
    write_durably(out / REPORT_FILE, report_json(refusal_report(code, words)))
    return FolderResult(out, f"refused ({code})", refused=True, words=(words,))


def _write_objects(series: CtSeries, case: CaseResult, settings_hash: str, out: Path) -> None:
    """SEG.dcm and SR.dcm."""
    context = PublishContext(
        settings_hash=settings_hash,
        created=datetime.now(UTC),
        device_observer_uid=device_observer_uid(INSTALLATION, TOOL.version),
        software_version=TOOL.version,
    )
    for result in publish_case(series, case, context, OBJECT_FILES):
        encoded = io.BytesIO()
        result.dataset.save_as(encoded, enforce_file_format=True)
        write_durably(out / OBJECT_FILES[result.kind], encoded.getvalue())


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


def _source_of_refused(paths: Sequence[Path], code: str) -> CaseSource:
    """Where a refused series comes from, as far as its images agree on it."""
    scan, number = facts_of_refused(read_studies(paths), code)
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
