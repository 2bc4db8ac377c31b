"""In what numbers a network may compute; apart from the bundle, so that it needs no parser."""

from __future__ import annotations

from dataclasses import dataclass

from inference.models.precision_probe import Kind


@dataclass(frozen=True, slots=True)
class Precision:
    """In what numbers the network may compute, where they are faster and right."""

    cpu: Kind = "bfloat16"
    cuda: Kind = "bfloat16"
