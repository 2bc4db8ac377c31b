"""A segmentation of this node is read slice by slice as it was drawn, however the CT lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cases import CONTEXT, RECORD, small_case, small_series

from dicom_node.case_files.kept_segmentation import open_segmentation
from dicom_node.errors import PixelDataError
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FEET_FIRST_PRONE = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)


@pytest.mark.parametrize("orientation", [AXIAL, FEET_FIRST_PRONE, TURNED])
@pytest.mark.parametrize(
    "kinds",
    [
        (ResultKind.SEG,),
        (ResultKind.SEG_LABELMAP,),
        (ResultKind.SEG_BONES, ResultKind.SEG_HIP, ResultKind.SEG_THIGH),
    ],
)
def test_every_slice_comes_back(
    tmp_path: Path, orientation: tuple[float, ...], kinds: tuple[ResultKind, ...]
):
    series = small_series(tmp_path / "ct", orientation=orientation)
    case = small_case(series.volume.geometry)
    objects = publish_case(series, case, CONTEXT, frozenset((*RECORD, *kinds)))
    chosen = [one for one in objects if one.kind in kinds]
    kept = [open_segmentation(path) for path in write_results(chosen, tmp_path / "results")]

    found = np.zeros_like(case.segments)
    for one in kept:
        for plane in one.planes:
            where = [tuple(map(float, each.plane.position)) for each in series.slices]
            index = where.index(plane.position_mm)
            labels = series.orientation.to_patient(one.labels(plane))
            found[index] = np.where(labels > 0, labels, found[index])

    assert len(kept) == len(kinds)
    np.testing.assert_array_equal(found, case.segments)


def test_what_is_no_segmentation_is_refused(tmp_path: Path):
    series = small_series(tmp_path / "ct")

    with pytest.raises(PixelDataError):
        open_segmentation(series.slices[0].path)


def test_a_file_that_is_gone_is_told_as_gone(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        open_segmentation(tmp_path / "gone.dcm")


def test_one_that_breaks_off_is_refused(tmp_path: Path):
    series = small_series(tmp_path / "ct")
    objects = publish_case(series, small_case(series.volume.geometry), CONTEXT, RECORD)
    chosen = [one for one in objects if one.kind is ResultKind.SEG]
    (path,) = write_results(chosen, tmp_path / "results")
    whole = path.read_bytes()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(PixelDataError):
        open_segmentation(broken)
