"""How fast synthetic bodies and training images are made, on the CPU and on a GPU.

    python tests/benchmarks/bench_synthesis.py LABEL_MAP [--bodies 4] [--pictures FOLDER]

LABEL_MAP is what a recipe names: NIfTI, MetaImage or npz. Bodies are compared between the
devices too: scalars (pose, anatomy, tissues) are the same there, noise is not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inference.training.synthesis.body import draw_tensors, read_label_map
from inference.training.synthesis.fields import Draw
from inference.training.synthesis.pose import LabelMap
from inference.training.synthesis.scanner import View
from inference.training.synthesis.stream import Stock, draw_images

VIEW = View((160, 224))
BATCH = 32
BATCHES = 20
SEED = 7


def main() -> None:
    """Print a line a device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("label_map", type=Path)
    parser.add_argument("--bodies", type=int, default=4)
    parser.add_argument("--pictures", type=Path, help="keep body 0 of each device as npz here")
    options = parser.parse_args()
    source = read_label_map(options.label_map)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")  # noqa: T201 - its purpose
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        report(device, source.to(device), options.bodies, options.pictures)


def report(device: str, source: LabelMap, bodies: int, pictures: Path | None) -> None:
    """Time bodies after a first one, and images of the last."""
    body = draw_tensors(source, SEED, 0)
    if pictures is not None:
        np.savez(pictures / f"body_{device}.npz", hu=body[0].cpu(), labels=body[1].cpu())
    wait(device)
    began_s = time.perf_counter()
    for number in range(1, bodies + 1):
        body = draw_tensors(source, SEED, number)
    wait(device)
    per_body_s = (time.perf_counter() - began_s) / bodies
    per_image_s = images(device, *body)
    counts = torch.bincount(body[1].flatten().int(), minlength=23)[1:].cpu()
    print(  # noqa: T201 - its purpose
        f"{device}: {per_body_s:.2f} s a body of {tuple(body[0].shape)}, "
        f"{1e3 * per_image_s:.1f} ms an image of {VIEW.crop}; "
        f"{int((counts > 0).sum())} structures, {int(counts.sum())} voxels"
    )


def images(device: str, hu: Tensor, labels: Tensor) -> float:
    """Seconds an augmented training image, in batches."""
    stock = Stock(hu, labels, np.full(len(hu), 1 / len(hu)))
    draw_images([stock], BATCH, Draw(SEED, device=device), VIEW)
    wait(device)
    began_s = time.perf_counter()
    for number in range(BATCHES):
        draw_images([stock], BATCH, Draw(SEED, number, device=device), VIEW)
    wait(device)
    return (time.perf_counter() - began_s) / BATCHES / BATCH


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
