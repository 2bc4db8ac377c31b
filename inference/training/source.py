"""Source of a training run's images."""

from __future__ import annotations

from typing import Protocol, Self

from torch import Tensor


class ImageSource(Protocol):
    """Batches of labelled images, each following from the recipe and its iteration alone.

    A run that was killed and goes on asks for the same iteration again and must be given the
    same images. Use as a context manager: what a source started ends with it.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def start(self, iteration: int) -> None:
        """Prepare for batches from an iteration on; called once, before the first."""

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The images and labels of an iteration.

        Returns:
            Windowed images, float32 `[batch, 1, row, column]`, and labels 0 to 22, int64
            `[batch, row, column]`, on whatever device the source makes them.
        """
        ...
