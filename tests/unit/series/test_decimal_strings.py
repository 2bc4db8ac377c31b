"""Decimal strings of results are at most 16 characters, whatever the source wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from support.cases import CONTEXT, small_case, source_datasets
from support.corpus.sound import encoded, in_order, meta, put, raw_element

from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.results.result_files import write_results
from dicom_node.series.decimal_strings import LONGEST, decimal_string
from dicom_node.series.reading import read_series

LONG = {
    0x00101020: b"1.58000000000000007105 ",
    0x00101030: b"54.299999999999997158 ",
    0x00180050: b"5.00000000000000000001",
    0x00200037: b"1.000000000000000000001\\0\\0\\0.0000000000000000000\\0.9999999999999999\\0 ",
    0x00280030: b"4.0000000000000000001\\3.9999999999999999999 ",
}
"""Numbers of a source by tag, printed in full."""


@pytest.mark.parametrize("written", ["1", "-12.5", " 4.0 ", "1e-05", "+.5", "123456789.123456"])
def test_what_is_short_enough_stays_as_it_was_written(written: str) -> None:
    assert decimal_string(written) == written.strip()


@given(st.floats(-1e9, 1e9))
def test_what_is_too_long_becomes_the_nearest_number_that_fits(number: float) -> None:
    short = decimal_string(repr(number))

    assert len(short) <= LONGEST
    assert float(short) == pytest.approx(number, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("written", ["", "nan", "inf", "1e999", "1" * 5000, "1\\2", "DOE"])
def test_what_is_no_number_is_none(written: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decimal_string(written)


def test_no_object_says_a_decimal_string_that_is_too_long(tmp_path: Path) -> None:
    """Read in the bytes of every kind of object, at every depth."""
    files = []
    for number, dataset in enumerate(source_datasets(PatientName="Yamada^Tarou")):
        elements = encoded(dataset)
        position = b"-127.99999999999998579\\-128.00000000000001421\\%.18f" % (5 * number)
        for tag, value in (LONG | {0x00200032: position}).items():
            elements[tag] = raw_element(tag, b"DS", value + b" " * (len(value) % 2))
        files.append(meta(dataset) + in_order(elements))
    series = read_series(put(tmp_path / "ct", files))
    case = small_case(series.volume.geometry)

    paths = write_results(
        publish_case(series, case, CONTEXT, set(ResultKind)), tmp_path / "out"
    )

    assert len(paths) == len(ResultKind) - 2  # nothing is replaced, no slices are uneven
    for path in paths:
        written = list(decimals(path))
        assert max(map(len, written), default=0) <= LONGEST, path.name
    segmentation = dcmread(next(path for path in paths if path.name.startswith("seg-")))
    assert segmentation.PatientSize == pytest.approx(1.58)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [4.0, 4.0]


def decimals(path: Path) -> list[str]:
    """The values of every decimal string of an object, as they are written."""
    found: list[str] = []
    for element in dcmread(path).iterall():
        if element.VR == "DS" and element.value is not None:
            values = element.value if element.VM > 1 else [element.value]
            found += [str(value) for value in values]
    return found
