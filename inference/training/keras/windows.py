"""The windows that the published family was trained with, by the group's released tools."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class KerasWindow(StrEnum):
    """What the tool segments whose window it is."""

    FEMUR = "femur"
    PHANTOM = "phantom"


class HuToValues(NamedTuple):
    """Hounsfield units that are clipped to, and the grey values that these two become."""

    hu: tuple[float, float]
    values: tuple[float, float]


WINDOWS: Final[Mapping[KerasWindow, HuToValues]] = {
    KerasWindow.FEMUR: HuToValues((-150.0, 350.0), (0.0, 255.0)),
    KerasWindow.PHANTOM: HuToValues((-400.0, 700.0), (-127.5, 127.5)),
}
"""`femur` has five levels without batch normalisation (Uemura et al., Arch Osteoporos 17
(2022) 17), `phantom` five with it (Uemura et al., arXiv:2012.11151)."""
