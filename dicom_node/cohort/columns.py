"""The columns of the two tables of results: every case, and every structure of every case.

A column is a name with its unit, a type, what it means, and where its value comes from. The
data dictionary in `docs/export.md` is made from this (`python -m dicom_node.cohort.columns`),
and a test keeps the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from dicom_node.cohort.records import CaseRecord, Grade, StructureRecord
from dicom_node.results.changes import Change, Changes, StructureChange
from inference.results import Verdict
from inference.structures import Side


class Kind(StrEnum):
    """The type of a column, as the data dictionary calls it."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    DATE = "date"
    MOMENT = "moment (UTC)"
    TRUTH = "true/false"


TEXT, INTEGER, NUMBER = Kind.TEXT, Kind.INTEGER, Kind.NUMBER
DATE, MOMENT, TRUTH = Kind.DATE, Kind.MOMENT, Kind.TRUTH


@dataclass(frozen=True, slots=True)
class Row:
    """What the rows of one case are made of.

    changes: since the patient's last scan.
    structure, change: of a row about one structure; None in a row about the case.
    """

    case: CaseRecord
    changes: Changes
    structure: StructureRecord | None = None
    change: StructureChange | None = None

    @property
    def grade(self) -> Grade | None:
        """The disease grade of the structure's side, where there is one."""
        return self.grade_of(self.structure.segment.side if self.structure else None)

    def grade_of(self, side: str | None) -> Grade | None:
        """The disease grade of a side, where there is one."""
        return next((one for one in self.case.grades if one.side == side), None)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; its value is None where there is nothing to say, or no number to give."""

    name: str
    kind: Kind
    meaning: str
    value: Callable[[Row], Any]


def _source(name: str, kind: Kind, meaning: str, field: str = "") -> Column:
    return Column(
        name, kind, meaning, lambda row: _said(getattr(row.case.source, field or name))
    )


def _said(value: Any) -> Any:
    """A value, or None for an empty text."""
    return None if value == "" else value


def _model(name: str, kind: Kind, meaning: str, field: str) -> Column:
    def value(row: Row) -> Any:
        if row.case.model is None:
            return None
        found = getattr(row.case.model, field)
        return _said(str(found) if kind is TEXT else found)

    return Column(name, kind, meaning, value)


def _pair(
    name: str, meaning: str, pair: Callable[[Row], tuple[float, float] | None], index: int
) -> Column:
    def value(row: Row) -> float | None:
        found = pair(row)
        return found[index] if found else None

    return Column(name, NUMBER, meaning, value)


def _of_structure(name: str, kind: Kind, meaning: str, field: str = "") -> Column:
    return Column(name, kind, meaning, lambda row: getattr(row.structure, field or name))


def _structure_range(field: str) -> Callable[[Row], tuple[float, float] | None]:
    return lambda row: getattr(row.structure, field)


def _change(
    name: str, kind: Kind, meaning: str, quantity: str, value: Callable[[Change], Any]
) -> Column:
    def found(row: Row) -> Any:
        change = getattr(row.change, quantity) if row.change else None
        return None if change is None else value(change)

    return Column(name, kind, meaning, found)


def _range_end(index: int) -> Callable[[Change], float | None]:
    return lambda change: change.range[index] if change.range else None


def _changes(quantity: str, base: str, unit: str, words: str) -> tuple[Column, ...]:
    """The columns of the change of one quantity; the unit where the base has none."""
    low, high = _range_end(0), _range_end(1)
    return (
        _change(
            f"{base}_change{unit}",
            NUMBER,
            f"{words}, now less then",
            quantity,
            lambda change: change.difference,
        ),
        _change(
            f"{base}_change_low{unit}",
            NUMBER,
            "lowest difference between any sample of now and any of then",
            quantity,
            low,
        ),
        _change(
            f"{base}_change_high{unit}",
            NUMBER,
            "highest difference between any sample of now and any of then",
            quantity,
            high,
        ),
        _change(
            f"{base}_change_within_range",
            TRUTH,
            "whether that range contains 0: nothing then says that there is a change",
            quantity,
            lambda change: change.is_within_range,
        ),
    )


def _grades(side: Side, words: str) -> tuple[Column, ...]:
    """The columns of one side's disease grade in the table of cases."""

    def cell(field: str) -> Callable[[Row], Any]:
        return lambda row: _said(getattr(row.grade_of(side), field, None))

    name = f"grade_{side}"
    return (
        Column(name, TEXT, f"disease grade of the {words} side", cell("grade")),
        Column(
            f"{name}_probability", NUMBER, "its probability by the grader", cell("probability")
        ),
        Column(f"{name}_scale", TEXT, "what it is a grade of", cell("scale")),
        Column(f"{name}_grader", TEXT, "who or what graded it", cell("grader")),
    )


WHICH: Final = (
    _source("case", TEXT, "folder, or Series Instance UID: unique in the table", "name"),
    _source("patient_key", TEXT, "the same for all scans of one patient"),
    _source("study_instance_uid", TEXT, "Study Instance UID"),
    _source("series_instance_uid", TEXT, "Series Instance UID"),
    _source("revision", INTEGER, "of the series' content, from 1"),
    _source("study_date", DATE, "Study Date"),
    _source("sex", TEXT, "M, F or O"),
    _source("age_years", NUMBER, "at the time of the scan; pseudonymised, 90 is 90 and more"),
)
"""What tells a case from others; in both tables."""

MODEL: Final = (
    Column(
        "bundle",
        TEXT,
        "model bundle and its version",
        lambda row: (
            f"{row.case.model.name} {row.case.model.version}" if row.case.model else None
        ),
    ),
    _model("weights_sha256", TEXT, "digest of the network's weights", "weights_sha256"),
    _model("samples", INTEGER, "samples, or members of an ensemble", "samples"),
    _model("samples_of", TEXT, "what they differ by, as Monte Carlo dropout", "samples_of"),
    _model("uncertainty_kind", TEXT, "variance, entropy or none", "uncertainty"),
    _model("settings", TEXT, "digest of all settings that change results", "settings"),
    _source("analysed_at", MOMENT, "when the analysis ended; pseudonymised, empty"),
)

CASE: Final = (
    *WHICH,
    _source("patient_id", TEXT, "Patient ID, where it is kept at all"),
    _source("height_m", NUMBER, "height that was used"),
    _source("weight_kg", NUMBER, "Patient's Weight"),
    _source("scanner", TEXT, "Manufacturer and model"),
    _source("station_name", TEXT, "Station Name"),
    _source("kernel", TEXT, "Convolution Kernel"),
    _source("slice_thickness_mm", NUMBER, "Slice Thickness of most slices"),
    _source("kvp", NUMBER, "tube voltage, kV"),
    _source("sender", TEXT, "Calling AE title"),
    Column("state", TEXT, "reported, refused or failed", lambda row: row.case.state),
    Column("verdict", TEXT, "the case's verdict", lambda row: row.case.verdict),
    Column(
        "findings",
        TEXT,
        "reasons for the verdict, with semicolons between",
        lambda row: "; ".join(row.case.findings) or None,
    ),
    Column("code", TEXT, "why it was refused or failed", lambda row: row.case.code or None),
    Column(
        "words", TEXT, "the same, or the case, in words", lambda row: row.case.words or None
    ),
    Column(
        "mean_uncertainty",
        NUMBER,
        "average of the structures' uncertainty",
        lambda row: row.case.mean_uncertainty,
    ),
    _pair(
        "mean_uncertainty_limit_inaccurate",
        "above it the case counts as inaccurate",
        lambda row: row.case.mean_uncertainty_limits,
        0,
    ),
    _pair(
        "mean_uncertainty_limit_failed",
        "above it the case counts as failed",
        lambda row: row.case.mean_uncertainty_limits,
        1,
    ),
    *MODEL,
    Column(
        "structures_accepted",
        INTEGER,
        "number of structures whose verdict is accepted; empty where nothing was analysed",
        lambda row: (
            sum(one.verdict is Verdict.ACCEPTED for one in row.case.structures)
            if row.case.structures
            else None
        ),
    ),
    *_grades(Side.RIGHT, "right"),
    *_grades(Side.LEFT, "left"),
    Column(
        "previous_study_date",
        DATE,
        "of the earlier scan that it is compared with",
        lambda row: row.changes.then,
    ),
)

STRUCTURE: Final = (
    *WHICH,
    Column("case_verdict", TEXT, "the case's verdict", lambda row: row.case.verdict),
    Column(
        "segment",
        TEXT,
        "structure and side: GMED_L, SACRUM",
        lambda row: row.structure.segment.key if row.structure else None,
    ),
    Column(
        "structure",
        TEXT,
        "abbreviation of the structure",
        lambda row: row.structure.segment.structure.abbreviation if row.structure else None,
    ),
    Column(
        "side",
        TEXT,
        "R or L, the patient's own; empty of the sacrum",
        lambda row: row.structure.segment.side if row.structure else None,
    ),
    Column(
        "group",
        TEXT,
        "bone, hip muscle or thigh muscle",
        lambda row: row.structure.segment.structure.group if row.structure else None,
    ),
    _of_structure("verdict", TEXT, "what may be done with its numbers"),
    Column(
        "findings",
        TEXT,
        "reasons for the verdict, with semicolons between",
        lambda row: "; ".join(row.structure.findings) or None if row.structure else None,
    ),
    _of_structure("volume_cm3", NUMBER, "volume"),
    _pair("volume_low_cm3", "lowest of the samples", _structure_range("volume_range_cm3"), 0),
    _pair("volume_high_cm3", "highest of the samples", _structure_range("volume_range_cm3"), 1),
    _of_structure(
        "normalised_volume_cm3_per_m2", NUMBER, "volume over the square of the height"
    ),
    _of_structure("mean_hu", NUMBER, "mean attenuation, Hounsfield units"),
    _pair("mean_hu_low", "lowest of the samples", _structure_range("mean_hu_range"), 0),
    _pair("mean_hu_high", "highest of the samples", _structure_range("mean_hu_range"), 1),
    _of_structure("lean_fraction", NUMBER, "share of voxels above 30 HU, 0 to 1", "lean"),
    _of_structure("mixed_fraction", NUMBER, "share from -30 to 30 HU, 0 to 1", "mixed"),
    _of_structure("fat_fraction", NUMBER, "share below -30 HU, 0 to 1", "fat"),
    _of_structure("uncertainty", NUMBER, "mean voxel-wise uncertainty inside it"),
    _of_structure(
        "pairwise_dice", NUMBER, "Dice between the samples, 1 where all agree, 0 to 1"
    ),
    _of_structure(
        "volume_cv",
        NUMBER,
        "standard deviation of the volume over the samples, over its mean",
    ),
    _pair(
        "uncertainty_limit_inaccurate",
        "above it the structure counts as inaccurate",
        _structure_range("uncertainty_limits"),
        0,
    ),
    _pair(
        "uncertainty_limit_failed",
        "above it the structure counts as failed",
        _structure_range("uncertainty_limits"),
        1,
    ),
    Column(
        "previous_study_date",
        DATE,
        "of the earlier scan; empty where the structure is not compared",
        lambda row: row.changes.then if row.change else None,
    ),
    Column(
        "previous_same_protocol",
        TRUTH,
        "whether scanner, kernel, slice thickness and kVp were the same then",
        lambda row: row.changes.is_same_protocol if row.change else None,
    ),
    *_changes("volume_cm3", "volume", "_cm3", "volume"),
    _change(
        "volume_change_percent",
        NUMBER,
        "change of volume over the volume then",
        "volume_cm3",
        lambda change: change.percent,
    ),
    *_changes("mean_hu", "mean_hu", "", "mean attenuation"),
    Column(
        "grade", TEXT, "disease grade of the side", lambda row: row.grade and row.grade.grade
    ),
    Column(
        "grade_probability",
        NUMBER,
        "its probability by the grader",
        lambda row: row.grade and row.grade.probability,
    ),
    *MODEL,
)


def dictionary(columns: tuple[Column, ...]) -> str:
    """The columns as a table in Markdown."""
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{one.name}` | {one.kind} | {one.meaning} |" for one in columns]
    return "\n".join(lines)


if __name__ == "__main__":
    print(dictionary(CASE), dictionary(STRUCTURE), sep="\n\n")  # noqa: T201 - the output
