"""In what numbers a network may compute; apart from the bundle, so that it needs no parser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Precision:
    """In what numbers the network may compute, where the device is good at them."""

    cpu: Kind = "bfloat16"
    cuda: Kind = "bfloat16"
