"""The JSON file beside MuscleMap's weights: what its program reads of it, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from inference.errors import MuscleMapFileError
from inference.label_table import LARGEST_LABEL
from inference.models.guests.labels import side_of
from inference.models.musclemap.unet import MuscleMapUNet
from inference.models.toml_values import value_of
from inference.structures import Side


class Parameters(BaseModel):
    """How images are fed."""

    roi_size: tuple[PositiveInt, PositiveInt]
    pix_dim: tuple[float, float, float]
    spatial_window_batch_size: PositiveInt


class Network(BaseModel):
    """Arguments of `monai.networks.nets.UNet`."""

    spatial_dims: int
    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    num_res_units: int
    act: str
    norm: str
    version: str | float = ""


class Label(BaseModel):
    """One label: a value of the label map, and what it is in the original's words."""

    value: Annotated[int, Field(gt=0, le=LARGEST_LABEL)]
    anatomy: str = ""
    side: str = ""


class Config(BaseModel):
    """The file as a whole; keys that the original's program does not read are left alone."""

    parameters: Parameters
    model: Network
    labels: Annotated[list[Label], Field(min_length=1)]

    @property
    def values(self) -> tuple[int, ...]:
        """Of the labels, in the order of the network's channels from 1 on."""
        return tuple(sorted({label.value for label in self.labels}))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels: `gluteus medius left`, with the value where that is not enough."""
        words = [self._words(value) for value in self.values]
        return (
            "background",
            *(
                word if word and words.count(word) == 1 else f"{word} {value}".strip()
                for word, value in zip(words, self.values, strict=True)
            ),
        )

    @property
    def sides(self) -> dict[int, Side | None]:
        """The side that each value's entry names."""
        return {label.value: side_of(label.side) for label in self.labels}

    @property
    def mirrored(self) -> tuple[tuple[str, str], ...]:
        """Pairs of names of the same anatomy, left and right."""
        sides, names = self.sides, dict(zip(self.values, self.names[1:], strict=True))
        found: dict[str, dict[Side, str]] = {}
        for label in self.labels:
            side = sides[label.value]
            if side is not None and label.anatomy.strip():
                found.setdefault(label.anatomy.strip(), {})[side] = names[label.value]
        return tuple(
            (pair[Side.LEFT], pair[Side.RIGHT]) for pair in found.values() if len(pair) == 2
        )

    def _words(self, value: int) -> str:
        label = next(one for one in self.labels if one.value == value)
        side = label.side if side_of(label.side) else ""
        return f"{label.anatomy.strip()} {side.strip()}".strip()


def read_config(path: Path) -> Config:
    """Read and check a configuration.

    Raises:
        MuscleMapFileError: what does not fit, key by key.
    """
    try:
        config = Config.model_validate_json(path.read_bytes())
    except OSError as error:
        raise MuscleMapFileError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        misfits = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}"
            for one in error.errors()[:5]
        )
        raise MuscleMapFileError(f"{path}: no MuscleMap configuration: {misfits}") from error
    for key, found, known in (
        ("model.spatial_dims", config.model.spatial_dims, 2),
        ("model.in_channels", config.model.in_channels, 1),
        ("model.act", config.model.act.casefold(), "leakyrelu"),
        ("model.norm", config.model.norm.casefold(), "instance"),
        ("model.out_channels", config.model.out_channels, len(config.values) + 1),
    ):
        if found != known:
            raise MuscleMapFileError(f"{path}: {key} is {found!r}, not {known!r}")
    if config.parameters.pix_dim[2] > 0:
        raise MuscleMapFileError(
            f"{path}: parameters.pix_dim resamples slices to {config.parameters.pix_dim[2]} mm;"
            " only networks that take slices as they are (-1) can be taken over"
        )
    return config


def network_of(config: Config, path: Path) -> MuscleMapUNet:
    """The network that a configuration describes.

    Raises:
        MuscleMapFileError: it describes none.
    """
    model = config.model
    try:
        return value_of(
            MuscleMapUNet,
            {
                "out_channels": model.out_channels,
                "channels": model.channels,
                "strides": model.strides,
                "residual_units": model.num_res_units,
            },
        )
    except ValueError as error:
        raise MuscleMapFileError(f"{path}: model: {error}") from error
