"""Pictures to be looked at: the QC picture of a case, and that of a refused series.

Both are 1024 x 768, dark, and still readable at half the size. They show anatomy and
figures, never anything that names the patient. Right and left are as in any radiograph: the
patient's right is on the reader's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.canvas import FAINT, Canvas, Colour, Ink, Picture
from inference.projections import View, coloured, mean_inside, radiograph, upright
from inference.results import CaseResult, Finding, StructureResult, Verdict
from inference.structures import SEGMENTS, STRUCTURES, Side
from inference.volume import Volume

WIDTH: Final = 1024
HEIGHT: Final = 768
MARGIN: Final = 12
INNER: Final = WIDTH - 2 * MARGIN
TOP: Final = 122
VIEW_HEIGHT: Final = 340
SCALE_HEIGHT: Final = 36
LEGEND_HEIGHT: Final = 68

NO_BREAK: Final = "\u00a0"

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

SOFT_TISSUE_HU: Final = (-160.0, 240.0)
OVERLAY_OPACITY: Final = 0.35
COLOUR_SHARE: Final = 0.85
FAINT_BODY: Final = 70.0
BODY_ABOVE_HU: Final = -300.0
AROUND_MM: Final = 25.0
"""How much is shown around the segments in axial slices."""

AXIAL_LEVELS: Final = (0.93, 0.72, 0.5, 0.28, 0.07)
"""Heights of the axial slices, as shares of what is segmented, from the top."""

HEAD: Final = Ink(19)
LIST: Final = Ink(17)
SMALL: Final = Ink(15, FAINT)

VERDICT_COLOURS: Final[dict[Verdict, Colour]] = {
    Verdict.ACCEPTED: (96, 200, 120),
    Verdict.INACCURATE: (246, 190, 70),
    Verdict.FAILED: (240, 92, 84),
    Verdict.TRUNCATED: (110, 170, 245),
    Verdict.SPOILED: (214, 130, 240),
    Verdict.ABSENT: (160, 164, 172),
}

_HEAT: Final = np.array(
    [(0, 0, 0), (60, 10, 90), (150, 35, 105), (225, 85, 50), (250, 170, 30), (252, 250, 180)],
    dtype=np.float32,
)

_LABEL_PALETTE: Final = np.array(
    [(0, 0, 0), *(s.structure.colour_rgb for s in SEGMENTS)], dtype=np.float32
)


def qc_picture(volume: Volume, case: CaseResult, *, title: str = "") -> Picture:
    """Everything needed to judge a case at a glance; uint8 `[768, 1024, 3]`.

    Args:
        volume: the CT that was analysed.
        case: its result.
        title: small words at the upper right; must not name the patient.
    """
    shown = _Shown.around(volume, case.segments)
    canvas = Canvas(WIDTH, HEIGHT)
    _header(canvas, case, title)
    _coronal(canvas, (MARGIN, TOP, 312, VIEW_HEIGHT), shown)
    _sagittal(canvas, (MARGIN + 320, TOP, 164, VIEW_HEIGHT), shown)
    _uncertainty(canvas, (MARGIN + 492, TOP, 312, VIEW_HEIGHT), shown, case)
    _axials(canvas, (MARGIN + 812, TOP, 188, HEIGHT - TOP - MARGIN), shown)
    _flagged(canvas, (MARGIN, TOP + VIEW_HEIGHT + 10, 800, HEIGHT - LEGEND_HEIGHT), case)
    _legend(canvas, (MARGIN, HEIGHT - LEGEND_HEIGHT + 4, 800, LEGEND_HEIGHT))
    canvas.text((MARGIN, HEIGHT - 6), _made_by(case), SMALL, "ls")
    return canvas.picture


def refusal_picture(words: str, volume: Volume | None = None) -> Picture:
    """What a series that was not analysed is answered with; uint8 `[768, 1024, 3]`.

    Args:
        words: the reason, for people, without patient data.
        volume: what could be read of the series, shown small; or None.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.badge((MARGIN, MARGIN), "NOT ANALYSED", VERDICT_COLOURS[Verdict.FAILED])
    y = canvas.paragraph((MARGIN, 84, INNER), _sentence(words), 7, Ink(26))
    note = "No segmentation and no measurements were made of this series."
    y = canvas.paragraph((MARGIN, y + 10, INNER), note, 2, Ink(20, FAINT)) + 12
    if volume is not None:
        empty = np.zeros(volume.hu.shape, dtype=np.uint8)
        shown = _Shown.around(volume, empty)
        height = HEIGHT - y - MARGIN
        _coronal(canvas, (MARGIN, y, 400, height), shown)
        _sagittal(canvas, (MARGIN + 408, y, 240, height), shown)
        _axials(canvas, (MARGIN + 656, y, 344, height), shown, levels=(0.75, 0.25))
    return canvas.picture


def overlay_slice(
    volume: Volume,
    segments: NDArray[np.uint8],
    number: int,
    *,
    width_px: int = 512,
    opacity: float = OVERLAY_OPACITY,
) -> Picture:
    """One axial slice with the segments in their colours and outlined, true to scale.

    Args:
        volume: the CT.
        segments: `[slice, row, column]` 0 to 43 on the CT's grid.
        number: which slice.
        width_px: width of the picture; the height follows from the pixels' shape.
        opacity: of the colour inside the outlines; 0 shows the CT alone.
    """
    rows_mm, columns_mm = (
        count * spacing
        for count, spacing in zip(volume.hu.shape[1:], volume.geometry.spacing_mm, strict=True)
    )
    size = (width_px, max(1, round(width_px * rows_mm / columns_mm)))
    low, high = SOFT_TISSUE_HU
    hu = np.clip((volume.hu[number].astype(np.float32) - low) / (high - low), 0, 1)
    grey = np.asarray(Image.fromarray(hu).resize(size, Image.Resampling.BILINEAR))
    labels = np.ascontiguousarray(segments[number])
    labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    outline = _outline(labels)
    alpha = np.where(labels > 0, np.where(outline, 1.0, opacity), 0.0)[..., np.newaxis]
    rgb = grey[..., np.newaxis] * 255 * (1 - alpha) + _LABEL_PALETTE[labels] * alpha
    return np.asarray(rgb, dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """The part of a scan around its segments: what the panels draw."""

    volume: Volume
    segments: NDArray[np.uint8]
    rows: slice
    columns: slice

    @classmethod
    def around(cls, volume: Volume, segments: NDArray[np.uint8]) -> _Shown:
        """Where the segments are, and some; or the body, where there are none."""
        found = segments > 0 if segments.any() else volume.hu > BODY_ABOVE_HU
        rows, columns = (
            _around(np.asarray(found.any(axis=(0, other))), spacing)
            for other, spacing in zip((2, 1), volume.geometry.spacing_mm, strict=True)
        )
        hu = volume.hu[:, rows, columns]
        geometry = replace(volume.geometry, rows=hu.shape[1], columns=hu.shape[2])
        return cls(Volume(hu, geometry), segments[:, rows, columns], rows, columns)

    def fitting(self, box: Box, view: View) -> float:
        """Millimetres per pixel that let a projection fill a box."""
        geometry = self.volume.geometry
        across = geometry.shape[2 - view.value] * geometry.spacing_mm[1 - view.value]
        offsets, extents = geometry.slice_offsets_mm, geometry.extents_mm
        height = offsets[-1] - offsets[0] + (extents[0] + extents[-1]) / 2
        return max(across / box[2], float(height) / box[3])


def _around(found: NDArray[np.bool_], spacing_mm: float) -> slice:
    where = np.flatnonzero(found)
    if not where.size:
        return slice(0, len(found))
    margin = round(AROUND_MM / spacing_mm)
    return slice(max(0, int(where[0]) - margin), int(where[-1]) + margin + 1)


def _header(canvas: Canvas, case: CaseResult, title: str) -> None:
    """The verdict, and why, in words."""
    words = case.verdict.value.upper()
    right = canvas.badge((MARGIN, MARGIN), words, VERDICT_COLOURS[case.verdict])
    canvas.text((WIDTH - MARGIN, MARGIN + 16), title, SMALL, "ra")
    average = _average_words(case)
    canvas.text((right + 14, MARGIN + 12), average)
    canvas.paragraph((MARGIN, 66, INNER), _reasons(case), 2)


def _made_by(case: CaseResult) -> str:
    model = case.model
    return f"{model.name} {model.version}, {model.samples} samples. Research use only."


def _average_words(case: CaseResult) -> str:
    if case.mean_uncertainty is None:
        return "nothing found"
    value = f"mean uncertainty {case.mean_uncertainty:.2e}"
    if case.mean_uncertainty_limits is None:
        return f"{value} (not calibrated)"
    inaccurate, failed = case.mean_uncertainty_limits
    return f"{value} (limits {inaccurate:.2e}, {failed:.2e})"


def _reasons(case: CaseResult) -> str:
    findings = "; ".join(finding.value for finding in case.findings)
    return f"{_sentence(findings)} {case.coverage.words}".strip()


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:].rstrip('.')}." if words else ""


def _legend(canvas: Canvas, box: Box) -> None:
    """Which colour is which structure."""
    x, y, width, _ = box
    each_row = (len(STRUCTURES) + 1) // 2
    for place, structure in enumerate(STRUCTURES):
        left = x + (place % each_row) * width // each_row
        top = y + (place // each_row) * 20
        canvas.square((left, top + 2), 10, structure.colour_rgb)
        canvas.text((left + 14, top), structure.abbreviation, Ink(13, FAINT))


def _coronal(canvas: Canvas, box: Box, shown: _Shown) -> None:
    """The radiograph from the front, with the segments' colours."""
    canvas.panel(box, _coloured_radiograph(box, shown, View.CORONAL))
    _mark_sides(canvas, box)


def _sagittal(canvas: Canvas, box: Box, shown: _Shown) -> None:
    """The same from the patient's right; the front is on the reader's left."""
    canvas.panel(box, _coloured_radiograph(box, shown, View.SAGITTAL))
    _mark(canvas, box, "A", "P")


def _coloured_radiograph(box: Box, shown: _Shown, view: View) -> Picture:
    mm_per_pixel = shown.fitting(box, view)
    geometry = shown.volume.geometry
    grey = upright(radiograph(shown.volume, view), geometry, view, mm_per_pixel)
    colours = coloured(shown.segments, geometry, view)
    rgb = upright(colours.rgb, geometry, view, mm_per_pixel)
    opacity = upright(colours.opacity, geometry, view, mm_per_pixel) * COLOUR_SHARE
    shade = grey[..., np.newaxis]
    lit = rgb * (0.5 + 0.7 * shade)
    mixed = shade * 255 * (1 - opacity[..., np.newaxis]) + lit * opacity[..., np.newaxis]
    return np.asarray(np.clip(mixed, 0, 255), dtype=np.uint8)


def _mark_sides(canvas: Canvas, box: Box) -> None:
    _mark(canvas, box, Side.RIGHT.value, Side.LEFT.value)


def _mark(canvas: Canvas, box: Box, left: str, right: str) -> None:
    x, y, width, _ = box
    canvas.text((x + 6, y + 4), left, Ink(22, weight="bold"))
    canvas.text((x + width - 6, y + 4), right, Ink(22, weight="bold"), "ra")


def _uncertainty(canvas: Canvas, box: Box, shown: _Shown, case: CaseResult) -> None:
    """Mean uncertainty inside the segments, from the front, with its scale."""
    x, y, width, height = box
    map_box = (x, y, width, height - SCALE_HEIGHT)
    values = case.uncertainty[:, shown.rows, shown.columns]
    plane = mean_inside(values, shown.segments, View.CORONAL)
    top = _scale_top(plane, case)
    geometry = shown.volume.geometry
    mm_per_pixel = shown.fitting(map_box, View.CORONAL)
    seen = np.isfinite(plane).astype(np.float32)
    filled = np.nan_to_num(plane)
    shares = upright(filled / top, geometry, View.CORONAL, mm_per_pixel)
    opacity = upright(seen, geometry, View.CORONAL, mm_per_pixel)[..., np.newaxis]
    grey = upright(radiograph(shown.volume, View.CORONAL), geometry, View.CORONAL, mm_per_pixel)
    faint = grey[..., np.newaxis] * FAINT_BODY
    heat = np.maximum(_heat(shares), faint)
    canvas.panel(box)
    canvas.panel(map_box, (heat * opacity + faint * (1 - opacity)).astype(np.uint8))
    _mark_sides(canvas, map_box)
    _scale(canvas, (x, y + height - SCALE_HEIGHT, width, SCALE_HEIGHT), top, case)


def _scale_top(plane: NDArray[np.float32], case: CaseResult) -> float:
    """Where the colour scale ends: twice the failed limit, or what is there."""
    if case.mean_uncertainty_limits is not None:
        return 2 * case.mean_uncertainty_limits[1]
    seen = plane[np.isfinite(plane)]
    return max(float(np.percentile(seen, 99)), 1e-6) if seen.size else 1e-3


def _heat(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Black over violet and orange to pale yellow, for 0 to 1."""
    at = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(shares, at, _HEAT[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _scale(canvas: Canvas, box: Box, top: float, case: CaseResult) -> None:
    """The bar below the map, with the limits marked on it."""
    x, y, width, _ = box
    bar = np.repeat(_heat(np.linspace(0, 1, width - 20, dtype=np.float32))[np.newaxis], 10, 0)
    canvas.panel((x + 10, y + 2, width - 20, 10), bar.astype(np.uint8))
    canvas.text((x + 10, y + 15), "0", SMALL)
    canvas.text((x + width - 10, y + 15), f"{top:.1e}", SMALL, "ra")
    canvas.text((x + width / 2, y + 15), "uncertainty", Ink(15), "ma")
    for limit, verdict in zip(
        case.mean_uncertainty_limits or (), (Verdict.INACCURATE, Verdict.FAILED), strict=False
    ):
        left = x + 10 + round((width - 20) * min(limit / top, 1))
        canvas.panel((left - 2, y, 4, 14), _plain(4, 14, VERDICT_COLOURS[verdict]))


def _plain(width: int, height: int, colour: Colour) -> Picture:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def _axials(
    canvas: Canvas, box: Box, shown: _Shown, levels: Sequence[float] = AXIAL_LEVELS
) -> None:
    """Axial slices at heights spread over what is segmented, from head to feet."""
    x, y, width, height = box
    gap = 6
    each = (height - gap * (len(levels) - 1)) // len(levels)
    geometry = shown.volume.geometry
    wide, high = (
        geometry.columns * geometry.spacing_mm[1],
        geometry.rows * geometry.spacing_mm[0],
    )
    width_px = min(width, int(each * wide / high))
    for place, number in enumerate(_slices_at(shown.segments, levels)):
        tile = (x, y + place * (each + gap), width, each)
        picture = overlay_slice(shown.volume, shown.segments, number, width_px=width_px)
        canvas.panel(tile, picture)
        _mark_sides(canvas, tile)


def _slices_at(segments: NDArray[np.uint8], levels: Sequence[float]) -> list[int]:
    seen = np.flatnonzero(segments.any(axis=(1, 2)))
    first, last = (int(seen[0]), int(seen[-1])) if seen.size else (0, len(segments) - 1)
    return [round(first + level * (last - first)) for level in levels]


def _outline(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels at the border between labels, on the side of the label that is not 0."""
    outline = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    outline[1:] |= down
    outline[:-1] |= down
    outline[:, 1:] |= right
    outline[:, :-1] |= right
    return outline & (labels > 0)


def _flagged(canvas: Canvas, box: tuple[int, int, int, int], case: CaseResult) -> None:
    """Structures that are not accepted: the uncertain ones with figures, others by name.

    `box` is x, y, width and the y that must not be passed.
    """
    x, y, width, bottom = box
    flagged = [s for s in case.structures if s.verdict in (Verdict.FAILED, Verdict.INACCURATE)]
    flagged.sort(key=lambda s: (s.verdict is not Verdict.FAILED, -(s.uncertainty or 0)))
    accepted = sum(s.verdict is Verdict.ACCEPTED for s in case.structures)
    canvas.text((x, y), f"Accepted: {accepted} of {len(case.structures)} structures", HEAD)
    y += HEAD.line_height + 2
    for verdict in (Verdict.TRUNCATED, Verdict.SPOILED, Verdict.ABSENT):
        names = _names([s for s in case.structures if s.verdict is verdict])
        if names:
            words = f"{verdict.value.capitalize()}: {names}"
            y = canvas.paragraph((x, y, width), words, 3, Ink(17, VERDICT_COLOURS[verdict])) + 2
    rows = max(1, (bottom - y) // LIST.line_height)
    listed = flagged if len(flagged) <= 2 * rows else flagged[: 2 * rows - 1]
    for place, structure in enumerate(listed):
        at = (x + (place // rows) * width // 2, y + (place % rows) * LIST.line_height)
        _flagged_row(canvas, at, structure)
    if len(listed) < len(flagged):
        at = (x + width // 2, y + (rows - 1) * LIST.line_height)
        canvas.text(at, f"and {len(flagged) - len(listed)} more", Ink(17, FAINT))


def _flagged_row(canvas: Canvas, at: tuple[int, int], result: StructureResult) -> None:
    x, y = at
    canvas.square((x, y + 4), 12, result.segment.structure.colour_rgb)
    canvas.text((x + 20, y), _short(result), Ink(17, VERDICT_COLOURS[result.verdict]))
    canvas.text((x + 104, y), _why(result), LIST)


def _short(result: StructureResult) -> str:
    segment = result.segment
    side = f" {segment.side.value}" if segment.side else ""
    return f"{segment.structure.abbreviation}{side}"


def _why(result: StructureResult) -> str:
    """The reason in figures: value and threshold."""
    reasons = []
    if (
        Finding.UNCERTAIN in result.findings
        and result.uncertainty
        and result.uncertainty_limits
    ):
        inaccurate, failed = result.uncertainty_limits
        limit = failed if result.uncertainty > failed else inaccurate
        weak = " (weak flag)" if Finding.WEAK_FLAG in result.findings else ""
        reasons.append(f"{result.uncertainty:.1e} > {limit:.1e}{weak}")
    if Finding.VOLUME_IMPLAUSIBLE in result.findings and result.volume_cm3 is not None:
        reasons.append(f"{result.volume_cm3:.0f} cm\u00b3 implausible")
    if Finding.HU_IMPLAUSIBLE in result.findings and result.mean_hu is not None:
        reasons.append(f"{result.mean_hu:.0f} HU implausible")
    return ", ".join(reasons)


def _names(results: Sequence[StructureResult]) -> str:
    """Structures by abbreviation, with their sides: `GMAX R L, SACRUM`."""
    sides: dict[str, list[str]] = {}
    for result in results:
        found = sides.setdefault(result.segment.structure.abbreviation, [])
        if result.segment.side:
            found.append(result.segment.side.value)
    return ", ".join(NO_BREAK.join([name, *found]) for name, found in sides.items())
