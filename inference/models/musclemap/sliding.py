"""A network over windows of a slice, put together with Gaussian weights.

As MONAI's `sliding_window_inference` does it: the logits of every window, weighted, are added
up in order, and divided by the sum of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from inference.models.musclemap.settings import Windows


def over_windows(
    image: Tensor, network: Callable[[Tensor], Tensor], chosen: Windows, classes: int
) -> Tensor:
    """Logits of a slice.

    Args:
        image: float `[x, y]`; what is shorter than a window is filled with 0 at its end.
        network: `[window, 1, x, y]` to logits `[window, class, x, y]`.
        chosen: size, overlap and weights of windows.
        classes: of the network.

    Returns:
        float32 `[class, x, y]`.
    """
    x_size, y_size = chosen.size
    rows, columns = image.shape
    filled = functional.pad(image, (0, max(y_size - columns, 0), 0, max(x_size - rows, 0)))
    weights = window_weights(chosen, image.device)
    places = tuple(
        product(chosen.starts(0, filled.shape[0]), chosen.starts(1, filled.shape[1]))
    )
    summed = torch.zeros((classes, *filled.shape), device=image.device)
    shares = torch.zeros_like(filled, dtype=torch.float32)
    for first in range(0, len(places), chosen.batch):
        some = places[first : first + chosen.batch]
        windows = torch.stack([filled[x : x + x_size, y : y + y_size] for x, y in some])
        logits = network(windows[:, None]).float()
        for (x, y), one in zip(some, logits, strict=True):
            summed[:, x : x + x_size, y : y + y_size].addcmul_(one, weights)
            shares[x : x + x_size, y : y + y_size] += weights
    return summed.div_(shares)[:, :rows, :columns]


def window_weights(chosen: Windows, device: torch.device | None = None) -> Tensor:
    """float32 `[x, y]`: a Gaussian around the middle, nowhere below the least weight."""
    along = []
    for size in chosen.size:
        offsets = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
        along.append(torch.exp(offsets**2 / (-2 * (chosen.sigma * size) ** 2)))
    weights = along[0][:, None] * along[1]
    return weights.clamp_(min=max(float(weights.min()), chosen.least_weight))
