"""Claims about a case and its series on their way between two processes."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter
from support.cases import small_case, small_series, source_datasets
from support.ct import save

from dicom_node.analysis.case_store import (
    CaseFacts,
    SeriesFacts,
    load_case,
    load_series,
    save_case,
)
from dicom_node.series.ct_series import CtSeries
from dicom_node.series.reading import read_series
from inference.geometry import Geometry
from inference.results import (
    CaseResult,
    Coverage,
    Finding,
    GradeCode,
    GraderIdentity,
    HipCentre,
    Region,
    SampleKind,
    SideGrade,
    Verdict,
)
from inference.structures import Side


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return small_series(tmp_path / "series")


def assert_same_grid(one: Geometry, other: Geometry) -> None:
    for each in fields(Geometry):
        np.testing.assert_array_equal(getattr(one, each.name), getattr(other, each.name))


def test_a_case_comes_back_exactly(tmp_path: Path, series: CtSeries) -> None:
    case = small_case(series.volume.geometry)
    save_case(tmp_path / "case", series, case)
    back = load_case(tmp_path / "case")

    for each in fields(CaseFacts):
        assert getattr(back, each.name) == getattr(case, each.name), each.name
    np.testing.assert_array_equal(back.segments, case.segments)
    np.testing.assert_array_equal(back.uncertainty, case.uncertainty)
    assert_same_grid(back.geometry, case.geometry)


def test_a_case_that_the_version_before_stored_comes_back_the_same(
    tmp_path: Path, series: CtSeries
) -> None:
    """It wrote a structure's numbers beside its verdict."""
    case = small_case(series.volume.geometry)
    save_case(tmp_path / "case", series, case)
    path = tmp_path / "case" / "case.json"
    facts = json.loads(path.read_bytes())
    for structure in facts["structures"]:
        structure.update(structure.pop("measured"))
    path.write_text(json.dumps(facts))

    assert load_case(tmp_path / "case").structures == case.structures


def test_what_a_guest_s_samples_differ_by_and_its_origin_come_back(
    tmp_path: Path, series: CtSeries
) -> None:
    """A case of the version before says neither: it is of Monte Carlo dropout."""
    case = small_case(series.volume.geometry)
    guest = replace(
        case.model, samples_of=SampleKind.FOLDS, samples=5, origin="nnU-Net 2, imported from x"
    )
    save_case(tmp_path / "case", series, replace(case, model=guest))
    path = tmp_path / "case" / "case.json"
    facts = json.loads(path.read_bytes())
    now = load_case(tmp_path / "case").model
    del facts["model"]["samples_of"], facts["model"]["origin"]
    path.write_text(json.dumps(facts))
    before = load_case(tmp_path / "case").model

    assert now == guest
    assert (before.samples_of, before.origin) == (SampleKind.DROPOUT, "")


def test_the_version_before_takes_an_unknown_region_for_a_part(
    tmp_path: Path, series: CtSeries
) -> None:
    """It does not know the word; this version finds what was meant."""
    case = small_case(
        series.volume.geometry,
        coverage=Coverage(Region.UNKNOWN, words="It cannot be told."),
        findings=(Finding.REGION_UNKNOWN,),
        verdict=Verdict.NOT_JUDGED,
    )
    save_case(tmp_path / "case", series, case)
    facts = json.loads((tmp_path / "case" / "case.json").read_bytes())

    assert facts["coverage"]["region"] == Region.PARTIAL
    assert facts["findings"] == []
    assert load_case(tmp_path / "case").coverage == case.coverage
    assert load_case(tmp_path / "case").findings == case.findings


def test_its_series_comes_back_exactly_without_its_files(
    tmp_path: Path, series: CtSeries
) -> None:
    save_case(tmp_path / "case", series, small_case(series.volume.geometry))
    for each in series.slices:
        each.path.unlink()
    back = load_series(tmp_path / "case")

    assert back is not None
    for each in fields(SeriesFacts):
        assert getattr(back, each.name) == getattr(series, each.name), each.name
    np.testing.assert_array_equal(back.volume.hu, series.volume.hu)
    assert back.volume.hu.dtype == series.volume.hu.dtype
    assert_same_grid(back.volume.geometry, series.volume.geometry)
    assert back.header == series.header
    assert back.grid == series.grid


@pytest.mark.parametrize(
    ("character_set", "name"),
    [("ISO_IR 192", "Müller^Ann=山田^花子"), (["", "ISO 2022 IR 87"], "Yamada=山田^太郎")],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_header_that_breaks_rules_comes_back_as_it_was(
    tmp_path: Path, character_set: str | list[str], name: str
) -> None:
    """Archives match on values as they are: too long an ID, a date that is none."""
    datasets = source_datasets()
    for each in datasets:
        each.SpecificCharacterSet = character_set
        each.PatientName = name
        each.PatientID = "X" * 80
        each.PatientBirthDate = "19510299"
    series = read_series(save(datasets, tmp_path / "series"))
    save_case(tmp_path / "case", series, small_case(series.volume.geometry))
    back = load_series(tmp_path / "case")

    assert back is not None
    assert back.header == series.header
    assert str(back.header.PatientName) == name
    assert back.header.PatientID == "X" * 80


def test_a_case_that_an_older_node_left_has_no_series(tmp_path: Path, series: CtSeries) -> None:
    save_case(tmp_path / "case", series, small_case(series.volume.geometry))
    for name in ("series.json", "study.dcm", "volume.npy"):
        (tmp_path / "case" / name).unlink()

    assert load_series(tmp_path / "case") is None
    assert load_case(tmp_path / "case").structures


def test_the_version_before_finds_a_structure_s_numbers_where_it_looks(
    tmp_path: Path, series: CtSeries
) -> None:
    """Beside its verdict: it may publish what this version has analysed, and the other way."""
    case = small_case(series.volume.geometry)
    save_case(tmp_path / "case", series, case)
    structures = json.loads((tmp_path / "case" / "case.json").read_bytes())["structures"]

    for written, structure in zip(structures, case.structures, strict=True):
        assert written["segment"]["structure"]["abbreviation"]
        assert written["voxel_count"] == structure.measured.voxel_count
        assert written["mean_hu"] == structure.measured.mean_hu
        assert written["verdict"] == structure.verdict.value


def test_the_version_before_reads_a_case_with_findings_that_it_does_not_know(
    tmp_path: Path, series: CtSeries
) -> None:
    case = small_case(series.volume.geometry)
    findings = (Finding.NO_KNEE, Finding.CUT_BY_SCAN)
    femur = replace(case.structures[0], findings=findings)
    case = replace(case, findings=findings, structures=(femur, *case.structures[1:]))
    save_case(tmp_path / "case", series, case)
    written = json.loads((tmp_path / "case" / "case.json").read_bytes())
    back = load_case(tmp_path / "case")

    assert (
        written["findings"]
        == written["structures"][0]["findings"]
        == ["cut by the border of the scan"]
    )
    assert back.findings == back.structures[0].findings == findings


def test_the_version_before_passes_over_grades_and_this_one_reads_its_cases_without(
    tmp_path: Path, series: CtSeries
) -> None:
    """A key of its own, which that version's reader ignores; it writes none."""
    code = GradeCode("17621005", "SCT", "Normal")
    hip = HipCentre((1.5, -2.25, 396.0), 22.8, 0.7)
    bundle = GraderIdentity("bundle", "hip-oa", "2.1", "ab" * 32)
    grades = (
        SideGrade(
            Side.RIGHT, bundle, "normal", 0.9, (("normal", 0.9), ("worn", 0.1)), "wear", code
        ),
        SideGrade(Side.LEFT, bundle, reason="metal at the hip", hip=hip),
    )
    case = small_case(series.volume.geometry, grades=grades)
    save_case(tmp_path / "case", series, case)
    path = tmp_path / "case" / "case.json"
    written = json.loads(path.read_bytes())

    assert load_case(tmp_path / "case").grades == grades
    assert _AS_BEFORE.validate_python(written).verdict == case.verdict
    path.write_text(json.dumps({key: written[key] for key in written if key != "grades"}))
    assert load_case(tmp_path / "case").grades == ()


@dataclass(frozen=True, slots=True)
class FactsBefore:
    """Some of what the version before reads of a case, as it reads it."""

    verdict: Verdict
    findings: tuple[Finding, ...]


_AS_BEFORE = TypeAdapter(FactsBefore)


def test_every_field_of_a_case_and_a_series_is_kept() -> None:
    of_case = {each.name for each in fields(CaseFacts)} | {
        "geometry",
        "segments",
        "uncertainty",
    }
    of_series = {each.name for each in fields(SeriesFacts)} | {"volume", "header"}

    assert of_case == {each.name for each in fields(CaseResult)}
    assert of_series == {each.name for each in fields(CtSeries)}


def test_saving_again_replaces_the_case_and_leaves_nothing_else(
    tmp_path: Path, series: CtSeries
) -> None:
    grid = series.volume.geometry
    save_case(tmp_path / "kept" / "case", series, small_case(grid))
    save_case(tmp_path / "kept" / "case", series, small_case(grid, mean_uncertainty=0.5))

    assert load_case(tmp_path / "kept" / "case").mean_uncertainty == 0.5
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["case"]


def test_a_case_that_cannot_be_made_durable_leaves_nothing(
    tmp_path: Path, series: CtSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_case(tmp_path / "kept" / "case", series, small_case(series.volume.geometry))

    assert list((tmp_path / "kept").iterdir()) == []
