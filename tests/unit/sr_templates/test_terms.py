"""The coded terms: complete, well-formed, and honest about what is verified."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from pydicom.sr.codedict import Collection
from support.cases import MODEL, SHAPE, small_case

from inference.geometry import Geometry
from inference.results import (
    QUANTITIES,
    CaseResult,
    Composition,
    Coverage,
    Finding,
    Measurement,
    Metal,
    Region,
    SampleKind,
    StructureResult,
    Uncertainty,
    Verdict,
)
from inference.structures import BY_KEY, STRUCTURES, Side
from sr_templates import terms, words
from sr_templates.structure_items import number_items
from sr_templates.terms import (
    ASPECT_TERMS,
    DOCUMENT_TERMS,
    FINDING_TERMS,
    KEY_SLICE_TERMS,
    MEASURED_TERMS,
    PRESENCE_TERMS,
    QUANTITY_TERMS,
    REGION_TERMS,
    SCHEME,
    SIDE_TERMS,
    STRUCTURE_TERMS,
    VERDICT_TERMS,
)


def every_code() -> list[terms.Code]:
    worded = (VERDICT_TERMS, FINDING_TERMS, REGION_TERMS, PRESENCE_TERMS)
    return [
        *(term.code for term in STRUCTURE_TERMS.values()),
        *(term.parent for term in STRUCTURE_TERMS.values() if term.parent),
        *(term.name for term in QUANTITY_TERMS.values()),
        *(term.unit for term in QUANTITY_TERMS.values()),
        *(term.code for term in ASPECT_TERMS.values()),
        *(term.code for term in DOCUMENT_TERMS.values()),
        *SIDE_TERMS.values(),
        *(term.code for table in worded for term in table.values()),
    ]


Triple = tuple[str, str, str]
"""Code Value, Coding Scheme Designator and Code Meaning."""

TABLES = ("structures.toml", "quantities.toml", "verdicts.toml", "document.toml")
SURE = {"context group", "dictionary", "several tables", "one table", "no"}


def table_rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of the four tables, with its name and what it leaves to the table."""
    for name in TABLES:
        table = tomllib.loads(files("sr_templates").joinpath(name).read_text("utf-8"))
        otherwise = table.pop("otherwise", {})
        for kind, rows in table.items():
            alone = {"code", "name"} & set(rows) and kind != "scheme"
            for key, row in ({"": rows} if alone else rows).items():
                if isinstance(row, dict):
                    yield f"{name}: {kind}.{key}", {**otherwise, **row}


ROWS = dict(table_rows())


def claims(row: dict[str, Any]) -> Iterator[tuple[Triple, int]]:
    """Which code a row says is in which context group.

    "PS3.16 CID 7469; unit CID 7181" speaks of the row's own code, then of its unit.
    """
    for part in row["source"].split(";"):
        of = re.search(r"(unit|derivation)?\s*CID (\d+)", part)
        if of:
            yield tuple(row[of[1]] if of[1] else row.get("code") or row["name"]), int(of[2])


CLAIMS = [(name, code, cid) for name, row in ROWS.items() for code, cid in claims(row)]


FULL_NAME = re.compile(r"\((qualifier value|body structure)\)$")
"""How SNOMED CT's own full names end; pydicom lists some beside DICOM's meanings."""


def codes_of(collection: str) -> dict[tuple[str, str], set[str]]:
    """The meanings of every code in one of pydicom's collections, in lower case."""
    found: dict[tuple[str, str], set[str]] = {}
    for code in Collection(collection).concepts.values():
        if FULL_NAME.search(code.meaning):
            continue
        found.setdefault((code.value, code.scheme_designator), set()).add(code.meaning.lower())
    return found


def test_every_row_says_where_its_code_is_from_and_how_sure_it_is():
    assert len(ROWS) > 70
    for name, row in ROWS.items():
        assert row["verified"] in SURE, name
        assert row["source"], name
        scheme = (row.get("code") or row["name"])[1]
        assert (row["verified"] == "no") == (scheme == SCHEME.designator), name
        assert ("CID" in row["source"]) >= (row["verified"] == "context group"), name


def test_every_row_of_the_quantities_shows_what_a_measurement_holds():
    """And none that is measured is shown nowhere."""
    fields = {each.name for each in dataclasses.fields(Measurement)}
    named = {name for term in MEASURED_TERMS for name in (term.value, term.range) if name}

    assert {name.partition(".")[0] for name in named} == set(QUANTITIES)
    assert set(QUANTITIES) <= fields
    assert len({term.value for term in MEASURED_TERMS}) == len(MEASURED_TERMS)


def test_a_quantity_is_shown_in_its_unit_rounded_as_its_row_says():
    lean, uncertainty = QUANTITY_TERMS["lean"], QUANTITY_TERMS["uncertainty"]
    measured = Measurement(
        BY_KEY["GMED_L"],
        1,
        composition=Composition(0.12345, 0.5, 0.37655),
        uncertainty=1.2346e-4,
    )

    assert lean.of(measured) == pytest.approx(12.345)
    assert lean.rounded(12.345) == 12.3
    assert uncertainty.rounded(1.2346e-4) == 1.23e-4
    assert QUANTITY_TERMS["volume"].of(measured) is None
    assert QUANTITY_TERMS["volume"].range_of(measured) is None


def test_a_key_slice_has_room_for_three_numbers():
    """With five the structure would have no name in OHIF, with four neighbours overlap."""
    assert len(KEY_SLICE_TERMS) <= 3


def test_a_new_row_is_shown_by_reports_without_another_line():
    """Here the count of voxels, in thousands, which no table shows."""
    row = {
        "name": ["VOXELS", "99MSKNODE", "Voxels"],
        "unit": ["10*3", "UCUM", "thousand"],
        "value": "voxel_count",
        "scale": 0.001,
        "decimals": 1,
        "verified": "no",
        "source": "this test",
    }
    result = StructureResult(Measurement(BY_KEY["GMED_L"], 12_345), Verdict.ACCEPTED)

    (item,) = number_items(result, [terms._quantity_term(row)])

    assert item.ConceptNameCodeSequence[0].CodeMeaning == "Voxels"
    assert item.MeasuredValueSequence[0].NumericValue == 12.3


def standard_codes() -> set[Triple]:
    """Every code of every row that is not of the own scheme."""
    found = {
        tuple(value)
        for row in ROWS.values()
        for value in row.values()
        if isinstance(value, list) and len(value) == 3
    }
    return {code for code in found if code[1] != SCHEME.designator}


def test_a_standard_code_means_what_the_standards_own_dictionary_says():
    """The copy of PS3.16 in pydicom lacks the muscles and what is not DICOM's own."""
    known: dict[tuple[str, str], set[str]] = {}
    for scheme in ("DCM", "SCT", "UCUM", "LN"):
        known |= codes_of(scheme)

    compared = {code for code in standard_codes() if code[:2] in known}

    assert len(compared) > 25
    assert [code for code in compared if code[2].lower() not in known[code[:2]]] == []


@pytest.mark.parametrize(("row", "code", "cid"), CLAIMS, ids=[f"{r} {n}" for r, _, n in CLAIMS])
def test_a_code_said_to_be_in_a_context_group_is_in_it(row: str, code: Triple, cid: int):
    assert code[2].lower() in codes_of(f"CID{cid}").get(code[:2], set()), row


def test_every_structure_side_verdict_finding_and_region_has_a_term():
    assert list(STRUCTURE_TERMS) == [structure.abbreviation for structure in STRUCTURES]
    assert set(SIDE_TERMS) == set(Side)
    assert set(VERDICT_TERMS) == set(Verdict)
    assert set(FINDING_TERMS) == set(Finding)
    assert set(REGION_TERMS) == set(Region)


def test_codes_fit_their_representations():
    """Code Value is SH (16 characters), Code Meaning LO (64): PS3.5 6.2."""
    for code in every_code():
        assert 0 < len(code.value) <= 16, code
        assert 0 < len(code.meaning) <= 64, code
        assert len(code.scheme_designator) <= 16, code


def test_one_code_of_the_own_scheme_has_one_meaning():
    meanings: dict[str, set[str]] = {}
    for code in every_code():
        if code.scheme_designator == SCHEME.designator:
            meanings.setdefault(code.value, set()).add(code.meaning)

    assert all(len(found) == 1 for found in meanings.values()), meanings


def test_what_is_not_verified_is_named_in_the_own_scheme_and_within_a_standard_concept():
    private = {
        name
        for name, term in STRUCTURE_TERMS.items()
        if term.code.scheme_designator == SCHEME.designator
    }

    assert private == {"BF", "ILI", "OE", "PE", "SM", "ST", "TFL", "VLVI"}
    for name, term in STRUCTURE_TERMS.items():
        assert (term.verified == "no") == (name in private)
        assert (term.parent is not None) == (name in private)


@pytest.mark.parametrize(
    ("abbreviation", "value"),
    [
        ("FEMUR", "71341001"),
        ("SACRUM", "54735007"),
        ("PELVIS", "28254004"),
        ("GMAX", "206007"),
        ("GMED", "78333006"),
        ("GMIN", "75297007"),
        ("AD", "303803003"),
        ("RF", "72226001"),
        ("GRAC", "2577006"),
        ("OI", "82115007"),
        ("PI", "75699001"),
        ("PSOAS", "57240007"),
        ("SART", "12595009"),
        ("VM", "3478008"),
    ],
)
def test_standard_structures_carry_their_snomed_code(abbreviation: str, value: str):
    code = STRUCTURE_TERMS[abbreviation].code

    assert (code.value, code.scheme_designator) == (value, "SCT")


def test_the_scheme_identifies_itself_with_a_uid_of_the_uuid_root():
    assert SCHEME.designator.startswith("99")
    assert SCHEME.uid.startswith("2.25.")
    assert len(SCHEME.uid) <= 64


def case(**changes: Any) -> CaseResult:
    return small_case(Geometry.regular(SHAPE, (5.0, 4.0, 4.0)), **changes)


def test_of_a_body_against_its_header_no_structure_is_listed():
    shown = Coverage(Region.HIP_TO_KNEE, words="Nobody knows the sides.", against_header=True)
    said = words.case_words(
        case(verdict=Verdict.FAILED, findings=(Finding.AGAINST_HEADER,), coverage=shown)
    )

    assert said.endswith("Nobody knows the sides.")
    assert "femur" not in said


def test_case_words_name_verdict_reason_coverage_and_structures():
    said = words.case_words(case())

    assert said.startswith("Case inaccurate: the scan does not show all of hip to knee.")
    assert "The scan shows the thigh without the knee." in said
    assert "Cut by the scan: tensor fasciae latae (right)." in said
    assert "Inaccurate: obturator externus (right)." in said
    assert "pelvis (both sides)" in said


def test_an_accepted_case_with_nothing_to_say_is_one_short_text():
    said = words.case_words(
        case(verdict=Verdict.ACCEPTED, structures=(), coverage=Coverage(Region.HIP_TO_KNEE))
    )

    assert said == "Case accepted. The scan shows hip to knee."


def test_a_case_of_a_model_without_calibration_says_so():
    assert words.case_words(case(mean_uncertainty_limits=None)).endswith(
        "The model is not calibrated: its uncertainty was not judged, and what is accepted may"
        " be wrong."
    )


def test_metal_is_told_with_what_it_lies_in_and_what_lies_beside_the_body():
    metal = Metal(
        volume_cm3=62.3,
        sides=(Side.LEFT,),
        held_by=(BY_KEY["PELVIS_L"], BY_KEY["FEMUR_L"]),
        outside_cm3=1.25,
    )

    assert words.metal_words(case(metal=metal)) == (
        "About 62.3 cm3 of metal (left). Metal in: pelvis (left), femur (left). "
        "About 1.2 cm3 of metal outside the body."
    )
    assert "Metal in: pelvis (left), femur (left)." in words.case_words(case(metal=metal))
    assert words.metal_words(case(metal=Metal())) == ""


def test_metal_is_told_with_volume_side_and_what_it_spoils():
    metal = Metal(volume_cm3=12.34, sides=(Side.RIGHT,), spoiled=(BY_KEY["FEMUR_R"],))

    assert words.metal_words(case(metal=metal)) == (
        "About 12.3 cm3 of metal (right). Spoiled: femur (right)."
    )


def test_the_sacrum_is_listed_without_a_side():
    coverage = Coverage(Region.PARTIAL, cut=(BY_KEY["SACRUM"], BY_KEY["GMED_L"]))

    assert words.coverage_words(case(coverage=coverage)) == (
        "The scan shows a part of hip to knee. Cut by the scan: sacrum, gluteus medius (left)."
    )


def test_what_has_no_volume_is_named_with_the_reason():
    assert words.withheld_words(case()) == (
        "No volume is given for tensor fasciae latae (right), cut by the border of the scan."
    )
    assert words.summary_words(case()).endswith(
        "What the scan cuts or metal spoils has no volume."
    )
    assert not words.withheld_words(case(structures=()))
    assert words.summary_words(case(structures=())) == words.case_words(case(structures=()))


def test_the_numbers_are_explained_without_a_range_where_there_is_one_sample():
    ten = words.reading_words(replace(MODEL, samples=10))
    assert ten.startswith("The range (+, -) is how far the 10 samples of Monte Carlo dropout")
    assert "the variance of the model's answers (10 samples of Monte Carlo dropout)" in ten
    one = words.reading_words(replace(MODEL, samples=1))
    assert one.startswith("Predictive uncertainty is")
    assert one.endswith("above 30, from -30 to 30 and below -30 HU.")


@pytest.mark.parametrize(
    ("uncertainty", "kind", "count", "said"),
    [
        ("variance", "DROPOUT", 10, "10 samples of Monte Carlo dropout"),
        ("variance", "FOLDS", 5, "5 folds of a cross-validation"),
        ("variance", "SEEDS", 3, "3 trainings from different seeds"),
        ("variance", "CHECKPOINTS", 4, "4 checkpoints of one training"),
        ("variance", "VARIATIONS", 6, "6 variations of the image"),
        ("entropy", "NONE", 1, "the entropy of the model's single answer"),
        ("none", "DROPOUT", 1, "no measure of doubt: not judged"),
        ("none", "NONE", 1, "no measure of doubt: not judged"),
    ],
)
def test_what_the_uncertainty_rests_on_is_said_with_its_kind_and_number(
    uncertainty: str, kind: str, count: int, said: str
):
    model = replace(
        MODEL,
        samples=count,
        samples_of=SampleKind[kind],
        uncertainty=Uncertainty(uncertainty),
    )

    assert model.doubt_words == said
    assert said in words.reading_words(model)


@pytest.mark.parametrize("kind", SampleKind)
def test_one_of_a_kind_is_said_in_the_singular(kind: SampleKind):
    assert kind.counted(1).split()[1] in {
        "sample",
        "fold",
        "training",
        "checkpoint",
        "variation",
        "answer",
    }


def test_a_case_is_not_judged_for_want_of_bones_too():
    told = words.verdict_words(Verdict.NOT_JUDGED, (Finding.REGION_UNKNOWN,))

    assert told == "not judged: what the scan shows cannot be told with this model"
    assert "measure of its uncertainty" in words.verdict_words(Verdict.NOT_JUDGED, ())


def test_the_weak_flags_are_said_to_be_weak_by_name():
    said = words.weak_flag_words()

    assert "obturator externus and obturator internus" in said
    assert "weak" in said


def test_a_truncated_case_says_how_many_structures_are_accepted():
    said = words.case_words(case(verdict=Verdict.TRUNCATED))
    accepted = sum(one.verdict is Verdict.ACCEPTED for one in case().structures)

    assert f"{accepted} of 43 structures accepted." in said
    assert "structures accepted" not in words.case_words(case(verdict=Verdict.ACCEPTED))


def test_what_a_stump_leaves_incomplete_is_not_called_cut_by_the_border():
    stump = words.verdict_words(Verdict.TRUNCATED, (Finding.NO_KNEE,))

    assert stump == "not whole: the femur ends without a knee; no volume is given"
    assert "border" in words.verdict_words(Verdict.TRUNCATED, (Finding.CUT_BY_SCAN,))
    assert "border" not in words.verdict_words(Verdict.ACCEPTED, ())
