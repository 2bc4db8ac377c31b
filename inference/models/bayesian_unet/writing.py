"""Writing a Bayesian U-Net as a model bundle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from inference.models.bayesian_unet.channels import STUDY_CHANNELS, Channels
from inference.models.bayesian_unet.network import BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.weights import save_tensors
from inference.models.bundle import Bundle
from inference.models.bundle_writing import write_bundle
from inference.models.toml_text import as_table
from inference.quality.calibration import Calibration
from inference.results import Uncertainty


def write_unet_bundle(  # noqa: PLR0913 - a bundle has this many parts
    folder: Path,
    *,
    name: str,
    version: str,
    network: BayesianUNet,
    window: Window,
    grid: PixelGrid,
    samples: int,
    training: Mapping[str, Any],
    model_card: str,
    calibration: Calibration | None = None,
    precision: Precision | None = None,
    uncertainty: Uncertainty = Uncertainty.VARIANCE,
    channels: Channels = STUDY_CHANNELS,
    half: bool = False,
) -> Bundle:
    """`write_bundle` of a Bayesian U-Net.

    Args:
        folder: see `write_bundle`, as all that is not said here.
        name: see there.
        version: see there.
        network: its weights and architecture; calibrate with what was read back.
        window: see `BayesianUNetModel`.
        grid: see there.
        samples: Monte Carlo samples.
        training: see `write_bundle`.
        model_card: see there.
        calibration: see there.
        precision: in what numbers it may compute.
        uncertainty: see `BayesianUNetModel`.
        channels: what the network's output channels stand for.
        half: store the convolutions' kernels as float16 where they fit its range.
    """
    architecture = as_table(network.architecture)
    del architecture["classes"]  # the labels say it
    own = {
        "labels": list(channels.names),
        "architecture": architecture,
        "window": as_table(window),
        "grid": as_table(grid),
        "precision": as_table(precision or Precision()),
        "uncertainty": str(uncertainty),
    }
    return write_bundle(
        folder,
        own=own,
        save_weights=partial(save_tensors, network, half=half),
        name=name,
        version=version,
        samples=samples,
        training=training,
        model_card=model_card,
        calibration=calibration,
    )
