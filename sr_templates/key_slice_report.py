"""The key-slice report: the record's structures as outlines, for viewers that draw no segments.

TID 1500 with one planar group (TID 1410) per structure and side: its outline on the slice
where it is largest, with the numbers of the whole structure. It is a rendering of the
measurement report, and says so.

Made for OHIF (3.13), which shows at a group's outline its first five lines: the numbers, then
the finding site. So a group has few numbers: with five the structure would have no name there,
and already with four the lines of neighbours cover each other. It does not show verdicts
either, so what failed has an outline and a verdict, but no numbers. It leaves a zero blank, so
the share is that of lean muscle, not of fat. And it takes an outline of four or five points
for a rectangle of its own, which it cannot read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset

from inference.results import CaseResult, StructureResult, Verdict
from inference.structures import Segment
from sr_templates.context import InstanceInSeries, ReportContext
from sr_templates.report_document import report_document
from sr_templates.structure_items import (
    evaluation_items,
    judged_items,
    limit_items,
    measurement_group,
    number_items,
    uncertainty_items,
)
from sr_templates.terms import KEY_SLICE_TERMS
from sr_templates.words import KEY_SLICE_WORDS

FEWEST_POINTS: Final = 4
"""A triangle and its first point again."""

RECTANGLE_POINTS: Final = 5
"""Up to here, counting the first point again at the end, OHIF sees a rectangle."""


@dataclass(frozen=True, slots=True)
class KeySlice:
    """Image that shows a structure, and the structure's outline in it.

    image: the source image of the slice.
    frame_number: within a multi-frame image, from 1; None for a single-frame image.
    outline: (column, row) in the image, (0, 0) being the upper left corner of its first
        pixel (PS3.3 C.10.5.1.2); closed, so the last point is the first again.
    """

    segment: Segment
    image: InstanceInSeries
    frame_number: int | None
    outline: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Refuse what is not closed."""
        if self.outline[:1] != self.outline[-1:] or len(self.outline) < FEWEST_POINTS:
            msg = f"{self.segment.key}: {len(self.outline)} points are not a closed outline"
            raise ValueError(msg)


def build_key_slice_report(
    case: CaseResult, context: ReportContext, key_slices: Sequence[KeySlice]
) -> Dataset:
    """The key-slice report of a case, from `report_document`; it refers to no segmentation.

    Args:
        case: as in the record.
        context: as in the record, but `segments`, which is not used.
        key_slices: of the structures that were found; where there are none, neither are
            there groups.
    """
    return report_document(
        case,
        context,
        [_group(case.of(shown.segment), case, context, shown) for shown in key_slices],
        evidence=(*context.sources, *(shown.image for shown in key_slices)),
        about=KEY_SLICE_WORDS,
    )


def _group(
    result: StructureResult, case: CaseResult, context: ReportContext, shown: KeySlice
) -> Any:
    """One structure and side with its outline, TID 1410."""
    terms = () if result.verdict is Verdict.FAILED else KEY_SLICE_TERMS
    grounds = [
        *uncertainty_items(result),
        *limit_items(result.uncertainty_limits),
        *judged_items(result.judged_by, prefix=""),
    ]
    said = [
        *number_items(result, terms),
        *evaluation_items(result, grounds),
        _region(shown),
    ]
    tracking_uid = context.tracking_uids[result.segment.number]
    return measurement_group("1410", result, case.model, tracking_uid, said)


def _region(shown: KeySlice) -> Any:
    """The outline as a polyline, selected from its image (TID 1410 row 7)."""
    frames = None if shown.frame_number is None else [shown.frame_number]
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(_no_rectangle(shown.outline)),
        source_image=sr.SourceImageForRegion(
            referenced_sop_class_uid=shown.image.sop_class_uid,
            referenced_sop_instance_uid=shown.image.sop_instance_uid,
            referenced_frame_numbers=frames,
        ),
    )


def _no_rectangle(
    outline: Sequence[tuple[float, float]],
) -> list[tuple[float, float]]:
    """An outline with a point more on every side where it has few; its shape is the same."""
    if len(outline) > RECTANGLE_POINTS:
        return list(outline)
    halfway = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(outline)]
    return [*(p for pair in zip(outline, halfway, strict=False) for p in pair), outline[-1]]
