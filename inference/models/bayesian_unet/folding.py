"""Batch normalisation folded into the convolutions before it, for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inference.models.bayesian_unet.network import (
    Architecture,
    BayesianUNet,
    Convolution,
    Upsampling,
)


def fold_batch_normalisation(network: BayesianUNet) -> BayesianUNet:
    """The same function without batch normalisation, for inference.

    What needs no folding shares its memory with the original.

    gamma (w x + b - mean) / sqrt(variance + epsilon) + beta is again a convolution: scale
    s = gamma / sqrt(variance + epsilon), weights s w, bias s (b - mean) + beta.
    """
    source = network.architecture
    architecture = Architecture(
        layers=source.layers,
        filters=source.filters,
        batch_normalisation=False,
        dropout=source.dropout,
        dropout_free_levels=source.dropout_free_levels,
        classes=source.classes,
    )
    with torch.device("meta"):  # weights of its own would be drawn, and thrown away
        folded = BayesianUNet(architecture)
    state = {}
    for name, module in network.named_modules():
        if isinstance(module, Convolution | Upsampling):
            weight, bias = _folded(module)
            state[f"{name}.convolution.weight"] = weight
            state[f"{name}.convolution.bias"] = bias
    state |= {f"head.{name}": value for name, value in network.head.state_dict().items()}
    folded.load_state_dict(state, assign=True)
    return folded.eval()


def _folded(module: Convolution | Upsampling) -> tuple[Tensor, Tensor]:
    weight = module.convolution.weight.detach()
    bias = module.convolution.bias
    if bias is None:
        raise ValueError("every convolution of this family has a bias")
    norm = module.normalisation
    if not isinstance(norm, nn.BatchNorm2d):
        return weight, bias.detach()
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("folding needs running statistics")
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    # Output channels: first axis of a convolution's weights, second of a transposed one's.
    over_outputs = (1, -1, 1, 1) if isinstance(module, Upsampling) else (-1, 1, 1, 1)
    shift = norm.bias.detach() - norm.running_mean * scale
    return weight * scale.view(over_outputs), bias.detach() * scale + shift
