"""What nnU-Net's `plans.json` and `dataset.json` say, as values of a bundle.

Whatever would change the result and is not done here is refused, with the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.errors import NnunetFolderError
from inference.models.guests.labels import MOST_CLASSES
from inference.models.nnunet.architecture import Architecture
from inference.models.nnunet.preprocessing import Normalisation, Preprocessing
from inference.models.toml_values import MisfitError, value_of

_READERS: Final = {
    "SimpleITKIO": "LPS",
    "NibabelIO": "LPS",
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIOWithReorient": "RAS",
}
"""nnU-Net's readers: those that keep an image as it is stored, and those that turn it."""

_SCHEMES: Final = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale_to_0_1",
    "NoNormalization": "none",
}
_RESAMPLING: Final = "resample_data_or_seg_to_shape"
_ACTIVATIONS: Final = {"LeakyReLU": "leaky_relu", "ReLU": "relu"}
_ENCODERS: Final = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A configuration of nnU-Net as this program runs it.

    names: of the output channels, the first is background.
    patch: voxels of a tile.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    patch: tuple[int, ...]
    names: tuple[str, ...]


def read_plans(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    configuration: str,
    *,
    is_ct: bool,
    orientation: str | None,
) -> Planned:
    """A configuration of the plans, checked.

    Args:
        plans: of `plans.json`.
        dataset: of `dataset.json`.
        configuration: a name in the plans, such as `3d_fullres`.
        is_ct: True where the user says that the channel is a CT whatever it is called.
        orientation: of the training images, `LPS` or `RAS`; None: as the reader says.

    Raises:
        NnunetFolderError: something is missing or not supported.
    """
    chosen = _configuration(plans, configuration)
    _check_channel(dataset, is_ct=is_ct)
    try:
        return Planned(
            architecture=_architecture(chosen),
            preprocessing=_preprocessing(plans, chosen, orientation),
            patch=tuple(int(side) for side in chosen["patch_size"]),
            names=_names(dataset),
        )
    except KeyError as error:
        raise NnunetFolderError(f"plans.json: {configuration}: no {error.args[0]!r}") from error
    except MisfitError as error:
        raise NnunetFolderError(f"plans.json: {configuration}: {error}") from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise NnunetFolderError(
            f"plans.json: {configuration}: a key is of another kind than nnU-Net's: {error}"
        ) from error


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One configuration with what it inherits, as nnU-Net 2 has written them since 2023."""
    all_of = plans.get("configurations")
    if not isinstance(all_of, Mapping) or not isinstance(all_of.get(name), Mapping):
        known = ", ".join(all_of) if isinstance(all_of, Mapping) else "none"
        raise NnunetFolderError(f"plans.json: no configuration {name}; there are: {known}")
    found: dict[str, Any] = {}
    seen: list[str] = []
    heir: Any = name
    while heir is not None:
        there = isinstance(heir, str) and isinstance(all_of.get(heir), Mapping)
        if heir in seen or not there:
            raise NnunetFolderError(
                f"plans.json: {name} inherits from {heir}, which is not there"
            )
        seen.append(heir)
        found = {**all_of[heir], **found}
        heir = all_of[heir].get("inherits_from")
    if found.get("previous_stage"):
        raise NnunetFolderError(
            f"plans.json: {name} is the second stage of a cascade, fed with labels of "
            f"{found['previous_stage']}, which is not supported; import that or 3d_fullres"
        )
    preprocessor = found.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise NnunetFolderError(
            f"plans.json: {name} is fed by {preprocessor}, of which nothing is known here; "
            "only DefaultPreprocessor is supported: plan and train with that"
        )
    return found


def _check_channel(dataset: Mapping[str, Any], *, is_ct: bool) -> None:
    channels = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(channels, Mapping) or not channels:
        raise NnunetFolderError("dataset.json: no channel_names")
    if len(channels) > 1:
        called = ", ".join(map(str, channels.values()))
        raise NnunetFolderError(
            f"dataset.json: {len(channels)} input channels ({called}); a CT is one: import a "
            "network that was trained on the CT alone"
        )
    (called,) = channels.values()
    if str(called).casefold() != "ct" and not is_ct:
        raise NnunetFolderError(
            f"dataset.json: the channel is called {called!r}, not CT; if it was trained on CT "
            "in Hounsfield units all the same, say --is-ct"
        )


def _names(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping) or "background" not in labels:
        raise NnunetFolderError("dataset.json: no labels, or none that is called background")
    regions = [name for name, value in labels.items() if isinstance(value, list | tuple)]
    if regions or dataset.get("regions_class_order"):
        named = ", ".join(regions) or "regions_class_order"
        raise NnunetFolderError(
            f"dataset.json: trained on regions ({named}), "
            "which may overlap and are not supported; train with one number for each label"
        )
    # Never an output: voxels that training left out.
    numbers = {name: _number(name, one) for name, one in labels.items() if name != "ignore"}
    names = sorted(numbers, key=lambda name: numbers[name])
    if numbers["background"] != 0:
        raise NnunetFolderError(
            f"dataset.json: background is label {numbers['background']}; nnU-Net's is 0"
        )
    if [numbers[name] for name in names] != list(range(len(names))):
        raise NnunetFolderError(
            "dataset.json: the numbers of the labels are not 0, 1, 2 and so on, each once; "
            "nnU-Net's output cannot be told apart by them"
        )
    if len(names) > MOST_CLASSES:
        raise NnunetFolderError(f"dataset.json: {len(names)} labels, at most {MOST_CLASSES}")
    return tuple(names)


def _number(name: str, value: Any) -> int:
    """A label's number; old files have it as a text."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | str)
        or not str(value).isdecimal()
    ):
        raise NnunetFolderError(
            f"dataset.json: label {name!r} is {value!r}, not a whole number from 0 on"
        )
    return int(value)


def _architecture(chosen: Mapping[str, Any]) -> Architecture:
    table = _described(chosen) if "architecture" in chosen else _described_of_old(chosen)
    return value_of(Architecture, table)


def _described(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The table that plans hold since nnU-Net 2.4."""
    path = str(chosen["architecture"]["network_class_name"])
    of = dict(chosen["architecture"]["arch_kwargs"])
    kind = _ENCODERS.get(path.rpartition(".")[2])
    if kind is None or not path.startswith("dynamic_network_architectures."):
        raise NnunetFolderError(
            f"plans.json: the network is {path}; supported are PlainConvUNet and "
            "ResidualEncoderUNet of dynamic_network_architectures"
        )
    odd = [key for key in ("nonlin_first", "block", "bottleneck_channels") if of.get(key)]
    if odd:
        raise NnunetFolderError(f"plans.json: the network's {odd[0]} is not supported")
    axes = {"Conv2d": 2, "Conv3d": 3}.get(str(of["conv_op"]).rpartition(".")[2])
    levels = int(of["n_stages"])
    normalisation = _of_torch(of["norm_op"], ("InstanceNorm", "BatchNorm"), "norm_op")
    activation = str(of["nonlin"]).rpartition(".")[2]
    settings, below = of.get("norm_op_kwargs") or {}, of.get("nonlin_kwargs") or {}
    return {
        "encoder": kind,
        "axes": axes,
        "features": _each(of["features_per_stage"], levels),
        "kernels": _sizes(of["kernel_sizes"], levels, axes or 3),
        "strides": _sizes(of["strides"], levels, axes or 3),
        "blocks": _each(
            of["n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage"], levels
        ),
        "decoder_blocks": _each(of["n_conv_per_stage_decoder"], levels - 1),
        "stem_features": of.get("stem_channels"),
        "bias": bool(of.get("conv_bias", False)),
        "normalisation": normalisation,
        "eps": float(settings.get("eps", 1e-5)),
        "affine": bool(settings.get("affine", normalisation == "batch")),
        "activation": _ACTIVATIONS.get(activation, activation),
        "slope": float(below.get("negative_slope", 0.01)),
    }


def _described_of_old(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Plans of nnU-Net 2.0 to 2.3 name a few numbers; the rest was always the same."""
    kind = _ENCODERS.get(str(chosen["UNet_class_name"]))
    if kind is None:
        raise NnunetFolderError(
            f"plans.json: the network is {chosen['UNet_class_name']}; supported are "
            f"{', '.join(_ENCODERS)}"
        )
    blocks = list(chosen["n_conv_per_stage_encoder"])
    base, most = int(chosen["UNet_base_num_features"]), int(chosen["unet_max_num_features"])
    return {
        "encoder": kind,
        "axes": len(chosen["patch_size"]),
        "features": [min(base * 2**level, most) for level in range(len(blocks))],
        "kernels": chosen["conv_kernel_sizes"],
        "strides": chosen["pool_op_kernel_sizes"],
        "blocks": blocks,
        "decoder_blocks": chosen["n_conv_per_stage_decoder"],
    }


def _preprocessing(
    plans: Mapping[str, Any], chosen: Mapping[str, Any], orientation: str | None
) -> Preprocessing:
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    if reader not in _READERS:
        raise NnunetFolderError(
            f"plans.json: images were read by {reader}; supported are {', '.join(_READERS)}"
        )
    normalisation = _normalisation(plans, chosen)
    table = {
        "orientation": orientation or _READERS[reader],
        "transpose": plans.get("transpose_forward", [0, 1, 2]),
        "spacing_mm": chosen["spacing"],
        "normalisation": normalisation,
        "separate": _resampling(chosen, "data", order=3),
        "separate_logits": _resampling(chosen, "probabilities", order=1),
    }
    return value_of(Preprocessing, table)


def _normalisation(plans: Mapping[str, Any], chosen: Mapping[str, Any]) -> Normalisation:
    schemes, masked = chosen["normalization_schemes"], chosen.get("use_mask_for_norm", [False])
    scheme = _SCHEMES.get(schemes[0])
    if scheme is None or len(schemes) != 1:
        raise NnunetFolderError(
            f"plans.json: normalised by {', '.join(schemes)}; supported is one of "
            f"{', '.join(_SCHEMES)}"
        )
    if scheme != "ct":
        inside = bool(masked[0]) and scheme == "zscore"
        return value_of(Normalisation, {"scheme": scheme, "inside_alone": inside})
    of_channels = plans.get(
        "foreground_intensity_properties_per_channel",
        plans.get("foreground_intensity_properties_by_modality", {}),
    )
    of = of_channels["0"]
    return value_of(
        Normalisation,
        {
            "scheme": scheme,
            "low_hu": float(of["percentile_00_5"]),
            "high_hu": float(of["percentile_99_5"]),
            "mean_hu": float(of["mean"]),
            "deviation_hu": float(of["std"]),
        },
    )


def _resampling(chosen: Mapping[str, Any], of: str, *, order: int) -> bool | None:
    """Whether the plans force slices apart; the rest of the resampling must be the default."""
    name = chosen.get(f"resampling_fn_{of}", _RESAMPLING)
    settings = chosen.get(f"resampling_fn_{of}_kwargs", {"order": order})
    if name != _RESAMPLING:
        raise NnunetFolderError(
            f"plans.json: {of} are resampled by {name}; supported is {_RESAMPLING}, nnU-Net's "
            "default: plan and train with that"
        )
    found = (settings.get("order", 3), settings.get("order_z", 0))
    if found != (order, 0):
        raise NnunetFolderError(
            f"plans.json: {of} are resampled with order {found[0]}, across slices {found[1]}; "
            f"supported are {order} and 0, nnU-Net's defaults"
        )
    separate: bool | None = settings.get("force_separate_z")
    return separate


def _of_torch(path: Any, kinds: Sequence[str], key: str) -> str:
    name = str(path).rpartition(".")[2]
    for kind in kinds:
        if name.startswith(kind):
            return kind.removesuffix("Norm").lower()
    raise NnunetFolderError(f"plans.json: {key} is {path}; supported are {', '.join(kinds)}")


def _each(value: Any, levels: int) -> list[int]:
    return [value] * levels if isinstance(value, int) else list(value)


def _sizes(value: Any, levels: int, axes: int) -> list[list[int]]:
    values = [value] * levels if isinstance(value, int) else list(value)
    return [[one] * axes if isinstance(one, int) else list(one) for one in values]
