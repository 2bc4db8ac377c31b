"""Weights on disk: safetensors that fit an architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from inference.models import weights_files
from inference.models.bayesian_unet.network import Architecture, BayesianUNet


def load_network(path: Path, architecture: Architecture) -> BayesianUNet:
    """A network in float32 on the CPU, in evaluation mode, not yet folded."""
    network = BayesianUNet(architecture)
    tensors = weights_files.load_tensors(path)
    network.load_state_dict(tensors, strict=False)  # only batch counters miss
    return network.eval()


def check_tensors(path: Path, architecture: Architecture) -> None:
    """Compare names and shapes with the architecture, before any memory is taken."""
    with torch.device("meta"):
        network = BayesianUNet(architecture)
    weights_files.check_tensors(path, network)


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
