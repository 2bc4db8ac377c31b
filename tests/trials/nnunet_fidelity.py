"""Compare labels with nnunetv2's own, network by network and image by image.

    python -m tests.trials.nnunet_fidelity FOLDER --original VENV/bin/python [--shared DATA]

FOLDER keeps the networks, which the original's trainer makes in the first run (`--seconds` of
training a fold), and prints a table of Markdown; docs/networks-fidelity.md has one. The
original stands in a virtual environment of its own with `nnunetv2==2.8.1`.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.series.reading import read_series
from inference.geometry import Geometry
from inference.models.nnunet.importing import Wanted, import_bundle
from inference.structures import BY_KEY
from inference.volume import Volume
from tests.support.volumes import body
from tests.trials.nnunet_specs import memory_spec, reference_specs, specs

KEYS = ("GMAX_L", "GMAX_R", "FEMUR_L", "FEMUR_R", "PELVIS_L", "PELVIS_R", "SACRUM")
ORIGINAL = Path(__file__).with_name("nnunet_original.py")


def main() -> None:
    """Make what is missing, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--original", type=Path, required=True, help="Python with nnunetv2.")
    parser.add_argument("--shared", type=Path, help="Folder of the reference data.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--reference", action="store_true", help="Write that of the tests.")
    parser.add_argument("--memory", action="store_true", help="Peaks with 118 classes.")
    given = parser.parse_args()
    if given.memory:
        _compare_memory(given.folder, given.original)
        return
    if given.reference:
        _write_reference(given.folder, given.original, given.seconds)
        return
    make_networks(given.folder, given.original, specs(given.seconds))
    images = _images(given.folder / "images", given.shared)
    chosen = [
        (spec["name"], folds)
        for spec in specs(given.seconds)
        if not given.only or spec["name"] in given.only
        for folds in sorted({1, spec["folds"]})
    ]
    paths = [given.folder / "images" / f"{image}.npz" for image in images]
    jobs = [
        _job(given.folder / name, folds, paths, given.folder / "answers" / f"{name}-{folds}")
        for name, folds in chosen
    ]
    _ask(given.folder / "jobs.json", given.original, [job for job in jobs if job["images"]])
    print("| network | folds | image | labelled voxels | agree | seconds, here and there |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name, folds in chosen:
        _compare(given.folder, name, folds, images)


def _job(results: Path, folds: int, images: list[Path], out: Path) -> dict[str, Any]:
    """What the original is asked: images that it has not answered yet."""
    out.mkdir(parents=True, exist_ok=True)
    missing = [str(image) for image in images if not (out / image.name).exists()]
    if results == out:  # a reference, always new
        missing = [str(image) for image in images]
    return {
        "results": str(results),
        "folds": list(range(folds)),
        "images": missing,
        "out": str(out),
    }


def _ask(path: Path, original: Path, jobs: list[dict[str, Any]]) -> None:
    """One process for all: it takes long to start."""
    path.write_text(json.dumps(jobs))
    subprocess.run([original, ORIGINAL, "predict", path], check=True, stdout=sys.stderr)


def _write_reference(folder: Path, original: Path, seconds: float) -> None:
    """Small networks, an image, and what the original answers: `tests/support/nnunet_made`."""
    wanted = reference_specs(seconds)
    make_networks(folder, original, wanted)
    rng = np.random.default_rng(2)
    made = body(spacing_mm=(6.0, 3.0, 3.0), z_mm=(430.0, 520.0)).volume
    hu = _noisy(made.hu, rng)[2:13, 20:56, 60:104]
    np.savez_compressed(folder / "image.npz", hu=hu, spacing=np.array([6.0, 3.0, 3.0]))
    outs = [folder / spec["name"] for spec in wanted]
    image = [folder / "image.npz"]
    _ask(
        folder / "jobs.json",
        original,
        [_job(out, spec["folds"], image, out) for out, spec in zip(outs, wanted, strict=True)],
    )
    for out in outs:
        answer = np.load(out / "image.npz")["labels"].astype(np.uint8)
        np.savez_compressed(out / "answer.npz", labels=answer)
        (out / "image.npz").unlink()
    for left in ("cases.npz", "specs.json", "jobs.json"):
        (folder / left).unlink()


def _compare_memory(folder: Path, original: Path) -> None:
    """What a prediction adds to the memory of the process, in MB, there and here."""
    spec = memory_spec()
    make_networks(folder, original, [spec])
    made = body(spacing_mm=(1.5, 1.5, 1.5), z_mm=(400.0, 550.0), x_mm=(-150.0, 150.0)).volume
    path = folder / "large.npz"
    np.savez(path, hu=made.hu, spacing=np.full(3, 1.5))
    _ask(
        folder / "jobs.json", original, [_job(folder / spec["name"], 1, [path], folder / "out")]
    )
    theirs = np.load(folder / "out" / "large.npz")
    bundle = import_bundle(folder / spec["name"], folder / "b", Wanted(name="b"))
    network = bundle.model.load("cpu").network
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    logits = network.logits(made, 0)
    labels = np.stack([logits.at(n).argmax(dim=0).numpy() for n in range(len(made.hu))])
    seconds = time.monotonic() - start
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    there = int(theirs["peak_kb"]) - int(theirs["before_kb"])
    print(f"{made.hu.shape}, {(labels == theirs['labels']).mean():.5f} of all voxels agree")
    print(f"there {there / 1024:.0f} MB, here {here / 1024:.0f} MB")
    print(f"there {float(theirs['seconds']):.1f} s, here {seconds:.1f} s")


def make_networks(folder: Path, original: Path, wanted: list[dict[str, Any]]) -> None:
    """Networks by the original's trainer, of phantoms with noise."""
    folder.mkdir(parents=True, exist_ok=True)
    cases, listed = folder / "cases.npz", folder / "specs.json"
    if not cases.exists():
        np.savez_compressed(cases, **_training_cases())
    listed.write_text(json.dumps(wanted))
    subprocess.run([original, ORIGINAL, "make", folder, cases, listed], check=True)


def _training_cases() -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    found: dict[str, NDArray[np.generic]] = {}
    spacings = (((4.0, 2.5, 2.5), -12.0), ((3.0, 2.0, 2.0), 8.0), ((6.0, 2.5, 2.5), 0.0))
    for number, (spacing, shift) in enumerate(spacings):
        made = body(spacing_mm=spacing, z_mm=(330.0, 650.0), shift_mm=shift)
        table = np.zeros(256, np.uint8)
        for label, key in enumerate(KEYS, start=1):
            table[BY_KEY[key].number] = label
        found[f"hu{number}"] = _noisy(made.volume.hu, rng)
        found[f"labels{number}"] = table[made.segments]
        found[f"spacing{number}"] = np.array(spacing)
    return found | {"count": np.array(len(spacings))}


def _noisy(
    hu: NDArray[np.int16] | NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.int16]:
    blurred = ndimage.gaussian_filter(hu.astype(np.float32), 0.6)
    return np.round(blurred + rng.normal(0, 20, hu.shape)).astype(np.int16)


def _images(folder: Path, shared: Path | None) -> dict[str, Volume]:
    """Scans to compare on, small enough for a CPU; also written for the original."""
    rng = np.random.default_rng(1)
    found = {}
    for name, spacing, cut in (
        ("phantom", (5.0, 3.0, 3.0), (slice(16), slice(20, 60), slice(80, 136))),
        ("anisotropic", (9.0, 1.5, 1.5), (slice(4, 11), slice(50, 114), slice(170, 250))),
    ):
        made = body(spacing_mm=spacing, z_mm=(430.0, 560.0)).volume
        hu = np.ascontiguousarray(_noisy(made.hu, rng)[cut])
        if name == "phantom":
            hu[:2], hu[:, :5] = 0, 0  # padding that is cropped off
        found[name] = Volume(hu, Geometry.regular(hu.shape, spacing))
    found["oblique"] = _tilted(found["phantom"])
    if shared is not None:
        found["real slab"] = _slab(shared / "ct" / "vhf_pelvis_slab")
    folder.mkdir(exist_ok=True)
    for name, volume in found.items():
        offsets = volume.geometry.slice_offsets_mm
        spacing = (float(np.diff(offsets).mean()), *volume.geometry.spacing_mm)
        np.savez(folder / f"{name}.npz", hu=volume.hu, spacing=np.round(spacing, 6))
    return found


def _tilted(volume: Volume) -> Volume:
    """The same voxels, scanned at 20 degrees to the patient's axis."""
    angle = np.deg2rad(20.0)
    row = np.array([0.0, np.cos(angle), -np.sin(angle)])
    column = np.array([1.0, 0.0, 0.0])
    offsets = volume.geometry.slice_offsets_mm
    positions = (offsets - offsets[0])[:, None] * np.cross(column, row)
    hu = volume.hu[:, ::-1].copy()
    geometry = replace(
        volume.geometry, positions_mm=positions, row_axis=row, column_axis=column
    )
    return Volume(hu, geometry)


def _slab(folder: Path) -> Volume:
    """The middle of a real scan's slices."""
    whole = read_series(sorted(folder.glob("*.dcm")), min_slices=2).volume
    rows, columns = slice(200, 300), slice(120, 230)
    hu = np.ascontiguousarray(whole.hu[:, rows, columns])
    offsets = whole.geometry.slice_offsets_mm
    spacing = (float(np.diff(offsets).mean()), *whole.geometry.spacing_mm)
    return Volume(hu, Geometry.regular(hu.shape, spacing))


def _compare(folder: Path, name: str, folds: int, images: dict[str, Volume]) -> None:
    """Rows of the table for one network."""
    out = folder / "answers" / f"{name}-{folds}"
    numbers = [str(fold) for fold in range(folds)]
    wanted = Wanted(name=name, folds=tuple(numbers))
    bundle = import_bundle(folder / name, folder / "bundles" / f"{name}-{folds}", wanted)
    network = bundle.model.load("cpu").network
    for image, volume in images.items():
        start = time.monotonic()
        logits = network.mean(network.logits(volume, fold) for fold in range(folds))
        planes = (logits.at(place) for place in range(len(volume.hu)))
        labels = np.stack([one.argmax(dim=0).numpy() for one in planes])
        seconds = time.monotonic() - start
        theirs = np.load(out / f"{image}.npz")
        labelled = (labels > 0) | (theirs["labels"] > 0)
        same = (labels == theirs["labels"])[labelled].mean()
        print(
            f"| {name} | {folds} | {image} | {labelled.sum():,} | {100 * same:.3f} % "
            f"| {seconds:.1f}, {float(theirs['seconds']):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
