"""The summary's page of changes: only where it is wanted, in figures, and what they mean."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import date

import numpy as np
import pytest
from support.cases import SHAPE, small_case

from dicom_node.results.changes import Change, Changes, StructureChange
from dicom_node.results.pdf.page_style import DASH
from dicom_node.results.pdf.summary import summary_pdf
from inference.geometry import Geometry
from inference.structures import BY_KEY, SEGMENTS
from inference.volume import Volume

GEOMETRY = Geometry.regular(SHAPE, (5.0, 4.0, 4.0))
VOLUME = Volume(np.full(SHAPE, 40, np.int16), GEOMETRY)
ONE = StructureChange(
    BY_KEY["GMED_L"], Change(100.0, 80.0, (11.0, 32.0)), Change(50.0, 49.0, (-2.0, 4.0))
)


def pages(changes: Changes | None) -> list[str]:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler) is not installed")
    pdf = summary_pdf(VOLUME, small_case(GEOMETRY), changes=changes)
    done = subprocess.run(
        ["pdftotext", "-layout", "-", "-"], input=pdf, check=True, capture_output=True
    )
    return [re.sub(r"\s+", " ", page) for page in done.stdout.decode().split("\f")[:-1]]


def test_a_summary_that_nobody_wants_changes_in_has_two_pages():
    assert len(pages(None)) == 2


def test_a_change_stands_with_its_range_under_the_date_of_the_earlier_scan():
    """100 after 80: +20 or 25 %; 50 HU after 49."""
    page = pages(Changes(date(2025, 11, 20), True, (ONE,)))[2]

    assert "Change since the scan of 2025-11-20" in page
    assert (
        "Gluteus medius, left 80.0 100.0 +20.0 (+11.0 to +32.0) +25 "
        "49.0 50.0 ~ +1.0 (-2.0 to +4.0)" in page
    )
    assert "no confidence interval" in page
    assert "differ between the two" not in page


def test_another_protocol_is_said_before_all_figures():
    page = pages(Changes(date(2025, 11, 20), False, (ONE,)))[2]

    assert page.index("differ between the two") < page.index("Gluteus medius")


def test_that_there_is_nothing_to_compare_is_said():
    assert "No earlier scan of this patient was found" in pages(Changes())[2]
    nothing = Changes(date(2025, 11, 20), True)
    assert "No structure was accepted in both scans" in pages(nothing)[2]


def test_what_has_no_number_has_a_dash():
    change = StructureChange(BY_KEY["SACRUM"], None, Change(50.0, 49.0))
    page = pages(Changes(date(2025, 11, 20), True, (change,)))[2]

    assert f"Sacrum {DASH} {DASH} {DASH} {DASH} 49.0 50.0 +1.0" in page


def test_all_structures_fit_on_one_page():
    every = tuple(StructureChange(each, ONE.volume_cm3, ONE.mean_hu) for each in SEGMENTS)
    found = pages(Changes(date(2025, 11, 20), True, every))

    assert len(found) == 3
    assert "Vastus medialis, left" in found[2]
