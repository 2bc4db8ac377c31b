"""What `import-keras` makes of its options, and what it says of the bundle that it wrote."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from inference.models.bayesian_unet.model import BayesianUNetModel
from inference.models.bayesian_unet.preprocessing import Window
from inference.models.bundle import Bundle
from inference.structures import SEGMENTS
from inference.training.keras.windows import WINDOWS, KerasWindow

PHANTOM_LEVELS = 5
"""With batch normalisation; the study's network with it has six."""

Pair = tuple[float, float]


def told_window(
    named: KerasWindow | None, hu: Pair | None, values: Pair | None
) -> Window | None:
    """The window that the options tell, by name or in numbers; None where they tell none.

    Raises:
        typer.BadParameter: they tell half of one, two, or an empty one.
    """
    if (hu is None) != (values is None):
        raise typer.BadParameter("--window-hu and --window-values are given together")
    if named is not None and hu is not None:
        raise typer.BadParameter("--window names a window; leave the numbers out")
    if named is not None:
        hu, values = WINDOWS[named]
    if hu is None or values is None:
        return None
    try:
        return Window(*hu, *values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def words_of(bundle: Bundle) -> Iterator[str]:
    """The lines printed of a bundle just written: what it is, and what is presumed of it."""
    model, origin = bundle.model, bundle.training
    assert isinstance(model, BayesianUNetModel)  # noqa: S101 - what the import writes
    network, window = model.architecture, model.window
    normalised = network.batch_normalisation
    yield f"bundle written to {bundle.folder}, not calibrated"
    yield (
        f"{network.layers} levels, {network.filters} filters, "
        f"{'with' if normalised else 'without'} batch normalisation, "
        f"dropout {network.dropout:g} ({origin['dropout_share']})"
    )
    if origin["settings"] == "presumed":
        yield (
            "presumed: padding and all other settings of the published network; the file has "
            "weights alone"
        )
    if origin["dropout_share"] == "presumed":
        yield f"presumed: dropout of {network.dropout:g}; --dropout tells another share"
    if origin["window_of_training"] == "presumed":
        yield (
            f"presumed: the training clipped to {window.low_hu:g} to {window.high_hu:g} HU, "
            f"which became {window.low_value:g} to {window.high_value:g} (--window)"
        )
        if normalised and network.layers == PHANTOM_LEVELS:
            yield (
                "the group's released network of 5 levels with batch normalisation had "
                "another window: --window phantom"
            )
    missing = len(SEGMENTS) - len(model.segments)
    if missing:
        found = ", ".join(s.key for s in SEGMENTS if s in model.segments)
        yield f"finds {found}; the other {missing} segments are not provided by this model"
    if origin["label_order"] == "presumed":
        yield "the order of its labels is presumed: look at a segmentation first (--labels)"
