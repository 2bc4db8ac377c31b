"""The report as a page: complete, honest, escaped, small, and about nothing but its cases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from support.cohorts import MODEL, cohort, renamed
from support.hostile_values import HOSTILE as HOSTILE_VALUES
from support.hostile_values import MARKER, unescaped

from dicom_node.cohort import figures
from dicom_node.cohort.against_norms import compare_case
from dicom_node.cohort.case_page import norms_html
from dicom_node.cohort.charts import shown_name
from dicom_node.cohort.cohort import Cohort
from dicom_node.cohort.norms import norms_of
from dicom_node.cohort.page import About
from dicom_node.cohort.records import CaseRecord
from dicom_node.cohort.report import cohort_html
from dicom_node.cohort.sides_file import known_sides
from dicom_node.cohort.thumbnails import MOST, thumbnail
from inference.results import Verdict
from inference.structures import BY_ABBREVIATION

ABOUT = About(datetime(2026, 5, 1, 12, tzinfo=UTC))
HOSTILE = (
    "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)> $\\frac$ \"'&"
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Read(HTMLParser):
    """The page as a browser reads it: tags, attributes, text; complains of what is unclosed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that must be closed."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that is closed at once."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag, which must be this one."""
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        """Keep what a reader reads."""
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that a reader reads, on one line."""
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture(autouse=True, scope="module")
def _few_panels() -> Iterator[None]:
    """Three structures a figure instead of 22: seconds less, and no other code."""
    few = tuple(BY_ABBREVIATION[name] for name in ("PELVIS", "SACRUM", "GMED"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "STRUCTURES", few)
        yield


def report(records: tuple[CaseRecord, ...] | list[CaseRecord], about: About = ABOUT) -> str:
    table = Cohort.of(records)
    return cohort_html(table, about, known_sides(table.cases))


@pytest.fixture(scope="module")
def drifted() -> str:
    """120 cases, of which the last 40 are half as uncertain again; sides are graded."""
    return report(cohort(120, uncertain_from=80, affected_less=0.1))


def test_the_page_is_whole_and_its_identifiers_are_its_own(drifted: str):
    page = Read(drifted)
    identifiers = [facts["id"] for _, facts in page.tags if facts.get("id")]

    assert page.open == []
    assert len(identifiers) == len(set(identifiers))
    for _, facts in page.tags:
        for name in ("href", "xlink:href"):
            target = facts.get(name) or "#"
            assert target == "#" or target.removeprefix("#") in identifiers


def test_nothing_of_the_page_is_fetched_or_run(drifted: str):
    page = Read(drifted)

    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    policy = next(facts for _, facts in page.tags if facts.get("http-equiv"))
    assert str(policy["content"]).startswith("default-src 'none'")
    for _, facts in page.tags:
        assert not [name for name in facts if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset"):
            assert (facts.get(name) or "#")[0] == "#"


def test_every_figure_has_words_and_every_table_heads(drifted: str):
    page = Read(drifted)
    drawings = [facts for tag, facts in page.tags if tag == "svg"]
    headings = [tag for tag, _ in page.tags if tag in {"h1", "h2", "h3"}]

    assert len(drawings) == 10
    assert all(len(facts["aria-label"] or "") > 30 for facts in drawings)
    assert all(facts["role"] == "img" for facts in drawings)
    assert headings[0] == "h1"
    assert headings.count("h2") == 7
    heads = [facts for tag, facts in page.tags if tag == "th"]
    assert all(facts.get("scope") in {"row", "col"} for facts in heads)


def test_the_banner_stands_above_all_and_names_synthetic_weights(drifted: str):
    words = Read(drifted).text

    assert "Research use only. Not for diagnosis or treatment." in words
    assert "Synthetic weights: the bundle compact was trained on synthetic CT" in words
    assert words.index("Research use only") < words.index("1. Patients")


def test_what_moved_is_said_plainly(drifted: str):
    """Case 81 of 120 over 900 days from 2023-01-09 is of September 2024."""
    words = Read(drifted).text

    assert re.search(r"MOVED: Mean uncertainty went up since 2024-(09|10): from", words)
    assert "MOVED: Muscle HU" not in words


def test_what_did_not_move_is_said_too_and_the_order_of_cases_changes_nothing():
    cases = cohort(60)
    html = report(cases)
    words = Read(html).text

    assert "Nothing has moved." in words
    assert "MOVED" not in words
    assert report(tuple(reversed(cases))) == html


def test_counts_and_reasons_of_refusals_are_told(drifted: str):
    """Each fifteenth of 120 is none: 8, three of each refusal, two failures."""
    words = Read(drifted).text

    assert "120: 112 reported, 6 refused, 2 failed" in words
    assert "3 of 120 slices are missing between 212 and 218 mm" in words


def test_affected_sides_are_compared_and_grades_apart(drifted: str):
    words = Read(drifted).text

    assert "The affected side of 112 cases is known." in words
    assert "Grade 3 of the affected side: mean HU" in words
    assert "***" in words


def test_two_bundles_are_said_loudly():
    other = replace(MODEL, name="hip-thigh", version="2", weights_sha256="b2" * 32)
    words = Read(report([*cohort(9), *cohort(9, model=other, prefix="more")])).text

    assert "MIXED BUNDLES: these cases were not made by one network" in words
    assert "hip-thigh 2 (weights b2b2b2b2b2b2, 10 samples" in words
    assert "the weights of hip-thigh were trained on stands in the model card" in words


def test_other_settings_of_one_bundle_are_said_and_a_model_without_uncertainty_judged_by_none():
    cases = [
        replace(
            case,
            mean_uncertainty=None,
            mean_uncertainty_limits=None,
            verdict=Verdict.NOT_JUDGED,
            model=replace(MODEL, samples=number % 2 + 1),
            structures=tuple(
                replace(
                    one,
                    uncertainty=None,
                    uncertainty_limits=None,
                    verdict=Verdict.NOT_JUDGED,
                )
                for one in case.structures
            ),
        )
        for number, case in enumerate(cohort(45, refused_every=0))
    ]
    words = Read(report(cases)).text

    assert "Mixed settings (samples)" in words
    assert "no case has an uncertainty (the model measures none)" in words
    assert "The bundle is not calibrated" in words


def test_one_sample_is_no_uncertainty_of_0():
    """Its variance is 0 for every case: no figure of that, and no word of certainty."""
    cases = [
        replace(case, mean_uncertainty=0.0, model=replace(MODEL, samples=1))
        for case in cohort(6, refused_every=0)
    ]
    words = Read(report(cases)).text

    assert "1 sample of Monte Carlo dropout, uncertainty by" in words
    assert "Not given: every uncertainty is 0: one sample does not vary" in words
    assert "no verdict says anything of how sure the network was" in words


def test_markup_in_names_scanners_and_words_is_text():
    cases = [
        renamed(case, name=f"{HOSTILE}{number}", scanner=HOSTILE, sender=HOSTILE)
        for number, case in enumerate(cohort(20, uncertain_from=0, factor=2.5))
    ]
    cases[14] = replace(cases[14], code=HOSTILE, words=HOSTILE)
    cases[3] = replace(cases[3], findings=(HOSTILE,))
    page = Read(report(cases, replace(ABOUT, title=HOSTILE, left_out=(HOSTILE,))))

    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, facts in page.tags for name in facts if name.startswith("on")]
    assert page.open == []
    assert page.texts.count(HOSTILE) >= 5


def test_no_value_of_the_corpus_is_markup_in_the_report_or_on_a_case_page():
    values = list(HOSTILE_VALUES.values())
    cases = [
        renamed(case, name=f"{value}{number}", scanner=value, sender=value)
        for number, (case, value) in enumerate(
            zip(cohort(len(values), refused_every=0), values, strict=True)
        )
    ]
    about = replace(ABOUT, title=values[0], left_out=tuple(values))
    norms = norms_of(Cohort.of(cohort(80)))
    pages = [
        report(cases, about),
        norms_html([compare_case(e, norms) for e in cases], norms, about),
    ]

    for page in pages:
        assert unescaped(page) == []
        assert page.count(MARKER) >= len(values)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ACME Tomo 64", "ACME Tomo 64"),
        ("東芝 Aquilion", "?? Aquilion"),
        ("_hidden", "hidden"),
        ("\x1b[31m red", "?[31m red"),
        ("x" * 80, "x" * 27 + "..."),
        ("", "?"),
    ],
)
def test_a_label_has_only_signs_of_its_font(name: str, label: str):
    assert shown_name(name) == label


@pytest.mark.parametrize("cases", [0, 1, 6])
def test_few_cases_make_a_report_that_says_what_they_cannot_tell(cases: int):
    words = Read(report(cohort(cases, refused_every=0))).text

    assert f"{cases}: {cases} reported, 0 refused, 0 failed" in words
    if cases:
        assert f"{cases} of at least 40 cases" in words
        assert "Not given: no scanner is named by 5 cases or more" in words


def test_only_refused_cases_make_one_too():
    refused = [case for case in cohort(40) if case.state == "refused"]

    assert "No case has numbers." in Read(report(refused)).text


def test_without_heights_volumes_are_plain_and_not_held_against_the_study():
    cases = [
        replace(
            renamed(case, height_m=None),
            structures=tuple(
                replace(one, normalised_volume_cm3_per_m2=None) for one in case.structures
            ),
        )
        for case in cohort(12, refused_every=0)
    ]
    words = Read(report(cases)).text

    assert "The height of 12 of 12 cases is not known" in words
    assert "Volume, cm3, by sex and side" in words


def test_qc_pages_of_flagged_cases_are_shown_few_and_small(tmp_path: Path):
    picture = tmp_path / "qc.png"
    Image.effect_noise((800, 600), 80).save(picture)
    cases = [
        replace(case, qc_picture=str(picture))
        for case in cohort(MOST + 2, refused_every=0, uncertain_from=0, factor=4)
    ]
    html = report(cases)
    shown = [facts for tag, facts in Read(html).tags if tag == "img"]

    assert len(shown) == MOST
    assert all(facts["alt"] for facts in shown)
    assert max(len(facts["src"] or "") for facts in shown) < 120_000


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_damaged_qc_page_is_left_out(tmp_path: Path, content: bytes):
    (tmp_path / "qc.png").write_bytes(content)

    assert thumbnail(tmp_path / "qc.png") == ""
    assert thumbnail(tmp_path / "none.png") == ""


def test_a_picture_of_too_many_pixels_is_not_opened(tmp_path: Path):
    Image.new("1", (9000, 5000)).save(tmp_path / "qc.png")

    assert thumbnail(tmp_path / "qc.png") == ""


def test_a_case_against_norms_is_a_strip_and_a_table():
    norms = norms_of(Cohort.of(cohort(80)))
    (case,) = cohort(1, refused_every=0, prefix=HOSTILE)
    refused = replace(case, model=replace(MODEL, weights_sha256="b2" * 32))
    page = Read(norms_html([compare_case(one, norms) for one in (case, refused)], norms, ABOUT))

    assert page.open == []
    assert [tag for tag, _ in page.tags].count("svg") == 1
    assert "Not compared: the case was made by compact 1 (weights b2b2b2b2)" in page.text
    assert "of this cohort about 1 in 20" in page.text
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
