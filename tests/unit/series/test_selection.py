"""Which images of a series count, and why the others do not."""

from __future__ import annotations

import pytest

from dicom_node.series.selection import (
    CT_IMAGE_STORAGE,
    ImageKind,
    exclusion_of,
    reason_to_leave_out,
)


def kind(*image_type: str, **values: object) -> ImageKind:
    values = {"sop_instance_uid": "1.2.3", "sop_class_uid": CT_IMAGE_STORAGE} | values
    return ImageKind(image_type=image_type, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image_type",
    [
        ("ORIGINAL", "PRIMARY", "AXIAL"),
        ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        ("ORIGINAL", "PRIMARY", "VOLUME", "NONE"),
        (),
    ],
)
def test_original_axial_ct_counts(image_type: tuple[str, ...]) -> None:
    assert reason_to_leave_out(kind(*image_type)) is None


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (kind("ORIGINAL", "PRIMARY", "LOCALIZER"), "localizer"),
        (kind("ORIGINAL", "PRIMARY", "AXIAL", "TOPOGRAM"), "localizer"),
        (kind("DERIVED", "PRIMARY", "AXIAL"), "derived"),
        (kind("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"), "derived"),
        (kind("ORIGINAL", "SECONDARY", "AXIAL"), "secondary"),
        (kind(modality="PT"), "modality PT"),
        (kind(modality=""), "modality missing"),
        (kind(sop_class_uid="1.2.840.10008.5.1.4.1.1.7"), "SOP class 1.2.840"),
        (kind(sop_class_uid=""), "SOP class missing"),
        (kind(samples_per_pixel=3), "colour"),
        (kind(rescale_type="MGML"), "Rescale Type MGML"),
    ],
)
def test_everything_else_is_left_out_with_its_reason(image: ImageKind, reason: str) -> None:
    found = reason_to_leave_out(image)

    assert found is not None
    assert reason in found


def test_the_reason_names_the_frame_of_a_multi_frame_image() -> None:
    out = exclusion_of(kind("ORIGINAL", "PRIMARY", "LOCALIZER", frame_number=4))

    assert out is not None
    assert out.sop_instance_uid == "1.2.3"
    assert out.reason.startswith("frame 4: localizer")


def test_an_image_that_counts_has_no_reason() -> None:
    assert exclusion_of(kind("ORIGINAL", "PRIMARY", "AXIAL")) is None
