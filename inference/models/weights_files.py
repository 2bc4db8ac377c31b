"""Safetensors files of any kind of network: their tensors checked, and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from inference.errors import BundleError


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors as float32; every value must be finite."""
    with safe_open(path, framework="pt") as weights:
        tensors = {name: weights.get_tensor(name).float() for name in weights.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise BundleError(f"{path}: {name} has values that are not finite")
    return tensors


def check_tensors(path: Path, network: nn.Module) -> None:
    """Compare a file's names and shapes with a network's, before any memory is taken.

    Args:
        path: the file.
        network: made on the device `meta`; counters (whole numbers) are not in the file.
    """
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    check_shapes(path, expected)


def check_members(path: Path, network: nn.Module, count: int) -> None:
    """Compare a file with so many sets of a network's tensors, named `0/...`, `1/...`.

    Args:
        path: the file.
        network: made on the device `meta`; counters are in the file, too.
        count: of sets.
    """
    state = network.state_dict().items()
    sets = range(count)
    check_shapes(path, {f"{n}/{name}": tuple(one.shape) for n in sets for name, one in state})


def check_shapes(path: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare a file's names and shapes with those expected."""
    try:
        with safe_open(path, framework="pt") as weights:
            found = {
                name: tuple(weights.get_slice(name).get_shape())
                for name in weights.keys()  # noqa: SIM118 - a file, not a dict
            }
    except SafetensorError as error:
        raise BundleError(f"{path}: not safetensors: {error}") from error
    missing, surplus = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise BundleError(f"{path}: {len(missing)} tensors missing, such as {missing[0]}")
    if surplus:
        raise BundleError(f"{path}: {len(surplus)} tensors too many, such as {surplus[0]}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise BundleError(f"{path}: {name} is {found[name]}, not {shape}")
