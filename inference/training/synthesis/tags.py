"""Material of a synthetic body's voxels: the 22 structures and everything else."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor


class Tag(IntEnum):
    """Material of a voxel; 1 to 22 are the method's structures, these are background."""

    AIR = 0
    SUBCUTANEOUS = 32
    SKIN = 33
    INTERMUSCULAR = 34
    MUSCLE = 35
    BONE = 36
    VERTEBRA = 37
    DISC = 38
    CARTILAGE = 39
    VISCERAL_FAT = 40
    URINE = 41
    ORGAN = 42
    GAS = 43
    FAECES = 44
    BOWEL = 45
    ARTERY = 46
    VEIN = 47
    WALL = 48
    PARASPINAL = 49
    TABLE = 50
    FOAM = 51
    CLOTH = 52
    NERVE = 53
    TIBIA = 54


TAG_COUNT = 64
"""Length of a table indexed by tag."""

PELVIS, FEMUR, SACRUM, GMAX, ILIACUS, OBTURATOR_INTERNUS, PSOAS = 1, 2, 3, 4, 7, 9, 12

ATLAS_NEIGHBOURS = {
    **dict.fromkeys((101, 103, 104), int(Tag.BONE)),
    102: int(Tag.TIBIA),
    **dict.fromkeys((105, 106, 107, 108, 109), int(Tag.MUSCLE)),
}
"""Labels of the atlases beyond the structures: patella, tibia, fibula and coccyx; gemelli,
quadratus femoris, gastrocnemius, popliteus and plantaris."""


def is_any(tags: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """True where one of some tags lies."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(wanted)] = True
    return table[tags.int()]


def put(tags: Tensor, where: Tensor, tag: int) -> None:
    """Give a tag to the voxels of a region that have none yet."""
    tags.masked_fill_(where & (tags == 0), int(tag))
