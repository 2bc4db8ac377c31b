"""Claims about outlines on the source images, whichever way these were turned."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from skimage.draw import polygon2mask
from support.cases import BOXES, CONTEXT, box_labels, small_case, small_series

from dicom_node.results.case_facts import case_facts
from dicom_node.results.kinds import ResultKind
from dicom_node.results.sr.key_slices import key_slices, on_source_image
from inference.geometry import Orientation

ORIENTATIONS = [Orientation(*flags) for flags in product((False, True), repeat=3)]


def test_the_centre_of_the_first_pixel_is_half_a_pixel_from_the_corner() -> None:
    assert on_source_image([(0, 0)], Orientation(), rows=5, columns=7) == ((0.5, 0.5),)


def test_a_point_of_an_upright_source_is_column_and_then_row() -> None:
    assert on_source_image([(3, 1)], Orientation(), rows=5, columns=7) == ((1.5, 3.5),)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_point_lies_where_its_pixel_lies_in_the_source(orientation: Orientation) -> None:
    """Pixel (3, 1) of 5 x 7 in the patient frame, found again in the turned image."""
    patient = np.zeros((5, 7), dtype=np.uint8)
    patient[3, 1] = 1
    ((row, column),) = np.argwhere(orientation.to_source(patient))
    ((x, y),) = on_source_image([(3, 1)], orientation, rows=5, columns=7)

    assert (x, y) == (column + 0.5, row + 0.5)


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"orientation": (0.0, 1.0, 0.0, -1.0, 0.0, 0.0), "origin_mm": (128.0, -128.0, 0.0)},
        {"orientation": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), "origin_mm": (124.0, 124.0, 0.0)},
    ],
    ids=["upright", "turned", "upside down"],
)
def test_an_outline_encloses_its_structure_in_the_named_source_image(
    tmp_path: Path, source: dict[str, tuple[float, ...]]
) -> None:
    """Its inside, drawn on the source image, is the structure as the source has it."""
    series = small_series(tmp_path, **source)
    facts = case_facts(series, small_case(series.volume.geometry), CONTEXT, {ResultKind.SR})
    on_source = {
        one.sop_instance_uid: labels
        for one, labels in zip(
            series.slices, series.orientation.to_source(box_labels()), strict=True
        )
    }
    shown = key_slices(facts)

    assert {one.segment.key for one in shown} == set(BOXES)
    for one in shown:
        labels = on_source[one.image.sop_instance_uid]
        rows_and_columns = np.array(one.outline)[:, ::-1] - 0.5
        inside = polygon2mask(labels.shape, rows_and_columns)
        np.testing.assert_array_equal(inside, labels == one.segment.number)
