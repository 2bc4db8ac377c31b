"""Results of an analysis: measurements, verdicts and the case result, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from inference.geometry import Geometry
from inference.structures import Segment, Side

FAT_BELOW_HU: Final = -30.0
LEAN_ABOVE_HU: Final = 30.0
"""The study's limits: fat < -30 HU, lean > 30 HU, mixed between (limits included)."""


class Verdict(StrEnum):
    """What may be done with one structure's numbers, or with the whole case.

    The first three are the study's classes at k = -2 and k = -3 (Methods, "failure
    detection"); the others say why there is no number to judge, or nothing to judge it by.
    """

    ACCEPTED = "accepted"
    INACCURATE = "inaccurate"
    FAILED = "failed"
    TRUNCATED = "truncated"
    SPOILED = "spoiled by metal"
    ABSENT = "absent"
    NOT_JUDGED = "not judged"
    NOT_PROVIDED = "not provided"


class Finding(StrEnum):
    """Why a verdict is not simply `accepted`; one word for scripts, a sentence in terms."""

    UNCERTAIN = "uncertainty above threshold"
    VOLUME_IMPLAUSIBLE = "volume outside plausible range"
    HU_IMPLAUSIBLE = "mean HU outside plausible range"
    CUT_BY_SCAN = "cut by the border of the scan"
    METAL_INSIDE = "metal artefact inside"
    NOT_FOUND = "not found"
    NOT_HIP_TO_KNEE = "scan does not show hip to knee"
    WRONG_REGION = "no hip or thigh anatomy found"
    METAL_PRESENT = "metal present"
    BELOW_KNEE_LEFT_OUT = "lower leg left out"
    CHEST_LEFT_OUT = "chest left out"
    WEAK_FLAG = "flag known to be weak for this structure"
    AGAINST_HEADER = "anatomy contradicts the header"
    NO_KNEE = "femur ends without a knee"
    FEMUR_LOST = "segmentation of the femur ends above the knee"
    REGION_UNKNOWN = "what the scan shows cannot be told"
    SAMPLES_DISAGREE = "samples disagree beyond threshold"


@dataclass(frozen=True, slots=True)
class Spread:
    """Lowest and highest value of a quantity over the Monte Carlo samples."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Composition:
    """Shares of a structure's voxels by HU; they add up to 1 (study, Methods)."""

    lean: float
    mixed: float
    fat: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """Numbers measured of one segment; None (and no voxels) where it is not there.

    A field that is None by default is a quantity. `report.json` gives all of them under
    their names, in this order; `sr_templates/quantities.toml` says which a report shows.

    volume_cm3: voxels times voxel size.
    volume_spread_cm3, mean_hu_spread: over the Monte Carlo samples.
    normalised_volume_cm3_per_m2: volume over height squared (study, Table 7).
    uncertainty: mean voxel-wise uncertainty inside the predicted label.
    pairwise_dice: Dice between the samples, 1 where all agree; the pixels that each two share,
        of all pairs together, over their sizes. None of fewer than two samples.
    volume_cv: coefficient of variation of the volume over the samples: standard deviation
        (n - 1) over the mean. None likewise.
    """

    segment: Segment
    voxel_count: int
    volume_cm3: float | None = None
    volume_spread_cm3: Spread | None = None
    normalised_volume_cm3_per_m2: float | None = None
    mean_hu: float | None = None
    mean_hu_spread: Spread | None = None
    composition: Composition | None = None
    uncertainty: float | None = None
    pairwise_dice: float | None = None
    volume_cv: float | None = None


QUANTITIES: Final = tuple(each.name for each in fields(Measurement) if each.default is None)

_OF_SAMPLES: Final = frozenset({"uncertainty", "pairwise_dice", "volume_cv"})
"""How sure the model is: no size and no density, so that it never misleads."""

TOLD_ALTHOUGH: Final = MappingProxyType(
    {
        Verdict.TRUNCATED: frozenset({"mean_hu", "mean_hu_spread", "composition"})
        | _OF_SAMPLES,
        Verdict.SPOILED: _OF_SAMPLES,
    }
)
"""The quantities that do not mislead although the scan cuts a structure, or metal spoils it."""


class Score(StrEnum):
    """A number that tells bad segmentations without a truth: the higher, the worse.

    UNCERTAINTY: mean voxel-wise uncertainty inside the label (the study's).
    DISAGREEMENT: 1 - the Dice between the samples.
    VOLUME_CV: coefficient of variation of the volume over the samples.
    """

    UNCERTAINTY = "uncertainty"
    DISAGREEMENT = "disagreement"
    VOLUME_CV = "volume_cv"

    def of(self, measured: Measurement) -> float | None:
        """The score of one segment; None where it has none."""
        match self:
            case Score.UNCERTAINTY:
                return measured.uncertainty
            case Score.DISAGREEMENT:
                dice = measured.pairwise_dice
                return None if dice is None else 1 - dice
            case Score.VOLUME_CV:
                return measured.volume_cv


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """The score that a verdict rests on, beside what a scan or metal takes away.

    value: of the segment, or the mean over those of a case; None where there is none.
    limits: above these it counts as (inaccurate, failed).
    """

    score: Score
    value: float | None
    limits: tuple[float, float]


@dataclass(frozen=True, slots=True)
class StructureResult:
    """Everything reported of one segment.

    measured: its numbers; see `withhold`.
    uncertainty_limits: the bundle's thresholds of the uncertainty for (inaccurate, failed),
        if calibrated. The verdict rests on them where `judged_by` says so.
    judged_by: None without calibration.
    """

    measured: Measurement
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    uncertainty_limits: tuple[float, float] | None = None
    judged_by: JudgedBy | None = None

    @property
    def segment(self) -> Segment:
        """The segment that it is about."""
        return self.measured.segment

    def withhold(self) -> StructureResult:
        """The same without the quantities that would mislead, given its verdict.

        What the scan cuts has no volume; what metal spoils has its uncertainty and what the
        samples differ by alone. A
        quantity that `TOLD_ALTHOUGH` does not name is withheld in both. Every other verdict
        withholds none: an absent structure has none.
        """
        told = TOLD_ALTHOUGH.get(self.verdict)
        if told is None:
            return self
        withheld: dict[str, Any] = dict.fromkeys(set(QUANTITIES) - told)
        return replace(self, measured=replace(self.measured, **withheld))


class Region(StrEnum):
    """What the scan shows, as far as this method is concerned.

    UNKNOWN: the model does not provide the structures that would tell.
    """

    HIP_TO_KNEE = "hip to knee"
    PARTIAL = "part of hip to knee"
    ELSEWHERE = "neither hip nor thigh"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Knee:
    """The height of a knee joint, along the normal like the slices' offsets."""

    side: Side
    height_mm: float


@dataclass(frozen=True, slots=True)
class LowerLegs:
    """What was left out of a scan that goes on below the knee.

    knees: those whose lower leg is in view.
    slices: how many, from the scan's lower end; they hold no segments.
    kept_mm: how far below its knee joint each leg was cut.
    """

    knees: tuple[Knee, ...]
    slices: int
    kept_mm: float


@dataclass(frozen=True, slots=True)
class Chest:
    """What was left out of a scan that goes on above the abdomen.

    lung_mm: the lower end of the lungs, along the normal like the slices' offsets.
    slices: how many, from the scan's upper end; they hold no segments.
    kept_mm: how far above the lungs' lower end the scan was cut.
    """

    lung_mm: float
    slices: int
    kept_mm: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """The part of hip to knee that the scan shows, and the segments that its border cuts.

    lower_legs: what was left out below the knee; the border is then where it was cut.
    chest: what was left out above the abdomen.
    stump: the segments that are not whole because their femur ends without a knee.
    lost: the femora whose segmentation ends above the knee.
    against_header: the body does not lie as the header says, so that no side is believed.
    """

    region: Region
    cut: tuple[Segment, ...] = ()
    words: str = ""
    lower_legs: LowerLegs | None = None
    chest: Chest | None = None
    stump: tuple[Segment, ...] = ()
    lost: tuple[Segment, ...] = ()
    against_header: bool = False


@dataclass(frozen=True, slots=True)
class Metal:
    """Metal in the body: how much on which side, in which segments, and which it spoils.

    held_by: segments that it lies in, as far as they were segmented; bones first.
    outside_cm3: metal on the skin, in clothes or in the table; it counts nowhere else.
    """

    volume_cm3: float = 0.0
    sides: tuple[Side, ...] = ()
    spoiled: tuple[Segment, ...] = ()
    held_by: tuple[Segment, ...] = ()
    outside_cm3: float = 0.0


class SampleKind(StrEnum):
    """What the samples of a model differ by, and so what their disagreement is of."""

    DROPOUT = "Monte Carlo dropout"
    FOLDS = "folds of a cross-validation"
    SEEDS = "trainings from different seeds"
    CHECKPOINTS = "checkpoints of one training"
    VARIATIONS = "variations of the image"
    NONE = "none"

    def counted(self, count: int) -> str:
        """So many of them in a reader's words; of a model that answers once, one answer."""
        match self:
            case SampleKind.NONE:
                return "one answer"
            case SampleKind.DROPOUT:
                return f"{count} sample{'' if count == 1 else 's'} of {self.value}"
            case _:
                one, _, rest = self.value.partition("s ")
                return f"{count} {self.value}" if count != 1 else f"1 {one} {rest}"


class Uncertainty(StrEnum):
    """What a voxel's uncertainty is; the study compares the two.

    VARIANCE: mean over the classes of the variance over the Monte Carlo samples.
    ENTROPY: entropy in nats of the softmax of one pass without dropout.
    NONE: the model has no measure of doubt.
    """

    VARIANCE = "variance"
    ENTROPY = "entropy"
    NONE = "none"

    def from_words(self, samples_of: SampleKind, count: int) -> str:
        """What it rests on in a reader's words: the kind of samples, and how many."""
        match self:
            case Uncertainty.NONE:
                return "no measure of doubt: not judged"
            case Uncertainty.ENTROPY:
                return "the entropy of the model's single answer"
            case Uncertainty.VARIANCE:
                return samples_of.counted(count)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The bundle and the settings that an analysis used; enough to repeat it.

    samples_of: what the samples differ by; `SampleKind.NONE` of a model that answers once.
    origin: of a network of another program, which one it is and what it was imported from, in
        words; empty of this project's own.
    """

    name: str
    version: str
    weights_sha256: str
    samples: int
    seed: int
    device: str
    uncertainty: Uncertainty = Uncertainty.VARIANCE
    samples_of: SampleKind = SampleKind.DROPOUT
    origin: str = ""

    @property
    def doubt_words(self) -> str:
        """What the uncertainty rests on: its kind, and from how many."""
        return self.uncertainty.from_words(self.samples_of, self.samples)


@dataclass(frozen=True, slots=True)
class HipCentre:
    """The centre of a hip: that of a sphere fitted to the femoral head.

    centre_mm: x, y, z of the patient frame (LPS).
    residual_mm: root mean square of the fitted points' distances from the sphere.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    residual_mm: float


@dataclass(frozen=True, slots=True)
class GradeCode:
    """A concept of a coding scheme, for a grade or for the scale that it is of."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class GraderIdentity:
    """What graded: a bundle, or a table that a site gave.

    name: of the bundle; of a table, who graded as the table says.
    sha256: of the bundle's declaration, which names the hash of its weights; of the table.
    """

    kind: Literal["bundle", "table"]
    name: str
    version: str
    sha256: str

    @property
    def words(self) -> str:
        """The grader in a reader's words."""
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class SideGrade:
    """The disease status of one side; or why there is none.

    grade: the name of the class; None where the side was not graded.
    probability: of that class, by a bundle; None of a table's.
    probabilities: of all classes, in the bundle's order.
    scale: what the grade is of ("Kellgren-Lawrence grade"); empty where nothing says so.
    reason: why there is no grade; empty where there is one.
    hip: where the radiograph was made; None where none was needed or none was found.
    """

    side: Side
    grader: GraderIdentity
    grade: str | None = None
    probability: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()
    scale: str = ""
    code: GradeCode | None = None
    scale_code: GradeCode | None = None
    reason: str = ""
    hip: HipCentre | None = None

    def __post_init__(self) -> None:
        """Hold a grade or a reason, never both or neither."""
        if (self.grade is None) != bool(self.reason):
            raise ValueError(f"a side has a grade or a reason: {self.grade!r}, {self.reason!r}")


@dataclass(frozen=True, slots=True, eq=False)
class CaseResult:
    """The answer for one volume, on the volume's own grid.

    segments: uint8 `[slice, row, column]`, segment numbers 1 to 43, 0 outside.
    uncertainty: float32 `[slice, row, column]`, as `model.uncertainty` says; None of a
        model that has none.
    structures: 43 results in the order of `SEGMENTS`.
    mean_uncertainty: average of the structures' uncertainty, or None where none is found.
    judged_by: the score that the case's verdict rests on, averaged over the structures; None
        without calibration.
    grades: the disease status of both sides, right first; none where no grader was asked.
    """

    geometry: Geometry
    segments: NDArray[np.uint8]
    uncertainty: NDArray[np.float32] | None
    structures: tuple[StructureResult, ...]
    verdict: Verdict
    findings: tuple[Finding, ...]
    coverage: Coverage
    metal: Metal
    model: ModelIdentity
    mean_uncertainty: float | None = None
    mean_uncertainty_limits: tuple[float, float] | None = None
    grades: tuple[SideGrade, ...] = ()
    judged_by: JudgedBy | None = None

    def __post_init__(self) -> None:
        """Tie the arrays to the grid and lock them; no uncertainty where none is measured."""
        if (self.uncertainty is None) != (self.model.uncertainty is Uncertainty.NONE):
            found = "no map" if self.uncertainty is None else "a map"
            raise ValueError(f"uncertainty is {self.model.uncertainty.value!r}, with {found}")
        for name in ("segments", "uncertainty"):
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape != self.geometry.shape:
                msg = f"{name} is {array.shape}, its geometry {self.geometry.shape}"
                raise ValueError(msg)
            array.flags.writeable = False

    def of(self, segment: Segment) -> StructureResult:
        """The result of one segment."""
        return self.structures[segment.number - 1]
