"""How long a volume takes, by hand: `python tests/benchmarks/bench_sampling.py [--help]`.

The network is the compact bundle's, with random weights: arithmetic does not care. The
target is about a minute for 120 slices of 512 x 512 with 10 samples on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from inference.geometry import Geometry
from inference.models.bayesian_unet.network import (
    FIVE_LAYERS,
    SIX_LAYERS,
    Architecture,
    BayesianUNet,
)
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window, frame_of
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle
from inference.models.model import predict
from inference.volume import Volume

ARCHITECTURES = {
    "compact": Architecture(
        layers=5, filters=16, batch_normalisation=True, dropout_free_levels=2
    ),
    "5layers": FIVE_LAYERS,
    "6layers": SIX_LAYERS,
}


def main() -> None:
    """Time one prediction and print what it was made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--network", choices=ARCHITECTURES, default="compact")
    parser.add_argument("--pixel-mm", type=float, default=2.0, help="0: the source's own")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    volume = hip(asked.slices)
    with tempfile.TemporaryDirectory() as folder:
        bundle = random_bundle(Path(folder) / "bundle", asked.network, asked.pixel_mm)
        start, busy = time.perf_counter(), time.process_time()
        prediction = predict(
            volume, bundle.model, samples=asked.samples, seed=1, device=asked.device
        )
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    frame = frame_of(volume, bundle.model.grid, bundle.model.architecture)
    threads = torch.get_num_threads()
    print(  # noqa: T201 - its purpose
        f"{asked.network} on {prediction.device}, {threads} threads: {asked.slices} slices of "
        f"512 x 512 as {frame.size[0]} x {frame.size[1]}, {asked.samples} samples: "
        f"{seconds:.1f} s, {seconds / asked.slices * 1000:.0f} ms a slice; "
        f"cores were busy for {busy:.1f} s"
    )


def hip(slices: int) -> Volume:
    """A body as wide as hips, 380 x 260 mm, in pixels of 0.8 mm."""
    row, column = np.ogrid[:512, :512]
    body = ((row - 256) / 162) ** 2 + ((column - 256) / 237) ** 2 <= 1
    noise = np.random.default_rng(0).normal(0, 20, (8, 512, 512))
    few = np.where(body, 50, -1000) + noise
    hu = np.tile(few, (-(-slices // 8), 1, 1))[:slices].astype(np.int16)
    return Volume(hu, Geometry.regular(hu.shape, (5.0, 0.8, 0.8)))


def random_bundle(folder: Path, network: str, pixel_mm: float) -> Bundle:
    """A bundle with untrained weights."""
    return write_unet_bundle(
        folder,
        name="benchmark",
        version="0",
        network=BayesianUNet(ARCHITECTURES[network]),
        window=Window(),
        grid=PixelGrid(pixel_mm or None),
        samples=10,
        training={},
        model_card="",
    )


if __name__ == "__main__":
    main()
