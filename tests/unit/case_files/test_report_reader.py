"""What a report says, read back from its content tree."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from support.cases import CONTEXT, RECORD, small_case, small_series

from dicom_node.case_files.report_reader import reported_structures
from dicom_node.results.builders import publish_case
from inference.results import Verdict


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    series = small_series(tmp_path_factory.mktemp("ct"))
    case = small_case(series.volume.geometry)
    objects = publish_case(series, case, CONTEXT, RECORD)
    return next(one.dataset for one in objects if one.kind == "SR")


def test_every_segment_is_reported_once_with_its_side(report: Dataset):
    found = [one.segment.key for one in reported_structures(report)]

    assert len(found) == 43
    assert len(set(found)) == 43
    assert {"SACRUM", "GMED_R", "GMED_L"} <= set(found)


def test_numbers_and_verdict_are_those_of_the_case(report: Dataset):
    """The left femur's box has 8 x 6 x 6 voxels of 0.08 cm3: 23.04 cm3. Segment 4: 40.4 HU.

    The uncertainty of 3.456e-4 is reported with three digits.
    """
    found = {one.segment.key: one for one in reported_structures(report)}

    femur = found["FEMUR_L"]
    assert femur.volume_cm3 == pytest.approx(23.04)
    assert femur.mean_hu == pytest.approx(40.4)
    assert femur.uncertainty == pytest.approx(3.46e-4)
    assert femur.verdict is Verdict.ACCEPTED
    assert found["OE_R"].verdict is Verdict.INACCURATE


def test_what_the_report_leaves_out_is_none(report: Dataset):
    found = {one.segment.key: one for one in reported_structures(report)}

    assert found["TFL_R"].verdict is Verdict.TRUNCATED
    assert found["TFL_R"].volume_cm3 is None
    assert found["TFL_R"].mean_hu is not None
    assert found["PSOAS_L"].verdict is Verdict.ABSENT
    assert found["PSOAS_L"].mean_hu is None


def test_a_document_without_measurement_groups_reports_nothing():
    assert reported_structures(Dataset()) == ()
