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
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.models.musclemap.chunk import Slices
from inference.models.musclemap.settings import Preprocessing
from inference.models.musclemap.unet import MuscleMapUNet
from inference.models.nnunet.architecture import Architecture, UNet
from inference.phantom.render import Phantom, phantom
from inference.phantom.spec import SMALL_PHANTOM
from inference.structures import SEGMENTS, Group
from inference.volume import Volume

BONE, MUSCLE = 1, 2
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


def train(network: nn.Module, pairs: Tensor, seed: int, iterations: int) -> None:
    """Fit a network to bone and muscle.

    Args:
        network: images `[image, 1, ...]` to logits `[image, class, ...]`.
        pairs: `[image, 2, ...]`, what the network is fed, and what is true of it.
        seed: of the order of the images.
        iterations: of three images each.
    """
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    drawn = torch.Generator().manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as small as this, several only wait for each other
    for _ in range(iterations):
        part = pairs[torch.randint(len(pairs), (3,), generator=drawn)]
        optimiser.zero_grad()
        logits = network(part[:, :1])
        weight = torch.ones(logits.shape[1])
        weight[BONE] = 5.0  # there is little of it
        loss = nn.functional.cross_entropy(logits, part[:, 1].long(), weight=weight)
        loss.backward()
        optimiser.step()
    torch.set_num_threads(threads)


def write_musclemap(folder: Path) -> tuple[Path, Path]:
    """Weights and configuration, side by side, of a network that knows `LEFT_LEG`."""
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(LABELS)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = NETWORK.build()
    train(
        _Reordered(network, order),
        _seen_by_musclemap(phantom(LEFT_LEG)),
        seed=1,
        iterations=200,
    )
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


NNUNET: Final = Architecture(
    encoder="plain",
    axes=2,
    features=(8, 8),
    kernels=((3, 3), (3, 3)),
    strides=((1, 1), (2, 2)),
    blocks=(1, 1),
    decoder_blocks=(1,),
)
NAMES: Final = ("background", "FEMUR", "VLVI")
CLIPPED_HU, MEAN_HU, DEVIATION_HU = (-120.0, 700.0), 120.0, 180.0


def write_nnunet(folder: Path, folds: int = 2) -> Path:
    """A results folder of a 2d configuration that knows `SMALL_PHANTOM`, both legs in view."""
    results = folder / "nnUNetTrainer__nnUNetPlans__2d"
    results.mkdir(parents=True, exist_ok=True)
    labels = {name: number for number, name in enumerate(NAMES)}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (results / "dataset.json").write_text(json.dumps(dataset))
    (results / "plans.json").write_text(json.dumps(_plans()))
    patient = phantom(SMALL_PHANTOM)
    fed = (patient.volume.hu.clip(*CLIPPED_HU) - MEAN_HU) / DEVIATION_HU
    pairs = np.stack([fed.astype(np.float32), tissue_of(patient)], axis=1)[::2]
    for fold in range(folds):
        with torch.random.fork_rng():
            torch.manual_seed(fold)
            network = UNet(NNUNET, len(NAMES))
        train(network, torch.from_numpy(pairs), seed=fold, iterations=80)
        (results / f"fold_{fold}").mkdir(exist_ok=True)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "2d", "fold": fold},
            "inference_allowed_mirroring_axes": (0, 1),
        }
        torch.save(checkpoint, results / f"fold_{fold}" / "checkpoint_final.pth")
    return results


def _plans() -> dict[str, object]:
    levels = len(NNUNET.features)
    network = {
        "n_stages": levels,
        "features_per_stage": NNUNET.features,
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": NNUNET.kernels,
        "strides": NNUNET.strides,
        "n_conv_per_stage": NNUNET.blocks,
        "n_conv_per_stage_decoder": NNUNET.decoder_blocks,
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    plans = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    intensities = {
        "percentile_00_5": CLIPPED_HU[0],
        "percentile_99_5": CLIPPED_HU[1],
        "mean": MEAN_HU,
        "std": DEVIATION_HU,
    }
    return {
        "dataset_name": "Dataset901_Phantom",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {
            "2d": {
                "preprocessor_name": "DefaultPreprocessor",
                "patch_size": [128, 128],
                "spacing": [SMALL_PHANTOM.pixel_mm] * 2,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "architecture": {"network_class_name": plans, "arch_kwargs": network},
            }
        },
    }
