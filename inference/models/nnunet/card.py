"""The model card of an imported nnU-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card(name: str, own: Mapping[str, Any]) -> str:
    """Markdown: what it is, what was chosen, what it does not say.

    Args:
        name: of the bundle.
        own: the tables of bundle.toml.
    """
    origin, labels = own["origin"], own["labels"]
    files = "\n".join(f"- `{file}`: sha256 `{sha}`" for file, sha in origin["files"].items())
    return f"""# {name}

**Imported, and not validated here.** The network was trained elsewhere and taken over from a
results folder of nnU-Net. This program has not tried it on any case. It is
**not calibrated**. For research only.

- Data set {origin["dataset"] or "(not named)"}, configuration {origin["configuration"]},
  trainer {origin["trainer"]}, {", ".join(origin["folds"])}; imported on {origin["imported_on"]}
- Licence of the weights: {_licence(origin["licence"])}
- nnU-Net does not write its version into these files. Results were compared with
  {origin["compared_with"]}: see docs/networks-fidelity.md.

## What is done with a scan

{_choices(own)}

## What its labels stand for

{_meanings(labels)}

Every other structure is *not provided by this model*: never labelled, and never "absent".

## Files

{files}
"""


def _licence(kept: str) -> str:
    if kept.endswith(".txt"):
        return f"see `{kept}`, kept from the import"
    return f"{kept}; whoever uses them has to know it"


def _choices(own: Mapping[str, Any]) -> str:
    way, tiles, origin = own["preprocessing"], own["tiles"], own["origin"]
    sizes = " x ".join(f"{mm:g}" for mm in way["spacing_mm"])
    allowed = origin["mirrored_axes"]
    mirrored = (
        f"along the network's axes {tiles['mirrored_axes']} and all combinations, as its"
        " training allows"
        if tiles["mirrored_axes"]
        else f"no{f', though its training allows axes {allowed}' if allowed else ''}"
    )
    lines = [
        f"Settings: {origin['settings']}.",
        (
            f"Rows and columns run towards {way['orientation']}, as the plans' reader hands"
            " images over, or as told at the import. A reader of nnU-Net that keeps images as"
            " they are stored does not say how that was: LPS, the order of DICOM, is then"
            " presumed."
        ),
        (
            f"Axes in the order {way['transpose']}, resampled to {sizes} mm; normalised by"
            f" `{way['normalisation']['scheme']}`."
        ),
        (
            "An unevenly spaced scan has no spacing: it is brought to an even grid first, and"
            " the result says which."
        ),
        (
            f"Tiles of {' x '.join(map(str, tiles['patch']))}, the next one shifted by"
            f" {tiles['step']:g} of a tile at most, weighted by a Gaussian."
        ),
        f"Mirrored copies: {mirrored}.",
        f"On a CPU in {own['numbers']['cpu']}, on a GPU in {own['numbers']['cuda']}.",
        (
            "nnU-Net's separate post-processing (`nnUNetv2_apply_postprocessing`) is not part"
            " of its prediction and not done here."
        ),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _meanings(labels: Mapping[str, Any]) -> str:
    stands_for = labels["stands_for"]
    rows = "\n".join(f"| {name} | {key} |" for name, key in stands_for.items() if key)
    nothing = [name for name in labels["names"][1:] if not stands_for.get(name)]
    rest = f"\n\nNothing that is measured here: {', '.join(nothing)}." if nothing else ""
    return f"| its label | here |\n| --- | --- |\n{rows}{rest}"
