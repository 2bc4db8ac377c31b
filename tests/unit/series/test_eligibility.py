"""Claims about selection rules: what is taken, what is open, which of a study is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vendors import VENDOR_SERIES, VendorSeries

from dicom_node.series.candidates import Candidate, Judgement, StackFacts
from dicom_node.series.eligibility import choose, group_of, judge
from dicom_node.settings.loading import load_config
from dicom_node.settings.rules import RuleSet

EXAMPLE = Path(__file__).parents[3] / "docs" / "node.toml"
SOFT = {"Manufacturer": "SIEMENS", "ConvolutionKernel": "B30f"}
BONE = {"Manufacturer": "SIEMENS", "ConvolutionKernel": "B70f"}
WHOLE = StackFacts(400, 1.0, 1.0, 399.0, is_axial=True)


def rules(**keys: Any) -> RuleSet:
    return RuleSet.model_validate({"name": "r", **keys})


def series(
    uid: str = "1.2.1",
    stack: StackFacts | None = WHOLE,
    *,
    study: str = "1.2",
    images: int | None = 400,
    **values: str,
) -> Candidate:
    values = {"FrameOfReferenceUID": "1.2.9", "SeriesNumber": "1", **values}
    return Candidate(study, uid, values, images=images, stack=stack)


def listed(**values: str) -> Candidate:
    """A series of which only what an archive lists is known."""
    return Candidate("1.2", "1.2.1", values)


def taken(judged: Mapping[str, Judgement]) -> list[str]:
    return [uid for uid, one in judged.items() if one.is_taken]


@pytest.mark.parametrize("each", VENDOR_SERIES, ids=lambda one: one.description)
def test_the_documented_rules_take_what_a_person_would(each: VendorSeries) -> None:
    documented = load_config(EXAMPLE).rule_set("hip-to-knee")
    assert documented is not None

    found = judge(each.candidate(), documented)

    assert found.is_taken is each.is_taken, found.reasons
    assert bool(found.reasons) is not each.is_taken


def test_no_rules_take_everything() -> None:
    assert judge(listed(), rules()) == Judgement(is_taken=True)


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ({"like": ["*hip*"]}, "CT HIP", True),
        ({"like": ["*hip*"]}, "CT KNEE", False),
        ({"like": ["*hip*", "*femur*"]}, "Femur rechts", True),
        ({"like": ["hi?"]}, "hip", True),
        ({"like": ["*"]}, "", False),
        ({"equals": ["HIP", "KNEE"]}, "KNEE", True),
        ({"equals": ["HIP"]}, "hip", False),
        ({"equals": ["LOCALIZER"]}, "ORIGINAL\\PRIMARY\\LOCALIZER", True),
        ({"at_least": 80, "at_most": 120}, "120", True),
        ({"at_least": 80, "at_most": 120}, "140", False),
        ({"at_least": 80}, "1e999", False),
        ({"at_most": -5}, "-7.5", True),
        ({"at_least": 80}, "many", False),
        ({"at_least": 130}, "100\\140", True),
        ({"present": True}, "x", True),
        ({"present": True}, "  ", False),
        ({"present": False}, "", True),
        ({"present": False}, "x", False),
        ({"like": ["1*"], "at_least": 15}, "14", False),
        ({"like": ["1*"], "at_least": 15}, "16", True),
    ],
)
def test_a_condition_on_an_attribute(
    condition: dict[str, Any], values: str, holds: bool
) -> None:
    """`take` wants it to hold, `leave_out` that it does not."""
    whole = {"attribute": "SeriesDescription", **condition}
    candidate = listed(SeriesDescription=values)

    assert judge(candidate, rules(take=[whole])).is_taken is holds
    assert judge(candidate, rules(leave_out=[whole])).is_taken is not holds


def test_what_is_not_listed_is_open_and_what_headers_do_not_have_has_no_value() -> None:
    hip = rules(take=[{"attribute": "BodyPartExamined", "equals": ["HIP"]}])

    assert judge(listed(), hip) == Judgement(
        is_taken=None, reasons=("not known yet: BodyPartExamined",)
    )
    assert judge(series(), hip).is_taken is False


def test_one_rule_that_is_broken_decides_though_others_are_open() -> None:
    both = rules(
        length_mm={"at_least": 400}, take=[{"attribute": "Modality", "equals": ["CT"]}]
    )

    assert judge(listed(Modality="MR"), both) == Judgement(
        is_taken=False, reasons=("not Modality equal to 'CT'",)
    )


def test_every_reason_is_told() -> None:
    strict = rules(
        slices={"at_least": 500},
        slice_thickness_mm={"at_most": 0.5},
        slice_spacing_mm={"at_most": 0.5},
        length_mm={"at_least": 500},
        images={"at_most": 100},
        axial=False,
        analysable=False,
        kernels=["bone"],
    )

    assert judge(series(**SOFT), strict).reasons == (
        "number of images is 400: at most 100 wanted",
        "number of slices is 400: at least 500 wanted",
        "slice thickness is 1 mm: at most 0.5 mm wanted",
        "slice spacing is 1 mm: at most 0.5 mm wanted",
        "length is 399 mm: at least 500 mm wanted",
        "its slices are axial",
        "it can be analysed",
        "its convolution kernel B30f is soft: bone wanted",
    )


def test_what_our_reader_refuses_is_left_out_in_its_words() -> None:
    broken = replace(WHOLE, refusal="incomplete-series", refusal_words="slices are missing")

    assert judge(series(stack=broken), rules(analysable=True)).reasons == (
        "it cannot be analysed (incomplete-series): slices are missing",
    )
    assert judge(series(stack=broken), rules()).is_taken is True


@pytest.mark.parametrize(
    ("values", "is_taken"),
    [
        ({"PatientAge": "018Y"}, True),
        ({"PatientAge": "017Y"}, False),
        ({"PatientAge": "250M"}, True),
        ({"PatientAge": "003W"}, False),
        ({"PatientAge": "18"}, False),
        ({"PatientBirthDate": "20080301", "StudyDate": "20260302"}, True),
        ({"PatientBirthDate": "20080401", "StudyDate": "20260302"}, False),
        ({"PatientAge": "", "PatientBirthDate": "19500101", "StudyDate": "20260302"}, True),
        ({"PatientBirthDate": "20270101", "StudyDate": "20260302"}, False),
        ({"PatientBirthDate": "unknown", "StudyDate": "20260302"}, False),
        ({}, False),
    ],
)
def test_the_age_is_stated_or_follows_from_two_dates(
    values: dict[str, str], is_taken: bool
) -> None:
    """A child of 17 years and 11 months is none of 18; what no header says is no age."""
    adults = rules(age_y={"at_least": 18})
    found = judge(series(**values), adults)

    assert found.is_taken is is_taken
    assert not any(digit in "".join(found.reasons) for digit in ("17", "250", "2008"))


def test_an_age_that_nobody_listed_is_open() -> None:
    adults = rules(age_y={"at_least": 18})

    assert judge(listed(PatientBirthDate="19500101"), adults).is_taken is None
    assert judge(listed(PatientBirthDate="", StudyDate="20260101"), adults).is_taken is None
    assert judge(listed(PatientAge="061Y"), adults).is_taken is True


def test_no_reason_repeats_what_stands_in_a_free_text() -> None:
    words = "Yamada^Tarou"
    candidate = series(
        SeriesDescription=words, ConvolutionKernel=f"{words}!", PatientName=words
    )
    strict = rules(
        take=[
            {"attribute": "SeriesDescription", "equals": ["hip"]},
            {"attribute": "PatientName", "present": False},
        ],
        kernels=["soft"],
    )
    reasons = judge(candidate, strict).reasons

    assert len(reasons) == 3
    assert words not in "".join(reasons)


THIN_SOFT = rules(best=["soft_kernel", "thin_slices"])


@pytest.mark.parametrize(
    ("ruled", "group"),
    [
        ({"take": [{"attribute": "Modality", "equals": ["MR"]}]}, "Modality"),
        ({"take": [{"attribute": "KVP", "at_least": 90, "at_most": 120}]}, "KVP"),
        ({"take": [{"attribute": "KVP", "at_most": 120}]}, "KVP"),
        ({"leave_out": [{"attribute": "ProtocolName", "like": ["a: b"]}]}, "ProtocolName"),
        ({"leave_out": [{"attribute": "ProtocolName", "present": True}]}, "ProtocolName"),
        ({"images": {"at_least": 500}}, "number of images"),
        ({"age_y": {"at_least": 18}}, "the patient's age"),
        ({"slice_thickness_mm": {"at_most": 0.5}}, "slice thickness"),
        ({"length_mm": {"at_least": 500}}, "length"),
        ({"axial": False}, "its slices are axial"),
        ({"analysable": True}, "it cannot be analysed"),
        ({"kernels": ["soft"]}, "convolution kernel"),
    ],
)  # fmt: skip
def test_refusals_are_counted_by_what_they_are_about(ruled: dict[str, Any], group: str) -> None:
    one = series(
        stack=replace(WHOLE, refusal="gap", refusal_words="slices are missing: many; two"),
        ProtocolName="A: B",
        KVP="140",
        PatientAge="012Y",
        Modality="CT",
    )
    reason = "; ".join(judge(one, rules(**ruled)).reasons)

    assert group_of(reason) == group
    assert group_of(f"{reason}; and more: of it") == group


def test_those_that_another_is_better_than_are_counted_together() -> None:
    study = [series("1.2.1", **SOFT), series("1.2.2", **BONE), series("no uid", **BONE)]
    judged = choose(study, rules(best=["soft_kernel"])).values()

    groups = [group_of(one.reasons[0]) for one in judged if one.reasons]
    assert groups == ["another of its study is better"] * 2


def test_what_only_archives_tell_is_open_in_headers_that_do_not_have_it() -> None:
    many = rules(take=[{"attribute": "NumberOfStudyRelatedSeries", "at_least": 3}])

    assert judge(series(), many).is_taken is None
    assert judge(series(NumberOfStudyRelatedSeries="2"), many).is_taken is False


def test_a_thin_soft_series_is_better_than_a_thick_one_and_than_bone() -> None:
    thick = replace(WHOLE, slice_thickness_mm=5.0)
    study = [
        series("1.2.1", **BONE),
        series("1.2.2", thick, **SOFT),
        series("1.2.3", **SOFT),
        series("1.2.4", ConvolutionKernel="?", Manufacturer="Fictional"),
    ]
    judged = choose(study, THIN_SOFT)

    assert taken(judged) == ["1.2.3"]
    assert judged["1.2.2"].reasons == ("series 1.2.3 of its study is better: thinner slices",)
    assert all(one.reasons for uid, one in judged.items() if uid != "1.2.3")


def test_one_is_taken_in_each_frame_of_reference_or_in_the_study() -> None:
    study = [
        series("1.2.1", **SOFT),
        series("1.2.2", FrameOfReferenceUID="1.2.8", **BONE),
        series("1.3.1", study="1.3", **BONE),
    ]

    assert taken(choose(study, THIN_SOFT)) == ["1.2.1", "1.2.2", "1.3.1"]
    whole = THIN_SOFT.model_copy(update={"best_of": "study"})
    assert taken(choose(study, whole)) == ["1.2.1", "1.3.1"]


def test_a_series_that_cannot_be_analysed_is_never_the_better_one() -> None:
    broken = replace(WHOLE, refusal="incomplete-series")
    study = [series("1.2.1", broken, **SOFT), series("1.2.2", **BONE)]

    assert taken(choose(study, THIN_SOFT)) == ["1.2.2"]


def test_what_rules_do_not_take_is_nobody_s_rival() -> None:
    only_bone = rules(kernels=["bone"], best=["soft_kernel"])
    study = [series("1.2.1", **SOFT), series("1.2.2", **BONE)]

    assert taken(choose(study, only_bone)) == ["1.2.2"]


def test_of_equals_the_lowest_series_number_is_taken_then_the_lowest_uid() -> None:
    """9 is lower than 10, though not as a text."""
    study = [
        series("1.2.2", SeriesNumber="10", **SOFT),
        series("1.2.4", SeriesNumber="9", **SOFT),
        series("1.2.3", SeriesNumber="9", **SOFT),
        series("1.2.1", SeriesNumber="", **SOFT),
    ]

    assert taken(choose(study, THIN_SOFT)) == ["1.2.3"]


@pytest.mark.parametrize(
    ("criterion", "better", "worse"),
    [
        ("soft_kernel", SOFT, BONE),
        ("thin_slices", {"slice_thickness_mm": 1.0}, {"slice_thickness_mm": 1.25}),
        ("close_slices", {"slice_spacing_mm": 0.8}, {"slice_spacing_mm": 1.0}),
        ("long", {"length_mm": 800.0}, {"length_mm": 500.0}),
        ("long", {"length_mm": 500.0}, {"length_mm": None}),
        ("many_slices", {"slices": 700}, {"slices": 600}),
        (
            "original",
            {"ImageType": "ORIGINAL\\PRIMARY\\AXIAL"},
            {"ImageType": "DERIVED\\PRIMARY\\AXIAL"},
        ),
    ],
)
def test_every_criterion_has_its_better_end(
    criterion: str, better: dict[str, Any], worse: dict[str, Any]
) -> None:
    def one(uid: str, facts: dict[str, Any]) -> Candidate:
        of_stack = {name: value for name, value in facts.items() if hasattr(WHOLE, name)}
        rest = {name: value for name, value in facts.items() if name not in of_stack}
        return series(uid, replace(WHOLE, **of_stack), **rest)

    study = [one("1.2.1", worse), one("1.2.2", better)]

    assert taken(choose(study, rules(best=[criterion]))) == ["1.2.2"]


def test_a_rival_that_is_only_listed_leaves_it_open() -> None:
    study = [series("1.2.1", **SOFT), series("1.2.2", None, Modality="CT")]
    judged = choose(study, THIN_SOFT)

    assert [one.is_taken for one in judged.values()] == [None, None]
    assert "1.2.2" in judged["1.2.1"].reasons[0]


def test_a_listed_rival_that_rules_leave_out_leaves_nothing_open() -> None:
    ct = rules(best=["soft_kernel"], take=[{"attribute": "Modality", "equals": ["CT"]}])
    study = [series("1.2.1", Modality="CT", **SOFT), series("1.2.2", None, Modality="SR")]
    judged = choose(study, ct)

    assert (judged["1.2.1"].is_taken, judged["1.2.2"].is_taken) == (True, False)


KERNELS = st.sampled_from(["B30f", "B50f", "B70f", "?", ""])
STACKS = st.builds(
    StackFacts,
    slices=st.integers(3, 6),
    slice_spacing_mm=st.sampled_from([None, 1.0, 2.0]),
    slice_thickness_mm=st.sampled_from([None, 1.0, 1.001, 2.0]),
    length_mm=st.sampled_from([None, 400.0, 500.0]),
    is_axial=st.booleans(),
    refusal=st.sampled_from(["", "", "incomplete-series"]),
)


@st.composite
def studies(draw: st.DrawFn) -> list[Candidate]:
    count = draw(st.integers(1, 6))
    return [
        series(
            f"1.2.{index}",
            draw(STACKS),
            SeriesNumber=draw(st.sampled_from(["1", "2", ""])),
            FrameOfReferenceUID=draw(st.sampled_from(["1.2.8", "1.2.9", ""])),
            ConvolutionKernel=draw(KERNELS),
            Manufacturer="SIEMENS",
            ImageType=draw(st.sampled_from(["ORIGINAL\\PRIMARY", "DERIVED\\PRIMARY"])),
        )
        for index in range(count)
    ]


CRITERIA = ["soft_kernel", "thin_slices", "close_slices", "long", "many_slices", "original"]
RULES = st.builds(
    lambda best, kernels, analysable, of: rules(
        best=best, kernels=kernels, analysable=analysable, best_of=of
    ),
    st.permutations(CRITERIA).map(lambda each: each[:3]),
    st.sampled_from([[], ["soft", "medium"], ["soft", "unlisted", "bone"]]),
    st.sampled_from([None, True]),
    st.sampled_from(["study", "frame_of_reference"]),
)


def groups(study: Sequence[Candidate], wanted: RuleSet) -> list[list[Candidate]]:
    """Those that each stand against each other, without those that do not fit anyway."""
    found: dict[str, list[Candidate]] = {}
    for each in study:
        if judge(each, wanted).is_taken:
            key = "" if wanted.best_of == "study" else each.frame_of_reference_uid
            found.setdefault(key, []).append(each)
    return list(found.values())


@given(studies(), RULES)
def test_of_all_that_fit_exactly_one_of_a_group_is_taken(
    study: list[Candidate], wanted: RuleSet
) -> None:
    judged = choose(study, wanted)

    for group in groups(study, wanted):
        assert sum(judged[each.series_instance_uid].is_taken is True for each in group) == 1
    assert all(one.is_taken is not None for one in judged.values())
    assert all(bool(one.reasons) is not one.is_taken for one in judged.values())


@given(studies(), RULES, st.randoms(use_true_random=False))
def test_the_order_of_a_study_makes_no_difference(
    study: list[Candidate], wanted: RuleSet, random: Any
) -> None:
    shuffled = list(study)
    random.shuffle(shuffled)

    assert choose(shuffled, wanted) == choose(study, wanted)


@given(studies(), RULES, st.data())
def test_to_know_less_never_decides_otherwise(
    study: list[Candidate], wanted: RuleSet, data: st.DataObject
) -> None:
    """What is decided by a list is decided so by the headers; the rest is open."""
    less = []
    for each in study:
        hidden = data.draw(st.sets(st.sampled_from(sorted(each.values))))
        values = {name: v for name, v in each.values.items() if name not in hidden}
        is_listed = data.draw(st.booleans())
        less.append(replace(each, values=values, stack=None) if is_listed else each)
    known, guessed = choose(study, wanted), choose(less, wanted)

    for uid, one in guessed.items():
        assert one.is_taken in (None, known[uid].is_taken)


@given(studies(), RULES)
def test_without_those_left_out_the_same_are_taken(
    study: list[Candidate], wanted: RuleSet
) -> None:
    """So it makes no difference in which order a node decides on them."""
    judged = choose(study, wanted)
    rest = [each for each in study if judged[each.series_instance_uid].is_taken]

    assert taken(choose(rest, wanted)) == taken(judged)
