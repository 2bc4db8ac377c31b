r"""Labels of MuscleMap's own program and of an import, side by side, as a table for docs.

    python tests/trials/musclemap_fidelity.py --musclemap FOLDER --python VENV/bin/python \\
        --work WORK [--slab FOLDER_OF_DICOM] [--only NAME ...]

FOLDER has the original's `mm_segment.py` and `mm_util.py` (scripts/ of MuscleMap 1.4); VENV has
monai 1.6.1 with nibabel, scikit-learn, pandas, psutil and tqdm beside torch: an environment of
its own, for the node needs none of them. Published weights cannot be had here, so a network of
the same kind (fewer channels) gets weights from a seed, such that its labels are regions and
not noise. What it finds is of no matter: both programs have to find the same. The share counts
voxels that either of them labels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from dicom_node.series.reading import read_series
from inference.geometry import Geometry
from inference.models.musclemap.importing import Asked, import_bundle
from inference.models.musclemap.table import shipped_table
from inference.models.musclemap.unet import MuscleMapUNet
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Zone
from inference.structures import Segment
from inference.volume import Volume

CHANNELS: Final = (8, 16, 32, 64, 128)
WINDOW: Final = 256
FAINT: Final = 0.1
LABELS: Final = 15


@dataclass(frozen=True, slots=True)
class Case:
    """A volume and the original's settings for it."""

    name: str
    volume: Volume
    chunk: int
    overlap: int


def main() -> None:
    """Make the network, run both programs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--musclemap", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--slab", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    weights, config = asked.work / "network.pth", asked.work / "network.json"
    write_network(weights, config)
    say("| image | chunk | overlap | labelled voxels | labels | agreement | original | here |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in cases(asked.slab):
        if not asked.only or case.name in asked.only:
            say(row(case, weights, config, asked))


def say(line: str) -> None:
    """A line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def row(case: Case, weights: Path, config: Path, asked: argparse.Namespace) -> str:
    """One line of the table."""
    began = time.perf_counter()
    theirs = original(case, weights, asked)
    between = time.perf_counter()
    ours = imported(case, weights, config, asked.work / "bundle")
    ended = time.perf_counter()
    labelled = (theirs > 0) | (ours > 0)
    same = (theirs == ours)[labelled].mean()
    return (
        f"| {case.name} | {case.chunk} | {case.overlap} % | {labelled.sum()} |"
        f" {len(np.unique(theirs)) - 1} | {same:.4%} | {between - began:.0f} s |"
        f" {ended - between:.0f} s |"
    )


def original(case: Case, weights: Path, asked: argparse.Namespace) -> NDArray[np.int64]:
    """The original's values on the volume's grid."""
    image = asked.work / "image.nii.gz"
    write_nifti(case.volume, image)
    options = ["-i", image, "-o", asked.work, "-m", weights, "-g", "N"]
    options += ["-s", case.overlap, "-c", case.chunk]
    subprocess.run(
        [asked.python, asked.musclemap / "mm_segment.py", *map(str, options)],
        check=True,
        capture_output=True,
    )
    found = nib.load(asked.work / "image_dseg.nii.gz")
    return np.asarray(found.dataobj).astype(np.int64).transpose(2, 1, 0)


def imported(case: Case, weights: Path, config: Path, folder: Path) -> NDArray[np.int64]:
    """The same by an import."""
    asked = Asked(name="trial", chunk_slices=case.chunk, overlap=case.overlap / 100)
    made = import_bundle([weights], config, folder, asked)
    network = made.bundle.model.load("cpu").network  # type: ignore[attr-defined]
    logits = network.logits(case.volume, 0)
    labels = np.stack(
        [
            logits.at(place).argmax(0).to(torch.uint8).numpy()
            for place in range(len(case.volume.hu))
        ]
    )
    values = np.array([0, *(one["value"] for one in json.loads(config.read_text())["labels"])])
    return values[network.cleaned(labels, case.volume)]


def write_nifti(volume: Volume, path: Path) -> None:
    """As a DICOM converter would: the volume's numbers, axes x, y, z, in its own place."""
    grid = volume.geometry
    affine = np.eye(4)
    affine[:3, 0] = grid.column_axis * grid.spacing_mm[1]
    affine[:3, 1] = grid.row_axis * grid.spacing_mm[0]
    affine[:3, 2] = grid.normal * grid.extents_mm[0]
    if len(grid.positions_mm) > 1:
        affine[:3, 2] = np.diff(grid.positions_mm, axis=0).mean(axis=0)
    affine[:3, 3] = grid.positions_mm[0]
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    nib.save(
        nib.Nifti1Image(
            np.ascontiguousarray(volume.hu.transpose(2, 1, 0)), lps_to_ras @ affine
        ),
        path,
    )


def cases(slab: Path | None) -> Iterator[Case]:
    """Phantoms and a real slab."""
    spec = PhantomSpec(
        body=BodySpec(height_m=1.7),
        lower_mm=360.0,
        zones=(Zone(12.0, 396.0),),
        pixel_mm=0.93,
        rows=280,
        columns=330,
        centre_mm=(20.0, 25.0),
        seed=5,
    )
    pelvis = phantom(spec).volume
    yield Case("phantom, int16", pelvis, 2, 50)
    yield Case(
        "phantom, oblique by 9 and 5 degrees", Volume(pelvis.hu.copy(), turned(pelvis)), 2, 50
    )
    floats = Volume(pelvis.hu.astype(np.float32) / np.float32(1.01), pelvis.geometry)
    yield Case("phantom, float32, one chunk", floats, 25, 75)
    wide = replace(
        spec, pixel_mm=2.2, rows=140, columns=182, lower_mm=150.0, zones=(Zone(6.0, 162.0),)
    )
    yield Case("phantom, thigh, pixels of 2.2 mm", phantom(wide).volume, 25, 50)
    if slab:
        real = read_series(sorted(slab.iterdir())).volume
        yield Case("real slab, one chunk", real, 25, 50)
        yield Case("real slab, 3 slices", real.part(range(1, 4)), 2, 25)
    yield Case("phantom, 1 slice", pelvis.part(range(1, 2)), 25, 90)


def turned(volume: Volume) -> Geometry:
    """The volume's grid turned about x and z."""
    a, b = np.radians([9.0, 5.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turn, grid = about_z @ about_x, volume.geometry
    return replace(
        grid,
        positions_mm=grid.positions_mm @ turn.T,
        row_axis=turn @ grid.row_axis,
        column_axis=turn @ grid.column_axis,
    )


def write_network(
    weights: Path,
    config: Path,
    channels: tuple[int, ...] = CHANNELS,
    most_labels: int = LABELS,
) -> None:
    """Make a network whose labels are regions, and write it as MuscleMap's files are.

    Weights are drawn. On the way up every kernel then gets the shape of linear interpolation,
    and the finer levels are made faint against the coarse ones below them: labels are those of
    pixels of 16 mm, with smooth borders.
    """
    published = {v: m for v, m in shipped_table().meanings.items() if isinstance(m, Segment)}
    meanings = dict(sorted(published.items())[:most_labels])
    shape = MuscleMapUNet(out_channels=len(meanings) + 1, channels=channels)
    torch.manual_seed(1)
    state = shape.build().state_dict()
    tent = torch.tensor([0.5, 1.0, 0.5])
    for name, tensor in state.items():
        upwards = name.endswith("2.0.conv.weight")
        if upwards or name.endswith("2.1.conv.unit0.conv.weight"):
            tensor.copy_(tensor[:, :, 1:2, 1:2] * tent[:, None] * tent)
        if upwards:  # its inputs are what came past the levels below, and what they made
            tensor[: channels[name.count("submodule")]] *= FAINT
    torch.save(state, weights)
    config.write_text(json.dumps(configuration(shape, meanings)))


def configuration(shape: MuscleMapUNet, meanings: dict[int, Segment]) -> dict[str, object]:
    """The JSON beside the weights."""
    sides = {"L": "left", "R": "right"}
    return {
        "parameters": {
            "roi_size": [WINDOW, WINDOW],
            "pix_dim": [1, 1, -1],
            "spatial_window_batch_size": 1,
        },
        "model": {
            "version": "trial",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": shape.out_channels,
            "channels": list(shape.channels),
            "act": "LeakyReLU",
            "strides": list(shape.strides),
            "num_res_units": shape.residual_units,
            "norm": "instance",
        },
        "labels": [
            {
                "value": value,
                "anatomy": f"{meaning.structure.name} {value // 10}",
                "side": sides[meaning.side] if meaning.side else "no side",
            }
            for value, meaning in sorted(meanings.items())
        ],
    }


if __name__ == "__main__":
    main()
