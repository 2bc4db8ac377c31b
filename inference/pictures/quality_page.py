"""Pages to be looked at: the QC picture of a case, and that of a refused series.

Both are 1024 x 768, dark, and still readable at half the size. They show anatomy and
figures, never anything that names the patient; nothing is said by colour alone. Right and
left are as in any radiograph: the patient's right is on the reader's left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from inference.pictures.canvas import FAINT, Box, Canvas, Ink, Picture
from inference.pictures.captions import (
    VERDICT_COLOURS,
    abbreviated,
    case_reasons,
    case_uncertainty,
    in_figures,
    made_by,
    names,
    sentence,
)
from inference.pictures.panels import (
    Shown,
    coloured_radiograph,
    heat,
    overlay_slice,
    uncertainty_map,
)
from inference.pictures.projections import Plane, View, mean_inside
from inference.results import CaseResult, StructureResult, Verdict
from inference.structures import STRUCTURES, Side
from inference.volume import Volume

WIDTH: Final = 1024
HEIGHT: Final = 768
MARGIN: Final = 12
INNER: Final = WIDTH - 2 * MARGIN
GAP: Final = 8
TOP: Final = 130
VIEW_HEIGHT: Final = 330
LEGEND_TOP: Final = 692
SCALE_HEIGHT: Final = 58

RADIOGRAPH: Final = "DRR"
"""Digitally reconstructed radiograph: what the views from front and side are."""

HEADLINE: Final = "Segmentation from hip to knee"
AXIAL_LEVELS: Final = (0.93, 0.68, 0.4, 0.12)
"""Heights of the axial slices, as shares of what is segmented, from the top."""

THIN_MM: Final = 100.0
"""A scan of less height is shown by its slices alone: from the side it is a line."""

LIST: Final = Ink(17)
SMALL: Final = Ink(17, FAINT)
MARK: Final = Ink(21, weight="bold")
LESSER_MARK: Final = Ink(17, FAINT)
LEVEL: Final = (96, 102, 114)
CUT: Final = VERDICT_COLOURS[Verdict.TRUNCATED]

DOUBTED: Final = (Verdict.FAILED, Verdict.INACCURATE)
BY_NAME: Final = (
    Verdict.SPOILED,
    Verdict.TRUNCATED,
    Verdict.ABSENT,
    Verdict.NOT_JUDGED,
    Verdict.NOT_PROVIDED,
)
"""Verdicts whose structures are listed without figures."""


def qc_picture(
    volume: Volume, case: CaseResult, *, title: str = "", notes: Sequence[str] = ()
) -> Picture:
    """Everything needed to judge a case at a glance; uint8 `[768, 1024, 3]`.

    Args:
        volume: the CT that was analysed.
        case: its result.
        title: small words at the upper right, which go before the page's own where both
            find no room; must not name the patient.
        notes: what a reader must know of the images before all else.
    """
    shown = Shown.around(volume, case.segments)
    canvas = Canvas(WIDTH, HEIGHT)
    _header(canvas, case, title, notes)
    slices = _slices_at(shown, AXIAL_LEVELS)
    front = (MARGIN, TOP, 300, VIEW_HEIGHT)
    _coronal(canvas, front, shown)
    _levels(canvas, front, shown, slices)
    _knee_cuts(canvas, front, shown, case)
    _chest_cut(canvas, front, shown, case)
    _sagittal(canvas, (MARGIN + 308, TOP, 150, VIEW_HEIGHT), shown)
    _uncertainty(canvas, (MARGIN + 466, TOP, 300, VIEW_HEIGHT), shown, case)
    _axials(canvas, (MARGIN + 774, TOP, 226, LEGEND_TOP - TOP - 6), shown, slices)
    below = TOP + VIEW_HEIGHT + 10
    _verdicts(canvas, (MARGIN, below, 766, LEGEND_TOP - below), case)
    _legend(canvas, (MARGIN, LEGEND_TOP))
    canvas.text((WIDTH - MARGIN, HEIGHT - 5), made_by(case), Ink(16, FAINT), "rs")
    return canvas.picture


def refusal_picture(words: str, volume: Volume | None = None) -> Picture:
    """Page that answers a series that was not analysed; uint8 `[768, 1024, 3]`.

    Args:
        words: the reason, for people, without patient data.
        volume: what could be read of the series, shown small; or None.
    """
    canvas = Canvas(WIDTH, HEIGHT)
    right = canvas.badge((MARGIN, MARGIN), "NOT ANALYSED", VERDICT_COLOURS[Verdict.FAILED])
    canvas.text((right + 14, MARGIN + 11), HEADLINE, Ink(22))
    y = canvas.paragraph((MARGIN, 84, INNER), sentence(words), 7, Ink(26))
    note = "No segmentation and no measurements were made of this series."
    y = canvas.paragraph((MARGIN, y + 10, INNER), note, 2, Ink(20, FAINT)) + 12
    if volume is not None:
        _thumbnails(canvas, (MARGIN, y, INNER, HEIGHT - y - MARGIN), volume)
    return canvas.picture


def _thumbnails(canvas: Canvas, box: Box, volume: Volume) -> None:
    """Draw what was read, without segments: from front and side and slices, or slices alone."""
    x, y, _, height = box
    shown = Shown.around(volume, np.zeros(volume.hu.shape, dtype=np.uint8))
    offsets = volume.geometry.slice_offsets_mm
    if offsets[-1] - offsets[0] < THIN_MM:
        slices = _slices_at(shown, (1.0, 0.5, 0.0))
        each = (INNER - GAP * (len(slices) - 1)) // len(slices)
        for place, number in enumerate(slices):
            _axial(canvas, (x + place * (each + GAP), y, each, height), shown, number)
        return
    _coronal(canvas, (x, y, 400, height), shown)
    _sagittal(canvas, (x + 408, y, 240, height), shown)
    _axials(canvas, (x + 656, y, 344, height), shown, _slices_at(shown, (0.75, 0.25)))


def _header(canvas: Canvas, case: CaseResult, title: str, notes: Sequence[str]) -> None:
    """The verdict, and why, in words; what is noted of the images goes before."""
    words = case.verdict.value.upper()
    right = canvas.badge((MARGIN, MARGIN), words, VERDICT_COLOURS[case.verdict])
    rest = WIDTH - MARGIN - right - 14 - canvas.width_of(title, SMALL)
    if canvas.width_of(HEADLINE, Ink(21)) + 20 <= rest:
        canvas.text((right + 14, MARGIN), HEADLINE, Ink(21))
    canvas.text((WIDTH - MARGIN, MARGIN + 3), title, SMALL, "ra")
    canvas.text((right + 14, MARGIN + 27), sentence(case_uncertainty(case)), SMALL)
    reasons = " ".join([*map(sentence, notes), case_reasons(case)])
    short = canvas.lines_of(reasons, INNER, Ink(20)) <= 2
    canvas.paragraph((MARGIN, 65, INNER), reasons, 2 if short else 3, Ink(20 if short else 16))


def _coronal(canvas: Canvas, box: Box, shown: Shown) -> None:
    """The DRR (see `projections`) from the front, with the segments' colours."""
    canvas.panel(box, coloured_radiograph(shown, View.CORONAL, box[2:]))
    _mark(canvas, box, Side.RIGHT.value, Side.LEFT.value, ("H", "F"))
    _name(canvas, box, RADIOGRAPH)


def _sagittal(canvas: Canvas, box: Box, shown: Shown) -> None:
    """The same from the patient's left; the front is on the reader's left."""
    canvas.panel(box, coloured_radiograph(shown, View.SAGITTAL, box[2:]))
    _mark(canvas, box, "A", "P", ("H", "F"))
    _name(canvas, box, RADIOGRAPH)


def _name(canvas: Canvas, box: Box, words: str) -> None:
    """Write a panel's name, small at its lower right."""
    x, y, width, height = box
    canvas.mark((x + width - 6, y + height - 5), words, LESSER_MARK, "rs")


def _mark(canvas: Canvas, box: Box, left: str, right: str, ends: tuple[str, str]) -> None:
    """Write the patient's directions: at the upper corners, and small at top and bottom."""
    x, y, width, height = box
    canvas.mark((x + 6, y + 3), left, MARK)
    canvas.mark((x + width - 6, y + 3), right, MARK, "ra")
    canvas.mark((x + width / 2, y + 3), ends[0], LESSER_MARK, "ma")
    canvas.mark((x + width / 2, y + height - 4), ends[1], LESSER_MARK, "ms")


def _levels(canvas: Canvas, box: Box, shown: Shown, slices: Sequence[int]) -> None:
    """Draw the levels of the axial slices, numbered from the top."""
    x, y, width, _ = box
    offsets = shown.volume.geometry.slice_offsets_mm
    for place, number in enumerate(slices, start=1):
        level = _row_at(box, shown, float(offsets[number]))
        canvas.line((x + 24, level), (x + width - 4, level), LEVEL)
        canvas.mark((x + 8, max(level, y + 36)), str(place), LESSER_MARK, "lm")


def _knee_cuts(canvas: Canvas, box: Box, shown: Shown, case: CaseResult) -> None:
    """Draw the cut of each leg below its knee; the patient's right is on the left."""
    legs = case.coverage.lower_legs
    x, _, width, _ = box
    for knee in legs.knees if legs else ():
        level = _row_at(box, shown, knee.height_mm - legs.kept_mm if legs else 0.0)
        start = x + 4 if knee.side is Side.RIGHT else x + width // 2
        canvas.line((start, level), (start + width // 2 - 4, level), CUT, 2)
        at, anchor = (x + 8, "la") if knee.side is Side.RIGHT else (x + width - 6, "ra")
        canvas.mark((at, level + 2), "cut", LESSER_MARK, anchor)


def _chest_cut(canvas: Canvas, box: Box, shown: Shown, case: CaseResult) -> None:
    """Draw the cut of the scan above the abdomen."""
    chest = case.coverage.chest
    if chest is None:
        return
    x, _, width, _ = box
    level = _row_at(box, shown, chest.lung_mm + chest.kept_mm)
    canvas.line((x + 4, level), (x + width - 4, level), CUT, 2)
    canvas.mark((x + 8, level - 3), "cut", LESSER_MARK, "ls")


def _row_at(box: Box, shown: Shown, height_mm: float) -> int:
    """Row of the page that shows a height in the view from the front."""
    _, y, _, height = box
    geometry = shown.volume.geometry
    offsets = geometry.slice_offsets_mm
    top_mm = float(offsets[-1] + geometry.extents_mm[-1] / 2)
    bottom_mm = float(offsets[0] - geometry.extents_mm[0] / 2)
    mm_per_pixel = shown.fitting(box[2:], View.CORONAL)
    first = y + (height - (top_mm - bottom_mm) / mm_per_pixel) / 2
    return round(first + (top_mm - height_mm) / mm_per_pixel)


def _uncertainty(canvas: Canvas, box: Box, shown: Shown, case: CaseResult) -> None:
    """Mean uncertainty inside the segments, from the front, with its scale."""
    x, y, width, height = box
    map_box = (x, y, width, height - SCALE_HEIGHT)
    if case.uncertainty is None:
        canvas.panel(box)
        words = "No map: the model has no measure of doubt."
        canvas.paragraph((x + 10, y + 12, width - 20), words, 2, SMALL)
        return
    values = case.uncertainty[:, shown.rows, shown.columns]
    plane = mean_inside(values, shown.segments, View.CORONAL)
    top = _scale_top(plane, case)
    canvas.panel(box)
    canvas.panel(map_box, uncertainty_map(plane, shown, top, map_box[2:]))
    _mark(canvas, map_box, Side.RIGHT.value, Side.LEFT.value, ("H", "F"))
    _scale(canvas, (x, y + height - SCALE_HEIGHT, width, SCALE_HEIGHT), top, case)


def _scale_top(plane: Plane, case: CaseResult) -> float:
    """Upper end of the colour scale: twice the failed limit, or what is there."""
    if case.mean_uncertainty_limits is not None:
        return 2 * case.mean_uncertainty_limits[1]
    seen = plane[np.isfinite(plane)]
    return max(float(np.percentile(seen, 99)), 1e-6) if seen.size else 1e-3


def _scale(canvas: Canvas, box: Box, top: float, case: CaseResult) -> None:
    """The bar below the map, with the limits marked on it and named by their first letter."""
    x, y, width, _ = box
    inner = width - 20
    bar = np.repeat(heat(np.linspace(0, 1, inner, dtype=np.float32))[np.newaxis], 12, 0)
    canvas.panel((x + 10, y + 22, inner, 12), bar.astype(np.uint8))
    canvas.text((x + 10, y + 36), "0", SMALL)
    canvas.text((x + width - 10, y + 36), f"{top:.1e}", SMALL, "ra")
    canvas.text((x + width / 2 - 10, y + 36), "uncertainty", SMALL, "ma")
    for limit, verdict, anchor in zip(
        case.mean_uncertainty_limits or (), reversed(DOUBTED), ("rs", "ls"), strict=False
    ):
        at = x + 10 + round(inner * min(limit / top, 1))
        colour = VERDICT_COLOURS[verdict]
        canvas.line((at, y + 18), (at, y + 36), colour, 3)
        canvas.text((at, y + 17), verdict.value, Ink(16, colour), anchor)


def _axials(canvas: Canvas, box: Box, shown: Shown, slices: Sequence[int]) -> None:
    """Axial slices below each other, from head to feet, numbered."""
    x, y, width, height = box
    each = (height - GAP * (len(slices) - 1)) // len(slices)
    for place, number in enumerate(slices):
        tile = (x, y + place * (each + GAP), width, each)
        _axial(canvas, tile, shown, number)
        canvas.mark((x + 8, tile[1] + each - 5), str(place + 1), LESSER_MARK, "ls")


def _axial(canvas: Canvas, box: Box, shown: Shown, number: int) -> None:
    geometry = shown.volume.geometry
    wide, high = (
        geometry.columns * geometry.spacing_mm[1],
        geometry.rows * geometry.spacing_mm[0],
    )
    width_px = max(1, min(box[2], int(box[3] * wide / high)))
    canvas.panel(box, overlay_slice(shown.volume, shown.segments, number, width_px=width_px))
    _mark(canvas, box, Side.RIGHT.value, Side.LEFT.value, ("A", "P"))


def _slices_at(shown: Shown, levels: Sequence[float]) -> list[int]:
    """Slices at shares of the height of what is segmented, each once."""
    seen = np.flatnonzero(shown.segments.any(axis=(1, 2)))
    first, last = (int(seen[0]), int(seen[-1])) if seen.size else (0, len(shown.segments) - 1)
    return list(dict.fromkeys(round(first + level * (last - first)) for level in levels))


def _verdicts(canvas: Canvas, box: Box, case: CaseResult) -> None:
    """Structures that are not accepted: the doubted ones with figures, others by name."""
    x, y, width, height = box
    bottom = y + height
    accepted = sum(s.verdict is Verdict.ACCEPTED for s in case.structures)
    provided = sum(s.verdict is not Verdict.NOT_PROVIDED for s in case.structures)
    canvas.text((x, y), f"{accepted} of {provided} structures accepted", Ink(20))
    y += 28
    flagged = [s for s in case.structures if s.verdict in DOUBTED]
    flagged.sort(key=lambda s: (DOUBTED.index(s.verdict), -(s.measured.uncertainty or 0)))
    lines = 2 if flagged else 4
    for verdict in BY_NAME:
        found = [s for s in case.structures if s.verdict is verdict]
        if found:
            words = f"{verdict.value.capitalize()} ({len(found)}): {names(found)}"
            ink = Ink(17, VERDICT_COLOURS[verdict])
            y = canvas.paragraph((x, y, width), words, lines, ink) + 2
    _flagged(canvas, (x, y, width, bottom - y), flagged)


def _flagged(canvas: Canvas, box: Box, flagged: Sequence[StructureResult]) -> None:
    """Worst first, in two columns if one has too few rows; what finds no room is counted."""
    x, y, width, height = box
    rows = max(1, height // LIST.line_height)
    columns = 1 if len(flagged) <= rows else 2
    each = width // columns
    listed = flagged if len(flagged) <= columns * rows else flagged[: columns * rows - 1]
    for place, result in enumerate(listed):
        at = (x + (place // rows) * each, y + (place % rows) * LIST.line_height)
        _flagged_row(canvas, at, each - GAP, result)
    if len(listed) < len(flagged):
        at = (x + width - each, y + (rows - 1) * LIST.line_height)
        canvas.text(at, f"and {len(flagged) - len(listed)} more", LIST)


def _flagged_row(
    canvas: Canvas, at: tuple[int, int], width: int, result: StructureResult
) -> None:
    """Colour, name, verdict, value and threshold."""
    x, y = at
    canvas.square((x, y + 4), 13, result.segment.structure.colour_rgb)
    canvas.text((x + 20, y), abbreviated(result), LIST)
    ink = Ink(17, VERDICT_COLOURS[result.verdict])
    canvas.text((x + 108, y), result.verdict.value, ink)
    canvas.paragraph((x + 204, y, width - 204), in_figures(result), 1, Ink(16))


def _legend(canvas: Canvas, at: tuple[int, int]) -> None:
    """Draw the colour of each structure beside its abbreviation."""
    left, y = at
    for structure in STRUCTURES:
        wide = canvas.width_of(structure.abbreviation, SMALL) + 18
        if left + wide > WIDTH - MARGIN:
            left, y = MARGIN, y + 25
        canvas.square((left, y + 4), 12, structure.colour_rgb)
        canvas.text((left + 17, y), structure.abbreviation, SMALL)
        left += wide + 12
