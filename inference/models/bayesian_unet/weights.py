"""Weights on disk: safetensors that fit an architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from inference.errors import BundleError
from inference.models.bayesian_unet.network import Architecture, BayesianUNet


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors as float32; every value must be finite."""
    with safe_open(path, framework="pt") as weights:
        tensors = {name: weights.get_tensor(name).float() for name in weights.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise BundleError(f"{path}: {name} has values that are not finite")
    return tensors


def load_network(path: Path, architecture: Architecture) -> BayesianUNet:
    """A network in float32 on the CPU, in evaluation mode, not yet folded."""
    network = BayesianUNet(architecture)
    network.load_state_dict(load_tensors(path), strict=False)  # only batch counters miss
    return network.eval()


def check_tensors(path: Path, architecture: Architecture) -> None:
    """Compare names and shapes with the architecture, before any memory is taken."""
    with torch.device("meta"):
        expected = {
            name: tuple(tensor.shape)
            for name, tensor in BayesianUNet(architecture).state_dict().items()
            if tensor.is_floating_point()
        }
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


def save_tensors(network: BayesianUNet, path: Path, *, half: bool) -> None:
    """Write the floating-point tensors; kernels as float16 where asked for and in range."""
    stored = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        kernel = tensor.detach().cpu().float().contiguous()
        if half and kernel.ndim == 4 and bool(kernel.half().isfinite().all()):
            kernel = kernel.half()
        stored[name] = kernel
    save_file(stored, path)
