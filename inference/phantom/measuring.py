"""Measurement of `anatomy.toml`: a label map's cross-sections as tubes of few numbers.

    python -m inference.phantom.measuring VHF_22labels_1.5mm.nii.gz anatomy.toml

The label map is the Visible Human Female's of Andreassen et al., Sci Data 10:34 (2023), CC BY
4.0, voxelised (RAS). Its right half is measured; the phantom mirrors it. Outlines are followed
from slice to slice; where a structure splits or merges, one tube ends and others begin. Muscles
are drawn in a little on every side, so that the simplified shapes leave fat between each other
instead of overlapping.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours
from skimage.morphology import convex_hull_image

from inference.phantom.atlas import Atlas, read_atlas, signed_distance
from inference.phantom.following import Fit, follow, fourier, in_step
from inference.phantom.tissues import BONES, BY_NAME, TISSUES
from inference.phantom.tube import Tube, ellipses

Profile = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Millimetres by height."""

MUSCLE_INSET_MM: Final = 0.4
SYMPHYSIS_GAP_MM: Final = 4.4
PSOAS_TOP_MM: Final = 585.0
WAIST_MM: Final = 545.0

_MARGIN: Final = 40
"""Voxels around a body, so that its skin has room."""

_COMPACT: Final = frozenset({"PELVIS", "FEMUR", "SACRUM", "tibia", "fibula"})
"""Bones keep their measured surface; everything else is drawn in."""

_NEIGHBOURS: Final = ("patella", "tibia", "fibula", "gemelli", "quadratus femoris",
                      "gastrocnemius", "popliteus")  # fmt: skip

_CORTEX_MM: Final[dict[str, tuple[str, Profile]]] = {
    "FEMUR": (
        "FEMUR inside",
        lambda z: np.interp(z, [30, 80, 120, 300, 340, 370], [1.6, 2.6, 5.5, 6.0, 3.2, 1.8]),
    ),
    "PELVIS": ("PELVIS inside", lambda z: np.full(z.shape, 2.0)),
    "SACRUM": ("SACRUM inside", lambda z: np.full(z.shape, 1.8)),
    "patella": ("bone inside", lambda z: np.full(z.shape, 1.8)),
    "tibia": ("bone inside", lambda z: np.full(z.shape, 1.8)),
}
"""What lies inside a bone, and how thick the bone's wall is."""

_MARROW_MM: Final = (85.0, 318.0)
"""Between these heights the femur holds fatty marrow instead of trabecular bone."""

_HEAD: Final = """\
# Cross-sections of the right half of a body, hip to knee: elliptic Fourier outlines.
# Measured by inference.phantom.measuring on the label map of the Visible Human Female by
# Andreassen TE et al., "Three dimensional lower extremity musculoskeletal geometry of the
# Visible Human Female and Male", Sci Data 10:34 (2023), CC BY 4.0; smoothed, simplified and
# drawn in a little, so that neighbours leave fat between them. Reference body: about 1.60 m.
#
# heights_mm: z of each outline above the lowest point of the femur, ascending.
# outlines: per height the complex coefficients of exp(-iKt) .. exp(+iKt) of x + iy as
# real, imaginary, real, ... in tenths of a millimetre. x grows to the patient's left from
# the midline, y to the back from the femur's middle.

"""

_MUSCLE: Final = Fit()
_NEIGHBOUR: Final = Fit(least_length_mm=4.0)
_BONE: Final = Fit(least_cm3=0.12, least_share=0.0008)
_INSIDE: Final = Fit(error_mm=0.6, knot_error_mm=1.4, least_mm2=25.0, overlap=0.6)


def main(atlas_path: Path, out: Path) -> None:
    """Measure an atlas and write the table."""
    atlas = read_atlas(atlas_path)
    tubes = [*_solids(atlas), *_insides(atlas), *_skin(atlas)]
    out.write_text(_HEAD + "\n".join(_toml(tube) for tube in tubes), encoding="utf-8")


def _solids(atlas: Atlas) -> Iterator[Tube]:
    """The structures, and the neighbours that the label map holds."""
    structures = [tissue.name for tissue in TISSUES if 1 <= tissue.code <= 22]
    for name in (*structures, *_NEIGHBOURS):
        inset = 0.0 if name in _COMPACT else MUSCLE_INSET_MM
        depth = _depth_mm(atlas, atlas.mask(name)) - inset
        tubes = follow(atlas, depth, BY_NAME[name].code, _fit(name))
        if name == "PELVIS":
            tubes = [_off_midline(tube, SYMPHYSIS_GAP_MM / 2) for tube in tubes]
        if name == "PSOAS":
            tubes = [_tapered(tube) for tube in tubes]
        yield from tubes


def _fit(name: str) -> Fit:
    if name in _NEIGHBOURS:
        return _NEIGHBOUR
    return _BONE if BY_NAME[name].code in BONES else _MUSCLE


def _insides(atlas: Atlas) -> Iterator[Tube]:
    """Trabecular bone and marrow, a cortex further in."""
    marrow = BY_NAME["FEMUR marrow"].code
    for name, (inner, cortex_mm) in _CORTEX_MM.items():
        depth = (
            _depth_mm(atlas, atlas.mask(name)) - cortex_mm(atlas.heights_mm())[:, None, None]
        )
        tubes = follow(atlas, depth, BY_NAME[inner].code, _INSIDE)
        if name == "PELVIS":
            tubes = [_off_midline(tube, SYMPHYSIS_GAP_MM / 2 + 2.0) for tube in tubes]
        for tube in tubes:
            low, high = _MARROW_MM
            if name == "FEMUR" and tube.heights_mm[0] < low and tube.heights_mm[-1] > high:
                yield _between(tube, -np.inf, low)
                yield replace(_between(tube, low, high), code=marrow)
                yield _between(tube, high, np.inf)
            else:
                yield tube


def _depth_mm(atlas: Atlas, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Millimetres below the surface, smoothed; far outside wherever the mask is far."""
    margin = [slice(max(s.start - 4, 0), s.stop + 4) for s in ndimage.find_objects(mask * 1)[0]]
    depth = np.full(mask.shape, -50.0)
    near = signed_distance(mask[tuple(margin)])
    depth[tuple(margin)] = ndimage.gaussian_filter(near, 0.8) * atlas.spacing_mm
    return depth


def _off_midline(tube: Tube, least_mm: float) -> Tube:
    """Squeeze outlines that come too close to the midline, about a point 60 mm to its right."""
    turns = np.outer(
        np.arange(-tube.harmonics, tube.harmonics + 1), np.arange(72) * (2 * np.pi / 72)
    )
    reach = (-(tube.outlines @ np.exp(1j * turns)).real).min(axis=1)
    width = np.where(reach < least_mm, (60 - least_mm) / (60 - reach), 1.0)
    return tube.mapped((1 + width) / 2, (width - 1) / 2, -60.0 * (1 - width))


def _tapered(psoas: Tube) -> Tube:
    """End the psoas inside the scan.

    A clinical scan from hip to knee cuts it; the phantom's is short instead, so that its
    whole volume is known and in view.
    """
    above = PSOAS_TOP_MM - np.array([45.0, 33.0, 21.0, 9.0, 0.0])
    heights = np.append(psoas.heights_mm[psoas.heights_mm < above[0]], above)
    thinner = np.interp(heights, above, [1.0, 0.92, 0.75, 0.48, 0.15])
    return replace(psoas, heights_mm=heights, outlines=psoas.at(heights)).grown(thinner)


def _between(tube: Tube, lower_mm: float, upper_mm: float) -> Tube:
    """A tube's part between two heights."""
    lower, upper = max(lower_mm, tube.heights_mm[0]), min(upper_mm, tube.heights_mm[-1])
    inner = tube.heights_mm[(tube.heights_mm > lower) & (tube.heights_mm < upper)]
    heights = np.concatenate([[lower], inner, [upper]])
    return replace(tube, heights_mm=heights, outlines=tube.at(heights))


def _skin(atlas: Atlas) -> Iterator[Tube]:
    """A skin around each leg and one around the trunk: convex hulls grown by fat.

    The label map has none. Above the iliac crests an ellipse makes the waist.
    """
    half = atlas.right(atlas.labels > 0)[:, :, : int(np.ceil(atlas.midline))]
    empty = np.zeros_like(half)
    one_leg = np.concatenate([half, empty], axis=2)
    both = np.concatenate([half, half[:, :, ::-1]], axis=2)
    yield _grown_hull(
        atlas,
        one_leg,
        np.arange(-37.5, 373.0, 20.5),
        lambda z: np.interp(
            z, [-40, 0, 15, 45, 75, 200, 300, 360], [11, 14, 19, 19, 15, 15, 18, 19]
        ),
        harmonics=5,
    )
    trunk = _grown_hull(
        atlas,
        both,
        np.arange(332.5, 533.0, 25.0),
        lambda z: np.interp(z, [300, 380, 480, 560], [17, 20, 24, 28]),
        harmonics=6,
    )
    yield _with_waist(trunk)


def _grown_hull(
    atlas: Atlas,
    mask: NDArray[np.bool_],
    heights_mm: NDArray[np.float64],
    fat_mm: Profile,
    *,
    harmonics: int,
) -> Tube:
    centred = replace(atlas, midline=mask.shape[2] / 2 - 0.5 + _MARGIN)
    padded = np.pad(mask, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    there = atlas.heights_mm()
    near = (there >= heights_mm[0] - 30) & (there <= heights_mm[-1] + 30)
    near &= padded.any(axis=(1, 2))
    depth = np.stack(
        [
            signed_distance(convex_hull_image(padded[index])) * atlas.spacing_mm
            + fat_mm(there[index : index + 1])
            for index in np.nonzero(near)[0]
        ]
    )
    depth = ndimage.gaussian_filter(depth, (8, 2, 2))
    curves = []
    for height in heights_mm:
        section = depth[int(np.abs(there[near] - height).argmin())]
        contour = max(find_contours(section, 0.0), key=len)
        curves.append(centred.curve_mm(contour - [_MARGIN, 0]))
    return Tube(BY_NAME["skin"].code, heights_mm, fourier(in_step(curves), harmonics))


def _with_waist(trunk: Tube) -> Tube:
    heights = np.append(
        trunk.heights_mm[trunk.heights_mm < 475], [480.0, 505.0, 530.0, 560.0, 680.0]
    )
    waist = ellipses(0, np.array([[0, 0, 26, 168, 103], [1, 0, 26, 168, 103]], float))
    ellipse = np.zeros(trunk.outlines.shape[1], np.complex128)
    ellipse[trunk.harmonics - 1 : trunk.harmonics + 2] = waist.outlines[0]
    share = np.interp(heights, [480, WAIST_MM], [0, 1])[:, None]
    measured = trunk.at(np.minimum(heights, trunk.heights_mm[-1]))
    return replace(trunk, heights_mm=heights, outlines=measured * (1 - share) + ellipse * share)


def _toml(tube: Tube) -> str:
    name = next(tissue.name for tissue in TISSUES if tissue.code == tube.code)
    parts = np.stack([tube.outlines.real, tube.outlines.imag], axis=-1) * 10
    rows = np.rint(parts).astype(int).reshape(len(tube.heights_mm), -1).tolist()
    lines = "".join(f"    {row},\n" for row in rows)
    heights = np.round(tube.heights_mm, 1).tolist()
    return f'[[tube]]\ntissue = "{name}"\nheights_mm = {heights}\noutlines = [\n{lines}]\n'


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
