"""Files as MuscleMap's, of a network small enough for tests, with weights from a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from inference.models.musclemap.unet import MuscleMapUNet, UNet

VALUES: Final = {
    5121: ("psoas major", "left"),
    5122: ("psoas major", "right"),
    6160: ("sacrum", "no side"),
    6171: ("femur", "left"),
    6172: ("femur", "right"),
    7201: ("adductor magnus", "left"),
    8101: ("tibialis anterior", "left"),
}
SHAPE: Final = MuscleMapUNet(out_channels=len(VALUES) + 1, channels=(4, 6, 8), strides=(2, 2))


def small_network(seed: int = 0, shape: MuscleMapUNet = SHAPE) -> UNet:
    """With weights of a normal distribution."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return shape.build().eval().requires_grad_(requires_grad=False)


def write_weights(path: Path, seed: int = 0) -> Path:
    """A plain state dict, as MuscleMap's."""
    torch.save(small_network(seed).state_dict(), path)
    return path


def configuration(**parts: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON beside the weights; parts take the place of their keys."""
    whole: dict[str, Any] = {
        "parameters": {
            "num_workers": 4,
            "roi_size": [32, 32],
            "spatial_window_batch_size": 1,
            "pix_dim": [1, 1, -1],
        },
        "model": {
            "version": 1.4,
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": SHAPE.out_channels,
            "channels": list(SHAPE.channels),
            "act": "LeakyReLU",
            "strides": list(SHAPE.strides),
            "num_res_units": 1,
            "norm": "instance",
        },
        "labels": [
            {"region": "x", "anatomy": anatomy, "side": side, "value": value}
            for value, (anatomy, side) in VALUES.items()
        ],
    }
    for key, part in parts.items():
        whole[key] = {**whole[key], **part} if isinstance(part, Mapping) else part
    return whole


def write_configuration(path: Path, **parts: Any) -> Path:
    """As a file."""
    path.write_text(json.dumps(configuration(**parts)))
    return path
