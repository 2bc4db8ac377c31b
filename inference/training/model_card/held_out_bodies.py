r"""Labelled cases that no training has seen, by the command line (`--help` says all).

    python -m inference.training.model_card.held_out_bodies RECIPE.toml --data FOLDER \
        --out CASES --bodies 5
    msk-node evaluate CASES --bundle BUNDLE --samples 1,5,10,15,20 --out REPORT

draws bodies as a training of the recipe would, with another seed, and writes each with a
scanner's usual noise as a case that `msk-node evaluate` and `msk-node calibrate` read:
`CASES/body01/image.nii.gz` and `labels.nii.gz`, labels 1 to 22. They say how well a training
converged, not how well a network works on patients.

    python -m inference.training.model_card.held_out_bodies RECIPE.toml --data FOLDER \
        --out CASES --label-map OTHER.nii.gz --still 3 --bodies 3

makes cases of a body that the recipe's training has not seen: three times as it is, with
other surroundings, and three times deformed. That is what "trained on one body and tested
on the other" means in a model card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray

from inference.errors import InferenceError, TrainingError
from inference.evaluation.listing import IMAGE_FILE, LABELS_FILE, write_listing
from inference.training.calibrate import USUAL, as_image, corrupt, thinned
from inference.training.recipe import read_recipe
from inference.training.scoring import LabelledImage
from inference.training.synthesis.body import COARSE, Body, BodyGrid, read_label_map, surrounded
from inference.training.synthesis.fields import Draw
from inference.training.synthesis.pose import LabelMap, Pose, sample
from inference.training.synthesis.stream import Sources, make_body

SAMPLES_SEED: Final = 990003
"""Of the bodies on which the number of samples is chosen: neither trained nor calibrated on."""

STILL: Final = Pose(
    scale=(1.0, 1.0, 1.0),
    tilt=(0.0, 0.0, 0.0),
    spread=(0.0, 0.0),
    turn=(0.0, 0.0),
    mirrored=False,
    displacement_mm=0.0,
    displacement_scale_mm=60.0,
)
"""A body as it lay when it was labelled."""

BELOW_MM: Final = (40.0, 200.0)
"""How much is drawn below the label map's lowest slice."""


def still_body(source: LabelMap, *seed: int, grid: BodyGrid = COARSE) -> Body:
    """A label map that is not deformed, with surroundings and tissues drawn anew.

    On the grid of the synthetic bodies, from below the knee to the label map's top.
    """
    draw = Draw(*seed)
    below_mm = draw.uniform(*BELOW_MM)
    height_mm = source.tags.shape[0] * source.spacing_mm[0]
    shape = (int((below_mm + height_mm) / grid.step_mm), *grid.rows_columns)
    tags = sample(source, STILL, draw, shape, grid.spacing_mm, below_mm)
    hu, labels = surrounded(tags, draw, grid)
    return Body(hu.numpy(), labels.numpy(), grid.spacing_mm, source.name)


def write_case(folder: Path, image: LabelledImage) -> None:
    """Write an image and its labels, as `[slice, row, column]` from feet, front and right."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, voxels in ((IMAGE_FILE, image.hu), (LABELS_FILE, image.labels)):
        sitk.WriteImage(_on_grid(voxels, image.spacing_mm), str(folder / name))


def _on_grid(voxels: NDArray[Any], spacing_mm: tuple[float, float, float]) -> sitk.Image:
    """In the patient frame, whose axes SimpleITK's are without a direction (LPS)."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing_mm[::-1])
    return image


def held_out(
    sources: Sources, seed: int, still: int, bodies: int
) -> Iterator[tuple[str, Body]]:
    """Names and bodies: each label map as it is, `still` times; then drawn ones."""
    for source in sources.label_maps:
        for number in range(still):
            body = still_body(source, seed, number, grid=sources.grid)
            yield f"{source.name}_still{number + 1:02d}", body
    for number in range(bodies):
        yield f"body{number + 1:02d}", make_body(sources, seed, number)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw bodies and write them."""
    parser = argparse.ArgumentParser(
        prog="python -m inference.training.model_card.held_out_bodies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, default=Path(), help="of the label maps")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bodies", type=int, default=5, help="deformed ones")
    parser.add_argument("--still", type=int, default=0, help="of each label map as it is")
    parser.add_argument(
        "--label-map",
        action="append",
        default=[],
        metavar="FILE",
        help="instead of the recipe's, and then no phantoms",
    )
    parser.add_argument("--every", type=int, default=1, help="only each n-th slice")
    parser.add_argument("--seed", type=int, default=SAMPLES_SEED)
    asked = parser.parse_args(arguments)
    try:
        recipe = read_recipe(asked.recipe)
        if asked.seed == recipe.seed:
            parser.error(f"--seed {asked.seed} is the training's own: those bodies were seen")
        maps = tuple(read_label_map(asked.data / name) for name in asked.label_map)
        sources = Sources(maps, 0.0) if maps else Sources.of(recipe, asked.data)
        names: list[str] = []
        for name, body in held_out(sources, asked.seed, asked.still, asked.bodies):
            image = thinned(as_image(body), asked.every)
            write_case(asked.out / name, corrupt(image, USUAL, len(names)))
            names.append(name)
        if not names:
            raise TrainingError("no body was asked for: --bodies or --still")
    except InferenceError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    write_listing(asked.out, names, "inference.training.model_card.held_out_bodies", arguments)


if __name__ == "__main__":
    main()
