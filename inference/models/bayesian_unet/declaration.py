"""Declaration of a Bayesian U-Net in `bundle.toml`, checked against its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inference.errors import BundleError
from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.network import Architecture
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.weights import check_tensors
from inference.models.bundle_files import DECLARATION_FILE, WEIGHTS_FILE
from inference.models.toml_values import value_of
from inference.results import Uncertainty
from inference.structures import STRUCTURES

LABELS: Final = ("background", *(structure.abbreviation for structure in STRUCTURES))
"""What the output channels stand for, in order."""


def read_model(folder: Path, table: Mapping[str, Any]) -> BayesianUNetModel:
    """The model of a bundle's folder; see `inference.models.bundle.Reader`."""
    declared = value_of(_Declared, table)
    if declared.labels != LABELS:
        raise BundleError(_wrong_labels(folder / DECLARATION_FILE, declared.labels))
    check_tensors(folder / WEIGHTS_FILE, declared.architecture)
    return BayesianUNetModel(
        weights_path=folder / WEIGHTS_FILE,
        architecture=declared.architecture,
        window=declared.window,
        grid=declared.grid,
        precision=declared.precision,
        uncertainty=declared.uncertainty,
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
        """Dropout always has a measure of doubt."""
        if self.uncertainty is Uncertainty.NONE:
            raise ValueError("uncertainty is 'none', not 'variance' or 'entropy'")


def _wrong_labels(path: Path, labels: tuple[str, ...]) -> str:
    if len(labels) != len(LABELS):
        return f"{path}: {len(labels)} labels, not {len(LABELS)} with background"
    at = next(
        i for i, pair in enumerate(zip(labels, LABELS, strict=True)) if pair[0] != pair[1]
    )
    return f"{path}: label {at} is {labels[at]!r}, not {LABELS[at]!r}"
