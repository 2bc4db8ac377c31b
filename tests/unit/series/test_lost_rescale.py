"""Stored values that nothing turned into Hounsfield units are refused by that name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ct import ct_slice
from support.read_series import read

from dicom_node.errors import LostRescaleError, MixedSeriesError

BODY = np.array([[-1000, -990, -100, 40], [60, 300, 900, -1000]], dtype=float)
"""HU of air, fat, muscle and bone."""


def stack(hu: np.ndarray, **changes: Any) -> list[Any]:
    return [
        ct_slice((0.0, 0.0, 2.0 * index), hu=hu, InstanceNumber=index + 1, **changes)
        for index in range(5)
    ]


def test_values_of_which_none_is_lighter_than_water_were_never_rescaled(tmp_path: Path) -> None:
    """As after a conversion that forgot the intercept: 24 to 1924, air at 24."""
    lost = stack(BODY + 1024, intercept=0.0)

    with pytest.raises(LostRescaleError, match="values are 24 to 1924") as refused:
        read(lost, tmp_path)

    assert refused.value.code == "lost-rescale"
    assert "rescale to Hounsfield units was lost" in str(refused.value)


def test_padding_does_not_hide_it(tmp_path: Path) -> None:
    padded = BODY + 1024
    padded[0, 0] = -2000
    lost = stack(padded, intercept=0.0, dtype="int16", PixelPaddingValue=-2000)

    with pytest.raises(LostRescaleError):
        read(lost, tmp_path)


def test_a_file_that_says_nothing_of_its_rescale_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(LostRescaleError, match="neither Rescale Slope nor Rescale Intercept"):
        read(stack(BODY, RescaleSlope=None, RescaleIntercept=None), tmp_path)


def test_noise_of_air_around_zero_does_not_hide_it(tmp_path: Path) -> None:
    lost = stack(BODY + 990, intercept=0.0, dtype="int16")

    with pytest.raises(LostRescaleError, match="values are -10 to 1890"):
        read(lost, tmp_path)


def test_another_slope_in_some_images_is_told(tmp_path: Path) -> None:
    """Muscle has 1104 HU where the slope is 2 by mistake."""
    mixed = stack(BODY)
    for dataset in mixed[3:]:
        dataset.RescaleSlope = 2

    with pytest.raises(MixedSeriesError, match="with slope 1 and intercept -1024 tissue has"):
        read(mixed, tmp_path)


def test_images_may_be_stored_with_different_slopes(tmp_path: Path) -> None:
    mixed = stack(BODY)
    for dataset in mixed[3:]:
        dataset.RescaleSlope = 2
        pixels = (np.frombuffer(dataset.PixelData, dtype=np.uint16) // 2).astype(np.uint16)
        dataset.PixelData = pixels.tobytes()
        dataset.RescaleIntercept = -1024

    assert abs(read(mixed, tmp_path).volume.hu[4].max() - 900) < 3


@pytest.mark.parametrize("lost", [[3], [0, 2, 4], [0, 1, 2, 3]], ids=str)
def test_the_air_of_other_images_does_not_hide_it(lost: list[int], tmp_path: Path) -> None:
    """Two conversions in one series: in some images water is 1024 HU."""
    images = stack(BODY, intercept=-1024.0, dtype="uint16")
    for index in lost:
        images[index].RescaleIntercept = 0

    with pytest.raises(LostRescaleError, match=f"is 0 in {len(lost)} of 5 images"):
        read(images, tmp_path)


def test_images_may_be_stored_with_different_intercepts(tmp_path: Path) -> None:
    signed = stack(BODY, intercept=0.0, dtype="int16")
    unsigned = stack(BODY, intercept=-1024.0, dtype="uint16")

    series = read([*signed[:2], *unsigned[2:]], tmp_path)

    np.testing.assert_array_equal(series.volume.hu, [BODY] * 5)


UNKNOWN = {"ImageType": ["DERIVED", "SECONDARY"], "RescaleType": "US"}
"""As ITK writes a CT that it was given."""


def test_derived_images_of_no_stated_unit_must_show_air(tmp_path: Path) -> None:
    """A map of a material has none: its values lie around zero."""
    with pytest.raises(LostRescaleError, match=r"Rescale Type US.*: -90 to 40"):
        read(stack(np.clip(BODY, -90, 40), dtype="int16", intercept=0.0, **UNKNOWN), tmp_path)


def test_derived_images_of_no_stated_unit_that_show_air_are_read(tmp_path: Path) -> None:
    series = read(stack(BODY, dtype="int16", intercept=0.0, **UNKNOWN), tmp_path)

    np.testing.assert_array_equal(series.volume.hu[0], BODY)


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_hounsfield_units_that_are_stored_as_they_are_are_read(
    dtype: str, tmp_path: Path
) -> None:
    """Signed values with intercept 0, and unsigned ones with the usual intercept."""
    intercept = 0.0 if dtype == "int16" else -1024.0

    series = read(stack(BODY, intercept=intercept, dtype=dtype), tmp_path)

    np.testing.assert_array_equal(series.volume.hu[0], BODY)
