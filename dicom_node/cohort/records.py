"""The record of a case: what the results table, a cohort's report and norms are made of.

Records come from the node's database and from folders of `msk-node segment` alike. Both keep
the same report (`case_files/report_json.py`), and beside it the `Source` of the case: who,
when, by which scanner, by whom sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from inference.results import SampleKind, Uncertainty, Verdict
from inference.structures import Segment


@dataclass(frozen=True, slots=True)
class Source:
    """Where a case comes from. Empty, or None, where nothing says so.

    name: of its folder, or its Series Instance UID: unique among the records.
    patient_key: the same for all scans of one patient (Patient ID and its issuer); it names
        nobody, but is no pseudonym: whoever knows an id can find its key.
    age_years: at the time of the scan (Patient's Age, or Birth Date and Study Date).
    sex: "M", "F", "O".
    height_m, weight_kg: as the header says.
    scanner: Manufacturer and Manufacturer's Model Name.
    sender: Calling AE title.
    """

    name: str
    patient_key: str = ""
    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    revision: int = 1
    study_date: date | None = None
    sex: str = ""
    age_years: float | None = None
    height_m: float | None = None
    weight_kg: float | None = None
    scanner: str = ""
    station_name: str = ""
    kernel: str = ""
    slice_thickness_mm: float | None = None
    kvp: float | None = None
    sender: str = ""
    analysed_at: datetime | None = None


FLAGGED: Final = frozenset({Verdict.INACCURATE, Verdict.FAILED})
"""Verdicts that a person should look at."""

Place = tuple[str, date, str, int, str]
"""The place of a case among all."""


def in_order(source: Source) -> Place:
    """The place of a case: patients one after the other, earliest scans first."""
    return (
        source.patient_key,
        source.study_date or date.min,
        source.series_instance_uid,
        source.revision,
        source.name,
    )


@dataclass(frozen=True, slots=True)
class Model:
    """The bundle and the settings of an analysis.

    settings: digest of all that changes volumes and uncertainties beside the images, so not of
        a grader; empty in a folder of an earlier version.
    samples_of: what the samples differ by; a folder of an earlier version is of dropout.
    """

    name: str
    version: str
    weights_sha256: str
    samples: int
    uncertainty: Uncertainty
    settings: str = ""
    samples_of: SampleKind = SampleKind.DROPOUT

    @property
    def doubt_words(self) -> str:
        """What the uncertainty rests on: its kind, and from how many."""
        return self.uncertainty.from_words(self.samples_of, self.samples)


@dataclass(frozen=True, slots=True)
class StructureRecord:
    """The numbers of one structure on one side; None where they would mislead.

    Ranges are (lowest, highest) over the samples. `lean`, `mixed`, `fat` are shares.
    pairwise_dice, volume_cv: how much the samples agree; see `Measurement`.
    uncertainty_limits: for (inaccurate, failed).
    """

    segment: Segment
    verdict: Verdict
    findings: tuple[str, ...] = ()
    volume_cm3: float | None = None
    volume_range_cm3: tuple[float, float] | None = None
    normalised_volume_cm3_per_m2: float | None = None
    mean_hu: float | None = None
    mean_hu_range: tuple[float, float] | None = None
    lean: float | None = None
    mixed: float | None = None
    fat: float | None = None
    uncertainty: float | None = None
    pairwise_dice: float | None = None
    volume_cv: float | None = None
    uncertainty_limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """The disease grade of one side by a grader, or as a table of people's says.

    side: "R" or "L". probability: of this grade; None of a person's.
    grader: name and version of a bundle; of a table who graded, or its name.
    scale: what the grade is of ("Kellgren-Lawrence grade"); empty where nothing says so.
    by_people: it comes from a table, so that the grader may be a person.
    """

    side: str
    grade: str
    probability: float | None
    grader: str
    scale: str = ""
    by_people: bool = False


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case. A refused or failed one has a verdict word, a code and words, and no numbers.

    state: "reported", "refused" or "failed".
    qc_picture: path of its QC page, if it is kept as a file; empty otherwise.
    """

    source: Source
    state: str
    verdict: Verdict | None = None
    code: str = ""
    words: str = ""
    findings: tuple[str, ...] = ()
    mean_uncertainty: float | None = None
    mean_uncertainty_limits: tuple[float, float] | None = None
    model: Model | None = None
    structures: tuple[StructureRecord, ...] = ()
    grades: tuple[Grade, ...] = ()
    qc_picture: str = ""
