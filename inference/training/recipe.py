"""A recipe: everything that decides what a training run makes, read from one TOML file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from inference.errors import TrainingError
from inference.models.bayesian_unet.network import Architecture
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.toml_values import value_of
from inference.training.augmentation import Augmentation
from inference.training.folds import Folds

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]

Numbers = Literal["bfloat16", "float16", "float32"]
"""What the network computes in while it trains; weights are always float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """Sources of training images: labelled cases, or synthetic bodies.

    cases: a listing or a folder of cases as `msk-node evaluate` takes it, below the data
        folder.
    table: what their labels mean, below the data folder; where the cases do not say it.
    slice_mm: cases get a slice every so many mm, as in the study; 0 keeps the scan's own.
    label_maps: NIfTI or MetaImage, relative to the data folder.
    phantom_share: share of bodies that are renderings of the analytic phantom.
    sources: whom to credit, in words that go into the bundle.
    """

    cases: str = ""
    table: str = ""
    slice_mm: Annotated[float, Field(ge=0, le=10)] = 1.0
    label_maps: tuple[str, ...] = ()
    phantom_share: Share = 0.0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecipe:
    """The network; see `Architecture`."""

    layers: int = 5
    filters: int = 32
    batch_normalisation: bool = False
    dropout: float = 0.5
    dropout_free_levels: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecipe:
    """Input of the network; see `Window` and `PixelGrid`.

    pixel_mm: 0 takes each scan's own pixels, as the study did; for labelled cases only.
    body_only: false feeds whole slices, as the study did.
    """

    low_hu: float = -150.0
    high_hu: float = 350.0
    low_value: float = 0.0
    high_value: float = 255.0
    pixel_mm: Annotated[float, Field(ge=0, le=10)] = 2.0
    body_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecipe:
    """Weights to go on from, instead of random ones.

    bundle: a bundle's folder, relative to the recipe's own.
    weights_sha256: of its weights; with others this would be another recipe.
    """

    bundle: str
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutRecipe:
    """Trials of the held-out cases.

    every: iterations from one trial to the next.
    slices: of all held-out cases together, this many at most, evenly spread; 0: all.
    """

    every: Positive = 1000
    slices: Natural = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """Length and settings of the training.

    precision: what the network computes in, where the device is fast in it, else float32;
        float16 scales the loss, against underflow.
    crop: rows and columns of a training image, in network pixels.
    learning_rate: the highest.
    schedule: after a linear warm-up the rate falls to zero as a cosine, or stays.
    dice_weight: share of soft Dice beside the cross entropy; 0 as in the study.
    averaging: decay of the moving average of the weights; 0 keeps the last weights.
    bodies_at_once, iterations_per_body: the sliding set of bodies batches are drawn from.
    threads: of the CPU.
    """

    iterations: Positive
    batch: Positive = 3
    precision: Numbers = "bfloat16"
    crop: tuple[int, int] = (160, 224)
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warm_up: Natural = 100
    dice_weight: Share = 0.0
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bodies_at_once: Positive = 12
    iterations_per_body: Positive = 30
    threads: Positive = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecipeFile:
    """The file as written."""

    name: str
    version: str
    seed: Natural
    samples: Positive = 10
    data: DataRecipe
    network: NetworkRecipe = NetworkRecipe()
    input: InputRecipe = InputRecipe()
    start: StartRecipe | None = None
    folds: Folds | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    held_out: HeldOutRecipe = HeldOutRecipe()
    training: TrainingRecipe


@dataclass(frozen=True, slots=True)
class Start:
    """The bundle that a run goes on from."""

    folder: Path
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A checked recipe.

    file: the recipe's file name.
    sha256: of the file's text; it goes into the bundle.
    identity: of all that images and weights depend on from one iteration to the next. A run
        may be resumed with more or fewer iterations: only the learning rate follows them.
    """

    file: str
    name: str
    version: str
    seed: int
    samples: int
    data: DataRecipe
    architecture: Architecture
    window: Window
    grid: PixelGrid
    training: TrainingRecipe
    augmentation: Augmentation
    folds: Folds | None
    held_out: HeldOutRecipe
    start: Start | None
    sha256: str
    identity: str


def read_recipe(path: Path, fold: int | None = None) -> Recipe:
    """Read a recipe and refuse what does not fit, naming every misfit.

    Args:
        path: TOML.
        fold: taken instead of `folds.index`, so that one file serves a cross-validation.

    Raises:
        TrainingError: the file is missing, not TOML, or a value does not fit.
    """
    try:
        text = path.read_bytes()
        read = _with_fold(value_of(_RecipeFile, tomllib.loads(text.decode())), fold)
        architecture = Architecture(**asdict(read.network))
        window_and_grid = asdict(read.input)
        grid = PixelGrid(
            window_and_grid.pop("pixel_mm") or None, window_and_grid.pop("body_only")
        )
        window = Window(**window_and_grid)
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise TrainingError(f"{path}: {error}") from error
    _check(path, read, architecture)
    return Recipe(
        file=path.name,
        name=read.name,
        version=read.version,
        seed=read.seed,
        samples=read.samples,
        data=read.data,
        architecture=architecture,
        window=window,
        grid=grid,
        training=read.training,
        augmentation=read.augmentation,
        folds=read.folds,
        held_out=read.held_out,
        start=_start(path, read.start),
        sha256=hashlib.sha256(text).hexdigest(),
        identity=_identity(read),
    )


def _with_fold(read: _RecipeFile, fold: int | None) -> _RecipeFile:
    if fold is None:
        return read
    if read.folds is None:
        raise ValueError(f"fold {fold} is asked for, but there is no [folds]")
    return replace(read, folds=replace(read.folds, index=fold))


def _start(path: Path, start: StartRecipe | None) -> Start | None:
    if start is None:
        return None
    return Start(path.parent / start.bundle, start.weights_sha256)


def _identity(read: _RecipeFile) -> str:
    data = _without(read.data, "sources")
    plan = _without(read.training, "iterations", "warm_up", "threads")
    rest = [asdict(read.network), asdict(read.input)]
    if read.data.cases:
        rest += [asdict(read.augmentation), asdict(read.folds) if read.folds else {}]
    if read.start:
        rest.append({"weights_sha256": read.start.weights_sha256})
    said = json.dumps([read.seed, data, plan, rest], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _without(table: DataRecipe | TrainingRecipe, *names: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(table).items() if name not in names}


def _check(path: Path, read: _RecipeFile, architecture: Architecture) -> None:
    """Refuse values that do not go together."""
    data = read.data
    synthetic = bool(data.label_maps) or data.phantom_share > 0
    if data.cases and synthetic:
        raise TrainingError(f"{path}: data: either cases, or label_maps and phantom_share")
    if not data.cases and not synthetic:
        raise TrainingError(f"{path}: data: neither cases, label_maps nor phantom_share")
    if synthetic and not data.label_maps and data.phantom_share < 1:
        raise TrainingError(f"{path}: data.phantom_share: must be 1 without label_maps")
    if synthetic and (read.folds or read.input.pixel_mm == 0):
        raise TrainingError(f"{path}: folds and input.pixel_mm = 0 need data.cases")
    smallest = architecture.smallest_side
    if min(read.training.crop) < smallest:
        raise TrainingError(f"{path}: training.crop: needs {smallest} pixels for this network")
