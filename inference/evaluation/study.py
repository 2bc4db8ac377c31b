"""The study's own figures that results are held against, as the study prints them.

Soufi et al., Sci Rep 15, 2025, doi 10.1038/s41598-024-83793-7, Table 7: means of the
unaffected side by expert annotation, over patients with hip osteoarthritis on one side.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

TABLE_7: Final = MappingProxyType(
    {
        "PELVIS": (121.49, 334.44),
        "FEMUR": (169.65, 464.81),
        "SACRUM": (94.22, 190.39),
        "GMAX": (255.38, 25.03),
        "GMED": (104.32, 34.75),
        "GMIN": (22.52, 38.11),
        "ILI": (37.95, 53.45),
        "OE": (13.37, 34.98),
        "OI": (14.72, 43.53),
        "PE": (11.47, 39.57),
        "PI": (9.16, 32.35),
        "PSOAS": (21.96, 44.03),
        "AD": (210.85, 39.67),
        "BF": (76.28, 36.26),
        "GRAC": (20.44, 28.52),
        "RF": (54.33, 45.62),
        "SART": (39.28, 30.76),
        "SM": (54.53, 33.50),
        "ST": (44.03, 36.59),
        "TFL": (19.89, 25.86),
        "VLVI": (253.34, 49.93),
        "VM": (113.61, 46.67),
    }
)
"""By abbreviation: normalised volume in cm3/m2, mean HU. One side; the sacrum whole."""
