"""Claims about figures that came back, against the phantom's truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicom_node.case_files.report_reader import ReportedStructure
from dicom_node.node.acceptance.measuring import Measured, report_checks
from dicom_node.results.pdf.protocol import Check, Outcome
from dicom_node.settings.acceptance import Acceptance
from inference.phantom.render import known_answers
from inference.phantom.spec import SMALL_PHANTOM
from inference.results import Verdict
from inference.structures import BY_KEY

LIMITS = Acceptance()


def perfect() -> list[Measured]:
    """A report that says what the phantom has."""
    return [
        Measured(
            known,
            ReportedStructure(
                known.segment, known.volume_cm3, known.mean_hu, 1e-4, Verdict.ACCEPTED
            ),
        )
        for known in known_answers(SMALL_PHANTOM)
    ]


def with_one(key: str, **said: float | Verdict | None) -> list[Measured]:
    """The same with one structure otherwise."""
    rows = perfect()
    for index, row in enumerate(rows):
        if row.known.segment == BY_KEY[key] and row.found is not None:
            rows[index] = Measured(row.known, replace(row.found, **said))
    return rows


def failed(rows: list[Measured]) -> list[Check]:
    return [each for each in report_checks(rows, LIMITS) if each.outcome is Outcome.FAILED]


def test_the_phantom_itself_passes() -> None:
    checks = report_checks(perfect(), LIMITS)

    assert {each.outcome for each in checks} == {Outcome.PASSED}
    assert len(checks) == 5


@pytest.mark.parametrize("factor", [1 - 0.26, 1 + 0.26])
def test_one_volume_beyond_its_limit_fails_and_is_named(factor: float) -> None:
    volume = next(r.known.volume_cm3 for r in perfect() if r.known.segment.key == "ILI_L")
    (check,) = failed(with_one("ILI_L", volume_cm3=volume * factor))

    assert check.claim.startswith("SR: volumes within 25 %")
    assert "beyond: ILI_L" in check.found


def test_a_volume_within_its_limit_passes() -> None:
    volume = next(r.known.volume_cm3 for r in perfect() if r.known.segment.key == "ILI_L")

    assert failed(with_one("ILI_L", volume_cm3=volume * 1.24)) == []


def test_all_volumes_a_little_too_large_fail_in_the_median() -> None:
    rows = [
        Measured(
            row.known, row.found and replace(row.found, volume_cm3=row.known.volume_cm3 * 1.06)
        )
        for row in perfect()
    ]
    (check,) = failed(rows)

    assert "median" in check.claim


@pytest.mark.parametrize(("key", "limit"), [("RF_R", 13.0), ("FEMUR_L", 40.0)])
def test_muscles_and_bones_have_limits_of_their_own(key: str, limit: float) -> None:
    hu = next(row.known.mean_hu for row in perfect() if row.known.segment.key == key)

    assert failed(with_one(key, mean_hu=hu + limit - 1)) == []
    (check,) = failed(with_one(key, mean_hu=hu + limit + 1))
    assert f"beyond: {key}" in check.found


@pytest.mark.parametrize("said", [{"volume_cm3": None}, {"mean_hu": None}])
def test_a_number_that_is_missing_is_no_pass(said: dict[str, None]) -> None:
    (check,) = failed(with_one("GMAX_R", **said))

    assert "GMAX_R not given" in check.found


def test_a_structure_that_is_absent_or_not_reported_is_told() -> None:
    rows = with_one("PE_L", verdict=Verdict.ABSENT)
    rows[0] = Measured(rows[0].known, None)
    check = failed(rows)[0]

    assert check.found.startswith("41 of 43")
    assert "PELVIS_R, PE_L" in check.found
