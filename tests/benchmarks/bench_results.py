"""What writing result objects costs: `python tests/benchmarks/bench_results.py [--help]`.

The case is the phantom's label map, stretched to a long scan; each object is built and
saved in a process of its own, so that its peak of memory is its own. highdicom's
segmentation of the same labels runs beside. The targets, for 500 slices of 512 x 512 with
43 segments: a BINARY segmentation in 3 s and 1 GB over what the case takes, a report in
2 s. Linux only: the kernel counts the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

from dicom_node.results.headers import Equipment, Identity, ObjectHeader, add_common_modules
from dicom_node.results.kinds import GROUP_OF, ResultKind
from dicom_node.results.seg.segmentation import (
    Encoding,
    SegmentationUids,
    build_segmentation,
    segment_numbers,
)
from dicom_node.series.ct_series import InstanceReference, SourceGrid, SourcePlane
from dicom_node.series.study_header import readable_header
from dicom_node.uids import derived_uid, tracking_uid
from inference.geometry import Geometry, Orientation
from inference.phantom.render import phantom
from inference.results import (
    CaseResult,
    Composition,
    Coverage,
    Measurement,
    Metal,
    ModelIdentity,
    Region,
    Spread,
    StructureResult,
    Verdict,
)
from inference.structures import SEGMENTS
from sr_templates.context import (
    InstanceInSeries,
    Observer,
    ReportContext,
    SegmentReferences,
)
from sr_templates.measurement_report import build_report

SLICE_MM: Final = 1.25
SPACING_MM: Final = 0.8
SERIES_UID: Final = derived_uid("benchmark", "series")
TRACKING_UIDS: Final = {s.number: tracking_uid(SERIES_UID, s.key) for s in SEGMENTS}


def main() -> None:
    """Measure each object and print a table; or, as the child, one of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--only", nargs="+", choices=OBJECTS, default=list(OBJECTS))
    parser.add_argument("--skip-highdicom", action="store_true")
    parser.add_argument("--measure", choices=OBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measured(asked.measure, asked.folder)))  # noqa: T201 - to the parent
        return
    names = [n for n in asked.only if not (asked.skip_highdicom and "highdicom" in n)]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "labels.npy", stretched_labels(asked.slices))
        rows = [(name, in_child(name, Path(folder))) for name in names]
    print(table(rows, asked.slices))  # noqa: T201 - its purpose


def stretched_labels(slices: int) -> np.ndarray:
    """The phantom's segments from hip to knee, repeated to as many slices."""
    labels = phantom().segments
    return labels[np.linspace(0, len(labels) - 1, slices).round().astype(int)]


def in_child(name: str, folder: Path) -> dict[str, float]:
    """Measure one object in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", name, "--folder", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def table(rows: list[tuple[str, dict[str, float]]], slices: int) -> str:
    """The measurements as the table of docs/benchmarks.md."""
    lines = [
        f"| {slices} slices | frames | MB | wall s | core s | peak MB over case |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {m['frames'] or '-'} | {m['bytes'] / 1e6:.1f} | {m['wall_s']:.2f} "
        f"| {m['core_s']:.2f} | {m['peak_bytes'] / 1e6:.0f} |"
        for name, m in rows
    ]
    return "\n".join(lines)


def measured(name: str, folder: Path) -> dict[str, float]:
    """Build and save the objects of a name; frames, bytes, seconds, and memory."""
    case = realistic_case(np.load(folder / "labels.npy"))
    build = OBJECTS[name](case)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts here
    before = memory("VmRSS")
    start, busy = time.perf_counter(), time.process_time()
    datasets = build()
    size = sum(saved(one, folder / f"{name} {n}.dcm") for n, one in enumerate(datasets))
    return {
        "wall_s": time.perf_counter() - start,
        "core_s": time.process_time() - busy,
        "peak_bytes": memory("VmHWM") - before,
        "bytes": size,
        "frames": sum(int(one.get("NumberOfFrames", 0)) for one in datasets),
    }


def memory(field: str) -> int:
    """A line of this process's status, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def saved(dataset: Dataset, path: Path) -> int:
    """Write an object down to the disk, and its size."""
    with path.open("wb") as file:
        dataset.save_as(file, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    size = path.stat().st_size
    path.unlink()
    return size


def realistic_case(labels: np.ndarray) -> CaseResult:
    """A case in which everything was found and everything has its numbers."""
    geometry = Geometry.regular(labels.shape, (SLICE_MM, SPACING_MM, SPACING_MM))
    one = Measurement(
        segment=SEGMENTS[0],
        voxel_count=1000,
        volume_cm3=100.0,
        volume_spread_cm3=Spread(98.0, 103.0),
        normalised_volume_cm3_per_m2=40.0,
        mean_hu=45.0,
        mean_hu_spread=Spread(44.0, 46.0),
        composition=Composition(lean=0.75, mixed=0.2, fat=0.05),
        uncertainty=3e-4,
        pairwise_dice=0.9,
        volume_cv=0.01,
    )
    return CaseResult(
        geometry=geometry,
        segments=labels,
        uncertainty=np.broadcast_to(np.float32(0), labels.shape),
        structures=tuple(
            StructureResult(
                replace(one, segment=segment),
                Verdict.ACCEPTED,
                uncertainty_limits=(5e-4, 8e-4),
            )
            for segment in SEGMENTS
        ),
        verdict=Verdict.ACCEPTED,
        findings=(),
        coverage=Coverage(Region.HIP_TO_KNEE),
        metal=Metal(),
        model=ModelIdentity("compact", "1.0", "5f" * 32, 10, 20_211, "cpu"),
    )


def segmentation(encoding: Encoding, *kinds: ResultKind) -> Build:
    """The segmentations of a form."""

    def prepared(case: CaseResult) -> Callable[[], list[Dataset]]:
        grid, uids = source_grid(case), SegmentationUids(TRACKING_UIDS, derived_uid("org"))
        heads = {kind: object_header(kind) for kind in kinds}
        return lambda: [
            build_segmentation(
                case, grid, uids, head, encoding=encoding, group=GROUP_OF.get(kind)
            )
            for kind, head in heads.items()
        ]

    return prepared


def report(case: CaseResult) -> Callable[[], list[Dataset]]:
    """The TID 1411 report."""
    head = object_header(ResultKind.SR)
    study = str(head.header.StudyInstanceUID)
    where = InstanceInSeries(
        "1.2.840.10008.5.1.4.1.1.66.4", derived_uid("seg"), derived_uid("s")
    )
    context = ReportContext(
        study_instance_uid=study,
        sources=tuple(
            InstanceInSeries(
                p.reference.sop_class_uid, p.reference.sop_instance_uid, SERIES_UID
            )
            for p in source_grid(case).planes
        ),
        segments=SegmentReferences.into({where: segment_numbers(case)}),
        tracking_uids=TRACKING_UIDS,
        observer=Observer(derived_uid("observer"), "NODE", "maker", "model"),
    )

    def build() -> list[Dataset]:
        dataset = build_report(case, context)
        add_common_modules(dataset, head)
        return [dataset]

    return build


def by_highdicom(encoding: Encoding) -> Build:
    """The same segmentation as highdicom makes it from the label map."""

    def prepared(case: CaseResult) -> Callable[[], list[Dataset]]:
        sources = [source_image(case, index) for index in range(len(case.segments))]
        algorithm = hd.AlgorithmIdentificationSequence(
            "model", hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"), "1.0"
        )
        structure = hd.sr.CodedConcept("91723000", "SCT", "Anatomical Structure")
        segments = [
            hd.seg.SegmentDescription(
                s.number, s.title, structure, structure, "AUTOMATIC", algorithm,
                tracking_uid=TRACKING_UIDS[s.number], tracking_id=s.title,
                display_color=hd.color.CIELabColor.from_rgb(*s.structure.colour_rgb),
            )
            for s in SEGMENTS
        ]  # fmt: skip
        syntax = RLELossless if encoding is Encoding.LABELMAP else ExplicitVRLittleEndian
        return lambda: [
            hd.seg.Segmentation(
                source_images=sources,
                pixel_array=case.segments,
                segmentation_type=encoding.value,
                segment_descriptions=segments,
                series_instance_uid=hd.UID(),
                series_number=1,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="maker",
                manufacturer_model_name="model",
                software_versions="1",
                device_serial_number="1",
                transfer_syntax_uid=syntax,
            )
        ]

    return prepared


Build = Callable[[CaseResult], Callable[[], list[Dataset]]]

OBJECTS: Final[dict[str, Build]] = {
    "SEG BINARY": segmentation(Encoding.BINARY, ResultKind.SEG),
    "SEG LABELMAP, RLE": segmentation(Encoding.LABELMAP, ResultKind.SEG_LABELMAP),
    "SEG of three groups": segmentation(Encoding.BINARY, *GROUP_OF),
    "SR": report,
    "SEG BINARY by highdicom": by_highdicom(Encoding.BINARY),
    "SEG LABELMAP, RLE by highdicom": by_highdicom(Encoding.LABELMAP),
}


def object_header(kind: ResultKind) -> ObjectHeader:
    """Of a made-up study."""
    return ObjectHeader(
        header=readable_header(source_header()),
        identity=Identity(kind, derived_uid(kind.value), derived_uid("series"), 1),
        maker=Equipment(datetime.now(UTC), derived_uid("device"), ("0.1.0", "compact 1.0")),
    )


def source_header() -> Dataset:
    """What every image of the source series says."""
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID = derived_uid("benchmark", "study")
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.FrameOfReferenceUID = derived_uid("benchmark", "space")
    dataset.Modality = "CT"
    dataset.SeriesNumber = 3
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(dataset, keyword, "")
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(dataset, keyword, "")
    dataset.PositionReferenceIndicator = ""
    return dataset


def source_image(case: CaseResult, index: int) -> Dataset:
    """A source image without its pixels, as highdicom wants to see it."""
    plane = source_plane(index)
    dataset = source_header()
    dataset.SOPInstanceUID = plane.reference.sop_instance_uid
    dataset.Rows, dataset.Columns = case.segments.shape[1:]
    dataset.ImagePositionPatient = list(plane.position)
    dataset.ImageOrientationPatient = list(plane.orientation)
    dataset.PixelSpacing = list(plane.pixel_spacing)
    dataset.SliceThickness = plane.thickness
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def source_grid(case: CaseResult) -> SourceGrid:
    """The grid of an axial series, head first and supine."""
    return SourceGrid(tuple(map(source_plane, range(len(case.segments)))), Orientation())


def source_plane(index: int) -> SourcePlane:
    """The plane of one slice."""
    return SourcePlane(
        reference=InstanceReference(CTImageStorage, derived_uid("benchmark", str(index))),
        frame_number=None,
        position=("-204.8", "-204.8", str(SLICE_MM * index)),
        orientation=("1", "0", "0", "0", "1", "0"),
        pixel_spacing=(str(SPACING_MM), str(SPACING_MM)),
        thickness=str(SLICE_MM),
    )


if __name__ == "__main__":
    main()
