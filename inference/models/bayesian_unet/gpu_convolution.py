"""The network's convolution as a GPU computes it fastest when nothing is trained.

What a CPU computes faster is in `cpu_network`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as f


def convolved_without_padded_copy(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Convolution and ReLU of the reflected image, which is never made.

    On a GPU the padded copy costs more than the convolution: torch's reflection knows
    no channels-last memory, so every image is rearranged twice. Here the border is
    convolved with zeros around it, and its four lines of pixels anew, each in a strip
    of three.

    Args:
        x: `[b, channels_in, h, w]`.
        convolution: 3x3, without padding of its own; normalisation is folded into it.
    """
    out = _convolved(x, convolution, padding=1)
    for border, strip, pad in (
        (out[:, :, :1], x[:, :, :2], (1, 1, 1, 0)),
        (out[:, :, -1:], x[:, :, -2:], (1, 1, 0, 1)),
        (out[..., :1], x[..., :2], (1, 0, 1, 1)),
        (out[..., -1:], x[..., -2:], (0, 1, 1, 1)),
    ):
        border.copy_(_convolved(f.pad(strip, pad, mode="reflect"), convolution, padding=0))
    return out


def _convolved(x: Tensor, convolution: nn.Conv2d, padding: int) -> Tensor:
    """Convolution, bias and ReLU; in one kernel where there is a GPU."""
    weight, bias = convolution.weight, convolution.bias
    if not x.is_cuda:
        return f.relu(f.conv2d(x, weight, bias, padding=padding))
    once, pads = (1, 1), (padding, padding)
    return torch.cudnn_convolution_relu(x, weight, bias, once, pads, once, 1)
