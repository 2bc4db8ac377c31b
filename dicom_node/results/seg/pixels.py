"""The pixels of a segmentation: bit planes, or a label map in run lengths."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate

from dicom_node.results.seg.frames import Frame

FRAMES_AT_ONCE: Final = 8
"""Eight frames fill whole bytes, whatever their size."""

LONGEST_RUN: Final = 128
RLE_HEADER: Final = struct.pack("<16L", 1, 64, *[0] * 14)
"""One segment of bytes, right behind this header (PS3.5 G.5)."""


def packed_bits(labels: NDArray[np.uint8], frames: Sequence[Frame]) -> BytesIO:
    """Frames of one segment each as single bits, padded to an even number of bytes.

    The first pixel lies in the lowest bit, and a frame that does not fill its last byte
    shares it with the next (PS3.5 8.2 and D). A long scan has hundreds of megabytes of
    them; a stream of bytes is written to a file without being copied.

    Args:
        labels: of `SEGMENTS` [slice, row, column].
        frames: each with a segment.
    """
    packed = BytesIO()
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        few = frames[start : start + FRAMES_AT_ONCE]
        masks = np.stack([labels[frame.slice_index] == frame.segment for frame in few])
        packed.write(np.packbits(masks, bitorder="little").tobytes())
    packed.write(b"\0" * (packed.tell() % 2))
    packed.seek(0)
    return packed


def run_lengths(
    labels: NDArray[np.uint8], frames: Sequence[Frame], numbers: NDArray[np.uint8]
) -> bytes:
    """Frames of all segments in RLE Lossless, encapsulated with offsets (PS3.5 A.4 and G).

    Args:
        labels: of `SEGMENTS` [slice, row, column].
        frames: of whole slices.
        numbers: (256,) what stands in the pixel for each value of `labels`.
    """
    rows, columns = labels.shape[1:]
    breaks = np.zeros((rows, columns), dtype=bool)
    breaks[:, ::LONGEST_RUN] = True
    return encapsulate(
        [
            RLE_HEADER + _runs(labels[frame.slice_index].ravel(), breaks.ravel(), numbers)
            for frame in frames
        ]
    )


def _runs(
    image: NDArray[np.uint8], breaks: NDArray[np.bool_], numbers: NDArray[np.uint8]
) -> bytes:
    """One frame as runs of one value each, two bytes a run.

    A run of n pixels is 257 - n and the value; a single pixel is a literal of one, 0 and
    the value (PS3.5 G.3.1). Literals of more than one would save nothing worth having: in
    a label map hardly a pixel stands alone. So the whole frame is encoded at once, which is
    ten times as fast as going through its bytes.

    Args:
        image: the pixels.
        breaks: where a run must not continue, for it would enter a new row or be too long.
        numbers: what stands in the pixel for each value of `image`.
    """
    starts_run = breaks.copy()
    starts_run[1:] |= image[1:] != image[:-1]
    starts = np.flatnonzero(starts_run)
    lengths = np.diff(starts, append=image.size)
    return np.stack([257 - lengths, numbers[image[starts]]], axis=1).astype(np.uint8).tobytes()
