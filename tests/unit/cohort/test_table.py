"""Claims about the two tables as files: their rows, their types, and what stays empty."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from support.case_records import record, structure
from support.hostile_values import HOSTILE, MARKER, is_defused

from dicom_node.cohort.columns import CASE, STRUCTURE, Kind, dictionary
from dicom_node.cohort.pseudonyms import Pseudonyms
from dicom_node.cohort.records import CaseRecord, Grade
from dicom_node.cohort.selection import Selection
from dicom_node.cohort.table import write_tables
from dicom_node.cohort.table_files import Format, no_formula
from inference.results import Verdict

EXPORT = Path(__file__).parents[3] / "docs" / "export.md"
EARLIER = record(
    "1.2.1",
    study_date=dt.date(2025, 11, 20),
    age_years=74.8,
    structures=(structure("GMED_R", volume_cm3=80.0, volume_range_cm3=(78.0, 84.0)),),
)
CUT = structure(
    "TFL_L", verdict=Verdict.TRUNCATED, volume_cm3=None, volume_range_cm3=None, mean_hu=-12.5
)
LATER = record(
    "1.2.9",
    structures=(structure("GMED_R"), CUT),
    grades=(Grade("L", "KL3", 0.75, "grader"),),
)
REFUSED = record(
    "1.2.4",
    patient_key="k2",
    state="refused",
    verdict=None,
    model=None,
    structures=(),
    code="not-axial",
    words="the slices are not axial",
)
ALL = (EARLIER, LATER, REFUSED)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("form", Format)
def test_there_is_a_row_for_each_structure_and_one_for_each_case(form: Format, tmp_path: Path):
    path = tmp_path / f"out.{form}"
    written = write_tables(ALL, path, form)

    assert (written.structures, written.cases) == (3, 3)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"out-cases.{form}",
        f"out.{form}",
    ]


def test_numbers_stand_under_their_units_and_what_is_withheld_is_empty(tmp_path: Path):
    write_tables(ALL, tmp_path / "out.csv", Format.CSV)
    _, whole, cut = rows(tmp_path / "out.csv")

    assert (whole["segment"], whole["structure"], whole["side"]) == ("GMED_R", "GMED", "R")
    assert (whole["volume_cm3"], whole["volume_low_cm3"], whole["volume_high_cm3"]) == (
        "100.0",
        "95.0",
        "110.0",
    )
    assert (cut["verdict"], cut["volume_cm3"], cut["volume_low_cm3"]) == ("truncated", "", "")
    assert cut["mean_hu"] == "-12.5"
    assert (cut["grade"], cut["grade_probability"], whole["grade"]) == ("KL3", "0.75", "")
    assert whole["bundle"] == "compact 3.0"
    assert whole["analysed_at"] == "2026-11-22T06:04:05Z"


def test_a_refused_case_has_its_reason_and_no_numbers(tmp_path: Path):
    write_tables(ALL, tmp_path / "out.csv", Format.CSV)
    refused = rows(tmp_path / "out-cases.csv")[2]

    assert (refused["state"], refused["code"]) == ("refused", "not-axial")
    assert refused["verdict"] == refused["bundle"] == refused["mean_uncertainty"] == ""


def test_changes_stand_beside_the_structures_that_have_them(tmp_path: Path):
    """100 (95 to 110) after 80 (78 to 84): 20, from 11 to 32."""
    write_tables(ALL, tmp_path / "out.csv", Format.CSV)
    first, whole, cut = rows(tmp_path / "out.csv")

    assert first["volume_change_cm3"] == first["previous_study_date"] == ""
    assert whole["previous_study_date"] == "2025-11-20"
    assert whole["previous_same_protocol"] == "true"
    assert [whole[f"volume_change{end}_cm3"] for end in ("", "_low", "_high")] == [
        "20.0",
        "11.0",
        "32.0",
    ]
    assert whole["volume_change_within_range"] == "false"
    assert whole["volume_change_percent"] == "25.0"
    assert whole["mean_hu_change_within_range"] == "true"
    assert cut["previous_study_date"] == cut["volume_change_cm3"] == ""


def test_an_earlier_scan_counts_though_it_is_not_selected(tmp_path: Path):
    wanted = Selection(first_day=dt.date(2026, 1, 1), states=frozenset({"reported"}))
    write_tables(ALL, tmp_path / "out.csv", Format.CSV, selection=wanted)

    assert [row["volume_change_cm3"] for row in rows(tmp_path / "out.csv")] == ["20.0", ""]


def test_pseudonyms_name_nobody_and_keep_the_change_and_the_interval(tmp_path: Path):
    """From 20 November 2025 to 20 November 2026: 365 days."""
    under = Pseudonyms(b"1" * 32)
    aged = (replace(EARLIER, source=replace(EARLIER.source, age_years=92.0)), LATER)
    old = replace(LATER, source=replace(LATER.source, age_years=93.0))
    write_tables((aged[0], old), tmp_path / "out.csv", Format.CSV, pseudonyms=under)
    _, whole, _ = rows(tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text() + (tmp_path / "out-cases.csv").read_text()
    days = [dt.date.fromisoformat(whole[n]) for n in ("study_date", "previous_study_date")]

    assert (days[0] - days[1]).days == 365
    assert whole["volume_change_cm3"] == "20.0"
    assert whole["age_years"] == "90.0"
    for fact in ("MSK0001", "k1", "1.2.9", "CT1", "CT2", "2026-11-20", "2025-11-20", "=1+1"):
        assert not re.search(rf"(^|[,'~]){re.escape(fact)}($|[,~])", text, re.MULTILINE), fact


@pytest.mark.parametrize("patients", [True, False])
def test_the_order_under_pseudonyms_tells_nothing_of_keys_or_dates(
    patients: bool, tmp_path: Path
):
    """20 patients of 3 scans come by key, or 60 scans of nobody by date, as they are read."""
    under = Pseudonyms(b"1" * 32)
    first = dt.date(2025, 1, 1)
    cases = [
        record(
            f"1.2.{number:02d}",
            patient_key=f"k{number // 3:02d}" if patients else "",
            study_date=first + dt.timedelta(days=number),
        )
        for number in range(60)
    ]
    write_tables(cases, tmp_path / "out.csv", Format.CSV, pseudonyms=under)
    found = rows(tmp_path / "out-cases.csv")
    names = {under.of_source(case.source).name: number for number, case in enumerate(cases)}
    order = [names[row["case"]] for row in found]
    column = "patient_key" if patients else "case"

    assert sorted(order) == list(range(60))
    assert sum(one < other for one, other in itertools.pairwise(order[::3])) < 16
    assert [row[column] for row in found] == sorted(row[column] for row in found)
    if patients:
        assert all(order[n] + 1 == order[n + 1] for n in range(60) if n % 3 < 2)
    of_structures = [row["case"] for row in rows(tmp_path / "out.csv")]
    assert list(dict.fromkeys(of_structures)) == [row["case"] for row in found]


def test_parquet_has_types_nulls_and_meanings(tmp_path: Path):
    write_tables(ALL, tmp_path / "out.parquet", Format.PARQUET)
    table = parquet.read_table(tmp_path / "out.parquet")
    whole = table.to_pylist()[1]
    cases = parquet.read_table(tmp_path / "out-cases.parquet").to_pylist()

    assert table.schema.field("volume_cm3").type == pa.float64()
    assert table.schema.field("study_date").type == pa.date32()
    assert table.schema.field("volume_change_within_range").type == pa.bool_()
    assert table.schema.field("volume_cm3").metadata[b"meaning"] == b"volume"
    assert whole["study_date"] == dt.date(2026, 11, 20)
    assert whole["volume_change_within_range"] is False
    assert table.to_pylist()[2]["volume_cm3"] is None
    assert cases[0]["analysed_at"] == EARLIER.source.analysed_at
    assert cases[0]["words"] == "=1+1"


def test_the_same_cases_give_the_same_bytes_in_any_order_within_a_patient(tmp_path: Path):
    for name, cases in (("one", ALL), ("two", (LATER, EARLIER, REFUSED))):
        for form in Format:
            write_tables(cases, tmp_path / f"{name}.{form}", form)

    for ending in ("csv", "parquet"):
        for part in ("", "-cases"):
            one, two = (tmp_path / f"{name}{part}.{ending}" for name in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_a_text_that_is_a_formula_gets_an_apostrophe(text: str, tmp_path: Path):
    write_tables([record(scanner=text)], tmp_path / "out.csv", Format.CSV)

    assert no_formula(text) == f"'{text}"
    assert rows(tmp_path / "out-cases.csv")[0]["scanner"] == f"'{text}"


def test_no_value_of_a_header_is_a_formula_in_a_table_that_was_exported(tmp_path: Path):
    cases = [
        record(f"1.2.{number}", scanner=each, sender=each)
        for number, each in enumerate(HOSTILE.values())
    ]
    write_tables(cases, tmp_path / "out.csv", Format.CSV)
    found = rows(tmp_path / "out-cases.csv")

    assert len(found) == len(HOSTILE)
    assert [cell for row in found for cell in row.values() if not is_defused(cell)] == []
    assert sum(MARKER in row["scanner"] for row in found) == len(HOSTILE)


def test_commas_quotes_and_line_breaks_stay_in_their_cell(tmp_path: Path):
    text = 'a, "b"\nc'
    write_tables([record(scanner=text)], tmp_path / "out.csv", Format.CSV)

    assert rows(tmp_path / "out-cases.csv")[0]["scanner"] == text


@pytest.mark.parametrize("form", Format)
def test_what_breaks_off_leaves_the_earlier_files_as_they_were(form: Format, tmp_path: Path):
    path = tmp_path / f"out.{form}"
    write_tables([EARLIER], path, form)
    before = path.read_bytes()

    def breaking() -> Iterator[CaseRecord]:
        yield LATER
        raise OSError(5, "disk")

    with pytest.raises(OSError, match="disk"):
        write_tables(breaking(), path, form)

    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("form", Format)
def test_no_cases_give_two_tables_without_rows(form: Format, tmp_path: Path):
    write_tables([], tmp_path / f"out.{form}", form)

    if form is Format.CSV:
        assert (tmp_path / "out.csv").read_text().count("\n") == 1
    else:
        assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0


def test_every_column_is_in_the_data_dictionary():
    """`python -m dicom_node.cohort.columns` prints both tables."""
    page = EXPORT.read_text(encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, "-m", "dicom_node.cohort.columns"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name, columns in (("cases", CASE), ("structures", STRUCTURE)):
        found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
        assert found is not None
        assert found[1] == dictionary(columns)
        assert found[1] in printed


def test_no_column_has_its_name_twice_and_units_end_names():
    for columns in (CASE, STRUCTURE):
        names = [each.name for each in columns]
        assert len(set(names)) == len(names)
    volumes = [each.name for each in STRUCTURE if "volume" in each.name]
    numbers = {each.name for each in STRUCTURE if each.kind is Kind.NUMBER}

    assert all(
        name.endswith(("_cm3", "_cm3_per_m2", "_percent", "_cv"))
        for name in volumes
        if name in numbers
    )


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path):
    """The most that is held of 1,000 cases is less than 1 MB above that of 100."""

    def cases(count: int) -> Iterator[CaseRecord]:
        for number in range(count):
            yield record(f"1.2.{number}", patient_key=f"k{number}")

    peaks = []
    for count in (100, 1000):
        tracemalloc.start()
        write_tables(cases(count), tmp_path / "out.csv", Format.CSV)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] - peaks[0] < 1_000_000


def test_two_folders_of_one_series_have_two_pseudonyms(tmp_path: Path):
    """The tables are joined by them."""
    twice = [record("1.2.3", name=name) for name in ("R/a", "R/b")]
    write_tables(twice, tmp_path / "out.csv", Format.CSV, pseudonyms=Pseudonyms(b"1" * 32))
    first, second = (row["case"] for row in rows(tmp_path / "out-cases.csv"))
    assert second == f"{first}-2"
