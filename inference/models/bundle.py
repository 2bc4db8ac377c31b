"""Model bundles: a folder that says everything a trained network needs to be used.

```
weights.safetensors   the network's tensors, float32 or float16; never a pickle
bundle.toml           what the network is, what it is fed, where it comes from, file hashes
calibration.toml      thresholds of the quality gate (absent: not calibrated)
MODEL_CARD.md         the same for people, with pictures
```
A bundle that does not fit what it says of itself is refused with a `BundleError` that names
the file and the problem.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from inference.errors import BundleError
from inference.models.bayesian_unet import weights
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.precision import Precision
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.weights import check_no_pickle, check_tensors
from inference.models.bundle_files import (
    BUNDLE_FORMAT,
    CALIBRATION_FILE,
    DECLARATION_FILE,
    WEIGHTS_FILE,
    bundle_folder,
    checked_sha256,
    read_file,
    read_table,
)
from inference.models.toml_values import MisfitError, value_of
from inference.quality.calibration import Calibration, PlausibleRange, StructureCalibration
from inference.results import Uncertainty
from inference.structures import STRUCTURES

DEFAULT_BUNDLE: Final = "compact"
CALIBRATION_FORMAT: Final = 1
LABELS: Final = ("background", *(structure.abbreviation for structure in STRUCTURES))
"""What the output channels stand for, in order."""

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has been read and found consistent.

    window, grid: what the network is fed.
    samples: Monte Carlo samples that the calibration rests on.
    sha256: of bundle.toml, which names the hashes of weights and calibration: it stands
        for everything that can change a result.
    training: where the weights come from; free words and numbers.
    calibration: None where the bundle has not been calibrated.
    uncertainty: what it is measured by, and what a calibration must rest on.
    """

    name: str
    version: str
    architecture: Architecture
    window: Window
    grid: PixelGrid
    samples: int
    precision: Precision
    folder: Path
    sha256: str
    weights_sha256: str
    training: Mapping[str, Any]
    calibration: Calibration | None = None
    uncertainty: Uncertainty = Uncertainty.VARIANCE

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.folder / WEIGHTS_FILE


def load_bundle(name_or_path: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Read and check a bundle: a shipped one by name, any other by its folder.

    Raises:
        BundleError: the folder, a file or a value does not fit; the message says which.
    """
    folder = bundle_folder(name_or_path)
    text = read_file(folder / DECLARATION_FILE)
    declared = _parse(_Declaration, folder / DECLARATION_FILE, text, BUNDLE_FORMAT)
    if declared.labels != LABELS:
        raise BundleError(_wrong_labels(folder / DECLARATION_FILE, declared.labels))
    check_no_pickle(folder / WEIGHTS_FILE)
    weights_sha256 = checked_sha256(folder, WEIGHTS_FILE, declared.sha256)
    check_tensors(folder / WEIGHTS_FILE, declared.architecture)
    return Bundle(
        name=declared.name,
        version=declared.version,
        architecture=declared.architecture,
        window=declared.window,
        grid=declared.grid,
        samples=declared.samples,
        precision=declared.precision,
        folder=folder,
        sha256=hashlib.sha256(text).hexdigest(),
        weights_sha256=weights_sha256,
        training=MappingProxyType(declared.training),
        calibration=_calibration(folder, declared.sha256),
        uncertainty=declared.uncertainty,
    )


def load_network(bundle: Bundle) -> BayesianUNet:
    """The bundle's network in float32 on the CPU, in evaluation mode, not yet folded."""
    return weights.load_network(bundle.weights_path, bundle.architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declaration:
    """bundle.toml as written."""

    format: int
    name: str
    version: str
    samples: Annotated[int, Field(ge=1)]
    labels: tuple[str, ...]
    sha256: dict[str, str]
    architecture: Architecture
    window: Window
    grid: PixelGrid
    precision: Precision = field(default_factory=Precision)
    uncertainty: Uncertainty = Uncertainty.VARIANCE
    training: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CalibrationFile:
    """calibration.toml as written."""

    format: int
    data_set: str
    script: str
    fitted_on: dt.date
    expected_cases: int
    average: StructureCalibration | None = None
    structures: dict[str, StructureCalibration] = field(default_factory=dict)
    plausible: dict[str, PlausibleRange] = field(default_factory=dict)


def _calibration(folder: Path, hashes: Mapping[str, str]) -> Calibration | None:
    path = folder / CALIBRATION_FILE
    if CALIBRATION_FILE not in hashes:
        if path.exists():
            raise BundleError(f"{path}: has no sha256 in {DECLARATION_FILE}")
        return None
    checked_sha256(folder, CALIBRATION_FILE, hashes)
    read = _parse(_CalibrationFile, path, read_file(path), CALIBRATION_FORMAT)
    values = {one.name: getattr(read, one.name) for one in fields(read)}
    del values["format"]
    try:
        return Calibration(**values)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error


def _parse(model: type[Parsed], path: Path, text: bytes, expected_format: int) -> Parsed:
    """The values of a TOML file, or every misfit in words."""
    table = read_table(path, text, expected_format)
    try:
        return value_of(model, table)
    except MisfitError as error:
        raise BundleError(f"{path}: {error}") from error


def _wrong_labels(path: Path, labels: tuple[str, ...]) -> str:
    if len(labels) != len(LABELS):
        return f"{path}: {len(labels)} labels, not {len(LABELS)} with background"
    at = next(
        i for i, pair in enumerate(zip(labels, LABELS, strict=True)) if pair[0] != pair[1]
    )
    return f"{path}: label {at} is {labels[at]!r}, not {LABELS[at]!r}"
