"""Grader bundles: a folder that says everything a trained grader needs to be used.

```
grader.toml           what it grades, what it is fed, where it comes from, file hashes
weights.safetensors   the network's tensors, float32 or float16; never a pickle
```
A bundle that does not fit what it says of itself is refused with a `BundleError` that names
the file and the problem, as a segmentation's is (`inference/models/bundle.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, StringConstraints

from inference.errors import BundleError
from inference.grading.grader_files import GRADER_FILE, GRADER_FORMAT, declaration_of
from inference.grading.hip_radiograph import Framing
from inference.grading.network import Architecture, GraderNetwork
from inference.models.bundle_files import (
    WEIGHTS_FILE,
    check_no_pickle,
    checked_sha256,
    read_table,
)
from inference.models.toml_values import MisfitError, value_of
from inference.models.weights_files import check_tensors, load_tensors
from inference.results import GradeCode, GraderIdentity

KIND: Final = "hip_radiograph"
LARGEST_PIXELS: Final = 1024

VARIANCE: Final = "running_var"
"""A tensor of batch normalisation, which divides by the root of it."""

Short = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
"""Of a name that a report gives as a code's meaning, or beside one (PS3.5 6.2, LO)."""

Triple = tuple[
    Annotated[str, StringConstraints(min_length=1, max_length=16)],
    Annotated[str, StringConstraints(min_length=1, max_length=16)],
    Short,
]
"""Code Value, Coding Scheme Designator and Code Meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the attenuation integrals become the network's numbers: (value - mean) / sd."""

    mean: float
    sd: PositiveFloat

    def of(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's numbers."""
        return np.asarray((image - self.mean) / self.sd, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeClass:
    """One grade: its name and, where a coding scheme has it, its code."""

    name: Short
    code: Triple | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph:
    """The keys of the image: see `Framing`."""

    cube_mm: Annotated[float, Field(ge=40, le=400)]
    pixels: Annotated[int, Field(ge=16, le=LARGEST_PIXELS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """grader.toml as written.

    scale: what the classes are grades of, as a report says it.
    licence: under which the weights may be used.
    model_card: what people should know of it, a line each.
    training: where the weights come from; free words and numbers.
    """

    format: int
    kind: Literal["hip_radiograph"]
    name: Short
    version: Short
    licence: Annotated[str, StringConstraints(min_length=1)]
    model_card: Annotated[tuple[str, ...], Field(min_length=1)]
    scale: Short
    scale_code: Triple | None = None
    classes: Annotated[tuple[GradeClass, ...], Field(min_length=2, max_length=64)]
    radiograph: Radiograph
    scaling: Scaling
    architecture: Architecture
    sha256: dict[str, str]
    training: dict[str, Any]

    def __post_init__(self) -> None:
        """Check what its parts must have in common."""
        names = [one.name for one in self.classes]
        if len(set(names)) != len(names):
            raise ValueError("two classes have one name")
        times, pixels = len(self.architecture.channels), self.radiograph.pixels
        if pixels < 2**times:
            raise ValueError(f"{pixels} pixels cannot be halved {times} times")


@dataclass(frozen=True, slots=True, eq=False)
class GraderBundle:
    """A grader that has been read and found consistent, ready on the CPU.

    sha256: of grader.toml, which names the hash of the weights.
    """

    declared: Declaration
    folder: Path
    sha256: str
    network: GraderNetwork

    @property
    def identity(self) -> GraderIdentity:
        """What a grade names as its grader."""
        return GraderIdentity("bundle", self.declared.name, self.declared.version, self.sha256)

    @property
    def framing(self) -> Framing:
        """The radiograph that it is fed."""
        return Framing(self.declared.radiograph.cube_mm, self.declared.radiograph.pixels)

    def probabilities(self, image: NDArray[np.float32]) -> tuple[float, ...]:
        """Of each class, for one radiograph; they add up to 1.

        Where a value on the way is too large for the network's numbers they are no numbers.
        """
        scaled = torch.from_numpy(self.declared.scaling.of(image))
        with torch.inference_mode():
            logits = self.network(scaled[None, None])[0].double()
        return tuple(logits.softmax(dim=0).tolist())


def code_of(triple: tuple[str, str, str] | None) -> GradeCode | None:
    """A code as results carry it."""
    return None if triple is None else GradeCode(*triple)


def load_grader_bundle(folder: Path) -> GraderBundle:
    """Read and check a grader bundle.

    Raises:
        BundleError: the folder, a file or a value does not fit; the message says which.
    """
    text = declaration_of(folder)
    path = folder / GRADER_FILE
    table = read_table(path, text, GRADER_FORMAT)
    if table.get("kind") != KIND:
        raise BundleError(f"{path}: kind is {table.get('kind')!r}, this version knows {KIND}")
    try:
        declared = value_of(Declaration, table)
    except MisfitError as error:
        raise BundleError(f"{path}: {error}") from error
    weights = folder / WEIGHTS_FILE
    check_no_pickle(weights)
    checked_sha256(folder, WEIGHTS_FILE, declared.sha256, GRADER_FILE)
    return GraderBundle(
        declared, folder, hashlib.sha256(text).hexdigest(), _network(weights, declared)
    )


def _network(weights: Path, declared: Declaration) -> GraderNetwork:
    """The network with its weights, in evaluation mode."""
    parts = declared.architecture, len(declared.classes)
    with torch.device("meta"):
        check_tensors(weights, GraderNetwork(*parts))
    tensors = load_tensors(weights)
    for name, tensor in tensors.items():
        if name.endswith(VARIANCE) and bool((tensor < 0).any()):
            raise BundleError(f"{weights}: {name} has values below 0, and is a variance")
    network = GraderNetwork(*parts)
    network.load_state_dict(tensors, strict=False)  # only batch counters miss
    return network.eval()
