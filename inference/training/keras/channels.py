"""What the output channels of a Keras file stand for: no file says it, so it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inference.errors import KerasFileError
from inference.models.bayesian_unet.channels import (
    BACKGROUND,
    LABELS,
    STUDY_CHANNELS,
    Channels,
)
from inference.models.guests.labels import MOST_CLASSES
from inference.training.keras.weights_file import KerasLayer


def read_labels(path: Path) -> tuple[str, ...]:
    """Labels of the output channels, one a line, the first channel's first.

    A line may be empty, for a channel that is nothing of ours; at the end none counts.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KerasFileError(f"{path}: cannot be read: {error}") from error
    return tuple(line.strip() for line in lines)


def channel_count(path: Path, head: KerasLayer) -> int:
    """Output channels of the last layer; the study's number where its kernel is none.

    Raises:
        KerasFileError: too few for a softmax, or too many for labels of a byte.
    """
    kernel = head.weights.get("kernel")
    if kernel is None or kernel.ndim != 4:
        return len(LABELS)  # refused with the layer's other shapes
    count: int = kernel.shape[3]
    if not 2 <= count <= MOST_CLASSES:
        raise KerasFileError(
            f"{path}: {head.name}, the last one, has {count} output channels, not 2 to "
            f"{MOST_CLASSES}"
        )
    return count


def told_channels(where: str, count: int, labels: Sequence[str] | None) -> Channels:
    """What the output channels stand for, as told; else the study's, if it can be that.

    Args:
        where: file and layer, for the words of errors.
        count: of the channels.
        labels: as in `Channels`, in order; None where nobody told them.

    Raises:
        KerasFileError: nobody told them, or what was told does not fit.
    """
    if labels is None:
        if count == len(LABELS):
            return STUDY_CHANNELS
        raise KerasFileError(
            f"{where}, the last one, has {count} output channels, not the {len(LABELS)} of "
            "the study; say what each is with --labels FILE, one line a channel: a structure "
            f"(FEMUR), one on a side (FEMUR_L), or {BACKGROUND}; of the group's femur tool "
            f"{BACKGROUND} and FEMUR"
        )
    if len(labels) != count:
        raise KerasFileError(
            f"{where}, the last one, has {count} output channels, told are {len(labels)}; give "
            f"one line a channel, {BACKGROUND} for what is no structure here"
        )
    try:
        return Channels(tuple(label or BACKGROUND for label in labels))
    except ValueError as error:
        raise KerasFileError(f"{where}, the last one: {error}") from error
