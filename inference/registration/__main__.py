"""Labelled cases from a body's label map and its CT.

    python -m inference.registration PLAN.toml --data FOLDER --out CASES

writes a folder for each scan of the plan: the CT and the labels laid on it, as
`msk-node evaluate` reads them, a picture to look at, and `registration.json`, which says how
well the labels lie; and the listing of all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from inference.errors import InferenceError, RegistrationError
from inference.evaluation.listing import IMAGE_FILE, LABELS_FILE, write_listing
from inference.registration import QUALITY_FILE
from inference.registration.plan import ScanPlan, read_plan
from inference.registration.reference import Body, Registered, register
from inference.registration.rigid import Spacing
from inference.structures import BY_ABBREVIATION, STRUCTURES

PICTURE_FILE: Final = "contours.png"

PICTURE_SLICES: Final = 6
PICTURE_SCALE: Final = 2
SHOWN_HU: Final = (-160.0, 400.0)
AROUND_PIXELS: Final = 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Register every scan of a plan."""
    parser = argparse.ArgumentParser(
        prog="python -m inference.registration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument(
        "--data", type=Path, default=Path(), help="what the plan's paths are below"
    )
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    try:
        plan = read_plan(asked.plan)
        image = _read(asked.data / plan.label_map)
        labels = sitk.GetArrayFromImage(image).astype(np.uint8)
        body = Body(labels, _spacing(image))
        for scan in plan.scans:
            found = write_case(scan, body, asked.data, asked.out / scan.name)
            for line in quality_lines(found):
                print(f"{scan.name}: {line}")  # noqa: T201 - a command's answer
        names = [scan.name for scan in plan.scans]
        write_listing(asked.out, names, "inference.registration", arguments)
    except InferenceError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def write_case(scan: ScanPlan, body: Body, data: Path, folder: Path) -> Registered:
    """Register one scan and write its case; the label map comes last, when all is whole."""
    ct = _read(data / scan.ct)
    hu = sitk.GetArrayFromImage(ct).astype(np.int16)
    anchors = tuple(one.anchor() for one in scan.anchors)
    found = register(hu, _spacing(ct), body, anchors, scan.grown_mm)
    kept = found.labels.copy()
    kept[np.isin(kept, [BY_ABBREVIATION[name].label for name in scan.left_out])] = 0
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "words": scan.words,
        "left_out": scan.left_out,
        "moved_mm": found.moved_mm,
        "bones": [asdict(one) for one in found.bones],
        "structures": [asdict(one) for one in found.structures],
    }
    (folder / QUALITY_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    Image.fromarray(contours(hu, kept)).save(folder / PICTURE_FILE)
    _write(folder / IMAGE_FILE, hu, ct)
    _write(folder / LABELS_FILE, kept, ct)
    return found


def quality_lines(found: Registered) -> list[str]:
    """Lines of text on how well a label map lies."""
    lines = [
        f"bone {', '.join(str(label) for label in one.bones)}"
        f"{' ' + one.side.value if one.side else ''}: mean distance {one.mean_mm:.2f} mm,"
        f" 90 % within {one.p90_mm:.2f} mm"
        for one in found.bones
    ]
    lines.append(
        f"deformation of muscles: median {found.moved_mm[0]:.1f} mm,"
        f" 90 % below {found.moved_mm[1]:.1f} mm"
    )
    for one in found.structures:
        words = f"{one.structure}: {one.voxels} voxels"
        if one.dice is not None and one.asd_mm is not None:
            words += f", Dice {one.dice:.3f} and ASD {one.asd_mm:.2f} mm to the CT's own bone"
        if one.muscle_share is not None:
            before, after = one.muscle_share
            words += f", as dense as muscle {before:.0%} before, {after:.0%} after deformation"
        if one.edge_mm is not None:
            before, after = one.edge_mm
            words += f", outline to the CT's edge {before:.1f} and {after:.1f} mm"
        lines.append(words)
    return lines


def contours(hu: NDArray[np.int16], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Slices with labels, the labels' outlines over them, below each other."""
    shown = np.flatnonzero(labels.any(axis=(1, 2)))
    if not len(shown):
        return np.zeros((1, 1, 3), np.uint8)
    chosen = shown[
        np.unique(np.linspace(0, len(shown) - 1, PICTURE_SLICES).round().astype(int))
    ]
    rows, columns = (
        _with_margin(np.flatnonzero(labels.any(axis=(0, other)))) for other in (2, 1)
    )
    palette = np.array([(0, 0, 0), *(one.colour_rgb for one in STRUCTURES)], np.uint8)
    low, high = SHOWN_HU
    pictures = []
    for k in chosen:
        grey = np.clip((hu[k, rows, columns] - low) / (high - low), 0, 1) * 255
        scaled, found = (
            np.kron(one, np.ones((PICTURE_SCALE, PICTURE_SCALE), np.uint8))
            for one in (grey.astype(np.uint8), labels[k, rows, columns])
        )
        picture = np.repeat(scaled[..., None], 3, axis=2)
        edge = find_boundaries(found, mode="inner")
        picture[edge] = palette[found[edge]]
        pictures.append(picture)
    return np.concatenate(pictures)


def _with_margin(index: NDArray[np.intp]) -> slice:
    return slice(max(0, int(index[0]) - AROUND_PIXELS), int(index[-1]) + AROUND_PIXELS + 1)


def _read(path: Path) -> sitk.Image:
    """An image in the patient frame, from a file or from a folder with one series."""
    try:
        if path.is_dir():
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
            image = sitk.ReadImage(names)
        else:
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise RegistrationError(f"{path} cannot be read as an image") from error
    if image.GetDimension() != 3:
        raise RegistrationError(f"{path} is not one volume")
    return sitk.DICOMOrient(image, "LPS")


def _spacing(image: sitk.Image) -> Spacing:
    column_mm, row_mm, step_mm = image.GetSpacing()
    return step_mm, row_mm, column_mm


def _write(path: Path, values: NDArray[np.generic], like: sitk.Image) -> None:
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(like)
    part = path.with_name(f".part-{path.name}")
    sitk.WriteImage(image, str(part))
    part.replace(path)


if __name__ == "__main__":
    main()
