"""What is left out of a series: localisers, derived images, files that are no images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.ct import (
    ct_slice,
    ct_stack,
    enhanced_ct,
    save,
)
from support.read_series import read

from dicom_node.errors import (
    GeometryError,
    MixedSeriesError,
    NoImagesError,
    NotAxialError,
)
from dicom_node.series.reading import read_series


def test_localisers_derived_images_and_other_files_are_left_out(tmp_path: Path) -> None:
    localiser = ct_slice(
        orientation=(1, 0, 0, 0, 0, -1), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    bare = ct_slice(ImageType=["DERIVED", "SECONDARY", "MPR"], ImagePositionPatient=None)
    paths = save([localiser, *ct_stack(), bare], tmp_path)
    readme = tmp_path / "README"
    readme.write_text("not DICOM")

    series = read_series([*paths, readme])

    assert len(series.slices) == 5
    assert sorted(out.reason.split(" ")[0] for out in series.left_out) == [
        "a",
        "derived",
        "localizer",
    ]


def test_a_series_of_nothing_else_is_refused_with_the_tally(tmp_path: Path) -> None:
    derived = ct_stack(ImageType=["DERIVED", "SECONDARY", "MPR"])

    with pytest.raises(NoImagesError, match="5 x derived image"):
        read(derived, tmp_path)


CORONAL = (1, 0, 0, 0, 0, -1)


@pytest.mark.parametrize(
    "bare",
    [{}, {"ImagePositionPatient": None}, {"RescaleSlope": None}, {"PixelSpacing": [100, 100]}],
)
def test_a_scout_that_does_not_say_so_costs_itself_not_the_series(
    bare: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever else a scanner leaves out of it."""
    scout = ct_slice(
        orientation=CORONAL, shape=(40, 20), ImageType=["ORIGINAL", "PRIMARY"], **bare
    )

    series = read([*ct_stack(), scout], tmp_path)

    assert len(series.slices) == 5
    assert [out.reason for out in series.left_out] == ["not axial, among axial images"]


def test_a_coronal_series_is_still_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(NotAxialError):
        read(ct_stack(orientation=CORONAL), tmp_path)


def test_an_axial_slice_without_its_place_still_refuses_the_series(tmp_path: Path) -> None:
    """Left out, it would be a gap, or a slice less at the end."""
    datasets = ct_stack()
    del datasets[4].ImagePositionPatient

    with pytest.raises(GeometryError, match="ImagePositionPatient is missing"):
        read(datasets, tmp_path)


def test_a_slice_that_leans_among_others_still_refuses_the_series(tmp_path: Path) -> None:
    datasets = ct_stack()
    datasets[4].ImageOrientationPatient = [1, 0, 0, 0, 0.9, 0.4358899]

    with pytest.raises(MixedSeriesError, match="not parallel"):
        read(datasets, tmp_path)


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "RescaleType": "HU"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "LossyImageCompression": "01"},
    ],
)
def test_derived_axial_slices_in_hounsfield_units_are_read_and_noted(
    elements: dict[str, Any], tmp_path: Path
) -> None:
    derived = read(ct_stack(**elements), tmp_path / "derived")
    original = read(ct_stack(), tmp_path / "original")

    assert (derived.volume.hu == original.volume.hu).all()
    (note,) = derived.notes
    assert note.startswith("5 of 5 images call themselves derived")


def test_frames_of_a_derived_multi_frame_image_are_read_too(tmp_path: Path) -> None:
    stack = ct_stack(ImageType=["DERIVED", "PRIMARY", "VOLUME", "NONE"])

    assert len(read_series(save([enhanced_ct(stack)], tmp_path)).slices) == 5


def test_a_derived_secondary_capture_stays_refused(tmp_path: Path) -> None:
    stack = ct_stack(
        ImageType=["DERIVED", "SECONDARY"], SOPClassUID="1.2.840.10008.5.1.4.1.1.7"
    )

    with pytest.raises(
        NoImagesError, match=r"5 x SOP class 1\.2\.840\.10008\.5\.1\.4\.1\.1\.7"
    ):
        read(stack, tmp_path)
