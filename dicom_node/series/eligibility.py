"""Selection rules at work: what they say of one series, and which of a study is the best.

Everything here is three-valued. A rule about something that is not known is neither kept nor
broken: it is open, and the series may be taken until more is known of it. Once its headers
have been read nothing is open any more that they could tell: what is not in them has no value.
So what is decided of a series by a list is decided the same way by its headers, where the list
is right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeAlias

from dicom_node.series.candidates import Candidate, Judgement
from dicom_node.series.kernels import KernelKind, is_like, kernel_kind
from dicom_node.settings.rules import Condition, Criterion, Range, RuleSet
from dicom_node.uids import is_uid

Values: TypeAlias = tuple[str, ...] | None
"""The values of an attribute: none where it has no value, None where that is not known."""

Numbers: TypeAlias = tuple[float, ...] | None
"""Likewise."""

DAYS_PER_YEAR: Final = 365.25
AGE: Final = re.compile(r"0*(\d{1,3})([DWMY])")
"""An age string (PS3.5 6.2, AS)."""
DAYS_OF_UNIT: Final = {"D": 1.0, "W": 7.0, "M": DAYS_PER_YEAR / 12, "Y": DAYS_PER_YEAR}
ONLY_LISTED: Final = frozenset(
    {
        "InstanceAvailability",
        "ModalitiesInStudy",
        "NumberOfPatientRelatedInstances",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedStudies",
        "NumberOfSeriesRelatedInstances",
        "NumberOfStudyRelatedInstances",
        "NumberOfStudyRelatedSeries",
        "SOPClassesInStudy",
    }
)
"""Attributes that only archives tell (PS3.4 C.3.4): headers that lack them decide nothing."""
PLAIN_KERNEL: Final = re.compile(r"[A-Za-z0-9 _+./\\-]{1,32}")
"""A kernel that may be repeated in a reason; any other may be anything, a name too."""


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one rule says: whether it holds, and the words for where it does not.

    holds: None where something that decides is not known.
    against: why it does not hold.
    missing: what is not known.
    """

    holds: bool | None
    against: str
    missing: str


def judge(candidate: Candidate, rules: RuleSet) -> Judgement:
    """What rules say of one series, whatever else is in its study."""
    findings = tuple(_findings(candidate, rules))
    against = tuple(each.against for each in findings if each.holds is False)
    if against:
        return Judgement(is_taken=False, reasons=against)
    missing = tuple(f"not known yet: {each.missing}" for each in findings if each.holds is None)
    if missing:
        return Judgement(is_taken=None, reasons=tuple(dict.fromkeys(missing)))
    return Judgement(is_taken=True)


def choose(candidates: Sequence[Candidate], rules: RuleSet) -> Mapping[str, Judgement]:
    """What rules say of each of a study's series, by Series Instance UID.

    Where the rules say what is best, one is taken that no other beats; see `docs/selection.md`.
    The order of the candidates makes no difference.
    """
    judged = {each.series_instance_uid: judge(each, rules) for each in candidates}
    if not rules.best:
        return judged
    return {
        each.series_instance_uid: _among(
            each, judged[each.series_instance_uid], candidates, judged, rules
        )
        for each in candidates
    }


def _findings(candidate: Candidate, rules: RuleSet) -> Iterator[_Finding]:
    """What each rule says, in the order of the settings."""
    for each in rules.take:
        yield _Finding(_holds(candidate, each), f"not {each}", each.attribute)
    for each in rules.leave_out:
        found = _holds(candidate, each)
        holds = None if found is None else not found
        yield _Finding(holds, f"left out: {each}", each.attribute)
    for name, words, unit, numbers in _MEASURES:
        wanted: Range | None = getattr(rules, name)
        if wanted is not None:
            yield _in_range(numbers(candidate), wanted, words, unit)
    yield from _geometry(candidate, rules)
    if rules.kernels:
        yield _kernel(candidate, rules)


def _holds(candidate: Candidate, condition: Condition) -> bool | None:
    """Whether a condition on an attribute holds."""
    values = _values(candidate, condition.attribute)
    if values is None:
        return None
    if condition.present is not None and bool(values) is not condition.present:
        return False
    tests: list[bool] = []
    if condition.like:
        tests.append(any(is_like(v, pattern) for v in values for pattern in condition.like))
    if condition.equals:
        tests.append(any(value in condition.equals for value in values))
    if condition.at_least is not None or condition.at_most is not None:
        tests.append(any(map(condition.has_number, _as_numbers(values))))
    return all(tests)


def _in_range(numbers: Numbers, wanted: Range, words: str, unit: str) -> _Finding:
    """Whether a number is in a range; one that there is none of is not."""
    if numbers is None:
        return _Finding(None, "", words)
    if not numbers:
        against = f"it has no {words}: {wanted}{unit} wanted"
    elif words == _AGE_WORDS:  # which is the patient's, and stays out of reasons
        against = f"{words} is not {wanted}{unit}"
    else:
        against = f"{words} is {numbers[0]:.4g}{unit}: {wanted}{unit} wanted"
    return _Finding(any(number in wanted for number in numbers), against, words)


def _geometry(candidate: Candidate, rules: RuleSet) -> Iterator[_Finding]:
    """Whether it is axial, and whether our reader can analyse it, as the rules want it."""
    stack = candidate.stack
    if rules.axial is not None:
        found = None if stack is None else bool(stack.is_axial) is rules.axial
        against = "its slices are not axial" if rules.axial else "its slices are axial"
        yield _Finding(found, against, "whether its slices are axial")
    if rules.analysable is not None:
        found = None if stack is None else (not stack.refusal) is rules.analysable
        against = "it can be analysed"
        if stack is not None and stack.refusal:
            against = f"it cannot be analysed ({stack.refusal}): {stack.refusal_words}"
        yield _Finding(found, against, "whether it can be analysed")


def _kernel(candidate: Candidate, rules: RuleSet) -> _Finding:
    """Whether its kernel is of a kind that is taken."""
    kind = _kind_of_kernel(candidate, rules)
    if kind is None:
        return _Finding(None, "", "ConvolutionKernel")
    return _Finding(
        kind.value in rules.kernels,
        f"{_kernel_words(candidate, kind)}: {' or '.join(rules.kernels)} wanted",
        "ConvolutionKernel",
    )


def _kind_of_kernel(candidate: Candidate, rules: RuleSet) -> KernelKind | None:
    """The kind of its kernel; None where that is not known."""
    kernel = _values(candidate, "ConvolutionKernel")
    if kernel is None:
        return None
    manufacturer = _values(candidate, "Manufacturer")
    if manufacturer is None:
        return None
    return kernel_kind(
        "\\".join(kernel), (*manufacturer, "")[0], rules.soft_kernels, rules.bone_kernels
    )


def _kernel_words(candidate: Candidate, kind: KernelKind) -> str:
    """A kernel and its kind, as text."""
    kernel = "\\".join(_values(candidate, "ConvolutionKernel") or ())
    if not kernel:
        return "it names no convolution kernel (unlisted)"
    named = f" {kernel}" if PLAIN_KERNEL.fullmatch(kernel) else ""
    return f"its convolution kernel{named} is {kind.value}"


def _values(candidate: Candidate, keyword: str) -> Values:
    """The values of an attribute, without those that are empty."""
    text = candidate.values.get(keyword)
    if text is None:
        # Headers that have been read and do not say it have no value.
        is_open = candidate.stack is None or keyword in ONLY_LISTED
        return None if is_open else ()
    return tuple(value for part in text.split("\\") if (value := part.strip()))


def _as_numbers(values: Sequence[str]) -> tuple[float, ...]:
    """Those of the values that are finite numbers."""
    found = []
    for value in values:
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number):
            found.append(number)
    return tuple(found)


def _images(candidate: Candidate) -> Numbers:
    return None if candidate.images is None else (candidate.images,)


def _slices(candidate: Candidate) -> Numbers:
    return None if candidate.stack is None else (candidate.stack.slices,)


def _thickness_mm(candidate: Candidate) -> Numbers:
    """By its headers, else as an archive lists it."""
    if candidate.stack is not None:
        return _given(candidate.stack.slice_thickness_mm)
    listed = _values(candidate, "SliceThickness")
    return None if listed is None else _as_numbers(listed)


def _spacing_mm(candidate: Candidate) -> Numbers:
    """By its headers alone: Spacing Between Slices is often something else."""
    return None if candidate.stack is None else _given(candidate.stack.slice_spacing_mm)


def _length_mm(candidate: Candidate) -> Numbers:
    return None if candidate.stack is None else _given(candidate.stack.length_mm)


def _given(number: float | None) -> tuple[float, ...]:
    return () if number is None else (number,)


def _age_y(candidate: Candidate) -> Numbers:
    """Patient's Age, or else the time from the birth to the study."""
    stated = _values(candidate, "PatientAge")
    for value in stated or ():
        if found := AGE.fullmatch(value.upper()):
            return (int(found[1]) * DAYS_OF_UNIT[found[2]] / DAYS_PER_YEAR,)
    born, studied = (
        _values(candidate, keyword) for keyword in ("PatientBirthDate", "StudyDate")
    )
    if born is None or studied is None:
        return None
    birth, study = _date(born), _date(studied)
    if birth is not None and study is not None and study >= birth:
        return ((study - birth).days / DAYS_PER_YEAR,)
    return None if stated is None else ()


def _date(values: Sequence[str]) -> date | None:
    """A date (PS3.5 6.2, DA); None where there is none."""
    try:
        return date.fromisoformat(values[0].replace(".", ""))
    except (IndexError, ValueError):
        return None


_AGE_WORDS: Final = "the patient's age"
_MEASURES: Final[tuple[tuple[str, str, str, Callable[[Candidate], Numbers]], ...]] = (
    ("images", "number of images", "", _images),
    ("slices", "number of slices", "", _slices),
    ("age_y", _AGE_WORDS, " years", _age_y),
    ("slice_thickness_mm", "slice thickness", " mm", _thickness_mm),
    ("slice_spacing_mm", "slice spacing", " mm", _spacing_mm),
    ("length_mm", "length", " mm", _length_mm),
)
"""Ranges of a rule set by key, with what they are about, its unit, and where it is found."""


def _among(
    candidate: Candidate,
    own: Judgement,
    candidates: Sequence[Candidate],
    judged: Mapping[str, Judgement],
    rules: RuleSet,
) -> Judgement:
    """What is said of a series beside the others of its study."""
    if own.is_taken is False:
        return own
    open_beside: list[str] = []
    for rival in sorted(candidates, key=lambda each: each.series_instance_uid):
        uid = rival.series_instance_uid
        if uid == candidate.series_instance_uid or judged[uid].is_taken is False:
            continue
        in_reach = _compete(candidate, rival, rules)
        if in_reach is False:
            continue
        beats, words = _beats(rival, candidate, rules)
        if beats and in_reach and judged[uid].is_taken:
            return Judgement(is_taken=False, reasons=(f"{named_better(uid)} {words}",))
        if beats is not False:
            open_beside.append(f"not known yet: whether {named_better(uid)} is better")
    if own.is_taken is None or open_beside:
        return Judgement(is_taken=None, reasons=(*own.reasons, *open_beside))
    return own


def _compete(one: Candidate, other: Candidate, rules: RuleSet) -> bool | None:
    """Whether only one of two may be taken; None where that is not known."""
    if one.study_instance_uid != other.study_instance_uid:
        return False
    if rules.best_of == "study":
        return True
    frames = [_values(each, "FrameOfReferenceUID") for each in (one, other)]
    return None if None in frames else frames[0] == frames[1]


def _beats(one: Candidate, other: Candidate, rules: RuleSet) -> tuple[bool | None, str]:
    """Whether a series is better than another, and by what; None where it is not known.

    What cannot be analysed is never better than what can be.
    """
    for name, rank in _ranks(rules):
        ranks = rank(one), rank(other)
        if None in ranks:
            return None, ""
        mine, others = ranks
        if mine != others and mine is not None and others is not None:
            return mine < others, f"of its study is better: {_CRITERION_WORDS[name]}"
    places = _place(one), _place(other)
    if None in places:
        return None, ""
    first, second = places
    is_first = first is not None and second is not None and first < second
    return is_first, "of its study is as good, and comes first"


def _place(candidate: Candidate) -> tuple[float, str] | None:
    """The place of a series in its study, which decides between equals."""
    number = _values(candidate, "SeriesNumber")
    if number is None:
        return None
    return (*_as_numbers(number), math.inf)[0], candidate.series_instance_uid


def _ranks(
    rules: RuleSet,
) -> Iterator[tuple[str, Callable[[Candidate], float | None]]]:
    """The criteria in their order, each with what ranks by it: the lower, the better."""
    yield "analysable", _rank_analysable
    for criterion in rules.best:
        yield criterion, _ranker(criterion, rules)


def _ranker(criterion: Criterion, rules: RuleSet) -> Callable[[Candidate], float | None]:
    """What ranks by a criterion: the lower, the better; None where it is not known."""
    match criterion:
        case "soft_kernel":
            return lambda each: _sharpness(each, rules)
        case "thin_slices":
            return lambda each: _first(_thickness_mm(each), 0.01)
        case "close_slices":
            return lambda each: _first(_spacing_mm(each), 0.01)
        case "long":
            return lambda each: _first(_length_mm(each), -1.0)
        case "many_slices":
            return lambda each: _first(_slices(each), -1.0)
        case "original":
            return _rank_original


def _rank_analysable(candidate: Candidate) -> float | None:
    return None if candidate.stack is None else float(bool(candidate.stack.refusal))


def _rank_original(candidate: Candidate) -> float | None:
    kind = _values(candidate, "ImageType")
    return None if kind is None else float(kind[:1] == ("DERIVED",))


def _sharpness(candidate: Candidate, rules: RuleSet) -> float | None:
    kind = _kind_of_kernel(candidate, rules)
    return None if kind is None else float(kind.sharpness)


def _first(numbers: Numbers, step: float) -> float | None:
    """A number in steps, turned round by a negative one; one that there is none of is last."""
    if numbers is None:
        return None
    return round(numbers[0] / step) if numbers else math.inf


def named_better(series_instance_uid: str) -> str:
    """How a reason names the series for which another is left out, at its beginning.

    What is no UID may be anything, a name too.
    """
    return f"series {series_instance_uid if is_uid(series_instance_uid) else '(no UID)'}"


def group_of(reason: str) -> str:
    """What a reason is about, so that those of many series can be counted.

    `number of images is 2: at least 3 wanted` is about the number of images.
    """
    for beginning, group in _GROUPS:
        if found := beginning.match(reason):
            return found.expand(group)
    return reason.partition(":")[0].partition(";")[0]


_GROUPS: Final = tuple(
    (re.compile(beginning), group)
    for beginning, group in (
        (r"(?:left out: |not )(\w+) (?:like|equal|with|at |-?\d)", r"\1"),
        (r"it has no ([^:]+):", r"\1"),
        (rf"({'|'.join(words for _, words, _, _ in _MEASURES)}) is ", r"\1"),
        (r"its convolution kernel|it names no convolution kernel", "convolution kernel"),
        (r"it cannot be analysed", "it cannot be analysed"),
        (r"series (?:[\d.]+|\(no UID\)) of its study", "another of its study is better"),
    )
)

_CRITERION_WORDS: Final = {
    "analysable": "it can be analysed",
    "soft_kernel": "a softer kernel",
    "thin_slices": "thinner slices",
    "close_slices": "closer slices",
    "long": "it is longer",
    "many_slices": "more slices",
    "original": "its images are original",
}
