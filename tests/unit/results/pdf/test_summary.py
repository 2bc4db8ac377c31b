"""The summary document: every structure on it, the same bytes each time, nobody named."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from support.cases import SHAPE, small_case, with_numbers

from dicom_node.results.pdf.summary import summary_pdf
from inference.geometry import Geometry
from inference.results import CaseResult, Finding, GraderIdentity, SideGrade, Verdict
from inference.structures import SEGMENTS, Side
from inference.volume import Volume

GEOMETRY = Geometry.regular(SHAPE, (5.0, 4.0, 4.0))
VOLUME = Volume(np.full(SHAPE, 40, np.int16), GEOMETRY)


def pages(pdf: bytes) -> list[str]:
    """The words of each page, as another program reads them."""
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler) is not installed")
    done = subprocess.run(
        ["pdftotext", "-layout", "-", "-"], input=pdf, check=True, capture_output=True
    )
    return [re.sub(r"\s+", " ", page) for page in done.stdout.decode().split("\f")[:-1]]


def case_with_reasons() -> CaseResult:
    """Every structure flagged for two reasons: the longest table there is."""
    case = small_case(GEOMETRY, verdict=Verdict.FAILED)
    findings = (Finding.UNCERTAIN, Finding.VOLUME_IMPLAUSIBLE, Finding.HU_IMPLAUSIBLE)
    worst = replace(case.structures[2], verdict=Verdict.FAILED, findings=findings)
    structures = tuple(
        with_numbers(worst, segment=segment, uncertainty=9e-4) for segment in SEGMENTS
    )
    return replace(case, structures=structures)


def test_the_same_case_gives_the_same_bytes():
    case = small_case(GEOMETRY)

    assert summary_pdf(VOLUME, case) == summary_pdf(VOLUME, case)


def test_a_usual_case_takes_two_pages_and_lists_every_structure_on_the_second():
    first, second = pages(summary_pdf(VOLUME, small_case(GEOMETRY)))

    shortened = [segment.title.split(" and ")[0] for segment in SEGMENTS]
    assert [title for title in shortened if title not in second] == []
    assert "probably inaccurate" in first


def test_numbers_stand_with_their_range_and_reasons_with_value_and_limit():
    """FEMUR R: 8 x 6 x 6 voxels of 0.08 cm3 = 23.04, -0.75 and +0.5; over 1.58 m squared 9.2.

    OE R: 6.2e-4 is above its limit of 5e-4, which means little for this structure.
    """
    _, table = pages(summary_pdf(VOLUME, small_case(GEOMETRY)))

    assert "Femur, right 23.0 (22.3 to 23.5) 9.2 40.3 (39.0 to 45.0) 75 / 20 / 5" in table
    assert "6.2e-04 > 5.0e-04" in table


def test_a_structure_that_was_cut_has_no_volume_but_a_reason():
    _, table = pages(summary_pdf(VOLUME, small_case(GEOMETRY)))
    row = table[table.index("Tensor fasciae latae, right") :][:120]

    assert re.match(r"Tensor fasciae latae, right \u2013 \u2013 \d", row)
    assert "truncated" in row


def test_every_page_says_what_made_it_and_that_it_is_for_research():
    for page in pages(summary_pdf(VOLUME, small_case(GEOMETRY))):
        assert "model compact 1.0" in page
        assert "Research use only" in page


def test_the_weights_are_named_by_their_hash():
    assert "5f" * 32 in pages(summary_pdf(VOLUME, small_case(GEOMETRY)))[0]


def test_a_table_longer_than_a_page_goes_on_with_its_heading():
    _, second, *more = pages(summary_pdf(VOLUME, case_with_reasons()))

    assert more
    assert all("Verdict and reason" in page for page in (second, *more))
    assert "Vastus medialis, left" in more[-1]


def test_the_grades_of_the_hips_stand_on_the_first_page():
    grader = GraderIdentity("bundle", "hip-oa", "2.1", "ab" * 32)
    grades = (
        SideGrade(Side.RIGHT, grader, grade="3", probability=0.87, scale="Wear"),
        SideGrade(Side.LEFT, grader, reason="metal at the hip"),
    )
    first, _ = pages(summary_pdf(VOLUME, small_case(GEOMETRY, grades=grades)))

    assert (
        "Wear of the hips: right 3 (probability 0.87); left not graded (metal at the hip). "
        "Graded by hip-oa 2.1."
    ) in first


def test_words_of_the_title_that_mean_markup_stay_words():
    assert "a <b> & c" in pages(summary_pdf(VOLUME, small_case(GEOMETRY), title="a <b> & c"))[0]


def test_fonts_are_embedded():
    """Base fonts that a viewer has to bring along are named without being embedded."""
    pdf = summary_pdf(VOLUME, small_case(GEOMETRY))

    assert b"Vera" in pdf
    assert b"/Helvetica" not in pdf
