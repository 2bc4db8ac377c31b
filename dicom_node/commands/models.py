"""Commands about model bundles: `train`, `import-keras`, `evaluate` and `calibrate`."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.console import DeviceOption, slices_done, stderr, stdout
from inference.training.keras.windows import KerasWindow


def train(  # noqa: PLR0913 - a command line has as many options as it has
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for checkpoints, curves and the bundle.")
    ],
    data: Annotated[
        Path, typer.Option(help="Folder that the recipe's data paths start from.")
    ] = Path(),
    device: DeviceOption = "auto",
    fold: Annotated[
        int | None, typer.Option(min=0, help="The fold held out, instead of the recipe's.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps cases made ready, for several runs; in --out."),
    ] = None,
    prepare: Annotated[  # noqa: FBT002 - typer's way to say a flag
        bool, typer.Option("--prepare", help="Only make the cases ready, in the cache.")
    ] = False,
    minutes: Annotated[
        float,
        typer.Option(
            min=0,
            help="Of training, at most; as many iterations as fit.",
            show_default=False,
        ),
    ] = math.inf,
    tensorboard: Annotated[  # noqa: FBT002 - likewise
        bool, typer.Option("--tensorboard", help="Write TensorBoard's files, too.")
    ] = False,
) -> None:
    """Train a model bundle by a recipe; started again, it goes on where it was."""
    from dicom_node.commands.training_cases import training_cases
    from inference.training.train import prepare_cases
    from inference.training.train import train as run

    if prepare:
        count = prepare_cases(recipe, out, data=data, cache=cache, list_cases=training_cases)
        stdout.print(f"{count} cases ready", highlight=False)
        return
    folder = run(
        recipe,
        out,
        data=data,
        device=device,
        fold=fold,
        cache=cache,
        list_cases=training_cases,
        limit_s=60 * minutes,
        tensorboard=tensorboard,
    )
    stdout.print(f"bundle written to {folder}", highlight=False)


def import_keras(  # noqa: PLR0913 - a file of weights leaves this much to be told
    file: Annotated[
        Path, typer.Argument(help="Keras model or weights: HDF5, or a .keras archive.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    layers: Annotated[
        int | None,
        typer.Option(min=2, max=8, help="Encoder levels that the file must have; 5 or 6."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the bundle; that of its folder.")] = None,
    version: Annotated[str, typer.Option(help="Of the bundle.")] = "1",
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Text file: what each output channel is, one a line; of 23 the study's order."
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.99, help="Share dropped in training, where the file has weights alone."
        ),
    ] = None,
    window: Annotated[
        KerasWindow | None,
        typer.Option(
            help="Of the group's tools: femur (-150 350 HU to 0 255), "
            "phantom (-400 700 HU to -127.5 127.5)."
        ),
    ] = None,
    window_hu: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Hounsfield units that the training clipped to, if it had others."),
    ] = None,
    window_values: Annotated[
        tuple[float, float] | None,
        typer.Option(help="What the training scaled these two to; with --window-hu."),
    ] = None,
    pixel_mm: Annotated[
        float | None,
        typer.Option(min=0.1, max=10, help="Pixel size of the training, if it had only one."),
    ] = None,
    body_only: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--body-only", help="Cut air off; the study fed whole slices.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Monte Carlo samples.")] = 10,
) -> None:
    """Make a model bundle, not calibrated, of a model or weights that Keras wrote."""
    from dicom_node.commands.import_keras import told_window, words_of
    from inference.models.bayesian_unet.preprocessing import PixelGrid
    from inference.training.keras.channels import read_labels
    from inference.training.keras.importing import import_bundle

    bundle = import_bundle(
        file,
        out,
        layers=layers,
        name=name or out.resolve().name,
        version=version,
        window=told_window(window, window_hu, window_values),
        dropout=dropout,
        grid=PixelGrid(pixel_mm, body_only),
        samples=samples,
        labels=read_labels(labels) if labels else None,
    )
    for line in words_of(bundle):
        stdout.print(line, highlight=False, soft_wrap=True)


def evaluate(  # noqa: PLR0913 - a command line has as many options as it has
    cases: Annotated[
        Path, typer.Argument(help="cases.toml, cases.csv, or a folder of labelled cases.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")],
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="Model bundle (name or folder); given twice, two are compared."),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of ready results of `segment`, one folder for each case."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label table (TOML or JSON) of the label maps.")
    ] = None,
    samples: Annotated[
        str, typer.Option(help="Numbers of samples to try, as 1,5,10,15,20 (Table 9).")
    ] = "",
    device: DeviceOption = "auto",
) -> None:
    """Evaluate bundles on labelled cases: the study's tables and figures as one report."""
    from dicom_node.commands.evaluate import evaluate as run
    from dicom_node.commands.evaluate import numbers_of, request_of
    from inference.models.bundle import load_bundle

    names = bundle or ([] if results else ["compact"])
    with slices_done("segmenting") as progress:
        request = request_of(
            cases,
            bundles=[load_bundle(name) for name in names],
            results=results or [],
            samples=numbers_of(samples),
            table=labels,
            device=device,
            progress=progress,
            command=shlex.join(["msk-node", *sys.argv[1:]]),
        )
        report = run(request, out, on_message=lambda line: stderr.print(line, highlight=False))
    stdout.print(f"report written to {report}", highlight=False)


def calibrate(  # noqa: PLR0913 - a command line has as many options as it has
    bundle: Annotated[str, typer.Argument(help="Folder of the model bundle; it is written.")],
    cases: Annotated[
        Path, typer.Argument(help="cases.toml, cases.csv, or a folder of labelled cases.")
    ],
    data_set: Annotated[str, typer.Option(help="What the cases are, in words.")],
    version: Annotated[
        str, typer.Option(help="Version of the bundle from now on; default: its own.")
    ] = "",
    labels: Annotated[
        Path | None, typer.Option(help="Label table (TOML or JSON) of the label maps.")
    ] = None,
    hold_out_every: Annotated[
        int, typer.Option(min=0, help="Try the gate on each n-th case instead; 0: on none.")
    ] = 4,
    device: DeviceOption = "auto",
) -> None:
    """Fit the quality gate's limits to labelled cases that the network has not seen."""
    from dicom_node.commands.calibrate import calibrate as run
    from inference.models.bundle import load_bundle

    fitted = run(
        load_bundle(bundle),
        cases,
        data_set,
        version=version,
        table=labels,
        hold_out_every=hold_out_every,
        device=device,
        on_message=lambda line: stderr.print(line, highlight=False),
    )
    for line in fitted.left_out:
        stderr.print(f"left out: {line}", highlight=False)
    stdout.print(f"limits written into {fitted.bundle.folder}", highlight=False)
    for words, structures in (
        ("no limits, too few cases or no score that falls with Dice", fitted.without_limits),
        ("not provided by the model", fitted.not_provided),
    ):
        if structures:
            stdout.print(f"{words}: {', '.join(structures)}", highlight=False)
    if fitted.held_out is not None:
        by_score = {score.value: asdict(one) for score, one in fitted.by_score.items()}
        stdout.print_json(data={**asdict(fitted.held_out), "by_score": by_score})
