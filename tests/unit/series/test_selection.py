"""Which images of a series count, and why the others do not."""

from __future__ import annotations

import pytest

from dicom_node.series.selection import (
    CT_IMAGE_STORAGE,
    ImageKind,
    derived_notes,
    exclusion_of,
    exclusions,
    reason_to_leave_out,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


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


def derived(*words: str, **values: object) -> ImageKind:
    usual = {"orientation": AXIAL, "is_measured": True, "rescale_type": "HU"}
    return kind("DERIVED", *words, **(usual | values))


def reasons(*kinds: ImageKind) -> list[str]:
    return [out.reason if out else "" for out in exclusions(kinds)]


@pytest.mark.parametrize(
    "image",
    [
        derived("SECONDARY"),
        derived("SECONDARY", "AXIAL"),
        derived("PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        derived("PRIMARY", "VOLUME", "NONE"),
        derived("PRIMARY", "VOLUME", "RESAMPLED"),
        derived("SECONDARY", rescale_type=""),
        derived("SECONDARY", rescale_type="US"),
        derived("SECONDARY", orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)),
    ],
)
def test_axial_ct_in_hounsfield_units_counts_whatever_it_calls_itself(image: ImageKind) -> None:
    """As planning systems, ITK and plastimatch write it."""
    assert reasons(image, image) == ["", ""]
    (note,) = derived_notes([image, image])
    assert note.startswith("2 of 2 images call themselves derived: read as the axial slices")


@pytest.mark.parametrize(
    "image",
    [
        derived("SECONDARY", orientation=CORONAL),
        derived("SECONDARY", orientation=SAGITTAL),
        derived("SECONDARY", orientation=()),
        derived("SECONDARY", is_measured=False),
        derived("SECONDARY", rescale_type="MGML"),
        derived("SECONDARY", "MPR"),
        derived("SECONDARY", "REFORMATTED"),
        derived("SECONDARY", "REFORMATTED", "AVERAGE"),
        derived("SECONDARY", "CURVED_MPR"),
        derived("SECONDARY", "CSA MPR"),
        derived("SECONDARY", "AXIAL", "MIP_THICK"),
        derived("SECONDARY", "MINIP"),
        derived("SECONDARY", "VOLUME", "MAX_IP"),
        derived("PRIMARY", "VOLUME", "MEAN"),
        derived("PRIMARY", "AXIAL", "SUBTRACTION"),
        derived("PRIMARY", "AXIAL", "IODINE"),
        derived("PRIMARY", "AXIAL", "CT_SOM7 MONO"),
        derived("SECONDARY", "AXIAL", descriptions=("MIP 10 MM", "")),
        derived("SECONDARY", "AXIAL", descriptions=("", "THORAX MIP")),
        derived("PRIMARY", "AXIAL", "MIP", is_lossy=True),
    ],
)
def test_reformats_projections_and_maps_stay_out(image: ImageKind) -> None:
    (reason, again) = reasons(image, image)

    assert reason == again
    assert reason.startswith(("derived image", "not in Hounsfield units"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("PELVIS WITHOUT CONTRAST MATERIAL", ""),
        ("ABDOMEN ORAL WATER 5.0", ""),
        ("ABDOMEN 500 ML WATER PO", ""),
        ("GSI MD WATER", "derived image (WATER)"),
        ("MATERIAL DENSITY", "derived image (MATERIAL)"),
        ("MIP, CONTRAST MATERIAL", "derived image (MIP)"),
    ],
)
def test_what_a_patient_was_given_is_no_map_of_a_material(words: str, reason: str) -> None:
    lossy = derived("PRIMARY", "AXIAL", descriptions=("", words), is_lossy=True)

    assert reasons(lossy, lossy) == [reason, reason]


def test_a_derived_image_stands_in_for_no_original_one() -> None:
    original = kind("ORIGINAL", "PRIMARY", "AXIAL", orientation=AXIAL)

    found = reasons(original, derived("SECONDARY", "AXIAL"), original)

    assert found == ["", "derived image (Image Type says DERIVED)", ""]


def test_a_lossy_compression_alone_derives_nothing() -> None:
    """The standard wants DERIVED of it (PS3.3 C.7.6.1.1.2), beside originals too."""
    original = kind("ORIGINAL", "PRIMARY", "AXIAL", orientation=AXIAL)
    lossy = kind("DERIVED", "PRIMARY", "AXIAL", orientation=AXIAL, is_lossy=True)

    assert reasons(original, lossy) == ["", ""]
    assert derived_notes([original, lossy]) == (
        "1 of 2 images call themselves derived: by their lossy compression",
    )


@pytest.mark.parametrize("along", [CORONAL, SAGITTAL])
def test_one_image_along_the_body_costs_itself_not_the_series(along: tuple[float, ...]) -> None:
    axial = kind("ORIGINAL", "PRIMARY", "AXIAL", orientation=AXIAL)
    scout = kind("ORIGINAL", "PRIMARY", orientation=along)

    assert reasons(axial, scout, axial) == ["", "not axial, among axial images", ""]


def test_an_original_scout_does_not_put_derived_slices_out() -> None:
    scout = kind("ORIGINAL", "PRIMARY", orientation=CORONAL)
    stack = [derived("SECONDARY", "AXIAL")] * 3

    assert reasons(scout, *stack) == ["not axial, among axial images", "", "", ""]


def test_where_axial_images_are_the_fewer_none_is_left_out() -> None:
    """Three axial images in a coronal series are not the scan."""
    axial = kind("ORIGINAL", "PRIMARY", "AXIAL", orientation=AXIAL)
    coronal = kind("ORIGINAL", "PRIMARY", orientation=CORONAL)

    assert reasons(axial, coronal, coronal) == ["", "", ""]


def test_a_stack_that_leans_is_no_scout() -> None:
    axial = kind("ORIGINAL", "PRIMARY", "AXIAL", orientation=AXIAL)
    leaning = kind("ORIGINAL", "PRIMARY", orientation=(1.0, 0.0, 0.0, 0.0, 0.9, 0.4358899))

    assert reasons(axial, axial, leaning) == ["", "", ""]
