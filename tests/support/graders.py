"""A tiny grader, trained in seconds to tell normal hips of phantoms from worn ones.

A worn hip has no joint space above its head, and dense bone around where it was: what the
phantom cannot draw is put into its voxels, about the head's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.anatomy.hip_centres import find_hip_centres
from inference.grading.bundle import GraderBundle
from inference.grading.hip_radiograph import Framing, hip_radiograph
from inference.grading.network import Architecture, GraderNetwork
from inference.grading.writing import write_grader_bundle
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Table, Zone
from inference.results import (
    CaseResult,
    Coverage,
    HipCentre,
    Measurement,
    Metal,
    ModelIdentity,
    Region,
    StructureResult,
    Uncertainty,
    Verdict,
)
from inference.structures import SEGMENTS, Side
from inference.volume import Volume

HIPS = PhantomSpec(
    lower_mm=320.0,
    zones=(Zone(4.0, 475.0),),
    pixel_mm=2.0,
    rows=150,
    columns=220,
    table=Table.NONE,
)
"""Both hips of a body, 38 slices of 150 x 220."""

FRAMING = Framing(cube_mm=120.0, pixels=32)
CLASSES: Sequence[dict[str, Any]] = (
    {"name": "normal", "code": ["17621005", "SCT", "Normal"]},
    {"name": "worn"},
)
DECLARATION: dict[str, Any] = {
    "name": "tiny",
    "version": "1.0",
    "licence": "CC0-1.0",
    "model_card": ["Trained on phantoms.", "Of no use for people."],
    "scale": "wear",
    "classes": CLASSES,
    "radiograph": {"cube_mm": FRAMING.cube_mm, "pixels": FRAMING.pixels},
    "scaling": {"mean": 2.4, "sd": 0.7},
    "architecture": {"channels": [8, 16]},
    "training": {"cases": 12, "note": "phantoms"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Hips:
    """A phantom's hips: its scan, its true segments and the centres found in them."""

    volume: Volume
    segments: NDArray[np.uint8]
    centres: dict[Side, HipCentre]


def hips_of(number: int, **changes: Any) -> Hips:
    """The hips of a varied body."""
    varied = BodySpec(variation=1.0, variation_seed=number)
    made = phantom(replace(HIPS, **{"body": varied, "seed": number} | changes))
    found = find_hip_centres(made.volume, made.segments)
    centres = {side: hip for side, hip in found.items() if isinstance(hip, HipCentre)}
    return Hips(made.volume, made.segments, centres)


def worn(hips: Hips, *sides: Side) -> Hips:
    """The same hips without the joint space above the heads of these sides."""
    hu = np.array(hips.volume.hu)
    for side in sides:
        hu[_joint_space(hips.volume, hips.centres[side])] = 900
    return replace(hips, volume=Volume(hu, hips.volume.geometry))


def _joint_space(volume: Volume, hip: HipCentre) -> NDArray[np.bool_]:
    """The upper half of a shell around the head."""
    geometry = volume.geometry
    x, y, z = geometry.positions_mm[0]
    x = x + geometry.spacing_mm[1] * np.arange(geometry.columns) - hip.centre_mm[0]
    y = y + geometry.spacing_mm[0] * np.arange(geometry.rows) - hip.centre_mm[1]
    z = geometry.positions_mm[:, 2] - hip.centre_mm[2]
    across_mm = np.hypot(y[:, np.newaxis], x)
    depth_mm = np.hypot(z[:, np.newaxis, np.newaxis], across_mm) - hip.radius_mm
    above = (z > 0)[:, np.newaxis, np.newaxis]
    return np.asarray((depth_mm > -1.5) & (depth_mm < 5.0) & above)


def case_of(hips: Hips, **changes: Any) -> CaseResult:
    """An accepted case with the true segments, measured of nothing."""
    case = CaseResult(
        geometry=hips.volume.geometry,
        segments=hips.segments,
        uncertainty=None,
        structures=tuple(
            StructureResult(Measurement(one, 1), Verdict.ACCEPTED) for one in SEGMENTS
        ),
        verdict=Verdict.ACCEPTED,
        findings=(),
        coverage=Coverage(Region.HIP_TO_KNEE),
        metal=Metal(),
        model=ModelIdentity("truth", "1", "7a" * 32, 1, 1, "none", Uncertainty.NONE),
    )
    return replace(case, **changes)


def radiographs(bodies: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The radiographs of bodies' hips, [n, row, column], each normal (0) and worn (1)."""
    images, classes = [], []
    for body in bodies:
        normal = hips_of(body)
        for hips, number in ((normal, 0), (worn(normal, *Side), 1)):
            for side, hip in hips.centres.items():
                images.append(hip_radiograph(hips.volume, hip, side, FRAMING).image)
                classes.append(number)
    return np.stack(images), np.array(classes)


def trained_grader(folder: Path, bodies: Sequence[int], steps: int = 100) -> GraderBundle:
    """Train the tiny network on these bodies and write it as a bundle."""
    torch.manual_seed(0)
    images, classes = radiographs(bodies)
    scaled = torch.from_numpy((images - 2.4) / 0.7)[:, None]
    target = torch.from_numpy(classes)
    network = GraderNetwork(Architecture((8, 16)), len(CLASSES))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(scaled), target)
        loss.backward()
        optimiser.step()
    return write_grader_bundle(folder, network.eval(), DECLARATION)
