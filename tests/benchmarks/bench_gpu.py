"""What a GPU makes of the network, by hand: `python tests/benchmarks/bench_gpu.py --out DIR`.

Most important first, each measurement by itself: one that fails prints its traceback and the
next begins. Results are written after each. Needs torch, numpy, scipy and safetensors only.
Weights are random where only time counts; labels are compared with the shipped bundle.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

import inference
from inference.geometry import Geometry
from inference.models.bayesian_unet import dropout, prediction
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.network import (
    FIVE_LAYERS,
    SIX_LAYERS,
    Architecture,
    BayesianUNet,
)
from inference.models.bayesian_unet.precision import Kind, Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.model import predict
from inference.phantom.render import phantom
from inference.results import Uncertainty
from inference.volume import Volume

COMPACT = Path(inference.__file__).parent / "bundles" / "compact"
MEASURED_FLOPS = 800e12
"""What an H100 reaches on large bfloat16 products; the floor is arithmetic over this."""

GIGA_MACS = {"5layers": 67.0, "6layers": 82.7}
"""Multiply-adds of one 512 x 512 slice and sample, the first block included."""

FIRST_BLOCK_GIGA_MACS = 2.5
PUBLISHED = {"5layers": FIVE_LAYERS, "6layers": SIX_LAYERS}


@dataclass(slots=True)
class Notes:
    """What was measured, written down after every measurement."""

    folder: Path
    until: float
    rows: list[dict[str, Any]] = field(default_factory=list)

    def take(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure, unless time is up; a failure is a result too."""
        if time.monotonic() > self.until:
            row: dict[str, Any] = {"what": name, "skipped": "time is up"}
        else:
            try:
                row = {"what": name} | measure()
            except Exception as error:  # noqa: BLE001 - the next measurement counts as well
                traceback.print_exc()
                row = {"what": name, "failed": repr(error)}
        self.rows.append(row)
        print(row, flush=True)  # noqa: T201 - its purpose
        (self.folder / "bench_gpu.json").write_text(json.dumps(self.rows, indent=1))
        lines = ["| what | figures |", "| --- | --- |"]
        lines += [
            f"| {one['what']} | {', '.join(f'{k} {v}' for k, v in list(one.items())[1:])} |"
            for one in self.rows
        ]
        (self.folder / "bench_gpu.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Take all measurements that the time allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--slices", type=int, default=500)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    notes = Notes(asked.out, time.monotonic() + asked.seconds)
    with tempfile.TemporaryDirectory() as folder:
        measure_all(notes, asked, Path(folder))


def measure_all(notes: Notes, asked: argparse.Namespace, folder: Path) -> None:
    """In the order of what matters."""
    device, slices = asked.device, asked.slices
    compact = shipped()
    notes.take("device", lambda: about(torch.device(device)))
    notes.take("labels, 10 samples", lambda: compared(compact, device, samples=10))
    notes.take("labels, entropy", lambda: compared(compact, device, samples=1))
    six = untrained(folder / "6layers.safetensors", "6layers", "bfloat16")
    notes.take("6layers, start", lambda: timed(six, device, min(slices, 12)))
    notes.take("6layers", lambda: timed(six, device, slices))
    notes.take("compact, start", lambda: timed(compact, device, min(slices, 12)))
    notes.take("compact", lambda: timed(compact, device, slices))
    few = max(1, slices // 5)
    for power in (22, 23, 25, 26):
        notes.take(f"6layers, 2^{power} pixels", lambda p=power: timed(six, device, few, p))
    notes.take("6layers, profile", lambda: profiled(six, device, min(slices, 24), asked.out))
    notes.take("6layers, 3 % of memory", lambda: short_of_memory(six, device, 12, 0.03))
    notes.take("compact, no memory", lambda: short_of_memory(compact, device, 2, 1e-4))
    five = untrained(folder / "5layers.safetensors", "5layers", "bfloat16")
    notes.take("5layers", lambda: timed(five, device, few))
    exact = untrained(folder / "exact.safetensors", "6layers", "float32")
    notes.take("6layers, float32", lambda: timed(exact, device, max(1, slices // 25)))


def shipped() -> Any:
    """What sampling needs of the compact bundle, read without its checks."""
    told = tomllib.loads((COMPACT / "bundle.toml").read_text(encoding="utf-8"))
    return SimpleNamespace(
        name="compact",
        model=BayesianUNetModel(
            COMPACT / "weights.safetensors",
            architecture=Architecture(**told["architecture"]),
            window=Window(**told["window"]),
            grid=PixelGrid(**told["grid"]),
            precision=Precision(**told["precision"]),
        ),
    )


def untrained(path: Path, name: str, kind: Kind) -> Any:
    """A published network with random weights, fed whole slices as published."""
    torch.manual_seed(0)
    save_file(BayesianUNet(PUBLISHED[name]).state_dict(), path)
    return SimpleNamespace(
        name=name,
        model=BayesianUNetModel(
            path,
            architecture=PUBLISHED[name],
            window=Window(),
            grid=PixelGrid(None, body_only=False),
            precision=Precision(cpu="float32", cuda=kind),
        ),
    )


def about(device: torch.device) -> dict[str, Any]:
    """The device, and whether the dropout kernel works there."""
    if device.type != "cuda":
        return {"name": str(device), "torch": torch.__version__}
    return {
        "name": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "dropout kernel": dropout.kernel_is_usable(torch.device("cuda:0")),
    }


def compared(bundle: Any, device: str, samples: int) -> dict[str, Any]:
    """Share of voxels that the device labels otherwise than the CPU, on the phantom."""
    whole = phantom().volume
    places = np.linspace(0, len(whole.hu) - 1, 4).round().astype(int)
    hu = np.ascontiguousarray(whole.hu[places])
    volume = Volume(hu, Geometry.regular(hu.shape, (5.0, *whole.geometry.spacing_mm)))
    kind = Uncertainty.ENTROPY if samples == 1 else Uncertainty.VARIANCE
    model = replace(bundle.model, uncertainty=kind)
    ours, cpu = (
        predict(volume, model, samples=samples, seed=1, device=at) for at in (device, "cpu")
    )
    other = ours.labels != cpu.labels
    body = (ours.labels > 0) | (cpu.labels > 0)
    return {
        "devices": f"{ours.device} / {cpu.device}",
        "other labels, share of voxels": f"{other.mean():.2e}",
        "share of labelled voxels": f"{other.sum() / max(1, body.sum()):.2e}",
        "mean uncertainty": f"{ours.uncertainty.mean():.4e} / {cpu.uncertainty.mean():.4e}",
    }


def timed(bundle: Any, device: str, slices: int, power: int | None = None) -> dict[str, Any]:
    """Seconds and memory of a prediction with 10 samples, with the floor beside."""
    before = prediction.CUDA_PIXELS
    try:
        prediction.CUDA_PIXELS = before if power is None else 2**power
        return _timed(bundle, device, slices)
    finally:
        prediction.CUDA_PIXELS = before


def _timed(bundle: Any, device: str, slices: int) -> dict[str, Any]:
    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found = predict(hip(slices), bundle.model, samples=10, seed=1, device=device)
    row = {
        "device": found.device,
        "slices": slices,
        "seconds": round(time.perf_counter() - start, 2),
    }
    if bundle.name in GIGA_MACS:
        macs = (
            10 * (GIGA_MACS[bundle.name] - FIRST_BLOCK_GIGA_MACS) + FIRST_BLOCK_GIGA_MACS
        ) * 1e9
        row["floor s"] = round(2 * macs * slices / MEASURED_FLOPS, 3)
    if on_gpu:
        row["peak GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        row["reserved GB"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
    return row


def profiled(bundle: Any, device: str, slices: int, out: Path) -> dict[str, Any]:
    """The kernels that take longest, in a file and on the screen."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device != "cpu":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        predict(hip(slices), bundle.model, samples=10, seed=1, device=device)
    by = "self_cpu_time_total" if device == "cpu" else "self_cuda_time_total"
    table = profile.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=70)
    (out / "profile.txt").write_text(table)
    print(table, flush=True)  # noqa: T201 - its purpose
    return {"slices": slices, "table": "profile.txt"}


def short_of_memory(bundle: Any, device: str, slices: int, share: float) -> dict[str, Any]:
    """A prediction that may use only a share of the memory."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        return _timed(bundle, device, slices)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def hip(slices: int) -> Volume:
    """A body as wide as hips, 380 x 260 mm, in pixels of 0.8 mm."""
    row, column = np.ogrid[:512, :512]
    body = ((row - 256) / 162) ** 2 + ((column - 256) / 237) ** 2 <= 1
    noise = np.random.default_rng(0).normal(0, 20, (8, 512, 512))
    hu = np.where(body, 50, -1000) + noise
    hu = np.tile(hu.astype(np.int16), (-(-slices // 8), 1, 1))[:slices]
    return Volume(hu, Geometry.regular(hu.shape, (5.0, 0.8, 0.8)))


if __name__ == "__main__":
    main()
