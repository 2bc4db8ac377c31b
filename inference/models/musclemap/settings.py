"""What MuscleMap's program chooses on the way from an image to labels, as declared values.

The defaults are those of its `mm_segment.py` 1.4 with MONAI 1.5 or newer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import torch
from pydantic import Field

Count = Annotated[int, Field(ge=1, le=4096)]
Share = Annotated[float, Field(gt=0)]

PIXELS_MM: Final = (0.05, 20.0)
"""What a slice may be brought to: anything else is no scan, and may need endless memory."""

WHOLE_SCAN: Final = 0
"""As a chunk: all slices at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From HU to what the network is fed; table `preprocessing` of a bundle.

    pixel_mm: distance of pixels from left to right and from back to front that a slice is
        brought to, linearly; 0 or less for its own. Slices stay as they are.
    chunk_slices: so many neighbouring slices share mean, deviation and crop; 0 for all.
    nonzero: values of exactly 0 count for neither mean nor deviation, and stay 0.
    margin: pixels around what is above the mean, in every direction.
    margin_beyond_image: the margin goes on beyond the image, filled with 0, as MONAI does
        from 1.5 on; before, it ended there.
    rescaled_chunks: whole numbers are kept as nibabel keeps a part of an int16 image that
        was read as float: as 65536 steps between its least and greatest value. Of a scan
        in one chunk, or of floating-point values, nothing is rescaled.
    """

    pixel_mm: tuple[float, float] = (1.0, 1.0)
    chunk_slices: Annotated[int, Field(ge=WHOLE_SCAN, le=1_000_000)] = 25
    nonzero: bool = True
    margin: Annotated[int, Field(ge=0, le=4096)] = 20
    margin_beyond_image: bool = True
    rescaled_chunks: bool = True

    def __post_init__(self) -> None:
        """Refuse pixels that no scan has."""
        least, most = PIXELS_MM
        if any(one > 0 and not least <= one <= most for one in self.pixel_mm):
            raise ValueError(f"pixel_mm is {self.pixel_mm}, not {least} to {most}")

    def chunks(self, slices: int) -> tuple[range, ...]:
        """The slices of a scan, chunk by chunk from the feet."""
        size = self.chunk_slices or slices
        return tuple(range(a, min(a + size, slices)) for a in range(0, slices, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How windows are laid over a slice and put together; table `windows` of a bundle.

    size: pixels from left to right and from back to front.
    overlap: share that two neighbours have in common.
    batch: windows that the network takes at once.
    sigma: of the Gaussian weights, as a share of the size.
    least_weight: no weight is smaller.
    """

    size: tuple[Count, Count] = (256, 256)
    overlap: Annotated[float, Field(ge=0, le=0.99)] = 0.9
    batch: Count = 1
    sigma: Share = 0.125
    least_weight: Share = 1e-3

    def starts(self, axis: int, pixels: int) -> tuple[int, ...]:
        """First pixels of the windows along an axis that is at least a window long."""
        size = self.size[axis]
        step = max(1, int(size * (1 - self.overlap)))
        last = pixels - size
        return (*range(0, last, step), last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocessing:
    """Table `postprocessing` of a bundle.

    largest_piece: of each label only the largest piece is kept; voxels that share a face
        hang together.
    """

    largest_piece: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The smallest numbers that may be taken on each kind of device; table `numbers`.

    They are tried on one window, and taken where they are right and faster.
    """

    cpu: Literal["float32", "bfloat16"] = "float32"
    cuda: Literal["float32", "bfloat16", "float16"] = "float32"

    def allowed(self, device: torch.device) -> Literal["float32", "bfloat16", "float16"]:
        """The smallest that may be taken on a device."""
        return self.cuda if device.type == "cuda" else self.cpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """All that is chosen on the way from an image to labels."""

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    windows: Windows = field(default_factory=Windows)
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    numbers: Numbers = field(default_factory=Numbers)
