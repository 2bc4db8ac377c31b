r"""Guests beside their own programs: `python -m tests.benchmarks.bench_guests --help`.

    python -m tests.benchmarks.bench_guests WORK \
        --musclemap SCRIPTS --musclemap-python VENV/bin/python --nnunet-python VENV2/bin/python

What the folders and environments have: docs/networks-fidelity.md. WORK keeps networks of the
published sizes (made weights) and images. In each round the original, our import with its
settings and our import with `--fast` take turns, each in a process of its own with one thread.
Counted are seconds of a core and of the clock from image to labels, without the start of the
program and the reading of weights, and the peak of the whole process. The table has medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.models.bundle import load_bundle
from inference.models.guests.combining import best_classes
from inference.models.musclemap.importing import Asked
from inference.models.musclemap.importing import import_bundle as import_musclemap
from inference.models.nnunet.importing import Wanted
from inference.models.nnunet.importing import import_bundle as import_nnunet
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Zone
from inference.volume import Volume
from tests.support.volumes import body
from tests.trials.musclemap_fidelity import write_network, write_nifti
from tests.trials.nnunet_fidelity import ORIGINAL, make_networks
from tests.trials.nnunet_specs import true_size_spec

PUBLISHED_CHANNELS: Final = (64, 128, 256, 512, 1024)
PUBLISHED_LABELS: Final = 113
MB: Final = 1024.0

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ran:
    """One program's answer, and what it took.

    peak_mb: of the whole process; added_mb: of that, since before the image was read.
    """

    labels: Labels
    core_s: float
    wall_s: float
    peak_mb: float
    added_mb: float


Program = Callable[[], Ran]


@dataclass(frozen=True, slots=True)
class Case:
    """The programs, the original's first."""

    name: str
    programs: dict[str, Program]


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--musclemap", type=Path, help="Folder of mm_segment.py.")
    parser.add_argument("--musclemap-python", type=Path)
    parser.add_argument("--nnunet-python", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slices", type=int, default=25, help="Of MuscleMap's image.")
    parser.add_argument("--legs", type=int, choices=[1, 2], default=1, help="In it.")
    parser.add_argument("--overlap", type=int, default=90, help="Of MuscleMap's windows, %%.")
    parser.add_argument("--results", type=Path, help="An nnU-Net of one's own, fold 0.")
    parser.add_argument("--network-mm", type=float, nargs="+", default=[3.0, 1.5])
    parser.add_argument("--mirrored", action="store_true", help="nnU-Net along all axes.")
    parser.add_argument("--only", nargs="+", default=[], help="Programs, such as original.")
    parser.add_argument("--ours", nargs=3, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.ours:
        answer(*asked.ours)
        return
    asked.work.mkdir(parents=True, exist_ok=True)
    say(f"{torch.cpu.get_capabilities().get('cpu_name', '?')}, one thread each")
    say("\n| case | program | core-s | s | peak MB | added MB | speed | peak | same | Dice |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in cases(asked):
        report(case, asked)


def say(line: str) -> None:
    """A line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def report(case: Case, asked: argparse.Namespace) -> None:
    """All rounds of a case, and its rows."""
    chosen = {n: p for n, p in case.programs.items() if not asked.only or n in asked.only}
    found: dict[str, list[Ran]] = {name: [] for name in chosen}
    for _ in range(asked.rounds):
        for name, program in chosen.items():
            found[name].append(program())
    base = next(iter(found.values()))
    for name, own in found.items():
        core, wall, peak, added = (
            statistics.median(getattr(one, key) for one in own)
            for key in ("core_s", "wall_s", "peak_mb", "added_mb")
        )
        faster = statistics.median(a.core_s / b.core_s for a, b in zip(base, own, strict=True))
        smaller = statistics.median(
            a.peak_mb / b.peak_mb for a, b in zip(base, own, strict=True)
        )
        same, dice = alike(base[-1].labels, own[-1].labels)
        say(
            f"| {case.name} | {name} | {core:.1f} | {wall:.1f} | {peak:.0f} | {added:.0f} |"
            f" x {faster:.2f} | 1/{smaller:.2f} | {same:.4%} | {dice:.4f} |"
        )


def alike(one: Labels, other: Labels) -> tuple[float, float]:
    """Share of the voxels labelled by either that agree, and the mean Dice over labels."""
    labelled = (one > 0) | (other > 0)
    if not labelled.any():
        return float("nan"), float("nan")
    top = int(max(one.max(), other.max())) + 1
    sizes = np.bincount(one.ravel(), minlength=top) + np.bincount(other.ravel(), minlength=top)
    both = np.bincount(one[one == other].ravel(), minlength=top)
    there = np.flatnonzero(sizes[1:]) + 1
    dice = float((2 * both[there] / sizes[there]).mean())
    return float((one == other)[labelled].mean()), dice


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Of the originals that are there."""
    if asked.musclemap and asked.musclemap_python:
        yield musclemap_case(asked)
    if asked.nnunet_python:
        for network_mm in () if asked.results else asked.network_mm:
            spec = true_size_spec(network_mm, mirrored=asked.mirrored)
            make_networks(asked.work, asked.nnunet_python, [spec])
            yield nnunet_case(asked.work / spec["name"], asked)
        if asked.results:
            yield nnunet_case(asked.results, asked)


def musclemap_case(asked: argparse.Namespace) -> Case:
    """A network of the published shape, on a thigh in one chunk."""
    work = asked.work
    weights, config = work / "musclemap.pth", work / "musclemap.json"
    if not config.exists():
        write_network(weights, config, PUBLISHED_CHANNELS, PUBLISHED_LABELS)
    slices = asked.slices
    spec = PhantomSpec(
        body=BodySpec(height_m=1.7),
        lower_mm=150.0,
        zones=(Zone(6.0, 150.0 + 6.0 * slices),),
        pixel_mm=1.37,
        rows=150,
        columns=264,
        seed=5,
    )
    hu = phantom(spec).volume.hu[:slices, :, : 132 * asked.legs]
    volume = Volume(
        np.ascontiguousarray(hu),
        Geometry.regular(hu.shape, (6.0, spec.pixel_mm, spec.pixel_mm)),
    )
    image = work / "musclemap.nii.gz"
    write_nifti(volume, image)
    chosen = Asked(name="original", chunk_slices=slices, overlap=asked.overlap / 100)
    import_musclemap([weights], config, work / "musclemap-original", chosen)
    chosen = replace(chosen, name="fast", overlap=None, fast=True)
    import_musclemap([weights], config, work / "musclemap-fast", chosen)
    volume_file = save(volume, work / "musclemap.npz")
    values = [0, *(one["value"] for one in json.loads(config.read_text())["labels"])]
    number_of = np.zeros(max(values) + 1, dtype=np.int64)
    number_of[values] = range(len(values))
    return Case(
        f"MuscleMap, {slices} slices of {' x '.join(map(str, volume.hu.shape[1:]))},"
        f" {asked.overlap} % overlap",
        {
            "original": partial(musclemap_original, asked, image, weights, number_of),
            "here": partial(ours, work / "musclemap-original", volume_file),
            "here, fast": partial(ours, work / "musclemap-fast", volume_file),
        },
    )


def musclemap_original(
    asked: argparse.Namespace, image: Path, weights: Path, number_of: Labels
) -> Ran:
    """`mm_segment.py` on the image; labels are numbers of channels."""
    times = asked.work / "times.json"
    options = ["-i", image, "-o", asked.work, "-m", weights, "-g", "N"]
    options += ["-s", asked.overlap, "-c", asked.slices]
    script = Path(__file__).with_name("musclemap_original.py")
    peak = process([asked.musclemap_python, script, asked.musclemap, times, *options])
    found = nib.load(asked.work / "musclemap_dseg.nii.gz")  # type: ignore[attr-defined]
    labels = np.asarray(found.dataobj).astype(np.int64).transpose(2, 1, 0)  # type: ignore[attr-defined]
    return ran(number_of[labels], json.loads(times.read_text()), peak)


def nnunet_case(results: Path, asked: argparse.Namespace) -> Case:
    """One fold, on a hip in voxels of 1.5 mm."""
    volume = body(spacing_mm=(1.5,) * 3, z_mm=(400.0, 550.0), x_mm=(-150.0, 150.0)).volume
    volume_file = save(volume, asked.work / f"{results.name}.npz")
    original, fast = (asked.work / f"{results.name}-{kind}" for kind in ("original", "fast"))
    import_nnunet(results, original, Wanted(name="original", folds=("0",)))
    import_nnunet(results, fast, Wanted(name="fast", folds=("0",), fast=True))
    return Case(
        f"nnU-Net {results.name}, {' x '.join(map(str, volume.hu.shape))}",
        {
            "original": partial(nnunet_original, asked, results, volume_file),
            "here": partial(ours, original, volume_file),
            "here, fast": partial(ours, fast, volume_file),
        },
    )


def nnunet_original(asked: argparse.Namespace, results: Path, volume_file: Path) -> Ran:
    """`nnUNetPredictor` on the image."""
    out = asked.work / "answers"
    out.mkdir(exist_ok=True)
    job = {"results": results, "folds": [0], "images": [volume_file], "out": out}
    jobs = asked.work / "jobs.json"
    jobs.write_text(json.dumps([job], default=str))
    peak = process([asked.nnunet_python, ORIGINAL, "predict", jobs])
    with np.load(out / volume_file.name) as found:
        return ran(found["labels"].astype(np.int64), found, peak)


def ours(bundle: Path, volume_file: Path) -> Ran:
    """An import on the image."""
    out = volume_file.with_name("ours.npz")
    start = [sys.executable, "-m", "tests.benchmarks.bench_guests", "."]
    peak = process([*start, "--ours", bundle, volume_file, out])
    with np.load(out) as found:
        return ran(found["labels"].astype(np.int64), found, peak)


def answer(bundle: Path, volume_file: Path, out: Path) -> None:
    """The part of `ours` in a process of its own: labels as numbers of channels."""
    torch.set_num_threads(1)
    with np.load(volume_file) as read:
        hu, spacing = read["hu"], tuple(map(float, read["spacing"]))
        volume = Volume(hu, Geometry.regular(hu.shape, spacing))
    model: Any = load_bundle(bundle).model.load("cpu")
    network = model.network
    say(network.description)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, core = time.monotonic(), time.process_time()
    with torch.inference_mode():
        logits = network.logits(volume, 0)
        labels = np.stack([best_classes(logits.at(place)) for place in range(len(hu))])
    labels = network.cleaned(labels, volume)
    times = {"core_seconds": time.process_time() - core, "seconds": time.monotonic() - start}
    np.savez_compressed(out, labels=labels, before_kb=before, **times)


def process(words: list[Any]) -> float:
    """Run one with one thread; its peak in MB."""
    own = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    began = subprocess.Popen(
        [str(word) for word in words],
        env=os.environ | own,
        stdout=subprocess.DEVNULL if "--ours" not in words else sys.stderr,
    )
    _, status, usage = os.wait4(began.pid, 0)
    began.returncode = os.waitstatus_to_exitcode(status)
    if began.returncode:
        raise SystemExit(f"{words[1]} ended with {began.returncode}")
    return usage.ru_maxrss / MB


def ran(labels: Labels, times: Any, peak_mb: float) -> Ran:
    """Put together what a program wrote and what the system counted."""
    core, wall, before = (float(times[k]) for k in ("core_seconds", "seconds", "before_kb"))
    return Ran(labels, core, wall, peak_mb, peak_mb - before / MB)


def save(volume: Volume, path: Path) -> Path:
    """As both nnU-Net's side and ours read it."""
    spacing = (float(volume.geometry.extents_mm[0]), *volume.geometry.spacing_mm)
    np.savez(path, hu=volume.hu, spacing=np.round(spacing, 6))
    return path


if __name__ == "__main__":
    main()
