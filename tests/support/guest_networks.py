"""Guests for whole-node tests: files of other programs whose networks know bone and muscle.

The architectures are the originals', small. The weights are made here: a few seconds of
training on slices of the phantom, from a fixed seed. All bone is labelled as the left femur and
all muscle as the left vastus: which side something is on is not for the network to say.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from inference.models.musclemap.chunk import Slices
from inference.models.musclemap.settings import Preprocessing
from inference.models.musclemap.unet import MuscleMapUNet
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.phantom.render import Phantom, phantom
from inference.phantom.spec import SMALL_PHANTOM
from inference.structures import SEGMENTS, Group
from inference.volume import Volume

BONE, MUSCLE = 1, 2
ITERATIONS: Final = 100
WINDOW: Final = 128

LEFT_LEG: Final = replace(
    SMALL_PHANTOM, columns=72, centre_mm=(105.0, SMALL_PHANTOM.centre_mm[1])
)
"""Of each label MuscleMap keeps the largest piece: with both legs in view, one of them."""

LABELS: Final = {
    6171: ("femur", "left"),
    7101: ("vastus lateralis", "left"),
    6172: ("femur", "right"),
    7102: ("vastus lateralis", "right"),
    7111: ("vastus intermedius", "left"),
    7112: ("vastus intermedius", "right"),
    8101: ("tibialis anterior", "left"),
}
"""By value; FEMUR and VLVI are whole, and nothing else of ours is there."""

NETWORK: Final = MuscleMapUNet(out_channels=len(LABELS) + 1, channels=(8, 8), strides=(2,))


def tissue_of(patient: Phantom) -> NDArray[np.float32]:
    """`[slice, row, column]` where a phantom is bone and muscle."""
    bones = [s.number for s in SEGMENTS if s.structure.group is Group.BONE]
    tissue = np.where(patient.segments > 0, MUSCLE, 0)
    tissue[np.isin(patient.segments, bones)] = BONE
    return tissue.astype(np.float32)


def train(network: nn.Module, pairs: Tensor, seed: int) -> None:
    """Fit a network to bone and muscle.

    Args:
        network: images `[image, 1, ...]` to logits `[image, class, ...]`.
        pairs: `[image, 2, ...]`, what the network is fed, and what is true of it.
        seed: of the order of the images.
    """
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(ITERATIONS):
        part = pairs[torch.randint(len(pairs), (3,), generator=drawn)]
        optimiser.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(network(part[:, :1]), part[:, 1].long())
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def write_musclemap(folder: Path) -> tuple[Path, Path]:
    """Weights and configuration, side by side, of a network that knows `LEFT_LEG`."""
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(LABELS)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = NETWORK.build()
    train(_Reordered(network, order), _seen_by_musclemap(phantom(LEFT_LEG)), seed=1)
    weights, config = folder / "wholebody.pth", folder / "wholebody.json"
    torch.save(network.state_dict(), weights)
    config.write_text(json.dumps(_configuration(order)))
    return weights, config


def _seen_by_musclemap(patient: Phantom) -> Tensor:
    """Windows as its network is fed them, and the truth in the same places."""
    chosen = Preprocessing(pixel_mm=(-1.0, -1.0))
    seen = Slices(patient.volume, chosen)
    true = Slices(Volume(tissue_of(patient), patient.volume.geometry), chosen)
    pairs = []
    for places in chosen.chunks(len(patient.volume.hu)):
        chunk = seen.chunk(places)
        as_it_is = replace(chunk, mean=0.0, deviation=1.0, rescaling=None)
        for place in chunk.fed[::2]:
            pair = seen.normalised(place, chunk), true.normalised(place, as_it_is)
            pairs.append(torch.stack(pair))
    return torch.stack([_padded(one) for one in pairs])


def _padded(pair: Tensor) -> Tensor:
    """As large as a window."""
    behind = [WINDOW - size for size in pair.shape[1:]]
    return nn.functional.pad(pair, (0, behind[1], 0, behind[0]))


class _Reordered(nn.Module):
    """The network with the channels of femur and vastus as the first ones."""

    def __init__(self, network: nn.Module, values: list[int]) -> None:
        super().__init__()
        self.network = network
        first = [0, values.index(6171) + 1, values.index(7101) + 1]
        self.order = first + [n for n in range(len(values) + 1) if n not in first]

    def forward(self, image: Tensor) -> Tensor:
        """Logits in the order of `BONE` and `MUSCLE`."""
        logits: Tensor = self.network(image)[:, self.order]
        return logits


def _configuration(order: list[int]) -> dict[str, object]:
    return {
        "parameters": {
            "roi_size": [WINDOW, WINDOW],
            "spatial_window_batch_size": 4,
            "pix_dim": [-1, -1, -1],
        },
        "model": {
            "version": 1.4,
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": NETWORK.out_channels,
            "channels": list(NETWORK.channels),
            "act": "LeakyReLU",
            "strides": list(NETWORK.strides),
            "num_res_units": 1,
            "norm": "instance",
        },
        "labels": [
            {"region": "leg", "anatomy": LABELS[value][0], "side": LABELS[value][1],
             "value": value}
            for value in order
        ],
    }  # fmt: skip
