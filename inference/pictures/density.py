"""The density picture: muscles as solid bodies, lean red and fat yellow, bones pale.

After the study's visualisation (Soufi et al., Sci Rep 15, 2025), which colours muscles by a
transfer function of their attenuation. Here every pixel shows the first structure that a
ray from the viewer meets; a muscle's colour is its mean HU in the layer below that point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from inference.geometry import Geometry
from inference.pictures.canvas import FAINT, Box, Canvas, Ink, Picture
from inference.pictures.captions import VERDICT_COLOURS, made_by
from inference.pictures.panels import Shown, borders
from inference.pictures.projections import Plane, View, upright
from inference.results import FAT_BELOW_HU, LEAN_ABOVE_HU, CaseResult, StructureResult
from inference.structures import SEGMENTS, Group, Side
from inference.volume import Volume

WIDTH: Final = 1024
HEIGHT: Final = 768
MARGIN: Final = 12
TOP: Final = 72
VIEW_HEIGHT: Final = 590
GAP: Final = 8

STEP_MM: Final = 1.5
"""About how far apart rays are, and samples along them."""

LAYER_MM: Final = (2.0, 15.0)
"""The layer below a muscle's surface whose mean HU is shown; above it edges are blurred."""

SCALE_HU: Final = (-60.0, 60.0)
MARKS_HU: Final = (FAT_BELOW_HU, LEAN_ABOVE_HU)

BONE_RGB: Final = (232.0, 224.0, 205.0)
_FAT_TO_LEAN: Final = np.array(
    [(255, 240, 120), (252, 200, 60), (238, 130, 48), (206, 56, 44), (150, 16, 34)],
    dtype=np.float32,
)

_IS_BONE: Final = np.array([False, *(s.structure.group is Group.BONE for s in SEGMENTS)])

LIGHT: Final = np.array([-0.4, -0.55, 0.73], dtype=np.float32)
"""Where the light comes from: left, above, and the viewer's side; of length 1."""

AMBIENT: Final = 0.45
SMOOTH_MM: Final = 8.0
"""Over which the surface is smoothed before it is lit: voxels are steps."""

EDGE: Final = 0.55
"""Brightness of the lines where one structure ends and another begins."""

HOLLOW_MM: Final = 12.0
"""What lies this much deeper than its surroundings is half as bright."""


@dataclass(frozen=True, slots=True)
class Look:
    """From where the body is looked at.

    view: rays run along rows (coronal) or along columns (sagittal).
    backwards: from the far end of that axis, so that the picture is mirrored.
    marks: what lies on the reader's left and right.
    share: of the page's width.
    sides: whose structures are seen.
    """

    title: str
    view: View
    marks: tuple[str, str]
    share: float
    sides: tuple[Side, ...] = (Side.RIGHT, Side.LEFT)
    backwards: bool = False

    @property
    def mirrored(self) -> bool:
        """True if the picture's columns run against the volume's."""
        return self.backwards is (self.view is View.CORONAL)


LOOKS: Final = (
    Look("front", View.CORONAL, ("R", "L"), 0.31),
    Look("back", View.CORONAL, ("L", "R"), 0.31, backwards=True),
    Look("right side", View.SAGITTAL, ("P", "A"), 0.19, (Side.RIGHT,)),
    Look("left side", View.SAGITTAL, ("A", "P"), 0.19, (Side.LEFT,), backwards=True),
)


def density_picture(volume: Volume, case: CaseResult) -> Picture:
    """The muscles of a case from four sides, coloured by HU; uint8 `[768, 1024, 3]`.

    Args:
        volume: the CT that was analysed.
        case: its result.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    _heading(canvas, case)
    shown = _thinned(volume, case.segments)
    boxes = tuple(_boxes())
    mm_per_pixel = max(
        shown.fitting(box[2:], look.view) for look, box in zip(LOOKS, boxes, strict=True)
    )
    for look, box in zip(LOOKS, boxes, strict=True):
        canvas.panel(box, rendered(shown, look, mm_per_pixel))
        _name(canvas, box, look)
    if not shown.segments.any():
        canvas.text((WIDTH // 2, HEIGHT // 2), "Nothing was found.", Ink(26), "mm")
    _scale(canvas, (MARGIN + 20, TOP + VIEW_HEIGHT + 14, 400, 20))
    _shares(canvas, (WIDTH // 2 + 20, TOP + VIEW_HEIGHT + 10), case)
    canvas.text((WIDTH - MARGIN, HEIGHT - 6), made_by(case), Ink(15, FAINT), "rs")
    return canvas.picture


def _heading(canvas: Canvas, case: CaseResult) -> None:
    """Write the title and the verdict: colours must not be trusted more than numbers."""
    canvas.text((MARGIN, MARGIN + 4), "Muscle density", Ink(26, weight="bold"))
    right = WIDTH - MARGIN
    words = f"Case {case.verdict.value}"
    canvas.text((right, MARGIN), words, Ink(19, VERDICT_COLOURS[case.verdict], "bold"), "ra")
    words = f"Colour: mean HU of the muscles' outer {LAYER_MM[1]:.0f} mm. Bones are pale."
    canvas.text((right, MARGIN + 28), words, Ink(16, FAINT), "ra")


def _boxes() -> Iterable[Box]:
    """Boxes of the looks, side by side."""
    left, across = MARGIN, WIDTH - 2 * MARGIN - GAP * (len(LOOKS) - 1)
    for look in LOOKS:
        width = int(across * look.share)
        yield left, TOP, width, VIEW_HEIGHT
        left += width + GAP


def _name(canvas: Canvas, box: Box, look: Look) -> None:
    x, y, width, height = box
    strong = Ink(22, weight="bold")
    canvas.mark((x + 6, y + 4), look.marks[0], strong)
    canvas.mark((x + width - 6, y + 4), look.marks[1], strong, "ra")
    canvas.mark((x + width / 2, y + height - 6), look.title, Ink(16, FAINT), "ms")


def _thinned(volume: Volume, segments: NDArray[np.uint8]) -> Shown:
    """The scan around its segments, with a row and a column about every 1.5 mm (views)."""
    rows, columns = volume.geometry.spacing_mm
    every = max(1, round(STEP_MM / rows)), max(1, round(STEP_MM / columns))
    hu, labels = volume.hu[:, :: every[0], :: every[1]], segments[:, :: every[0], :: every[1]]
    coarse = replace(
        volume.geometry,
        spacing_mm=(rows * every[0], columns * every[1]),
        rows=hu.shape[1],
        columns=hu.shape[2],
    )
    return Shown.around(Volume(hu, coarse), labels)


def rendered(shown: Shown, look: Look, mm_per_pixel: float) -> Picture:
    """The structures as solid bodies; uint8 `[height, width, 3]`.

    Args:
        shown: the scan.
        look: from where.
        mm_per_pixel: of the result.
    """
    # Drawn at twice the size and averaged, so that edges are smooth.
    fine = _surface(shown, look).upright(look.view, mm_per_pixel / 2)
    rgb = fine.colours() * fine.shade(mm_per_pixel / 2)[..., np.newaxis]
    drawn = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
    size = max(1, drawn.width // 2), max(1, drawn.height // 2)
    return np.asarray(drawn.resize(size, Image.Resampling.BOX))


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """Surface that rays meet first, `[slice, ray]` or, upright, `[height, width]`.

    labels: segment number, 0 where a ray meets nothing.
    depth_mm: how far along the ray.
    hu: mean of the layer below, of the same segment.
    """

    labels: NDArray[np.uint8]
    depth_mm: Plane
    hu: Plane
    geometry: Geometry

    def upright(self, view: View, mm_per_pixel: float) -> _Surface:
        """Brought to square pixels, head up."""

        def turned(plane: Plane) -> Plane:
            return upright(plane, self.geometry, view, mm_per_pixel)

        def inside(plane: Plane, kept: NDArray[np.bool_]) -> Plane:
            """Turned, without what lies beside bleeding in."""
            share = np.maximum(turned(kept.astype(np.float32)), np.float32(1e-6))
            return np.asarray(turned(np.where(kept, plane, np.float32(0))) / share)

        labels = upright(
            self.labels.astype(np.float32), self.geometry, view, mm_per_pixel, smooth=False
        )
        met = self.labels > 0
        return _Surface(
            labels.astype(np.uint8),
            inside(self.depth_mm, met),
            inside(self.hu, met & ~_IS_BONE[self.labels]),
            self.geometry,
        )

    def colours(self) -> Plane:
        """Muscles by HU, bones pale, background black; 0 to 255 `[..., 3]`."""
        rgb = np.where(_IS_BONE[self.labels][..., np.newaxis], BONE_RGB, fat_to_lean(self.hu))
        return np.asarray(
            np.where((self.labels > 0)[..., np.newaxis], rgb, 0), dtype=np.float32
        )

    def shade(self, mm_per_pixel: float) -> Plane:
        """Brightness of each point: turned to the light, not in a hollow, not on an edge."""
        smooth = _blurred(self.depth_mm, self.labels > 0, SMOOTH_MM / mm_per_pixel)
        down, right = (np.clip(g, -3, 3) for g in np.gradient(smooth, mm_per_pixel))
        facing = LIGHT[0] * right + LIGHT[1] * down + LIGHT[2]
        lit = np.maximum(facing / np.sqrt(right**2 + down**2 + 1), 0)
        level = _blurred(self.depth_mm, self.labels > 0, 5 * HOLLOW_MM / mm_per_pixel)
        open_share = 1 / (1 + np.maximum(smooth - level, 0) / HOLLOW_MM)
        edge = np.where(borders(self.labels), EDGE, 1.0)
        return np.asarray((AMBIENT + (1.15 - AMBIENT) * lit) * open_share * edge)


def _surface(shown: Shown, look: Look) -> _Surface:
    """Follow the rays of a look through a scan."""
    labels, hu = _towards(shown.segments, look), _towards(shown.volume.hu, look)
    if len(look.sides) == 1:
        labels = np.where(_is_seen(look)[labels], labels, np.uint8(0))
    geometry = shown.volume.geometry
    step_mm = geometry.spacing_mm[look.view.value]
    first = (labels > 0).argmax(axis=-1)
    return _Surface(
        labels=_at(labels, first),
        depth_mm=(first * step_mm).astype(np.float32),
        hu=_layer_hu(labels, hu, first, step_mm),
        geometry=geometry,
    )


def _is_seen(look: Look) -> NDArray[np.bool_]:
    """By segment number: whether a look from one side shows it."""
    return np.array([False, *(s.side in look.sides for s in SEGMENTS)])


def _towards(array: NDArray[Any], look: Look) -> NDArray[Any]:
    """Turn an array to `[slice, picture's column, along the ray]` (a view)."""
    turned = array.swapaxes(1, 2) if look.view is View.CORONAL else array
    turned = turned[:, ::-1] if look.mirrored else turned
    return turned[..., ::-1] if look.backwards else turned


def _at(array: NDArray[Any], index: NDArray[np.intp]) -> NDArray[Any]:
    """The values at an index along each ray."""
    return np.take_along_axis(array, index[..., np.newaxis], axis=-1)[..., 0]


def _layer_hu(
    labels: NDArray[np.uint8], hu: NDArray[Any], first: NDArray[np.intp], step_mm: float
) -> Plane:
    """Mean HU of the layer below a surface, as far as it is the same segment."""
    met = _at(labels, first)
    total, count = np.zeros(met.shape, np.float32), np.zeros(met.shape, np.float32)
    for step in range(round(LAYER_MM[0] / step_mm), round(LAYER_MM[1] / step_mm) + 1):
        at = np.minimum(first + step, labels.shape[-1] - 1)
        same = _at(labels, at) == met
        total += np.where(same, _at(hu, at), 0)
        count += same
    # A structure thinner than the skipped layer still has its surface.
    return np.where(count > 0, total / np.maximum(count, 1), _at(hu, first)).astype(np.float32)


def _blurred(plane: Plane, inside: NDArray[np.bool_], width: float) -> Plane:
    """The mean over what is inside and nearby: two passes of a box of so many pixels."""
    size = max(1, round(width))

    def box(values: Plane) -> Plane:
        return np.asarray(ndimage.uniform_filter(ndimage.uniform_filter(values, size), size))

    share = box(inside.astype(np.float32))
    return np.asarray(box(np.where(inside, plane, 0)) / np.maximum(share, 1e-6))


def fat_to_lean(hu: Plane) -> Plane:
    """Colours of attenuations, 0 to 255 `[..., 3]`: yellow below the scale, red above it."""
    at = np.linspace(*SCALE_HU, len(_FAT_TO_LEAN))
    channels = [np.interp(hu, at, _FAT_TO_LEAN[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _scale(canvas: Canvas, box: Box) -> None:
    """The colour bar in HU, with the limits of fat and lean marked and named."""
    x, y, width, height = box
    low, high = SCALE_HU
    bar = fat_to_lean(np.linspace(low, high, width, dtype=np.float32))
    canvas.panel(box, np.repeat(bar[np.newaxis], height, axis=0).astype(np.uint8))
    for hu in (low, *MARKS_HU, high):
        at = x + round((hu - low) / (high - low) * (width - 1))
        canvas.panel((at - 1, y, 2, height + 5))
        canvas.text((at, y + height + 8), f"{hu:+.0f}", Ink(16), "ma")
    below, above = ((mark - low) / (high - low) * width for mark in MARKS_HU)
    names = (("fat", below / 2), ("mixed", (below + above) / 2), ("lean", (above + width) / 2))
    for name, middle in names:
        canvas.text((x + middle, y + height + 30), name, Ink(17), "ma")
    canvas.text((x + width + 26, y + 1), "HU", Ink(16, FAINT))


def _shares(canvas: Canvas, at: tuple[int, int], case: CaseResult) -> None:
    """Lean, mixed and fat of each side's muscles, in figures."""
    x, y = at
    columns = (150, 240, 330, 440)
    for words, offset in zip(("lean", "mixed", "fat", "mean HU"), columns, strict=True):
        canvas.text((x + offset, y), words, Ink(16, FAINT), "ra")
    for place, (words, side) in enumerate(
        (("Right", Side.RIGHT), ("Left", Side.LEFT)), start=1
    ):
        line = y + place * 25
        canvas.text((x, line), words, Ink(18))
        for figure, offset in zip(_figures(case.structures, side), columns, strict=True):
            canvas.text((x + offset, line), figure, Ink(18), "ra")


def _figures(results: Iterable[StructureResult], side: Side) -> tuple[str, ...]:
    """Shares of all muscle voxels of a side, and their mean; dashes where there are none."""
    muscles = [
        (one.voxel_count, one.composition, one.mean_hu)
        for one in (result.measured for result in results)
        if one.segment.side is side
        and one.segment.structure.group is not Group.BONE
        and one.composition is not None
        and one.mean_hu is not None
    ]
    total = sum(count for count, _, _ in muscles)
    if not total:
        return ("\u2013",) * 4
    rows = np.array([(c.lean, c.mixed, c.fat, hu) for _, c, hu in muscles])
    *shares, mean_hu = np.array([count for count, _, _ in muscles]) @ rows / total
    return (*(f"{100 * share:.0f} %" for share in shares), f"{mean_hu:.0f}")
