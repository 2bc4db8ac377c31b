"""The phantom as DICOM: what a scanner would write, in every way the patient may lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from support.validators import dciodvfy_errors

from dicom_node.case_files.phantom_series import (
    PatientPosition,
    PhantomHeader,
    localiser_instance,
    phantom_datasets,
    reformatted_instance,
    series_instance_uid,
    write_phantom_series,
)
from dicom_node.series.reading import read_series
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import SMALL_PHANTOM, Zone

TINY = replace(SMALL_PHANTOM, zones=(Zone(30.0, 595.0),), rows=96, columns=80, pixel_mm=5.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_series(folder, TINY)
    return folder


def test_a_series_has_one_readable_file_per_slice(folder: Path) -> None:
    files = sorted(folder.iterdir())
    slices = TINY.geometry().shape[0]

    assert len(files) == slices
    numbers = [int(pydicom.dcmread(path).InstanceNumber) for path in files]
    assert numbers == list(range(1, slices + 1))


def test_the_header_says_who_lay_in_the_scanner_and_how(folder: Path) -> None:
    header = pydicom.dcmread(folder / "IM0001.dcm")

    assert header.PatientName.ideographic == "山田^太郎"
    assert header.PatientName.phonetic == "やまだ^たろう"
    assert header.PatientSize == 1.6
    assert header.PatientAge == "066Y"
    assert header.PatientPosition == "HFS"
    assert list(header.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL"]


def test_a_height_that_is_not_known_is_not_written() -> None:
    header = PhantomHeader(patient_size_known=False)

    assert all("PatientSize" not in dataset for dataset in phantom_datasets(TINY, header))


def test_head_first_scans_count_down_the_body_and_feet_first_scans_up(folder: Path) -> None:
    head_first = pydicom.dcmread(folder / "IM0001.dcm")
    feet_first = min(
        phantom_datasets(TINY, PhantomHeader(position=PatientPosition.FEET_FIRST_SUPINE)),
        key=lambda dataset: int(dataset.InstanceNumber),
    )

    assert head_first.SliceLocation > 500
    assert feet_first.SliceLocation < 50


def test_equal_phantoms_are_the_same_series_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    again = write_phantom_series(tmp_path, TINY)

    assert [p.read_bytes() for p in again] == [
        (folder / path.name).read_bytes() for path in again
    ]


def test_another_body_header_or_position_is_another_series() -> None:
    prone = PhantomHeader(position=PatientPosition.HEAD_FIRST_PRONE)
    other = replace(TINY, body=BodySpec(height_m=1.7))

    uids = {
        series_instance_uid(TINY),
        series_instance_uid(other),
        series_instance_uid(TINY, prone),
        series_instance_uid(TINY, PhantomHeader(patient_id="PHANTOM-0002")),
    }

    assert len(uids) == 4


@pytest.mark.parametrize("position", PatientPosition)
@pytest.mark.parametrize("signed", [False, True])
def test_every_position_holds_the_same_body(
    position: PatientPosition, signed: bool, tmp_path: Path
) -> None:
    """Inside the skin all voxels agree; only the table changes its side for a prone body."""
    header = PhantomHeader(
        position=position,
        shuffled=True,
        signed=signed,
        transfer_syntax_uid=ImplicitVRLittleEndian,
    )
    expected = phantom(TINY)

    series = read_series(write_phantom_series(tmp_path, TINY, header))

    body = expected.segments > 0
    np.testing.assert_array_equal(series.volume.hu[body], expected.volume.hu[body])
    np.testing.assert_allclose(
        series.volume.geometry.positions_mm, expected.volume.geometry.positions_mm, atol=1e-3
    )
    assert series.orientation.rows_flipped == position.is_prone
    assert series.orientation.columns_flipped == position.is_prone


def test_shuffled_instance_numbers_say_nothing_about_the_position(tmp_path: Path) -> None:
    paths = write_phantom_series(tmp_path, TINY, PhantomHeader(shuffled=True))

    heights = [float(pydicom.dcmread(path).SliceLocation) for path in paths]

    assert heights != sorted(heights)
    assert sorted(heights) == sorted(TINY.geometry().positions_mm[:, 2].tolist())


def test_uneven_slices_carry_their_own_thickness(tmp_path: Path) -> None:
    uneven = replace(TINY, lower_mm=0.0, zones=(Zone(10.0, 60.0), Zone(60.0, 300.0)))

    series = read_series(write_phantom_series(tmp_path, uneven))

    assert series.volume.geometry.extents_mm.tolist() == [10.0] * 6 + [60.0] * 4


def test_the_scout_and_the_reformat_belong_to_the_series_but_are_no_slices(
    folder: Path, tmp_path: Path
) -> None:
    for name, extra in (
        ("scout", localiser_instance(TINY)),
        ("reformat", reformatted_instance(TINY)),
    ):
        assert extra.SeriesInstanceUID == series_instance_uid(TINY)
        extra.save_as(tmp_path / name, enforce_file_format=True)

    series = read_series([*folder.iterdir(), *tmp_path.iterdir()])

    assert series.volume.geometry.shape == TINY.geometry().shape
    assert {left.reason.split()[0] for left in series.left_out} == {"localizer", "derived"}


@pytest.mark.peer
@pytest.mark.parametrize("position", PatientPosition)
def test_dciodvfy_finds_no_error_in_any_file(position: PatientPosition, tmp_path: Path) -> None:
    header = PhantomHeader(position=position)
    paths = write_phantom_series(tmp_path, TINY, header)
    for extra in (localiser_instance(TINY, header), reformatted_instance(TINY, header)):
        paths.append(tmp_path / f"{extra.InstanceNumber}.dcm")
        extra.save_as(paths[-1], enforce_file_format=True)

    assert {path.name: errors for path in paths if (errors := dciodvfy_errors(path))} == {}
