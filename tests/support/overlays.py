"""A segmentation drawn on its CT for a person to look at, from the DICOM files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from skimage.color import lab2rgb

WINDOW_HU = (-160.0, 240.0)
OPACITY = 0.5


def overlay(series: Sequence[Path], segmentation: Dataset, *, slices: int = 6) -> Image.Image:
    """Slices spread over the series, plain above and with the segments below."""
    datasets = sorted(map(pydicom.dcmread, series), key=lambda d: d.ImagePositionPatient[2])
    picked = np.linspace(0, len(datasets) - 1, min(slices + 2, len(datasets))).astype(int)
    frames = _frames_by_source(segmentation)
    colours = {s.SegmentNumber: _rgb(s) for s in segmentation.SegmentSequence}
    pixels = segmentation.pixel_array
    columns = []
    for dataset in (datasets[index] for index in picked):
        grey = _grey(dataset)
        drawn = grey.copy()
        for index, number in frames.get(dataset.SOPInstanceUID, ()):
            inside = pixels[index].astype(bool)
            drawn[inside] = (1 - OPACITY) * drawn[inside] + OPACITY * colours[number]
        columns.append(np.stack([grey, drawn]))
    pictures = _cropped(np.stack(columns)).astype(np.uint8)  # slice, plain or drawn, row, ...
    return Image.fromarray(np.hstack([np.vstack(pair) for pair in pictures]))


def _cropped(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Only the rows and columns in which some picture shows a body."""
    shown = (pictures.max(axis=-1) > 0).sum(axis=(0, 1))
    rows, columns = (np.flatnonzero((shown > 1).sum(axis=axis) > 10) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return pictures
    return pictures[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _frames_by_source(segmentation: Dataset) -> dict[str, list[tuple[int, int]]]:
    """Frame index and segment number by the SOP Instance UID of the source image."""
    found: dict[str, list[tuple[int, int]]] = {}
    for index, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found.setdefault(source.ReferencedSOPInstanceUID, []).append((index, number))
    return found


def _grey(dataset: Dataset) -> NDArray[np.float64]:
    hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    low, high = WINDOW_HU
    grey = np.clip((hu - low) / (high - low), 0, 1) * 255
    return np.repeat(grey[..., None], 3, axis=-1)


def _rgb(segment: Dataset) -> NDArray[np.float64]:
    """The recommended colour (PS3.3 C.10.7.1.1: CIELab scaled to 16 bits) as 0 to 255."""
    lightness, a, b = (float(value) for value in segment.RecommendedDisplayCIELabValue)
    lab = [lightness * 100 / 65535, a * 255 / 65535 - 128, b * 255 / 65535 - 128]
    return np.asarray(lab2rgb(lab) * 255)
