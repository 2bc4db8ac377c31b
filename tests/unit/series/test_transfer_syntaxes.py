"""Transfer syntaxes and multi-frame images: the same volume from every encoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from support.ct import (
    ct_stack,
    enhanced_ct,
    file_meta,
)
from support.read_series import assert_every_voxel_lies_where_it_belongs, read

from dicom_node.errors import (
    MixedSeriesError,
)
from dicom_node.series.reading import read_series


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_every_lossless_syntax_gives_the_same_volume(syntax: UID, tmp_path: Path) -> None:
    datasets = ct_stack(shape=(64, 64))
    plain = read(datasets, tmp_path / "plain")
    paths = []
    for number, dataset in enumerate(datasets):
        path = tmp_path / f"{number}.dcm"
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        if syntax == ExplicitVRBigEndian:
            words = np.frombuffer(dataset.PixelData, dtype="<u2")
            dataset.PixelData = words.astype(">u2").tobytes()
            dataset["PixelData"].VR = "OW"
        dataset.file_meta = file_meta(dataset, syntax)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)

    series = read_series(paths)

    np.testing.assert_array_equal(series.volume.hu, plain.volume.hu)


def test_frames_of_an_enhanced_image_are_slices(tmp_path: Path) -> None:
    slices = ct_stack()
    enhanced = enhanced_ct([slices[i] for i in (4, 0, 2, 1, 3)])

    series = read([enhanced], tmp_path)

    assert_every_voxel_lies_where_it_belongs(series)
    assert [one.frame_number for one in series.slices] == [2, 4, 3, 5, 1]
    assert {one.sop_instance_uid for one in series.slices} == {enhanced.SOPInstanceUID}
    assert "PixelData" not in series.header


def test_an_enhanced_image_in_two_instances_is_one_stack(tmp_path: Path) -> None:
    slices = ct_stack(range(0, 16, 2))

    series = read([enhanced_ct(slices[4:]), enhanced_ct(slices[:4])], tmp_path)

    assert_every_voxel_lies_where_it_belongs(series)


def test_a_legacy_converted_image_says_its_kernel_frame_by_frame(tmp_path: Path) -> None:
    """Kernels stand in the unassigned groups there (PS3.3 C.7.6.16.2.25.1)."""
    legacy = enhanced_ct(ct_stack(), "1.2.840.10008.5.1.4.1.1.2.2")
    del legacy.SharedFunctionalGroupsSequence[0].CTReconstructionSequence
    for number, frame in enumerate(legacy.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.ConvolutionKernel = "B30f" if number else "B80f"
        frame.UnassignedPerFrameConvertedAttributesSequence = [item]

    with pytest.raises(MixedSeriesError, match="B30f, B80f"):
        read([legacy], tmp_path)


def test_derived_frames_are_left_out_by_number(tmp_path: Path) -> None:
    slices = ct_stack()
    slices[4].ImageType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]

    series = read([enhanced_ct(slices)], tmp_path)

    assert len(series.slices) == 4
    assert series.left_out[0].reason.startswith("frame 5: derived")
