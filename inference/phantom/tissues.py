"""Tissues of the phantom, every one with its code and its attenuation.

Codes 1 to 22 are the structures of `inference.structures`; a muscle is one tissue, a bone is a
cortex (the structure's own code) around an inside. Codes from 101 are neighbours. In a painted
section the high bit says left (`LEFT`), so that one byte holds tissue and side.

Muscle HU are the study's Table 7 means (Soufi et al., Sci Rep 15, 2025, doi
10.1038/s41598-024-83793-7); cortex and inside of the bones are chosen so that their mix comes
close to that table; the neighbours have textbook values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.structures import BY_ABBREVIATION

LEFT: Final = 128
"""The bit of a painted code that says: on the patient's left."""

TISSUE_BITS: Final = LEFT - 1


@dataclass(frozen=True, slots=True)
class Tissue:
    """One material. `label` is the structure it counts to, 0 where it is a neighbour."""

    code: int
    name: str
    hu: float
    label: int = 0


_STRUCTURE_HU: Final[dict[str, float]] = {
    "PELVIS": 750.0,
    "FEMUR": 1030.0,
    "SACRUM": 450.0,
    "GMAX": 25.03,
    "GMED": 34.75,
    "GMIN": 38.11,
    "ILI": 53.45,
    "OE": 34.98,
    "OI": 43.53,
    "PE": 39.57,
    "PI": 32.35,
    "PSOAS": 44.03,
    "AD": 39.67,
    "BF": 36.26,
    "GRAC": 28.52,
    "RF": 45.62,
    "SART": 30.76,
    "SM": 33.50,
    "ST": 36.59,
    "TFL": 25.86,
    "VLVI": 49.93,
    "VM": 46.67,
}

TISSUES: Final[tuple[Tissue, ...]] = (
    Tissue(0, "air", -1000.0),
    *(
        Tissue(BY_ABBREVIATION[name].label, name, hu, BY_ABBREVIATION[name].label)
        for name, hu in _STRUCTURE_HU.items()
    ),
    Tissue(31, "PELVIS inside", 120.0, 1),
    Tissue(32, "FEMUR inside", 190.0, 2),
    Tissue(33, "SACRUM inside", 88.0, 3),
    Tissue(34, "FEMUR marrow", -60.0, 2),
    Tissue(101, "patella", 600.0),
    Tissue(102, "tibia", 650.0),
    Tissue(103, "fibula", 550.0),
    Tissue(104, "coccyx", 220.0),
    Tissue(105, "gemelli", 36.0),
    Tissue(106, "quadratus femoris", 34.0),
    Tissue(107, "gastrocnemius", 42.0),
    Tissue(108, "popliteus", 42.0),
    Tissue(110, "skin", 10.0),
    Tissue(111, "fat", -102.0),
    Tissue(112, "visceral fat", -98.0),
    Tissue(113, "abdominal wall", 42.0),
    Tissue(114, "back muscle", 38.0),
    Tissue(115, "pelvic floor", 35.0),
    Tissue(116, "vessel", 45.0),
    Tissue(117, "nerve", 15.0),
    Tissue(118, "tendon", 75.0),
    Tissue(119, "joint", 48.0),
    Tissue(120, "bladder", 8.0),
    Tissue(121, "soft organ", 52.0),
    Tissue(122, "bowel", 32.0),
    Tissue(123, "bowel gas", -880.0),
    Tissue(124, "bone inside", 150.0),
    Tissue(125, "vertebra", 380.0),
    Tissue(126, "disc", 88.0),
    Tissue(127, "metal", 3600.0),
    Tissue(40, "table shell", -350.0),
    Tissue(41, "table foam", -935.0),
    Tissue(42, "marrow", -60.0),
    Tissue(43, "foot bone", 350.0),
    Tissue(44, "shin muscle", 44.0),
    Tissue(45, "soleus", 42.0),
    Tissue(46, "polyethylene", -95.0),
    Tissue(47, "cortex", 1100.0),
)
"""Code 101 to 108 mean the same as in the published atlases' label tables."""

BY_NAME: Final = {tissue.name: tissue for tissue in TISSUES}

IMPLANTS: Final = frozenset(BY_NAME[name].code for name in ("metal", "polyethylene"))

BONES: Final = frozenset(t.code for t in TISSUES if t.label in {1, 2, 3})


def hu_table() -> NDArray[np.float32]:
    """(256,) HU of every painted code."""
    table = np.full(256, -1000.0, np.float32)
    for tissue in TISSUES:
        table[[tissue.code, tissue.code | LEFT]] = tissue.hu
    return table


def label_table() -> NDArray[np.uint8]:
    """(256,) of every painted code the structure's label 1 to 22, else the tissue's code."""
    table = np.zeros(256, np.uint8)
    for tissue in TISSUES:
        table[[tissue.code, tissue.code | LEFT]] = tissue.label or tissue.code
    return table
