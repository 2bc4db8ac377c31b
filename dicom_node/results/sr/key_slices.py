"""Outlines of structures on the source images, each on the one slice that shows it best."""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.results.case_facts import CaseFacts
from dicom_node.results.sr.report_context import in_source_series
from inference.geometry import Orientation
from inference.pictures.outlines import key_slice_outlines
from inference.structures import SEGMENTS
from sr_templates.key_slice_report import KeySlice


def key_slices(facts: CaseFacts) -> tuple[KeySlice, ...]:
    """The key slice of every segment that was found, in the order of the segments."""
    rows, columns = facts.case.segments.shape[1:]
    found = []
    for number, outline in sorted(key_slice_outlines(facts.case.segments).items()):
        plane = facts.grid.planes[outline.slice_index]
        found.append(
            KeySlice(
                segment=SEGMENTS[number - 1],
                image=in_source_series(plane.reference, facts.header),
                frame_number=plane.frame_number,
                outline=on_source_image(
                    outline.points, facts.grid.orientation, rows=rows, columns=columns
                ),
            )
        )
    return tuple(found)


def on_source_image(
    points: Iterable[tuple[float, float]], orientation: Orientation, *, rows: int, columns: int
) -> tuple[tuple[float, float], ...]:
    """Points of the volume as (column, row) of the source image, as DICOM counts them.

    Image relative coordinates are zero at the upper left corner of the first pixel, so
    that its centre is at (0.5, 0.5) (PS3.3 C.18.6.1.2 and C.10.5.1.2).

    Args:
        points: (row, column) in the patient frame, whole at the centres of pixels.
        orientation: how source pixels were turned into the patient frame.
        rows: of a slice in the patient frame.
        columns: of a slice in the patient frame.
    """
    return tuple(
        _on_source_image(row, column, orientation, rows, columns) for row, column in points
    )


def _on_source_image(
    row: float, column: float, orientation: Orientation, rows: int, columns: int
) -> tuple[float, float]:
    """One point; the steps of `Orientation.to_source`, in its order."""
    column = columns - 1 - column if orientation.columns_flipped else column
    row = rows - 1 - row if orientation.rows_flipped else row
    if orientation.transposed:
        row, column = column, row
    return column + 0.5, row + 0.5
