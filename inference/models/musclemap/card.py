"""The model card of an import of MuscleMap: what was taken over, and what to expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inference.models.musclemap.table import Fitted
from inference.structures import SEGMENTS

_MARGINS: Final = {
    True: "goes on beyond the image, as with MONAI 1.5 and newer",
    False: "ends at the image, as with MONAI before 1.5",
}

_HURTS: Final = """\
## What hurts in CT

These are choices of the original for MR images. They are kept, so that labels are the
original's; nothing here was shown to be good on CT.

- **The z-score leaves out voxels of exactly 0.** In MR that is the background. In CT it is
  water: voxels of 0 HU count for neither mean nor deviation and stay at 0, while their
  neighbours move and air counts. What the network sees depends on how much air is in the image.
- **Labels depend on the chunk.** Mean, deviation and crop are those of a chunk of slices: with
  other chunks, or a scan that begins elsewhere, the same slice gets other labels.
- **Chunks of whole numbers are rescaled.** The original keeps a chunk of an int16 image in
  steps other than 1 HU, and 0 HU is then not exactly 0: with chunks the z-score leaves nothing
  out, and of a scan in one chunk it does. Here likewise (`rescaled_chunks`).
- **Instance norms see the window.** Another size or overlap of windows is another network.
- **Slices are labelled one by one.** Nothing ties a label to the slices beside it but the rule
  of the largest piece, which takes away the rest, also where it is right.
- Users of the original report muscles systematically small, and poor thighs in CT before 1.4.
"""


def model_card(
    name: str, own: Mapping[str, Any], origin: Mapping[str, Any], beside: Fitted
) -> str:
    """Markdown for people.

    Args:
        name: of the bundle.
        own: keys of bundle.toml that are MuscleMap's own.
        origin: table `origin` of bundle.toml.
        beside: its labels and the table that says what they are.
    """
    sections = (_taken(name, origin), _run(own), _covered(beside), _HURTS, _trust(own))
    return "\n".join(sections)


def _taken(name: str, origin: Mapping[str, Any]) -> str:
    files = [*origin["weights"], origin["configuration"]]
    rows = "\n".join(f"| {one['file']} | `{one['sha256']}` |" for one in files)
    return f"""\
# {name}: a network of MuscleMap

Taken over from files of MuscleMap, version {origin["version"]}, by `msk-node import-musclemap`.
The program is MIT (https://github.com/MuscleMap/MuscleMap); what the weights' licence allows is
for the site to read. Licence given at the import: {origin["licence"]}.

| file | SHA-256 |
| --- | --- |
{rows}
"""


def _run(own: Mapping[str, Any]) -> str:
    fed, windows = own["preprocessing"], own["windows"]
    chunk = fed["chunk_slices"] or "all"
    settings = {
        "pixels": " x ".join(f"{mm:g}" for mm in fed["pixel_mm"]) + " mm, slices as they are",
        "chunk": f"{chunk} slices with a common mean, deviation and crop",
        "margin of the crop": f"{fed['margin']} pixels; {_MARGINS[fed['margin_beyond_image']]}",
        "windows": " x ".join(map(str, windows["size"]))
        + f", {windows['overlap']:.0%} overlap, Gaussian weights",
        "numbers": f"{own['numbers']['cpu']} on a CPU, {own['numbers']['cuda']} on a GPU",
        "afterwards": "the largest piece of each label",
    }
    rows = "\n".join(f"| {name} | {words} |" for name, words in settings.items())
    return f"""\
## How it is run

As `mm_segment.py` of MuscleMap 1.4 does, slice by slice: turned as RAS images are, logits
brought back to the image linearly.

| what | how |
| --- | --- |
{rows}

The original's own choice of a chunk ("auto") follows the free memory of the moment, and cannot
be repeated.
"""


def _covered(beside: Fitted) -> str:
    found = beside.labels.segments
    absent = [segment.key for segment in SEGMENTS if segment not in found]
    count = f"{len(found)} of the {len(SEGMENTS)} structures and sides measured here"
    lines = [f"It finds {count}, by {beside.table_words}."]
    if absent:
        lines.append(f"Not provided by this model: {', '.join(absent)}.")
    if beside.missing:
        lines.append(
            "The table's values that this network has no label for:"
            f" {', '.join(map(str, beside.missing))}."
        )
    if beside.left_out:
        lines.append(
            f"Left out because a part is not the structure: {', '.join(beside.left_out)}."
        )
    if any(one.startswith("PELVIS") for one in beside.labels.stands_for.values()):
        lines.append(
            'Whether the label that stands for PELVIS (MuscleMap\'s "ilium") is the whole'
            " innominate bone or its upper part was not looked at: look at a segmentation"
            " before its volume is used."
        )
    return "## What it finds\n\n" + "\n".join(lines) + "\n"


def _trust(own: Mapping[str, Any]) -> str:
    kind = own["members"]["kind"]
    doubt = (
        'It answers once and has no measure of doubt: its verdict is "not judged".'
        if kind == "none"
        else f"Its samples differ by {kind}."
    )
    return f"""\
## What is not known

Not calibrated: no verdict of the quality gate rests on this network until `msk-node calibrate`
has been run on cases of the site.
{doubt}
Its accuracy was not measured here: run `msk-node evaluate` on labelled cases.
"""
