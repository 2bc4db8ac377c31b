"""Declaration of a Bayesian U-Net in `bundle.toml`, checked against its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.models.bayesian_unet.channels import Channels
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.network import Architecture
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.weights import check_tensors
from inference.models.bundle_files import WEIGHTS_FILE
from inference.models.toml_values import value_of
from inference.results import Uncertainty


def read_model(folder: Path, table: Mapping[str, Any]) -> BayesianUNetModel:
    """The model of a bundle's folder; see `inference.models.bundle.Reader`."""
    declared = value_of(_Declared, table)
    architecture = replace(declared.architecture, classes=len(declared.labels))
    check_tensors(folder / WEIGHTS_FILE, architecture)
    return BayesianUNetModel(
        weights_path=folder / WEIGHTS_FILE,
        architecture=architecture,
        window=declared.window,
        grid=declared.grid,
        precision=declared.precision,
        uncertainty=declared.uncertainty,
        channels=Channels(declared.labels),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The keys of bundle.toml that are this kind's own."""

    labels: tuple[str, ...]
    architecture: Architecture
    window: Window
    grid: PixelGrid
    precision: Precision = field(default_factory=Precision)
    uncertainty: Uncertainty = Uncertainty.VARIANCE

    def __post_init__(self) -> None:
        """Dropout always has a measure of doubt; channels stand for something."""
        Channels(self.labels)
        if self.uncertainty is Uncertainty.NONE:
            raise ValueError("uncertainty is 'none', not 'variance' or 'entropy'")
