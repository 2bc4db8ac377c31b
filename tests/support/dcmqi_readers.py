"""Objects as dcmqi reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - as its own manual has it
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.structures import SEGMENTS

PROGRAMS = Path(sys.executable).parent
BY_TITLE = {segment.title: segment for segment in SEGMENTS}


def read_segments(segmentation: Path, geometry: Geometry, folder: Path) -> NDArray[np.uint8]:
    """A segmentation's voxels on the grid of the volume, as numbers of `SEGMENTS`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [PROGRAMS / "segimage2itkimage", "--inputDICOM", segmentation, "--outputDirectory",
         folder, "--outputType", "nrrd", "--prefix", "read", "--mergeSegments"],
        check=True, capture_output=True,
    )  # fmt: skip
    (path,) = folder.glob("read*.nrrd")
    numbers = sitk.GetArrayFromImage(on_grid(sitk.ReadImage(str(path)), geometry))
    return _segment_numbers(segmentation)[numbers]


def read_volumes_cm3(report: Path, folder: Path) -> dict[str, float]:
    """The volumes of a report, by the key of the segment that their group names."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / "report.json"
    subprocess.run(
        [PROGRAMS / "tid1500reader", "--inputDICOM", report, "--outputMetadata", answer],
        check=True, capture_output=True,
    )  # fmt: skip
    return {
        BY_TITLE[group["TrackingIdentifier"]].key: float(item["value"])
        for group in json.loads(answer.read_text())["Measurements"]
        for item in group["measurementItems"]
        if item["quantity"]["CodeMeaning"] == "Volume"
    }


def _segment_numbers(segmentation: Path) -> NDArray[np.uint8]:
    """The number of `SEGMENTS` by the object's own; 0 for its background."""
    items = pydicom.dcmread(segmentation, stop_before_pixels=True).SegmentSequence
    table = np.zeros(max(item.SegmentNumber for item in items) + 1, np.uint8)
    for item in items:
        if item.SegmentNumber:
            table[item.SegmentNumber] = BY_TITLE[item.SegmentLabel].number
    return table


def on_grid(image: sitk.Image, geometry: Geometry) -> sitk.Image:
    """An image, which dcmqi cuts to its content, on the whole grid of the volume."""
    grid = sitk.Image(*geometry.shape[::-1], sitk.sitkUInt8)
    grid.SetOrigin(geometry.positions_mm[0].tolist())
    grid.SetSpacing((*geometry.spacing_mm[::-1], float(geometry.extents_mm[0])))
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
