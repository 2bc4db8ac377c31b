"""A bundle of a tiny network that was never trained: it labels by chance, but it runs."""

from __future__ import annotations

from pathlib import Path

import torch

from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.writing import write_unet_bundle
from inference.models.bundle import Bundle


def untrained_bundle(folder: Path) -> Bundle:
    """Write it into `folder`; about 3000 parameters, two samples, 8 mm pixels."""
    torch.manual_seed(0)
    architecture = Architecture(layers=2, filters=2, batch_normalisation=False)
    return write_unet_bundle(
        folder,
        name="untrained",
        version="0",
        network=BayesianUNet(architecture),
        window=Window(),
        grid=PixelGrid(pixel_mm=8.0),
        samples=2,
        training={"note": "not trained"},
        model_card="# Untrained",
    )
