"""Model bundles: a folder that says everything a trained network needs to be used.

```
weights.safetensors   the network's tensors, float32 or float16; never a pickle
bundle.toml           what the network is, what it is fed, where it comes from, file hashes
calibration.toml      thresholds of the quality gate (absent: not calibrated)
MODEL_CARD.md         the same for people, with pictures
```
A bundle that does not fit what it says of itself is refused with a `BundleError` that names
the file and the problem.

`kind` in `bundle.toml` says what kind of network it is; without it, the Bayesian U-Net. The
facts that all kinds share are read here, every other key by the kind's own reader.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from inference.errors import BundleError
from inference.models.bayesian_unet.declaration import read_model as read_bayesian_unet
from inference.models.bundle_files import (
    BUNDLE_FORMAT,
    CALIBRATION_FILE,
    DECLARATION_FILE,
    WEIGHTS_FILE,
    bundle_folder,
    check_no_pickle,
    checked_sha256,
    read_file,
    read_table,
)
from inference.models.model import Model
from inference.models.musclemap.declaration import read_model as read_musclemap
from inference.models.nnunet.declaration import read_model as read_nnunet
from inference.models.toml_values import MisfitError, value_of
from inference.quality.calibration import Calibration, PlausibleRange, StructureCalibration
from inference.results import Score

DEFAULT_BUNDLE: Final = "compact"
DEFAULT_KIND: Final = "bayesian_unet"
CALIBRATION_FORMAT: Final = 2
FIRST_CALIBRATION_FORMAT: Final = 1
"""Its limits are on the uncertainty alone; still read."""

Reader = Callable[[Path, Mapping[str, Any]], Model]
"""Reads a kind of network: from the bundle's folder, whose weights have the hash that is
declared and are no pickle, and the keys of bundle.toml that are the kind's own. Raises a
`MisfitError` where keys do not fit, a `BundleError` where the weights do not."""

KINDS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        DEFAULT_KIND: read_bayesian_unet,
        "musclemap": read_musclemap,
        "nnunet": read_nnunet,
    }
)
"""The kinds of networks; a new one is a package beside `bayesian_unet` and a line here."""

Parsed = TypeVar("Parsed")

LongString = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]*$")]
"""A text that an object's header holds as it is: a Long String (PS3.5, 6.2)."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has been read and found consistent: what is true of every kind.

    model: the network; what it is inside is its kind's own.
    samples: how many an analysis takes that asks for no number, and that the calibration
        rests on.
    sha256: of bundle.toml, which names the hashes of weights and calibration: it stands
        for everything that can change a result.
    training: where the weights come from; free words and numbers.
    calibration: None where the bundle has not been calibrated.
    origin: of a network of another program, what was imported, as its kind declares it.
    """

    name: str
    version: str
    kind: str
    model: Model
    samples: int
    folder: Path
    sha256: str
    weights_sha256: str
    training: Mapping[str, Any]
    calibration: Calibration | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def sample_count(self, asked: int | None = None) -> int:
        """Number of samples of an analysis: those asked for, if there can be so many."""
        most = self.model.most_samples
        count = asked or self.samples
        return count if most is None else min(count, most)


def load_bundle(name_or_path: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Read and check a bundle: a shipped one by name, any other by its folder.

    Raises:
        BundleError: the folder, a file or a value does not fit; the message says which.
    """
    folder = bundle_folder(name_or_path)
    path = folder / DECLARATION_FILE
    text = read_file(path)
    table = read_table(path, text, BUNDLE_FORMAT)
    read_model = _reader(path, table.get("kind", DEFAULT_KIND))
    shared = {one.name for one in fields(_Declaration)}
    declared = _parse(_Declaration, path, {key: table[key] for key in table if key in shared})
    check_no_pickle(folder / WEIGHTS_FILE)
    weights_sha256 = checked_sha256(folder, WEIGHTS_FILE, declared.sha256)
    own = {key: table[key] for key in table if key not in shared}
    try:
        model = read_model(folder, own)
    except MisfitError as error:
        raise BundleError(f"{path}: {error}") from error
    return Bundle(
        name=declared.name,
        version=declared.version,
        kind=declared.kind,
        model=model,
        samples=declared.samples,
        folder=folder,
        sha256=hashlib.sha256(text).hexdigest(),
        weights_sha256=weights_sha256,
        training=MappingProxyType(declared.training),
        calibration=_calibration(folder, declared.sha256),
        origin=MappingProxyType(dict(own.get("origin", {}))),
    )


def _reader(path: Path, kind: Any) -> Reader:
    """Reader of this kind of network."""
    reader = KINDS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        known = ", ".join(sorted(KINDS))
        raise BundleError(f"{path}: kind is {kind!r}, this version knows {known}")
    return reader


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declaration:
    """The keys of bundle.toml that all kinds share."""

    format: int
    kind: str = DEFAULT_KIND
    name: LongString
    version: LongString
    samples: Annotated[int, Field(ge=1)]
    sha256: dict[str, str]
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
    table = read_table(path, read_file(path), CALIBRATION_FORMAT, FIRST_CALIBRATION_FORMAT)
    if table["format"] == FIRST_CALIBRATION_FORMAT:
        table = _by_uncertainty_alone(path, table)
    read = _parse(_CalibrationFile, path, table)
    values = {one.name: getattr(read, one.name) for one in fields(read)}
    del values["format"]
    try:
        return Calibration(**values)
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstFormat:
    """The limits of a structure, or of the average, in calibration.toml of format 1."""

    dice_median: float
    dice_mad: float
    dice_limits: tuple[float, float]
    a: float
    b: float
    uncertainty_limits: tuple[float, float]
    auroc_inaccurate: float | None = None
    auroc_failed: float | None = None
    weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstFile:
    """The limits of calibration.toml of format 1."""

    average: _FirstFormat | None = None
    structures: dict[str, _FirstFormat] = field(default_factory=dict)


def _by_uncertainty_alone(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """A calibration of format 1 as this version writes one."""
    limits = {key: table[key] for key in ("average", "structures") if key in table}
    first = _parse(_FirstFile, path, limits)

    def as_now(one: _FirstFormat) -> dict[str, Any]:
        score = {"a": one.a, "b": one.b, "limits": one.uncertainty_limits, "weak": one.weak}
        aurocs = {key: getattr(one, key) for key in ("auroc_inaccurate", "auroc_failed")}
        return {
            **{key: getattr(one, key) for key in ("dice_median", "dice_mad", "dice_limits")},
            "gate": Score.UNCERTAINTY,
            "scores": {Score.UNCERTAINTY: score | aurocs},
        }

    present = dict(table)
    if first.average is not None:
        present["average"] = as_now(first.average)
    present["structures"] = {key: as_now(one) for key, one in first.structures.items()}
    return present


def _parse(kind: type[Parsed], path: Path, table: Mapping[str, Any]) -> Parsed:
    """The values of a TOML file's table, or every misfit in words."""
    try:
        return value_of(kind, table)
    except MisfitError as error:
        raise BundleError(f"{path}: {error}") from error
